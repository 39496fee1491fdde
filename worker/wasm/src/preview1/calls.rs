//! The calls of preview 1 on descriptors and paths, `fd_*` and `path_*`, over [`crate::files`].
//!
//! Takes numbers and pointers of any value from a module; what is wrong with them is an error number or a trap.
//! Layouts and numbers are those of `wasi_snapshot_preview1`.

use msgscript_worker::scratch::{Mode, NodeKind, Reason, Stat, Times, Whence, now};

use super::descriptors::{Descriptor, Descriptors};
use super::environment::{Environment, NAME};
use super::errno::{Errno, Stop};
use super::memory::Memory;
use crate::files::{device, nanos, seconds};

/// Vectors of one read or write that are looked at. A module is told how many bytes were moved.
const MOST_VECTORS: u32 = 1024;

/// Bytes in front of a name in a listing.
const ENTRY: usize = 24;

const UNKNOWN: u8 = 0;
const DIRECTORY: u8 = 3;
const REGULAR: u8 = 4;
const LINK: u8 = 7;

/// Rights, as a module asks for them and is told of them; they decide how a file is opened, and nothing else.
mod rights {
    pub const READ: u64 = 1 << 1;
    pub const SEEK: u64 = 1 << 2;
    pub const TELL: u64 = 1 << 5;
    pub const WRITE: u64 = 1 << 6;
    pub const ALLOCATE: u64 = 1 << 8;
    pub const SET_SIZE: u64 = 1 << 22;
    pub const ALL: u64 = (1 << 30) - 1;
}

/// `fdflags`
const APPEND: u32 = 1;

/// `lookupflags`
const FOLLOW: u32 = 1;

/// A call in progress.
pub struct Call<'a> {
    /// The module's memory.
    pub memory: Memory<'a>,
    /// What it has open.
    pub open: &'a mut Descriptors,
    /// Its environment.
    pub environment: &'a Environment,
}

type Done = Result<(), Stop>;

