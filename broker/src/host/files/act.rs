//! Operations beneath a folder, carried out. Blocks.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use msgscript_proto::files::{FileKind, FileStat, MOST_NAMES};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat as Status, Mode, SFlag, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Act, Name, Outcome};
use crate::policy::Permitted;
use crate::policy::file::Placed;

/// What a name in a listing costs besides its bytes.
pub(super) const NAME_COST: usize = 16;

/// How often an open is tried again when folders were moved meanwhile (`EAGAIN` of `openat2`).
const TRIES: usize = 16;

/// Does what was permitted. Reads no more than `room` bytes.
pub(super) fn carry_out(permitted: Permitted<Placed>, room: usize) -> Outcome {
    let Placed { scope, beneath, act, to } = permitted.into_inner();
    act_on(&scope, &beneath, &act, to, room).unwrap_or_else(Outcome::Errno)
}

fn act_on(
    scope: &Path,
    beneath: &Path,
    act: &Act,
    to: Option<PathBuf>,
    room: usize,
) -> Result<Outcome, Errno> {
    let root = Root::open(scope, beneath, act)?;
    match act {
        Act::Stat { follow } => root.stat(*follow).map(Outcome::Stat),
        Act::Open { write, create, exclusive, truncate } => {
            let mut flags = if *write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
            flags.set(OFlag::O_CREAT, *create);
            flags.set(OFlag::O_EXCL, *create && *exclusive);
            root.try_open(flags, *truncate).map(Outcome::Stat)
        }
        Act::Read { offset, length } => root.read(*offset, (*length).min(room)).map(Outcome::Bytes),
        Act::Write { offset, data } => root.write(*offset, data),
        Act::List => root.list(room).map(Outcome::Names),
        Act::MakeFolder => root.make_folder(),
        Act::Remove => root.remove(),
        Act::Rename { .. } => root.rename(&to.ok_or(Errno::EXDEV)?),
        Act::ReadLink => root.read_link().map(Outcome::Bytes),
        Act::Touch { accessed, modified } => root.touch(*accessed, *modified),
        Act::Resize { size } => root.resize(*size),
    }
}

/// The granted folder, and a place beneath it.
struct Root {
    folder: OwnedFd,
    place: PathBuf,
}

impl Root {
    /// Opens the granted folder. If a single file is granted: its own folder, with that file as the only
    /// place, and for nothing that would change names.
    fn open(scope: &Path, beneath: &Path, act: &Act) -> Result<Root, Errno> {
        let place = if beneath.as_os_str().is_empty() { Path::new(".") } else { beneath };
        match open(scope, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(folder) => Ok(Root { folder, place: place.to_owned() }),
            Err(Errno::ENOTDIR) if beneath.as_os_str().is_empty() => {
                if matches!(act, Act::MakeFolder | Act::Remove | Act::Rename { .. }) {
                    return Err(Errno::EACCES);
                }
                let (parent, name) = split(scope)?;
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                Ok(Root { folder: open(parent, flags, Mode::empty())?, place: name.to_owned() })
            }
            Err(errno) => Err(errno),
        }
    }

