//! How the jails of the engines differ: which files stay within reach, and what of the kernel that takes.
//!
//! Takes the engine, gives numbers. What runs scripts has no file at all; the system calls of each engine are
//! in [`super::syscalls`]. Pure.

use msgscript_proto::message::Engine;

/// Files that SQLite may have open: a database, its journal, and those that it attaches (ten at most).
const SQLITE_DESCRIPTORS: u64 = 64;

/// What an engine may have of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    /// Descriptors are numbered below this; 0: none can be opened, and none that is closed comes back.
    pub descriptors: u64,
    /// Whether it may write to files, of any size that the system allows.
    pub writes_files: bool,
    /// Whether machine code may come to be.
    pub makes_code: bool,
}

impl Role {
    /// That of an engine.
    pub(super) fn of(engine: Engine) -> Role {
        let plain = Role { descriptors: 0, writes_files: false, makes_code: false };
        match engine {
            Engine::Lua | Engine::Probe => plain,
            Engine::LuaJit => Role { makes_code: true, ..plain },
            Engine::Sqlite => Role { descriptors: SQLITE_DESCRIPTORS, writes_files: true, ..plain },
        }
    }
}