impl Call<'_> {
    pub fn args_sizes_get(&mut self, count: u32, size: u32) -> Done {
        self.memory.put(count, &1_u32.to_le_bytes())?;
        self.memory.put(size, &(NAME.len() as u32).to_le_bytes())
    }

    /// There are no arguments but the name.
    pub fn args_get(&mut self, list: u32, at: u32) -> Done {
        self.memory.put(list, &at.to_le_bytes())?;
        self.memory.put(at, NAME)
    }

    pub fn environ_sizes_get(&mut self, count: u32, size: u32) -> Done {
        self.memory.put(count, &self.environment.count().to_le_bytes())?;
        self.memory.put(size, &(self.environment.text().len() as u32).to_le_bytes())
    }

    pub fn environ_get(&mut self, list: u32, at: u32) -> Done {
        self.memory.put(at, self.environment.text())?;
        for (index, offset) in (0..).zip(self.environment.starts()) {
            let place = self.memory.place(list, index)?;
            // The text was put there: this is within 32 bits.
            self.memory.put(place, &(at + offset).to_le_bytes())?;
        }
        Ok(())
    }

    pub fn fd_prestat_get(&mut self, fd: u32, out: u32) -> Done {
        let size = self.root(fd)?.len() as u64;
        // The tag of a folder, 0, and the size of its name.
        self.memory.put(out, &(size << 32).to_le_bytes())
    }

    pub fn fd_prestat_dir_name(&mut self, fd: u32, out: u32, size: u32) -> Done {
        let path = self.root(fd)?;
        if path.len() > size as usize {
            return Err(Errno::Nametoolong.into());
        }
        self.memory.put(out, &path)
    }

    fn root(&mut self, fd: u32) -> Result<Vec<u8>, Stop> {
        match self.open.get(fd)? {
            Descriptor::Open { root: Some(path), .. } => Ok(path.clone()),
            _ => Err(Errno::Badf.into()),
        }
    }

    pub fn fd_close(&mut self, fd: u32) -> Done {
        self.open.close(fd)
    }

    pub fn fd_renumber(&mut self, from: u32, to: u32) -> Done {
        self.open.renumber(from, to)
    }

    pub fn fd_read(&mut self, fd: u32, list: u32, count: u32, out: u32) -> Done {
        let read = self.scatter(list, count, |open, _, into| match open.get(fd)? {
            Descriptor::Input => Ok(open.read_input(into)),
            Descriptor::Output(_) => Err(Errno::Badf.into()),
            Descriptor::Open { file, .. } => {
                let file = *file;
                Ok(open.files.tree().read(file, into)?)
            }
        })?;
        self.memory.put(out, &read.to_le_bytes())
    }

    pub fn fd_pread(&mut self, fd: u32, list: u32, count: u32, offset: u64, out: u32) -> Done {
        let file = self.open.seekable(fd)?;
        let read = self.scatter(list, count, |open, done, into| {
            let offset = offset.checked_add(done).ok_or(Errno::Inval)?;
            Ok(open.files.tree().read_at(file, offset, into)?)
        })?;
        self.memory.put(out, &read.to_le_bytes())
    }

    /// Fills vectors one after the other, as long as each becomes full. Gives the sum.
    fn scatter(
        &mut self,
        list: u32,
        count: u32,
        mut read: impl FnMut(&mut Descriptors, u64, &mut [u8]) -> Result<usize, Stop>,
    ) -> Result<u32, Stop> {
        let mut done = 0_u32;
        for index in 0..count.min(MOST_VECTORS) {
            let (at, size) = self.memory.vector(list, index)?;
            let into = self.memory.room(at, size)?;
            // The sum must be told in 32 bits.
            let room = into.len().min((u32::MAX - done) as usize);
            match read(self.open, u64::from(done), &mut into[..room]) {
                Ok(size) => {
                    done += size as u32;
                    if size < into.len() {
                        break;
                    }
                }
                Err(Stop::Errno(_)) if done > 0 => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(done)
    }

    pub fn fd_write(&mut self, fd: u32, list: u32, count: u32, out: u32) -> Done {
        let written = self.gather(list, count, |open, _, bytes| match open.get(fd)? {
            Descriptor::Input => Err(Errno::Badf.into()),
            Descriptor::Output(sink) => Ok(sink.add(bytes)?),
            Descriptor::Open { file, .. } => {
                let file = *file;
                Ok(open.files.tree().write(file, bytes).map_err(|error| error.reason)?)
            }
        })?;
        self.memory.put(out, &written.to_le_bytes())
    }

    pub fn fd_pwrite(&mut self, fd: u32, list: u32, count: u32, offset: u64, out: u32) -> Done {
        let file = self.open.seekable(fd)?;
        let written = self.gather(list, count, |open, done, bytes| {
            let offset = offset.checked_add(done).ok_or(Errno::Inval)?;
            Ok(open.files.tree().write_at(file, offset, bytes)?)
        })?;
        self.memory.put(out, &written.to_le_bytes())
    }

    /// Writes vectors one after the other. Gives the sum of their sizes.
    fn gather(
        &mut self,
        list: u32,
        count: u32,
        mut write: impl FnMut(&mut Descriptors, u64, &[u8]) -> Done,
    ) -> Result<u32, Stop> {
        let mut done = 0_u32;
        for index in 0..count.min(MOST_VECTORS) {
            let (at, size) = self.memory.vector(list, index)?;
            let bytes = self.memory.bytes(at, size)?;
            let bytes = &bytes[..bytes.len().min((u32::MAX - done) as usize)];
            match write(self.open, u64::from(done), bytes) {
                Ok(()) => done += bytes.len() as u32,
                Err(Stop::Errno(_)) if done > 0 => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(done)
    }

    pub fn fd_seek(&mut self, fd: u32, offset: i64, whence: u32, out: u32) -> Done {
        let file = self.open.seekable(fd)?;
        let whence = match whence {
            0 => Whence::Start,
            1 => Whence::Current,
            2 => Whence::End,
            _ => return Err(Errno::Inval.into()),
        };
        let mut tree = self.open.files.tree();
        if tree.file(file).is_some_and(|open| open.directory) {
            return Err(Errno::Isdir.into());
        }
        let position = tree.seek(file, whence, offset).map_err(|error| error.reason)?;
        drop(tree);
        self.memory.put(out, &(position as u64).to_le_bytes())
    }

    pub fn fd_tell(&mut self, fd: u32, out: u32) -> Done {
        self.fd_seek(fd, 0, 1, out)
    }

    /// Nothing to do: what was written is there.
    pub fn fd_sync(&mut self, fd: u32) -> Done {
        self.open.file(fd).map(|_| ())
    }

    pub fn fd_datasync(&mut self, fd: u32) -> Done {
        self.fd_sync(fd)
    }

    pub fn fd_advise(&mut self, fd: u32, _offset: u64, _size: u64, advice: u32) -> Done {
        self.open.seekable(fd)?;
        if advice > 5 { Err(Errno::Inval.into()) } else { Ok(()) }
    }

    pub fn fd_allocate(&mut self, fd: u32, offset: u64, size: u64) -> Done {
        let file = self.open.seekable(fd)?;
        let end = offset.checked_add(size).filter(|_| size > 0).ok_or(Errno::Inval)?;
        let mut tree = self.open.files.tree();
        if (tree.stat_open(file)?.size as u64) < end {
            tree.resize(file, end)?;
        }
        Ok(())
    }

    pub fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Done {
        let (kind, append, base, inheriting) = match self.open.get(fd)? {
            Descriptor::Input => (UNKNOWN, false, rights::READ, rights::READ),
            Descriptor::Output(_) => (UNKNOWN, false, rights::WRITE, rights::WRITE),
            Descriptor::Open { file, .. } => {
                let file = *file;
                let tree = self.open.files.tree();
                let open = tree.file(file).ok_or(Errno::Badf)?;
                if open.directory {
                    let files_only = rights::READ
                        | rights::WRITE
                        | rights::SEEK
                        | rights::TELL
                        | rights::ALLOCATE
                        | rights::SET_SIZE;
                    (DIRECTORY, false, rights::ALL & !files_only, rights::ALL)
                } else {
                    let mut base = rights::ALL & !(rights::READ | rights::WRITE);
                    base |= if open.mode.read { rights::READ } else { 0 };
                    base |= if open.mode.write { rights::WRITE } else { 0 };
                    (REGULAR, open.mode.append, base, base)
                }
            }
        };
        let mut stat = [0; 24];
        stat[0] = kind;
        stat[2] = u8::from(append) * APPEND as u8;
        stat[8..16].copy_from_slice(&base.to_le_bytes());
        stat[16..24].copy_from_slice(&inheriting.to_le_bytes());
        self.memory.put(out, &stat)
    }

    pub fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Done {
        match self.open.get(fd)? {
            // Nothing here ever waits.
            Descriptor::Input | Descriptor::Output(_) => {}
            Descriptor::Open { file, .. } => {
                let file = *file;
                self.open.files.tree().set_append(file, flags & APPEND != 0);
            }
        }
        Ok(())
    }

    /// Rights only say how a file is opened, so that giving some up changes nothing.
    pub fn fd_fdstat_set_rights(&mut self, fd: u32, _base: u64, _inheriting: u64) -> Done {
        self.open.get(fd).map(|_| ())
    }

    pub fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Done {
        let bytes = match self.open.get(fd)? {
            Descriptor::Input | Descriptor::Output(_) => [0; 64],
            Descriptor::Open { file, .. } => {
                let file = *file;
                filestat(&self.open.files.tree().stat_open(file)?)
            }
        };
        self.memory.put(out, &bytes)
    }

    pub fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Done {
        let file = self.open.file(fd)?;
        Ok(self.open.files.tree().resize(file, size)?)
    }

    pub fn fd_filestat_set_times(&mut self, fd: u32, accessed: u64, modified: u64, flags: u32) -> Done {
        let file = self.open.file(fd)?;
        let times = times(accessed, modified, flags)?;
        Ok(self.open.files.tree().touch_open(file, times)?)
    }

    pub fn fd_readdir(&mut self, fd: u32, at: u32, size: u32, cookie: u64, out: u32) -> Done {
        let file = self.open.file(fd)?;
        let mut tree = self.open.files.tree();
        let own = tree.stat_open(file)?.inode;
        if cookie == 0 {
            tree.list_open(file)?;
        }
        let room = self.memory.room(at, size)?;
        let mut used = 0;
        // The two that every folder has come first.
        for next in cookie.saturating_add(1)..=u64::MAX {
            let (name, inode, kind) = match next {
                1 => (&b"."[..], own, DIRECTORY),
                2 => (&b".."[..], 0, DIRECTORY),
                _ => {
                    let index = usize::try_from(next - 3).unwrap_or(usize::MAX);
                    let Some(entry) = tree.listed(file, index) else { break };
                    (&*entry.name, entry.inode, entry.kind.map_or(UNKNOWN, kind_of))
                }
            };
            let mut head = [0; ENTRY];
            head[0..8].copy_from_slice(&next.to_le_bytes());
            head[8..16].copy_from_slice(&u64::from(inode).to_le_bytes());
            head[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
            head[20] = kind;
            // What does not fit is cut off: the module sees by the number of bytes that there is more.
            for part in [&head[..], name] {
                let fits = part.len().min(room.len() - used);
                room[used..used + fits].copy_from_slice(&part[..fits]);
                used += fits;
            }
            if used == room.len() {
                break;
            }
        }
        self.memory.put(out, &(used as u32).to_le_bytes())
    }

    pub fn path_create_directory(&mut self, fd: u32, path: u32, size: u32) -> Done {
        let folder = self.open.file(fd)?;
        let path = self.memory.bytes(path, size)?;
        Ok(self.open.files.tree().mkdir_at(folder, path)?)
    }

    pub fn path_filestat_get(&mut self, fd: u32, flags: u32, path: u32, size: u32, out: u32) -> Done {
        let folder = self.open.file(fd)?;
        let path = self.memory.bytes(path, size)?;
        let stat = self.open.files.tree().stat_at(folder, path, flags & FOLLOW != 0)?;
        self.memory.put(out, &filestat(&stat))
    }

    #[allow(clippy::too_many_arguments, reason = "the interface's")]
    pub fn path_filestat_set_times(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        size: u32,
        accessed: u64,
        modified: u64,
        flags: u32,
    ) -> Done {
        let folder = self.open.file(fd)?;
        let path = self.memory.bytes(path, size)?;
        let times = times(accessed, modified, flags)?;
        Ok(self.open.files.tree().touch_at(folder, path, lookup & FOLLOW != 0, times)?)
    }

    #[allow(clippy::too_many_arguments, reason = "the interface's")]
    pub fn path_link(
        &mut self,
        from: u32,
        flags: u32,
        old: u32,
        old_size: u32,
        to: u32,
        new: u32,
        new_size: u32,
    ) -> Done {
        let (from, to) = (self.open.file(from)?, self.open.file(to)?);
        let (old, new) = (self.memory.bytes(old, old_size)?, self.memory.bytes(new, new_size)?);
        if flags & FOLLOW != 0 {
            return Err(Errno::Inval.into());
        }
        Ok(self.open.files.tree().link_at(from, old, to, new)?)
    }

    #[allow(clippy::too_many_arguments, reason = "the interface's")]
    pub fn path_open(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        size: u32,
        how: u32,
        base: u64,
        _inheriting: u64,
        flags: u32,
        out: u32,
    ) -> Done {
        let folder = self.open.file(fd)?;
        let path = self.memory.bytes(path, size)?;
        let [create, directory, exclusive, truncate] = [1, 2, 4, 8].map(|bit| how & bit != 0);
        let write = base & (rights::WRITE | rights::ALLOCATE | rights::SET_SIZE) != 0 && !directory;
        if (directory && (create || exclusive || truncate)) || (truncate && !write) {
            return Err(Errno::Inval.into());
        }
        let read = base & rights::READ != 0 || !write;
        let exclusive = exclusive && create;
        let mode = Mode { read, write, append: flags & APPEND != 0, create, exclusive, truncate };
        let mut tree = self.open.files.tree();
        let file = tree.open_at(folder, path, lookup & FOLLOW != 0, mode)?;
        if directory && !tree.file(file).is_some_and(|open| open.directory) {
            tree.close(file).map_err(|error| error.reason)?;
            return Err(Errno::Notdir.into());
        }
        drop(tree);
        let opened = self.open.add(file)?;
        self.memory.put(out, &opened.to_le_bytes())
    }

    pub fn path_readlink(
        &mut self,
        fd: u32,
        path: u32,
        path_size: u32,
        at: u32,
        size: u32,
        out: u32,
    ) -> Done {
        let folder = self.open.file(fd)?;
        let target = {
            let path = self.memory.bytes(path, path_size)?;
            self.open.files.tree().read_link_at(folder, path)?.to_vec()
        };
        let room = self.memory.room(at, size)?;
        // As POSIX has it: cut off where the room ends.
        let fits = target.len().min(room.len());
        room[..fits].copy_from_slice(&target[..fits]);
        self.memory.put(out, &(fits as u32).to_le_bytes())
    }

    pub fn path_remove_directory(&mut self, fd: u32, path: u32, size: u32) -> Done {
        self.remove(fd, path, size, true)
    }

    pub fn path_unlink_file(&mut self, fd: u32, path: u32, size: u32) -> Done {
        self.remove(fd, path, size, false)
    }

    fn remove(&mut self, fd: u32, path: u32, size: u32, directory: bool) -> Done {
        let folder = self.open.file(fd)?;
        let path = self.memory.bytes(path, size)?;
        Ok(self.open.files.tree().remove_at(folder, path, directory)?)
    }

    pub fn path_rename(
        &mut self,
        from: u32,
        old: u32,
        old_size: u32,
        to: u32,
        new: u32,
        new_size: u32,
    ) -> Done {
        let (from, to) = (self.open.file(from)?, self.open.file(to)?);
        let (old, new) = (self.memory.bytes(old, old_size)?, self.memory.bytes(new, new_size)?);
        Ok(self.open.files.tree().rename_at(from, old, to, new)?)
    }

    pub fn path_symlink(&mut self, target: u32, target_size: u32, fd: u32, path: u32, size: u32) -> Done {
        let folder = self.open.file(fd)?;
        let (target, path) = (self.memory.bytes(target, target_size)?, self.memory.bytes(path, size)?);
        Ok(self.open.files.tree().symlink_at(target, folder, path)?)
    }
}

fn kind_of(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => REGULAR,
        NodeKind::Directory => DIRECTORY,
        NodeKind::Link => LINK,
    }
}

fn filestat(stat: &Stat) -> [u8; 64] {
    let mut bytes = [0; 64];
    let fields = [
        device(stat),
        u64::from(stat.inode),
        u64::from(kind_of(stat.kind)),
        u64::from(stat.links),
        stat.size as u64,
        nanos(stat.accessed),
        nanos(stat.modified),
        nanos(stat.changed),
    ];
    for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

/// New times, by `fstflags`.
fn times(accessed: u64, modified: u64, flags: u32) -> Result<Times, Reason> {
    let time = |at: u64, set: u32, set_now: u32| match (flags & set != 0, flags & set_now != 0) {
        (true, true) => Err(Reason::Invalid),
        (true, false) => Ok(Some(seconds(at))),
        (false, true) => Ok(Some(now())),
        (false, false) => Ok(None),
    };
    Ok(Times { accessed: time(accessed, 1, 2)?, modified: time(modified, 4, 8)? })
}