    /// Opens a place beneath the folder. The kernel refuses what lies outside, whatever links say.
    fn open_at(&self, place: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let mut how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        if flags.contains(OFlag::O_CREAT) {
            how = how.mode(Mode::from_bits_truncate(0o644));
        }
        for _ in 0..TRIES {
            match openat2(&self.folder, place, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // A link that leads out: for a script there is nothing but that it may not.
                Err(Errno::EXDEV) => return Err(Errno::EACCES),
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Opens a file, or a folder to read; nothing else, and nothing that would wait for somebody.
    fn open_plain(&self, flags: OFlag) -> Result<(OwnedFd, Status), Errno> {
        match self.open_at(&self.place, OFlag::O_PATH) {
            Ok(_) if flags.contains(OFlag::O_EXCL) => return Err(Errno::EEXIST),
            Ok(there) => drop(plain(&fstat(&there)?)?),
            Err(Errno::ENOENT) if flags.contains(OFlag::O_CREAT) => {}
            Err(errno) => return Err(errno),
        }
        let opened = self.open_at(&self.place, flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        let status = fstat(&opened)?;
        // Once more: another process may have put something else there.
        plain(&status)?;
        Ok((opened, status))
    }

    fn stat(&self, follow: bool) -> Result<FileStat, Errno> {
        let flags = if follow { OFlag::O_PATH } else { OFlag::O_PATH | OFlag::O_NOFOLLOW };
        let status = fstat(self.open_at(&self.place, flags)?)?;
        stat_of(&status)
    }

    fn try_open(&self, flags: OFlag, truncate: bool) -> Result<FileStat, Errno> {
        let (opened, _) = match self.open_plain(flags) {
            // A file that may be written and not read.
            Err(Errno::EACCES) if flags.contains(OFlag::O_RDWR) => {
                self.open_plain((flags & !OFlag::O_RDWR) | OFlag::O_WRONLY)?
            }
            other => other?,
        };
        if truncate {
            nix::unistd::ftruncate(&opened, 0)?;
        }
        stat_of(&fstat(&opened)?)
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let (opened, status) = self.open_plain(OFlag::O_RDONLY)?;
        if kind(&status) == SFlag::S_IFDIR {
            return Err(Errno::EISDIR);
        }
        let file = File::from(opened);
        let mut bytes = vec![0; length];
        let size = retry(|| file.read_at(&mut bytes, offset))?;
        bytes.truncate(size);
        Ok(bytes)
    }

    fn write(&self, offset: Option<u64>, data: &[u8]) -> Result<Outcome, Errno> {
        let append = if offset.is_none() { OFlag::O_APPEND } else { OFlag::empty() };
        let (opened, _) = self.open_plain(OFlag::O_WRONLY | append)?;
        let file = File::from(opened);
        // With O_APPEND the kernel takes the end, whatever the offset.
        retry(|| file.write_all_at(data, offset.unwrap_or(0)))?;
        Ok(Outcome::Done)
    }

    fn list(&self, room: usize) -> Result<Vec<Name>, Errno> {
        let opened = self.open_at(&self.place, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut names = Vec::new();
        let mut size = 0;
        for entry in Dir::from_fd(opened)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            size += name.len() + NAME_COST;
            if names.len() >= MOST_NAMES || size > room {
                return Err(Errno::EFBIG);
            }
            let kind = match entry.file_type() {
                Some(Type::File) => Some(FileKind::File),
                Some(Type::Directory) => Some(FileKind::Folder),
                Some(Type::Symlink) => Some(FileKind::Link),
                _ => None,
            };
            names.push((name, kind));
        }
        names.sort_by(|(one, _), (two, _)| one.cmp(two));
        Ok(names)
    }

    /// The folder that a place is in, and its last name.
    fn parent_of<'a>(&self, place: &'a Path) -> Result<(OwnedFd, &'a Path), Errno> {
        let (parent, name) = split(place)?;
        Ok((self.open_at(parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?, name))
    }

    fn make_folder(&self) -> Result<Outcome, Errno> {
        if self.place == Path::new(".") {
            return Err(Errno::EEXIST);
        }
        let (parent, name) = self.parent_of(&self.place)?;
        mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
        Ok(Outcome::Done)
    }

    fn remove(&self) -> Result<Outcome, Errno> {
        let (parent, name) = self.parent_of(&self.place)?;
        match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => unlinkat(&parent, name, UnlinkatFlags::RemoveDir)?,
            other => other?,
        }
        Ok(Outcome::Done)
    }

    fn rename(&self, to: &Path) -> Result<Outcome, Errno> {
        let (old_parent, old) = self.parent_of(&self.place)?;
        let (new_parent, new) = self.parent_of(to)?;
        renameat(&old_parent, old, &new_parent, new)?;
        Ok(Outcome::Done)
    }

    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        let (parent, name) = self.parent_of(&self.place)?;
        Ok(readlinkat(&parent, name)?.as_bytes().to_vec())
    }

    fn resize(&self, size: u64) -> Result<Outcome, Errno> {
        let (opened, _) = self.open_plain(OFlag::O_WRONLY)?;
        let file = File::from(opened);
        retry(|| file.set_len(size))?;
        Ok(Outcome::Done)
    }

    fn touch(&self, accessed: f64, modified: f64) -> Result<Outcome, Errno> {
        let (opened, _) = self.open_plain(OFlag::O_RDONLY)?;
        futimens(&opened, &time(accessed)?, &time(modified)?)?;
        Ok(Outcome::Done)
    }
}

/// A path's folder (`.` if it names none) and its last name. The granted folder itself has no name beneath.
fn split(place: &Path) -> Result<(&Path, &Path), Errno> {
    let name = place.file_name().ok_or(Errno::EBUSY)?;
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")), Path::new(name)))
}

fn kind(status: &Status) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// A file or a folder; pipes, sockets and devices are not for scripts.
fn plain(status: &Status) -> Result<(), Errno> {
    match kind(status) {
        SFlag::S_IFREG | SFlag::S_IFDIR => Ok(()),
        _ => Err(Errno::EACCES),
    }
}

#[allow(clippy::cast_precision_loss, reason = "times as scripts know them are doubles")]
fn stat_of(status: &Status) -> Result<FileStat, Errno> {
    let kind = match kind(status) {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Folder,
        SFlag::S_IFLNK => FileKind::Link,
        _ => return Err(Errno::EACCES),
    };
    let seconds = |whole: i64, nanos: i64| whole as f64 + nanos as f64 / 1e9;
    Ok(FileStat {
        kind,
        size: u64::try_from(status.st_size).unwrap_or(0),
        inode: status.st_ino,
        links: u32::try_from(status.st_nlink).unwrap_or(u32::MAX),
        accessed: seconds(status.st_atime, status.st_atime_nsec),
        modified: seconds(status.st_mtime, status.st_mtime_nsec),
        changed: seconds(status.st_ctime, status.st_ctime_nsec),
    })
}

#[allow(clippy::cast_possible_truncation, reason = "saturates, and the kernel refuses what it cannot hold")]
fn time(seconds: f64) -> Result<TimeSpec, Errno> {
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(Errno::EINVAL);
    }
    Ok(TimeSpec::new(seconds as i64, (seconds.fract() * 1e9) as i64))
}

fn retry<T>(mut act: impl FnMut() -> io::Result<T>) -> Result<T, Errno> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                return other.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
            }
        }
    }
}
