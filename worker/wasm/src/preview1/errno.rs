//! What a call of preview 1 answers when it fails.

use msgscript_worker::scratch::Reason;
use wasmtime::Error;

use crate::streams::TooMuch;

/// Error numbers of WASI preview 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Errno {
    Acces = 2,
    Badf = 8,
    Busy = 10,
    Exist = 20,
    Fbig = 22,
    Inval = 28,
    Io = 29,
    Isdir = 31,
    Loop = 32,
    Mfile = 33,
    Nametoolong = 37,
    Noent = 44,
    Nomem = 48,
    Nospc = 51,
    Notdir = 54,
    Notempty = 55,
    Perm = 63,
    Rofs = 69,
    Spipe = 70,
    Xdev = 75,
}

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub enum Stop {
    /// The module is told.
    Errno(Errno),
    /// The run ends.
    Trap(Error),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

impl From<TooMuch> for Stop {
    fn from(error: TooMuch) -> Stop {
        Stop::Trap(error.into())
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Errno(match reason {
            Reason::NotFound => Errno::Noent,
            Reason::Exists => Errno::Exist,
            Reason::NotDir => Errno::Notdir,
            Reason::IsDir => Errno::Isdir,
            Reason::NotEmpty => Errno::Notempty,
            Reason::Loop => Errno::Loop,
            Reason::NameTooLong => Errno::Nametoolong,
            Reason::Invalid => Errno::Inval,
            Reason::Busy => Errno::Busy,
            Reason::NotPermitted => Errno::Perm,
            Reason::BadFile | Reason::Closed => Errno::Badf,
            Reason::TooManyOpen => Errno::Mfile,
            Reason::Full => Errno::Nospc,
            Reason::Permission => Errno::Acces,
            Reason::CrossDevice => Errno::Xdev,
            Reason::ReadOnly => Errno::Rofs,
            Reason::TooLarge => Errno::Fbig,
            Reason::Io | Reason::Limit => Errno::Io,
            Reason::Memory => Errno::Nomem,
        })
    }
}
