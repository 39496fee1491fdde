//! Scripts and libraries by subject and name.
//!
//! `header` reads `--*` lines; `file` keeps a folder's scripts current. What is in service is an
//! immutable [`Snapshot`] that is replaced as a whole.

pub mod header;

use std::rc::Rc;
use std::time::Duration;

use crate::invocation::Tenant;

/// One version of a script.
#[derive(Debug)]
pub struct Script {
    /// Unique for this version within the broker's life; workers know it by this.
    pub id: u64,
    /// Its subject: literal, or with NATS wildcards.
    pub subject: Rc<str>,
    /// Its name. Subject and name are its identity.
    pub name: Rc<str>,
    /// Who owns it.
    pub tenant: Tenant,
    /// `http: true`.
    pub http: bool,
    /// What runs it.
    pub executor: Executor,
    /// Whether it asks for LuaJIT's compiler.
    pub jit: bool,
    /// Its own limit on a run, if it has one.
    pub timeout: Option<Duration>,
    /// Its own limit on memory, in bytes, if it has one.
    pub memory: Option<u64>,
    /// The chunk: libraries in order, then the script itself, each under the author's name for it.
    pub parts: Vec<Part>,
    /// Why it cannot run (there is no good version): each call answers with this.
    pub broken: Option<String>,
    /// Keys of its header that we do not know, as written.
    pub unknown: Vec<(String, String)>,
}

/// One file's part of a chunk.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in error messages.
    pub name: Rc<str>,
    /// Its text, header lines included (they are Lua comments, so lines keep their numbers).
    pub text: Rc<[u8]>,
}

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// Lua.
    Lua,
    /// A WASM module.
    Wasm,
    /// A container.
    Podman,
}
