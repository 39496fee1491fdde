//! Why something in the scratch folder failed, in Go's words.

use nix::errno::Errno;

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing is there.
    #[error("no such file or directory")]
    NotFound,
    /// Something is there.
    #[error("file exists")]
    Exists,
    /// A part of the path is no directory.
    #[error("not a directory")]
    NotDir,
    /// A directory where a file is needed.
    #[error("is a directory")]
    IsDir,
    /// A directory with something in it.
    #[error("directory not empty")]
    NotEmpty,
    /// Links that lead to each other.
    #[error("too many levels of symbolic links")]
    Loop,
    /// A name over 255 or a path over 4096 bytes.
    #[error("file name too long")]
    NameTooLong,
    /// A zero byte in a path, a negative position, a directory moved into itself, not a link.
    #[error("invalid argument")]
    Invalid,
    /// The root cannot be removed or moved.
    #[error("device or resource busy")]
    Busy,
    /// A directory has one name only.
    #[error("operation not permitted")]
    NotPermitted,
    /// Written, though open for reading only.
    #[error("bad file descriptor")]
    BadFile,
    /// As many files as may be are open.
    #[error("too many open files")]
    TooManyOpen,
    /// As many files as may be exist.
    #[error("no space left on device")]
    Full,
    /// It was closed before.
    #[error("file already closed")]
    Closed,
    /// A granted folder that is read-only, or something there that is not for scripts.
    #[error("permission denied")]
    Permission,
    /// From the scratch folder to a granted one, or between two of these.
    #[error("invalid cross-device link")]
    CrossDevice,
    /// A file system that is mounted so.
    #[error("read-only file system")]
    ReadOnly,
    /// A file or a listing beyond what there may be.
    #[error("file too large")]
    TooLarge,
    /// Anything else that the host said.
    #[error("input/output error")]
    Io,
    /// As many host calls were made, or as many bytes moved, as may be.
    #[error("limit of host calls reached")]
    Limit,
    /// The memory limit is reached.
    #[error("not enough memory")]
    Memory,
}

impl Reason {
    /// The reason for an `errno` of the host.
    pub(super) fn of_errno(errno: i32) -> Reason {
        match Errno::from_raw(errno) {
            Errno::ENOENT => Reason::NotFound,
            Errno::EEXIST => Reason::Exists,
            Errno::ENOTDIR => Reason::NotDir,
            Errno::EISDIR => Reason::IsDir,
            Errno::ENOTEMPTY => Reason::NotEmpty,
            Errno::ELOOP => Reason::Loop,
            Errno::ENAMETOOLONG => Reason::NameTooLong,
            Errno::EINVAL => Reason::Invalid,
            Errno::EBUSY => Reason::Busy,
            Errno::EPERM => Reason::NotPermitted,
            Errno::EACCES => Reason::Permission,
            Errno::EXDEV => Reason::CrossDevice,
            Errno::EROFS => Reason::ReadOnly,
            Errno::ENOSPC | Errno::EDQUOT => Reason::Full,
            Errno::EFBIG => Reason::TooLarge,
            _ => Reason::Io,
        }
    }
}

/// A failed operation: `open x.txt: no such file or directory`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(&self.text()))]
pub struct FsError {
    op: &'static str,
    path: Vec<u8>,
    /// What was wrong.
    pub reason: Reason,
}

impl FsError {
    /// Makes the error of an operation on a path.
    pub(super) fn of(op: &'static str, path: &[u8]) -> impl FnOnce(Reason) -> FsError {
        move |reason| FsError { op, path: path.to_vec(), reason }
    }

    /// Makes the error of an operation on two paths.
    pub(super) fn of_two(op: &'static str, one: &[u8], two: &[u8]) -> impl FnOnce(Reason) -> FsError {
        move |reason| FsError { op, path: [one, two].join(&b' '), reason }
    }

    pub(super) fn closed() -> FsError {
        FsError { op: "close", path: b"file".to_vec(), reason: Reason::Closed }
    }

    /// The message, with the path's own bytes.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = [self.op.as_bytes(), &self.path].join(&b' ');
        text.extend_from_slice(b": ");
        text.extend_from_slice(self.reason.to_string().as_bytes());
        text
    }
}
