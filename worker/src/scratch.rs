//! The scratch folder: a tree of files in memory, gone with the invocation; and the one place where paths
//! beneath a granted folder of the host part from it.
//!
//! Takes paths and bytes that a hostile script chose, gives what a small Unix file system would, with
//! Go's error texts. Every node, name and byte is charged to a [`Budget`]; running out of it is
//! [`Reason::Memory`], or [`Reason::Full`] where less may be stored. Must never reach the real file system but by asking the broker ([`granted`]).

mod budget;
mod descriptor;
mod error;
mod files;
mod granted;
mod tree;

use std::time::{Duration, SystemTime};

pub use budget::{Budget, Reached};
pub use descriptor::Times;
pub use error::{FsError, Reason};
pub use files::{Entry, MAX_OPEN, Mode, OpenFile, Whence};
pub use tree::{MAX_FILES, NodeKind, Stat};

use msgscript_proto::files::{FileCall, FileReply};
use msgscript_proto::host::{HostCall, HostReply};

use files::{Files, Target, Window};
use granted::{Granted, Route};
use tree::{Place, Tree};

/// Where a script starts.
pub const HOME: &str = "/scratch";
/// Where temporary files go.
pub const TMP: &str = "/tmp";

/// The bytes a `Scratch` may use when nobody said.
const DEFAULT_LIMIT: usize = 128 << 20;

/// The least that is read of a file of the host at once, in bytes.
const PIECE: usize = 64 << 10;

/// The way to the broker, for granted folders.
pub trait Calls {
    /// Makes a host call and hands the reply over.
    fn call(&self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>));
}

/// The scratch folder of one invocation.
#[derive(Debug)]
pub struct Scratch<W> {
    tree: Tree,
    files: Files,
    budget: Budget,
    cwd: u32,
    named: u32,
    granted: Granted<W>,
}

impl<W: Calls> Default for Scratch<W> {
    fn default() -> Self {
        Scratch::new(DEFAULT_LIMIT)
    }
}

