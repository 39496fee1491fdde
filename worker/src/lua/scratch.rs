//! The scratch folder: a tree of files in memory, gone with the invocation.
//!
//! Takes paths and bytes that a hostile script chose, gives what a small Unix file system would, with
//! Go's error texts. Every node, name and byte is charged to a [`Budget`]; running out of it is
//! [`Reason::Memory`]. Must never reach the real file system.

mod budget;
mod error;
mod files;
mod tree;

use std::time::{Duration, SystemTime};

pub use budget::Budget;
pub use error::{FsError, Reason};
pub use files::{MAX_OPEN, Mode, OpenFile, Whence};
pub use tree::{MAX_FILES, NodeKind, Stat};

use files::Files;
use tree::{Place, Tree};

/// Where a script starts.
pub const HOME: &str = "/scratch";
/// Where temporary files go.
pub const TMP: &str = "/tmp";

/// The bytes a `Scratch` may use when nobody said.
const DEFAULT_LIMIT: usize = 128 << 20;

/// The scratch folder of one invocation.
#[derive(Debug)]
pub struct Scratch {
    tree: Tree,
    files: Files,
    budget: Budget,
    cwd: u32,
    named: u32,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new(DEFAULT_LIMIT)
    }
}

impl Scratch {
    /// An empty folder that may use that many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (tree, cwd) = Tree::new();
        Scratch { tree, files: Files::default(), budget: Budget::new(limit), cwd, named: 0 }
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

    /// Sets how many bytes may be in use.
    pub fn set_limit(&mut self, limit: usize) {
        self.budget.set_limit(limit);
    }

