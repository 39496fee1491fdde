//! How the jails of the engines differ: which files stay within reach, and what of the kernel that takes.
//!
//! Takes the engine, gives numbers. What runs scripts has no file at all; the system calls of each engine are
//! in [`super::syscalls`]. Pure.

use msgscript_proto::MAX_MESSAGE;
use msgscript_proto::message::Engine;

/// Files that SQLite may have open: a database, its journal, and those that it attaches (ten at most).
const SQLITE_DESCRIPTORS: u64 = 64;

/// Descriptors of a worker of WebAssembly: its three, and one for the data image of each of a module's
/// memories (29 at most), made while binding, until the second filter ends that.
const WASM_DESCRIPTORS: u64 = 3 + 29;

/// What an engine may have of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    /// Whether the set-up's paths stay within reach; else they are for loading modules only.
    pub keeps_paths: bool,
    /// Descriptors are numbered below this; 0: none can be opened, and none that is closed comes back.
    pub descriptors: u64,
    /// The largest file that it may write, in bytes.
    pub file_size: u64,
    /// Whether machine code may come to be behind the first filter.
    pub makes_code: bool,
}

impl Role {
    /// That of an engine.
    pub(super) fn of(engine: Engine) -> Role {
        let plain = Role { keeps_paths: false, descriptors: 0, file_size: 0, makes_code: false };
        // The image of a module's data is such a file, in memory.
        let wasm = Role { descriptors: WASM_DESCRIPTORS, file_size: MAX_MESSAGE as u64, ..plain };
        match engine {
            Engine::Lua
            | Engine::Plugin
            | Engine::Command
            | Engine::Probe
            | Engine::WasmCompile
            | Engine::ProbeWasmCompile => plain,
            Engine::LuaJit | Engine::ProbeJit => Role { makes_code: true, ..plain },
            Engine::Wasm | Engine::ProbeWasm => Role { makes_code: true, ..wasm },
            Engine::ProbeWasmBound => wasm,
            Engine::Sqlite => {
                Role { keeps_paths: true, descriptors: SQLITE_DESCRIPTORS, file_size: u64::MAX, ..plain }
            }
        }
    }
}