impl<W: Calls> Scratch<W> {
    /// An empty folder that may use that many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (tree, cwd) = Tree::new();
        let (files, budget, granted) = (Files::default(), Budget::new(limit), Granted::new(None));
        Scratch { tree, files, budget, cwd, named: 0, granted }
    }

    /// Has paths beneath granted folders lead to the host, by this way.
    #[must_use]
    pub fn with_way(mut self, way: W) -> Self {
        self.granted = Granted::new(Some(way));
        self
    }

    /// Empties it for the next invocation.
    pub fn reset(&mut self) {
        if !self.is_untouched() {
            let way = self.granted.take_way();
            *self = Scratch::default();
            self.granted = Granted::new(way);
        }
    }

    /// How many bytes are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.budget.used()
    }

    /// How many bytes may be in use.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// Sets how many bytes may be in use, how many of them stored, and in how many files, folders and links.
    pub fn set_limits(&mut self, memory: usize, stored: usize, files: usize) {
        self.budget.set_limits(memory, stored, files);
    }

    /// Sets how many bytes may be in use from now on, and nothing else.
    pub fn set_memory(&mut self, memory: usize) {
        self.budget.set_memory(memory);
    }

    /// The limit of what may be stored that was last reached.
    #[must_use]
    pub fn reached(&self) -> Option<Reached> {
        self.budget.reached()
    }

    /// Whether nothing was ever put into it or opened.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.budget.used() == 0 && self.named == 0 && self.files.is_untouched() && self.granted.is_untouched()
    }

    /// The working directory's path.
    #[must_use]
    pub fn cwd(&self) -> Vec<u8> {
        self.granted.cwd().map_or_else(|| self.tree.path(self.cwd), <[u8]>::to_vec)
    }

    /// Changes the working directory.
    ///
    /// # Errors
    /// If `path` is not a directory.
    pub fn chdir(&mut self, path: &[u8]) -> Result<(), FsError> {
        self.try_chdir(path).map_err(FsError::of("chdir", path))
    }

    fn try_chdir(&mut self, path: &[u8]) -> Result<(), Reason> {
        let here = match self.granted.route(path) {
            Route::Here(here) => here,
            Route::Host(host) => {
                if self.granted.stat(FileCall::Stat { path: &host, follow: true })?.kind
                    != NodeKind::Directory
                {
                    return Err(Reason::NotDir);
                }
                self.granted.set_cwd(Some(host));
                return Ok(());
            }
        };
        let node = self.find(&here, true)?;
        self.tree.entries(node)?;
        self.granted.set_cwd(None);
        self.tree.hold(node);
        self.tree.release(self.cwd, &mut self.budget);
        self.cwd = node;
        Ok(())
    }

    /// What is at a path; the last link is followed if `follow`.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn stat(&mut self, path: &[u8], follow: bool) -> Result<Stat, FsError> {
        let op = if follow { "stat" } else { "lstat" };
        let found = match self.granted.route(path) {
            Route::Here(here) => self.find(&here, follow).map(|node| self.tree.stat(node)),
            Route::Host(host) => self.granted.stat(FileCall::Stat { path: &host, follow }),
        };
        found.map_err(FsError::of(op, path))
    }

    /// The path behind all links, as a path from the root.
    ///
    /// # Errors
    /// If there is nothing.
    ///
    /// A path of the host is given as it is, without `.` and `..`: what its links mean is the host's own.
    pub fn real_path(&mut self, path: &[u8]) -> Result<Vec<u8>, FsError> {
        self.try_real_path(path).map_err(FsError::of("lstat", path))
    }

    fn try_real_path(&mut self, path: &[u8]) -> Result<Vec<u8>, Reason> {
        let here = match self.granted.route(path) {
            Route::Here(here) => here,
            Route::Host(host) => {
                self.granted.stat(FileCall::Stat { path: &host, follow: true })?;
                return Ok(host);
            }
        };
        let place = self.place(&here, true)?;
        let node = place.node.ok_or(Reason::NotFound)?;
        if self.tree.entries(node).is_ok() {
            return Ok(self.tree.path(node));
        }
        let mut whole = self.tree.path(place.parent);
        if whole != b"/" {
            whole.push(b'/');
        }
        whole.extend_from_slice(&place.name);
        Ok(whole)
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// If there is none.
    pub fn read_link(&mut self, path: &[u8]) -> Result<&[u8], FsError> {
        self.try_read_link(path).map_err(FsError::of("readlink", path))
    }

    fn try_read_link(&mut self, path: &[u8]) -> Result<&[u8], Reason> {
        match self.granted.route(path) {
            Route::Here(here) => {
                let node = self.find(&here, false)?;
                self.tree.target(node).ok_or(Reason::Invalid)
            }
            Route::Host(host) => {
                let mut target = Vec::new();
                self.granted.ask(FileCall::ReadLink { path: &host }, &mut |reply| {
                    if let FileReply::Bytes(bytes) = reply {
                        target = bytes.to_vec();
                    }
                })?;
                self.granted.fetched = target;
                Ok(&self.granted.fetched)
            }
        }
    }

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// If it is not a directory.
    pub fn list(&mut self, path: &[u8]) -> Result<impl Iterator<Item = &[u8]>, FsError> {
        self.try_list(path).map(Vec::into_iter).map_err(FsError::of("open", path))
    }

    fn try_list(&mut self, path: &[u8]) -> Result<Vec<&[u8]>, Reason> {
        match self.granted.route(path) {
            Route::Here(here) => {
                let node = self.find(&here, true)?;
                Ok(self.tree.entries(node)?.keys().map(Vec::as_slice).collect())
            }
            Route::Host(host) => {
                self.granted.list(&host, self.budget.left())?;
                Ok(self.granted.names.iter().map(|entry| &*entry.name).collect())
            }
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// If something is there, the parent is missing, or a limit is reached.
    pub fn mkdir(&mut self, path: &[u8]) -> Result<(), FsError> {
        let made = match self.granted.route(path) {
            Route::Host(host) => self.granted.act(FileCall::MakeFolder { path: &host }),
            Route::Here(here) => self.place(&here, false).and_then(|place| match place.node {
                Some(_) => Err(Reason::Exists),
                None => self.tree.add_dir(place.parent, &place.name, &mut self.budget).map(|_| ()),
            }),
        };
        made.map_err(FsError::of("mkdir", path))
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// If there is nothing, or a directory that is not empty.
    pub fn remove(&mut self, path: &[u8]) -> Result<(), FsError> {
        self.try_remove(path).map_err(FsError::of("remove", path))
    }

    fn try_remove(&mut self, path: &[u8]) -> Result<(), Reason> {
        let here = match self.granted.route(path) {
            Route::Here(here) => here,
            Route::Host(host) => return self.granted.act(FileCall::Remove { path: &host }),
        };
        let place = self.place(&here, false)?;
        let node = place.node.ok_or(Reason::NotFound)?;
        if place.name.is_empty() {
            return Err(Reason::Busy);
        }
        if self.tree.entries(node).is_ok_and(|entries| !entries.is_empty()) {
            return Err(Reason::NotEmpty);
        }
        self.tree.unlink(place.parent, &place.name, &mut self.budget)
    }

    /// Gives a thing another name; a file there is replaced.
    ///
    /// # Errors
    /// If there is nothing, or a directory of the new name.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), FsError> {
        self.try_rename(from, to, false).map_err(FsError::of_two("rename", from, to))
    }

    /// `over_empty`: as Unix has it, a directory may take the place of one in which there is nothing.
    fn try_rename(&mut self, from: &[u8], to: &[u8], over_empty: bool) -> Result<(), Reason> {
        let (from, to) = match (self.granted.route(from), self.granted.route(to)) {
            (Route::Here(from), Route::Here(to)) => (from, to),
            (Route::Host(from), Route::Host(to)) => {
                return self.granted.act(FileCall::Rename { from: &from, to: &to });
            }
            _ => return Err(Reason::CrossDevice),
        };
        let old = self.place(&from, false)?;
        let node = old.node.ok_or(Reason::NotFound)?;
        let new = self.place(&to, false)?;
        if old.name.is_empty() {
            return Err(Reason::Busy);
        }
        let is_dir = self.tree.entries(node).is_ok();
        if let Some(there) = new.node {
            match self.tree.entries(there) {
                Ok(_) if !over_empty => return Err(Reason::Exists),
                _ if there == node => return Ok(()),
                Ok(_) if new.name.is_empty() => return Err(Reason::Busy),
                Ok(_) if !is_dir => return Err(Reason::IsDir),
                Ok(entries) if !entries.is_empty() => return Err(Reason::NotEmpty),
                Ok(_) => {}
                Err(_) if is_dir => return Err(Reason::NotDir),
                Err(_) => {}
            }
        }
        if is_dir && self.tree.is_within(new.parent, node) {
            return Err(Reason::Invalid);
        }
        self.tree.relink(&old, &new, node, &mut self.budget)
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// If `old` is missing or a directory, or `new` exists; or one of them is of the host.
    pub fn link(&mut self, old: &[u8], new: &[u8]) -> Result<(), FsError> {
        self.try_link(old, new).map_err(FsError::of_two("link", old, new))
    }

    fn try_link(&mut self, old: &[u8], new: &[u8]) -> Result<(), Reason> {
        let (Route::Here(old), Route::Here(new)) = (self.granted.route(old), self.granted.route(new)) else {
            return Err(Reason::NotPermitted);
        };
        let node = self.find(&old, false)?;
        let place = self.place(&new, false)?;
        if place.node.is_some() {
            return Err(Reason::Exists);
        }
        if self.tree.entries(node).is_ok() {
            return Err(Reason::NotPermitted);
        }
        self.tree.enter(place.parent, &place.name, node, &mut self.budget)
    }

    /// Makes a symbolic link to `target`, which need not exist.
    ///
    /// # Errors
    /// If `path` exists or its parent does not, or it is of the host.
    pub fn symlink(&mut self, target: &[u8], path: &[u8]) -> Result<(), FsError> {
        let made = match self.granted.route(path) {
            Route::Host(_) => Err(Reason::NotPermitted),
            Route::Here(here) => self.place(&here, false).and_then(|place| match place.node {
                Some(_) => Err(Reason::Exists),
                None if target.is_empty() => Err(Reason::NotFound),
                None if target.len() > tree::MAX_PATH => Err(Reason::NameTooLong),
                None => self.tree.add_link(place.parent, &place.name, target, &mut self.budget),
            }),
        };
        made.map(|_| ()).map_err(FsError::of_two("symlink", target, path))
    }

    /// Sets the times of what is there, in seconds since 1970.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn touch(&mut self, path: &[u8], accessed: f64, modified: f64) -> Result<(), FsError> {
        let touched = match self.granted.route(path) {
            Route::Host(host) => self.granted.act(FileCall::Touch { path: &host, accessed, modified }),
            Route::Here(here) => {
                self.find(&here, true).map(|node| self.tree.set_times(node, accessed, modified))
            }
        };
        touched.map_err(FsError::of("chtimes", path))
    }

    /// The content of a file.
    ///
    /// # Errors
    /// If it is missing or a directory.
    pub fn read_file(&mut self, path: &[u8]) -> Result<&[u8], FsError> {
        match self.granted.route(path) {
            Route::Here(here) => {
                let node = self.find(&here, true).map_err(FsError::of("open", path))?;
                self.tree.content(node).map_err(FsError::of("read", path))
            }
            Route::Host(host) => {
                let stat = self.granted.stat(FileCall::Stat { path: &host, follow: true });
                if stat.map_err(FsError::of("open", path))?.kind == NodeKind::Directory {
                    return Err(FsError::of("read", path)(Reason::IsDir));
                }
                self.fetch(&host).map_err(FsError::of("open", path))?;
                Ok(&self.granted.fetched)
            }
        }
    }

    /// Reads a file of the host whole.
    fn fetch(&mut self, host: &[u8]) -> Result<(), Reason> {
        let mut content = std::mem::take(&mut self.granted.fetched);
        content.clear();
        loop {
            if content.len() > self.budget.left() {
                return Err(Reason::Memory);
            }
            let length = content.len().max(PIECE);
            if self.granted.read(host, content.len(), length, &mut content)? == 0 {
                break;
            }
        }
        self.granted.fetched = content;
        Ok(())
    }

    /// Creates or replaces a file.
    ///
    /// # Errors
    /// If the parent is missing, a directory is there, or a limit is reached.
    pub fn write_file(&mut self, path: &[u8], content: &[u8]) -> Result<(), FsError> {
        let file = self.open(path, Mode::WRITE)?;
        let written = self.write(file, content);
        self.close(file)?;
        written
    }

    /// Opens a file.
    ///
    /// # Errors
    /// If it is missing and the mode does not create it, it is a directory to be written, or a limit is
    /// reached.
    pub fn open(&mut self, path: &[u8], mode: Mode) -> Result<u32, FsError> {
        self.try_open(path, mode).map_err(FsError::of("open", path))
    }

    fn try_open(&mut self, path: &[u8], mode: Mode) -> Result<u32, Reason> {
        match self.granted.route(path) {
            Route::Here(here) => self.open_here(&here, path, mode),
            Route::Host(host) => self.open_host(host, path, mode),
        }
    }

    fn open_host(&mut self, host: Vec<u8>, path: &[u8], mode: Mode) -> Result<u32, Reason> {
        let Mode { write, create, exclusive, truncate, .. } = mode;
        let stat = self.granted.stat(FileCall::Open { path: &host, write, create, exclusive, truncate })?;
        let target = Target::Host(Window::new(host, stat.size));
        let directory = stat.kind == NodeKind::Directory;
        self.files.add(OpenFile::new(target, directory, mode, path), &mut self.budget)
    }

    fn open_here(&mut self, here: &[u8], path: &[u8], mode: Mode) -> Result<u32, Reason> {
        let place = self.place(here, !mode.exclusive)?;
        let node = match place.node {
            Some(_) if mode.exclusive => return Err(Reason::Exists),
            Some(node) if self.tree.entries(node).is_ok() && mode.write => return Err(Reason::IsDir),
            Some(node) => node,
            None if mode.create && path.ends_with(b"/") => return Err(Reason::IsDir),
            None if mode.create => self.tree.add_file(place.parent, &place.name, &mut self.budget)?,
            None => return Err(Reason::NotFound),
        };
        let directory = self.tree.entries(node).is_ok();
        let file = OpenFile::new(Target::Node(node), directory, mode, path);
        let file = self.files.add(file, &mut self.budget)?;
        self.tree.hold(node);
        if mode.truncate {
            self.tree.truncate(node, &mut self.budget);
        }
        Ok(file)
    }

    /// Opens a new file without a name, to be read and written.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn open_unnamed(&mut self) -> Result<u32, FsError> {
        self.open_filled(b"", Mode::READ_WRITE_NEW)
    }

    /// Opens a new file without a name that holds this, at its start.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn open_filled(&mut self, content: &[u8], mode: Mode) -> Result<u32, FsError> {
        let path = self.unused_name();
        let file = self.open_here(&path, &path, Mode::READ_WRITE_NEW).map_err(FsError::of("open", &path))?;
        self.write(file, content)?;
        self.seek(file, Whence::Start, 0)?;
        if let Some(open) = self.files.get_mut(file) {
            open.mode = mode;
        }
        let place = self.place(&path, false).map_err(FsError::of("remove", &path))?;
        let unlinked = self.tree.unlink(place.parent, &place.name, &mut self.budget);
        unlinked.map_err(FsError::of("remove", &path))?;
        Ok(file)
    }

    /// A path in the folder for temporary files where nothing is.
    pub fn unused_name(&mut self) -> Vec<u8> {
        loop {
            self.named = self.named.wrapping_add(1);
            let path = format!("{TMP}/lua_{:06}", self.named).into_bytes();
            if self.find(&path, false).is_err() {
                return path;
            }
        }
    }

    /// An open file.
    #[must_use]
    pub fn file(&self, file: u32) -> Option<&OpenFile> {
        self.files.get(file)
    }

    /// What an open file holds behind its position.
    ///
    /// # Errors
    /// If it is a directory, or not open.
    pub fn rest(&mut self, file: u32) -> Result<&[u8], FsError> {
        self.ahead(file, usize::MAX)
    }

    /// The same, or its beginning: less than `least` bytes are all there are. What is large and far away
    /// is not read whole for a line of it.
    ///
    /// # Errors
    /// As for [`Scratch::rest`].
    pub fn ahead(&mut self, file: u32, least: usize) -> Result<&[u8], FsError> {
        let Some(open) = self.files.get_mut(file) else { return Err(FsError::closed()) };
        let found = match &mut open.target {
            Target::Node(node) => {
                self.tree.content(*node).map(|content| content.get(open.position..).unwrap_or_default())
            }
            Target::Host(window) => look_ahead(&self.granted, window, open.position, least, &mut self.budget)
                .map(|()| &*window.bytes),
        };
        found.map_err(FsError::of("read", &open.path))
    }

    /// Moves an open file's position forward.
    pub fn advance(&mut self, file: u32, bytes: usize) {
        if let Some(open) = self.files.get_mut(file) {
            open.position = open.position.saturating_add(bytes);
        }
    }

    /// Writes at an open file's position, or at its end if it appends.
    ///
    /// # Errors
    /// If it is not open for writing, or a limit is reached.
    pub fn write(&mut self, file: u32, bytes: &[u8]) -> Result<(), FsError> {
        let Some(open) = self.files.get_mut(file) else { return Err(FsError::closed()) };
        if !open.mode.write {
            return Err(FsError::of("write", &open.path)(Reason::BadFile));
        }
        let written = match &mut open.target {
            Target::Node(node) => {
                if open.mode.append {
                    open.position = self.tree.size(*node);
                }
                self.tree.write(*node, open.position, bytes, &mut self.budget)
            }
            Target::Host(window) => {
                window.forget(&mut self.budget);
                if open.mode.append {
                    open.position = window.end;
                }
                let offset = (!open.mode.append).then_some(open.position);
                self.granted.write(&window.path, offset, bytes).map(|()| {
                    window.end = window.end.max(open.position.saturating_add(bytes.len()));
                })
            }
        };
        written.map_err(FsError::of("write", &open.path))?;
        open.position = open.position.saturating_add(bytes.len());
        Ok(())
    }

    /// Moves an open file's position; gives the new one, in bytes.
    ///
    /// # Errors
    /// If the position would be negative.
    pub fn seek(&mut self, file: u32, whence: Whence, offset: i64) -> Result<usize, FsError> {
        let Some(open) = self.files.get_mut(file) else { return Err(FsError::closed()) };
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => open.position,
            Whence::End => match &open.target {
                Target::Node(node) => self.tree.size(*node),
                Target::Host(window) => {
                    let stat = self.granted.stat(FileCall::Stat { path: &window.path, follow: true });
                    stat.map_err(FsError::of("seek", &open.path))?.size
                }
            },
        };
        let to = i64::try_from(from).ok().and_then(|from| from.checked_add(offset));
        let to = to.and_then(|to| usize::try_from(to).ok()).ok_or(Reason::Invalid);
        open.position = to.map_err(FsError::of("seek", &open.path))?;
        Ok(open.position)
    }

    /// Closes a file.
    ///
    /// # Errors
    /// If it is not open.
    pub fn close(&mut self, file: u32) -> Result<(), FsError> {
        let mut open = self.files.remove(file, &mut self.budget).ok_or_else(FsError::closed)?;
        open.forget_listing(&mut self.budget);
        match open.target {
            Target::Node(node) => self.tree.release(node, &mut self.budget),
            Target::Host(mut window) => window.forget(&mut self.budget),
        }
        Ok(())
    }

    fn place(&self, path: &[u8], follow: bool) -> Result<Place, Reason> {
        self.tree.resolve(self.cwd, path, follow)
    }

    fn find(&self, path: &[u8], follow: bool) -> Result<u32, Reason> {
        self.place(path, follow)?.node.ok_or(Reason::NotFound)
    }
}

/// Has a window begin at a position and hold `least` bytes, or all that there are.
fn look_ahead<W: Calls>(
    granted: &Granted<W>,
    window: &mut Window,
    position: usize,
    least: usize,
    budget: &mut Budget,
) -> Result<(), Reason> {
    window.move_to(position, budget);
    while window.bytes.len() < least {
        let had = window.bytes.len();
        let wanted = (least - had).min(had.max(PIECE));
        let offset = position.checked_add(had).ok_or(Reason::Invalid)?;
        let size = granted.read(&window.path, offset, wanted.max(PIECE), &mut window.bytes)?;
        if let Err(full) = budget.charge(size) {
            window.bytes.truncate(had);
            return Err(full);
        }
        if size == 0 {
            break;
        }
    }
    Ok(())
}

/// The time as files carry it: seconds since 1970.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests;