    /// Whether nothing was ever put into it or opened.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.budget.used() == 0 && self.named == 0 && self.files.is_untouched()
    }

    /// The working directory's path.
    #[must_use]
    pub fn cwd(&self) -> Vec<u8> {
        self.tree.path(self.cwd)
    }

    /// Changes the working directory.
    ///
    /// # Errors
    /// If `path` is not a directory.
    pub fn chdir(&mut self, path: &[u8]) -> Result<(), FsError> {
        let node = self.find(path, true).map_err(FsError::of("chdir", path))?;
        self.tree.entries(node).map_err(FsError::of("chdir", path))?;
        self.tree.hold(node);
        self.tree.release(self.cwd, &mut self.budget);
        self.cwd = node;
        Ok(())
    }

    /// What is at a path; the last link is followed if `follow`.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn stat(&self, path: &[u8], follow: bool) -> Result<Stat, FsError> {
        let op = if follow { "stat" } else { "lstat" };
        self.find(path, follow).map(|node| self.tree.stat(node)).map_err(FsError::of(op, path))
    }

    /// The path behind all links, as a path from the root.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FsError> {
        let place = self.place(path, true).map_err(FsError::of("lstat", path))?;
        let node = place.node.ok_or(Reason::NotFound).map_err(FsError::of("lstat", path))?;
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
    pub fn read_link(&self, path: &[u8]) -> Result<&[u8], FsError> {
        let node = self.find(path, false).map_err(FsError::of("readlink", path))?;
        self.tree.target(node).ok_or(Reason::Invalid).map_err(FsError::of("readlink", path))
    }

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// If it is not a directory.
    pub fn list(&self, path: &[u8]) -> Result<impl Iterator<Item = &[u8]>, FsError> {
        let node = self.find(path, true).map_err(FsError::of("open", path))?;
        let entries = self.tree.entries(node).map_err(FsError::of("open", path))?;
        Ok(entries.keys().map(Vec::as_slice))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// If something is there, the parent is missing, or a limit is reached.
    pub fn mkdir(&mut self, path: &[u8]) -> Result<(), FsError> {
        let made = self.place(path, false).and_then(|place| match place.node {
            Some(_) => Err(Reason::Exists),
            None => self.tree.add_dir(place.parent, &place.name, &mut self.budget),
        });
        made.map(|_| ()).map_err(FsError::of("mkdir", path))
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// If there is nothing, or a directory that is not empty.
    pub fn remove(&mut self, path: &[u8]) -> Result<(), FsError> {
        let removed = self.place(path, false).and_then(|place| {
            let node = place.node.ok_or(Reason::NotFound)?;
            if place.name.is_empty() {
                return Err(Reason::Busy);
            }
            if self.tree.entries(node).is_ok_and(|entries| !entries.is_empty()) {
                return Err(Reason::NotEmpty);
            }
            self.tree.unlink(place.parent, &place.name, &mut self.budget)
        });
        removed.map_err(FsError::of("remove", path))
    }

    /// Gives a thing another name; a file there is replaced.
    ///
    /// # Errors
    /// If there is nothing, or a directory of the new name.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), FsError> {
        self.try_rename(from, to).map_err(FsError::of_two("rename", from, to))
    }

    fn try_rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Reason> {
        let old = self.place(from, false)?;
        let node = old.node.ok_or(Reason::NotFound)?;
        let new = self.place(to, false)?;
        if old.name.is_empty() {
            return Err(Reason::Busy);
        }
        let is_dir = self.tree.entries(node).is_ok();
        if let Some(there) = new.node {
            if self.tree.entries(there).is_ok() {
                return Err(Reason::Exists);
            }
            if there == node {
                return Ok(());
            }
            if is_dir {
                return Err(Reason::NotDir);
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
    /// If `old` is missing or a directory, or `new` exists.
    pub fn link(&mut self, old: &[u8], new: &[u8]) -> Result<(), FsError> {
        self.try_link(old, new).map_err(FsError::of_two("link", old, new))
    }

    fn try_link(&mut self, old: &[u8], new: &[u8]) -> Result<(), Reason> {
        let node = self.find(old, false)?;
        let place = self.place(new, false)?;
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
    /// If `path` exists or its parent does not.
    pub fn symlink(&mut self, target: &[u8], path: &[u8]) -> Result<(), FsError> {
        let made = self.place(path, false).and_then(|place| match place.node {
            Some(_) => Err(Reason::Exists),
            None if target.is_empty() => Err(Reason::NotFound),
            None if target.len() > tree::MAX_PATH => Err(Reason::NameTooLong),
            None => self.tree.add_link(place.parent, &place.name, target, &mut self.budget),
        });
        made.map(|_| ()).map_err(FsError::of_two("symlink", target, path))
    }

    /// Sets the times of what is there, in seconds since 1970.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn touch(&mut self, path: &[u8], accessed: f64, modified: f64) -> Result<(), FsError> {
        let node = self.find(path, true).map_err(FsError::of("chtimes", path))?;
        self.tree.set_times(node, accessed, modified);
        Ok(())
    }

    /// The content of a file.
    ///
    /// # Errors
    /// If it is missing or a directory.
    pub fn read_file(&self, path: &[u8]) -> Result<&[u8], FsError> {
        let node = self.find(path, true).map_err(FsError::of("open", path))?;
        self.tree.content(node).map_err(FsError::of("read", path))
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
        let place = self.place(path, true)?;
        let node = match place.node {
            Some(node) if self.tree.entries(node).is_ok() && mode.write => return Err(Reason::IsDir),
            Some(node) => node,
            None if mode.create && path.ends_with(b"/") => return Err(Reason::IsDir),
            None if mode.create => self.tree.add_file(place.parent, &place.name, &mut self.budget)?,
            None => return Err(Reason::NotFound),
        };
        let file = self.files.add(OpenFile::new(node, mode, path), &mut self.budget)?;
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
        let path = self.unused_name();
        let file = self.open(&path, Mode::READ_WRITE_NEW)?;
        self.remove(&path)?;
        Ok(file)
    }

    /// A path in the folder for temporary files where nothing is.
    pub fn unused_name(&mut self) -> Vec<u8> {
        loop {
            self.named = self.named.wrapping_add(1);
            let path = format!("{TMP}/lua_{:06}", self.named).into_bytes();
            if self.stat(&path, false).is_err() {
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
    pub fn rest(&self, file: u32) -> Result<&[u8], FsError> {
        let Some(open) = self.files.get(file) else { return Err(FsError::closed()) };
        let content = self.tree.content(open.node).map_err(FsError::of("read", &open.path))?;
        Ok(content.get(open.position..).unwrap_or_default())
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
        if open.mode.append {
            open.position = self.tree.size(open.node);
        }
        let written = self.tree.write(open.node, open.position, bytes, &mut self.budget);
        written.map_err(FsError::of("write", &open.path))?;
        open.position += bytes.len();
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
            Whence::End => self.tree.size(open.node),
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
        let open = self.files.remove(file, &mut self.budget).ok_or_else(FsError::closed)?;
        self.tree.release(open.node, &mut self.budget);
        Ok(())
    }

    fn place(&self, path: &[u8], follow: bool) -> Result<Place, Reason> {
        self.tree.resolve(self.cwd, path, follow)
    }

    fn find(&self, path: &[u8], follow: bool) -> Result<u32, Reason> {
        self.place(path, follow)?.node.ok_or(Reason::NotFound)
    }
}

/// The time as files carry it: seconds since 1970.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests;
