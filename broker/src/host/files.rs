//! Granted folders: each operation opens what it needs beneath the folder and closes it again.
//!
//! Takes an operation and has it judged; gives bytes, names or an `errno`. The kernel keeps every path
//! beneath the folder (`openat2`): links that lead out fail, and so do links of `/proc`. Only files and
//! folders are touched, never a pipe, a socket or a device. File systems may block, so all of it runs on a
//! thread for blocking work.

mod act;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bytes::Bytes;
use msgscript_proto::files::{FileCall, FileKind, FileReply, FileStat, Folder, MOST};
use nix::errno::Errno;

use super::{Answer, Caller};
use crate::policy::Policy;
use crate::policy::grant::FileScope;

/// An operation on a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Where. Anything, until policy has judged it.
    pub path: PathBuf,
    /// What.
    pub act: Act,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Tell what is there.
    Stat {
        /// Whether a link at the end is followed.
        follow: bool,
    },
    /// Make sure that it is a file (or a folder, to read), and may be opened so.
    Open {
        /// To write.
        write: bool,
        /// Make it if it is missing.
        create: bool,
        /// And only then.
        exclusive: bool,
        /// Empty it.
        truncate: bool,
    },
    /// Read bytes.
    Read {
        /// From where.
        offset: u64,
        /// How many at most.
        length: usize,
    },
    /// Write bytes.
    Write {
        /// Where; `None`: at the end.
        offset: Option<u64>,
        /// What.
        data: Bytes,
    },
    /// List names.
    List,
    /// Make a folder.
    MakeFolder,
    /// Remove a file, a link or an empty folder.
    Remove,
    /// Change the name.
    Rename {
        /// The new one.
        to: PathBuf,
    },
    /// Tell where a link points to.
    ReadLink,
    /// Set times, in seconds since 1970.
    Touch {
        /// Of access.
        accessed: f64,
        /// Of change.
        modified: f64,
    },
    /// Cut a file short, or add zeros at its end.
    Resize {
        /// Its new size, in bytes.
        size: u64,
    },
}

impl Act {
    /// Whether it changes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self {
            Act::Stat { .. } | Act::Read { .. } | Act::List | Act::ReadLink => false,
            Act::Open { write, create, truncate, .. } => *write || *create || *truncate,
            Act::Write { .. }
            | Act::MakeFolder
            | Act::Remove
            | Act::Rename { .. }
            | Act::Touch { .. }
            | Act::Resize { .. } => true,
        }
    }
}

impl Operation {
    /// Copies a worker's request.
    #[must_use]
    pub fn from_wire(call: &FileCall<'_>) -> Operation {
        let owned = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
        let (path, act) = match *call {
            FileCall::Stat { path, follow } => (path, Act::Stat { follow }),
            FileCall::Open { path, write, create, exclusive, truncate } => {
                (path, Act::Open { write, create, exclusive, truncate })
            }
            FileCall::Read { path, offset, length } => {
                (path, Act::Read { offset, length: MOST.min(length as usize) })
            }
            FileCall::Write { path, offset, data } => {
                (path, Act::Write { offset, data: Bytes::copy_from_slice(data) })
            }
            FileCall::List { path } => (path, Act::List),
            FileCall::MakeFolder { path } => (path, Act::MakeFolder),
            FileCall::Remove { path } => (path, Act::Remove),
            FileCall::Rename { from, to } => (from, Act::Rename { to: owned(to) }),
            FileCall::ReadLink { path } => (path, Act::ReadLink),
            FileCall::Touch { path, accessed, modified } => (path, Act::Touch { accessed, modified }),
            FileCall::Resize { path, size } => (path, Act::Resize { size }),
        };
        Operation { path: owned(path), act }
    }

    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> usize {
        let more = match &self.act {
            Act::Write { data, .. } => data.len(),
            Act::Rename { to } => to.as_os_str().len(),
            _ => 0,
        };
        self.path.as_os_str().len() + more
    }
}

/// A name in a folder, and what it is the name of, if that is for scripts.
pub type Name = (Vec<u8>, Option<FileKind>);

/// What came of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// What is there.
    Stat(FileStat),
    /// Bytes of a file, or a link's target.
    Bytes(Vec<u8>),
    /// Names, sorted.
    Names(Vec<Name>),
    /// It failed.
    Errno(Errno),
}

impl Outcome {
    /// Bytes that it brings in.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = match self {
            Outcome::Done | Outcome::Stat(_) | Outcome::Errno(_) => 0,
            Outcome::Bytes(bytes) => bytes.len(),
            Outcome::Names(names) => names.iter().map(|(name, _)| name.len() + act::NAME_COST).sum(),
        };
        size as u64
    }

    pub(super) fn with_wire<T>(&self, take: impl FnOnce(FileReply<'_>) -> T) -> T {
        take(match self {
            Outcome::Done => FileReply::Done,
            Outcome::Stat(stat) => FileReply::Stat(*stat),
            Outcome::Bytes(bytes) => FileReply::Bytes(bytes),
            Outcome::Names(names) => {
                FileReply::Names(names.iter().map(|(name, kind)| (name.as_slice(), *kind)).collect())
            }
            Outcome::Errno(errno) => FileReply::Errno(*errno as i32),
        })
    }
}

/// Folders as they go to a worker.
#[must_use]
pub(super) fn wire_folders(scopes: &[FileScope]) -> Vec<Folder<'_>> {
    let folder = scopes.iter().map(|scope| {
        let path = scope.path.as_path().as_os_str().as_bytes();
        Folder { path, read_only: scope.read_only }
    });
    folder.collect()
}

/// Judges an operation and carries it out.
pub async fn answer(policy: &Policy, caller: &Caller, operation: Operation) -> Answer {
    let permitted = match policy.file(operation) {
        Ok(permitted) => permitted,
        Err(denied) => return denied.into(),
    };
    let room = usize::try_from(caller.room).unwrap_or(usize::MAX);
    let done = tokio::task::spawn_blocking(move || act::carry_out(permitted, room)).await;
    Answer::File(done.unwrap_or(Outcome::Errno(Errno::EIO)))
}
