//! The same folder by descriptors, as WASI programs have it: paths beneath an open directory, reads and writes at
//! a position, listings that last.
//!
//! Takes numbers and paths that a hostile module chose, gives a [`Reason`] where something is wrong with them.
//! A directory of the host that is open is a path, not the directory: renamed meanwhile, it is not found.

use msgscript_proto::files::{FileCall, MOST};

use super::files::{OpenFile, Target, Window};
use super::granted::Route;
use super::tree::MAX_PATH;
use super::{Calls, Entry, HOME, Mode, NodeKind, Reason, Scratch, Stat, look_ahead};

/// Granted folders that a program starts with at most. The others are there by their paths.
const MOST_ROOTS: usize = 64;

/// New times, in seconds since 1970; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// Of the last access.
    pub accessed: Option<f64>,
    /// Of the last write.
    pub modified: Option<f64>,
}

impl<W: Calls> Scratch<W> {
    /// Opens what a program starts with: the root of all, then the granted folders. Asks the broker for these.
    /// Gives numbers and paths.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn open_roots(&mut self) -> Result<Vec<(u32, Vec<u8>)>, Reason> {
        let mut roots = vec![(self.open_here(b"/", b"/", Mode::READ)?, b"/".to_vec())];
        let folders = self.granted.folders().iter().take(MOST_ROOTS).cloned().collect::<Vec<_>>();
        for folder in folders.into_iter().filter(|folder| !folder.starts_with(HOME.as_bytes())) {
            // Whether it is there is seen when it is used.
            let target = Target::Host(Window::new(folder.clone(), 0));
            let file = self.files.add(OpenFile::new(target, true, Mode::READ, &folder), &mut self.budget)?;
            roots.push((file, folder));
        }
        Ok(roots)
    }

    /// Opens a path beneath an open directory. With `follow`, a link at its end is followed.
    ///
    /// # Errors
    /// As for [`Scratch::open`]; [`Reason::NotPermitted`] if the path leads out of the directory,
    /// [`Reason::Loop`] for a link that is not to be followed.
    pub fn open_at(&mut self, folder: u32, path: &[u8], follow: bool, mode: Mode) -> Result<u32, Reason> {
        let whole = self.whole(folder, path)?;
        if !follow && !mode.exclusive && self.stat_whole(&whole, false).is_ok_and(is_link) {
            return Err(Reason::Loop);
        }
        self.try_open(&whole, mode)
    }

    /// Opens again what is open, at its start.
    ///
    /// # Errors
    /// If it is not open, or a limit is reached.
    pub fn reopen(&mut self, file: u32) -> Result<u32, Reason> {
        let open = self.files.get(file).ok_or(Reason::BadFile)?;
        let (target, node) = match &open.target {
            Target::Node(node) => (Target::Node(*node), Some(*node)),
            Target::Host(window) => (Target::Host(Window::new(window.path.clone(), window.end)), None),
        };
        let again = OpenFile::new(target, open.directory, open.mode, &open.path);
        let again = self.files.add(again, &mut self.budget)?;
        if let Some(node) = node {
            self.tree.hold(node);
        }
        Ok(again)
    }

    /// What is known of what is open.
    ///
    /// # Errors
    /// If it is not open, or (of the host) not there any more.
    pub fn stat_open(&mut self, file: u32) -> Result<Stat, Reason> {
        match &self.files.get(file).ok_or(Reason::BadFile)?.target {
            Target::Node(node) => Ok(self.tree.stat(*node)),
            Target::Host(window) => self.granted.stat(FileCall::Stat { path: &window.path, follow: true }),
        }
    }

    /// What is at a path.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn stat_at(&mut self, folder: u32, path: &[u8], follow: bool) -> Result<Stat, Reason> {
        let whole = self.whole(folder, path)?;
        self.stat_whole(&whole, follow)
    }

    fn stat_whole(&mut self, whole: &[u8], follow: bool) -> Result<Stat, Reason> {
        self.stat(whole, follow).map_err(|error| error.reason)
    }

    /// Whether each write goes to the end.
    pub fn set_append(&mut self, file: u32, append: bool) {
        if let Some(open) = self.files.get_mut(file) {
            open.mode.append = append;
        }
    }

    /// Reads from a file's position on, which moves; gives the number of bytes, 0 at the end. May be fewer than
    /// there are.
    ///
    /// # Errors
    /// If it is not open for reading, or a directory.
    pub fn read(&mut self, file: u32, into: &mut [u8]) -> Result<usize, Reason> {
        let position = self.files.get(file).ok_or(Reason::BadFile)?.position;
        let size = self.read_at(file, position as u64, into)?;
        self.advance(file, size);
        Ok(size)
    }

    /// The same from another position; the file's stays.
    ///
    /// # Errors
    /// As for [`Scratch::read`].
    pub fn read_at(&mut self, file: u32, offset: u64, into: &mut [u8]) -> Result<usize, Reason> {
        let open = self.files.get_mut(file).ok_or(Reason::BadFile)?;
        if !open.mode.read {
            return Err(Reason::BadFile);
        }
        if open.directory {
            return Err(Reason::IsDir);
        }
        let offset = usize::try_from(offset).map_err(|_| Reason::Invalid)?;
        let found = match &mut open.target {
            Target::Node(node) => self.tree.content(*node)?.get(offset..).unwrap_or_default(),
            Target::Host(window) => {
                let least = into.len().min(MOST);
                look_ahead(&self.granted, window, offset, least, &mut self.budget)?;
                &window.bytes
            }
        };
        let size = found.len().min(into.len());
        into[..size].copy_from_slice(&found[..size]);
        Ok(size)
    }

    /// Writes at a position; the file's stays.
    ///
    /// # Errors
    /// As for [`Scratch::write`].
    pub fn write_at(&mut self, file: u32, offset: u64, bytes: &[u8]) -> Result<(), Reason> {
        let open = self.files.get_mut(file).ok_or(Reason::BadFile)?;
        let (position, append) = (open.position, open.mode.append);
        open.position = usize::try_from(offset).map_err(|_| Reason::Invalid)?;
        open.mode.append = false;
        let written = self.write(file, bytes);
        if let Some(open) = self.files.get_mut(file) {
            (open.position, open.mode.append) = (position, append);
        }
        written.map_err(|error| error.reason)
    }

    /// Cuts a file short, or adds zeros at its end.
    ///
    /// # Errors
    /// If it is not open for writing, or a limit is reached.
    pub fn resize(&mut self, file: u32, size: u64) -> Result<(), Reason> {
        let open = self.files.get_mut(file).ok_or(Reason::BadFile)?;
        if !open.mode.write {
            return Err(Reason::BadFile);
        }
        let length = usize::try_from(size).map_err(|_| Reason::Invalid)?;
        match &mut open.target {
            Target::Node(node) => self.tree.resize(*node, length, &mut self.budget),
            Target::Host(window) => {
                window.forget(&mut self.budget);
                window.end = length;
                self.granted.act(FileCall::Resize { path: &window.path, size })
            }
        }
    }

    /// Sets the times of what is open.
    ///
    /// # Errors
    /// If it is not open, or may not be changed.
    pub fn touch_open(&mut self, file: u32, times: Times) -> Result<(), Reason> {
        let (accessed, modified) = times.over(&self.stat_open(file)?);
        match &self.files.get(file).ok_or(Reason::BadFile)?.target {
            Target::Node(node) => {
                self.tree.set_times(*node, accessed, modified);
                Ok(())
            }
            Target::Host(window) => {
                self.granted.act(FileCall::Touch { path: &window.path, accessed, modified })
            }
        }
    }

    /// Sets the times of what is at a path.
    ///
    /// # Errors
    /// If there is nothing, or it may not be changed; the times of a link of the host cannot be.
    pub fn touch_at(&mut self, folder: u32, path: &[u8], follow: bool, times: Times) -> Result<(), Reason> {
        let whole = self.whole(folder, path)?;
        let stat = self.stat_whole(&whole, follow)?;
        let (accessed, modified) = times.over(&stat);
        match self.granted.route(&whole) {
            Route::Here(here) => {
                let node = self.find(&here, follow)?;
                self.tree.set_times(node, accessed, modified);
                Ok(())
            }
            Route::Host(_) if is_link(stat) => Err(Reason::NotPermitted),
            Route::Host(host) => self.granted.act(FileCall::Touch { path: &host, accessed, modified }),
        }
    }

    /// Lists an open directory: what [`Scratch::listed`] gives from now on.
    ///
    /// # Errors
    /// If it is none, or a limit is reached.
    pub fn list_open(&mut self, file: u32) -> Result<(), Reason> {
        let open = self.files.get_mut(file).ok_or(Reason::BadFile)?;
        open.forget_listing(&mut self.budget);
        let listing = match &open.target {
            Target::Node(node) => {
                let entries = self.tree.entries(*node)?;
                let cost = entries.keys().map(|name| Entry::cost(name)).sum();
                self.budget.charge(cost)?;
                let entry = |(name, node): (&Vec<u8>, &u32)| Entry {
                    name: name.clone(),
                    kind: Some(self.tree.stat(*node).kind),
                    inode: *node,
                };
                entries.iter().map(entry).collect()
            }
            Target::Host(window) => {
                self.granted.list(&window.path, self.budget.left())?;
                let names = std::mem::take(&mut self.granted.names);
                self.budget.charge(names.iter().map(|entry| Entry::cost(&entry.name)).sum())?;
                names
            }
        };
        open.listing = listing;
        Ok(())
    }

    /// An entry of the last listing of an open directory, by its place.
    #[must_use]
    pub fn listed(&self, file: u32, index: usize) -> Option<&Entry> {
        self.files.get(file)?.listing.get(index)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As for [`Scratch::mkdir`].
    pub fn mkdir_at(&mut self, folder: u32, path: &[u8]) -> Result<(), Reason> {
        let whole = self.whole(folder, path)?;
        self.mkdir(&whole).map_err(|error| error.reason)
    }

    /// Removes an empty directory, or else a file or link.
    ///
    /// # Errors
    /// If there is something else, or nothing.
    pub fn remove_at(&mut self, folder: u32, path: &[u8], directory: bool) -> Result<(), Reason> {
        let whole = self.whole(folder, path)?;
        match self.stat_whole(&whole, false)?.kind == NodeKind::Directory {
            true if !directory => Err(Reason::IsDir),
            false if directory => Err(Reason::NotDir),
            _ => self.try_remove(&whole),
        }
    }

    /// Gives a thing another name; what is there is replaced, even an empty directory by a directory.
    ///
    /// # Errors
    /// If there is nothing, or something that cannot be replaced.
    pub fn rename_at(&mut self, from: u32, old: &[u8], to: u32, new: &[u8]) -> Result<(), Reason> {
        let (old, new) = (self.whole(from, old)?, self.whole(to, new)?);
        self.try_rename(&old, &new, true)
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// As for [`Scratch::link`].
    pub fn link_at(&mut self, from: u32, old: &[u8], to: u32, new: &[u8]) -> Result<(), Reason> {
        let (old, new) = (self.whole(from, old)?, self.whole(to, new)?);
        self.link(&old, &new).map_err(|error| error.reason)
    }

    /// Makes a symbolic link. What it points to must be relative.
    ///
    /// # Errors
    /// As for [`Scratch::symlink`].
    pub fn symlink_at(&mut self, target: &[u8], folder: u32, path: &[u8]) -> Result<(), Reason> {
        if target.starts_with(b"/") {
            return Err(Reason::NotPermitted);
        }
        let whole = self.whole(folder, path)?;
        self.symlink(target, &whole).map_err(|error| error.reason)
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// If there is none.
    pub fn read_link_at(&mut self, folder: u32, path: &[u8]) -> Result<&[u8], Reason> {
        let whole = self.whole(folder, path)?;
        self.try_read_link(&whole)
    }

    /// The path from the root of a path beneath an open directory.
    fn whole(&self, folder: u32, path: &[u8]) -> Result<Vec<u8>, Reason> {
        let open = self.files.get(folder).ok_or(Reason::BadFile)?;
        if !open.directory {
            return Err(Reason::NotDir);
        }
        if path.is_empty() {
            return Err(Reason::NotFound);
        }
        if path.len() > MAX_PATH {
            return Err(Reason::NameTooLong);
        }
        stays_beneath(path)?;
        let mut whole = match &open.target {
            Target::Node(node) if self.tree.stat(*node).links == 0 => return Err(Reason::NotFound),
            Target::Node(node) => self.tree.path(*node),
            Target::Host(window) => window.path.clone(),
        };
        if whole != b"/" {
            whole.push(b'/');
        }
        whole.extend_from_slice(path);
        Ok(whole)
    }
}

impl Times {
    /// Both, with what there is where nothing new was said.
    fn over(self, stat: &Stat) -> (f64, f64) {
        (self.accessed.unwrap_or(stat.accessed), self.modified.unwrap_or(stat.modified))
    }
}

fn is_link(stat: Stat) -> bool {
    stat.kind == NodeKind::Link
}

/// Whether a path stays beneath where it starts, by its own names. What links mean is another matter: those of
/// the tree never leave the tree, and those of the host are for the broker's kernel.
fn stays_beneath(path: &[u8]) -> Result<(), Reason> {
    let mut depth = 0_u32;
    if path.starts_with(b"/") {
        return Err(Reason::NotPermitted);
    }
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = depth.checked_sub(1).ok_or(Reason::NotPermitted)?,
            _ => depth += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
