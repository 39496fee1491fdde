//! The Lua engine: what a script can see, and the functions behind it.
//!
//! Safe Rust on plain values; the state itself is behind [`crate::vm`].

pub mod modules;
pub mod number;
pub mod prelude;
pub mod scratch;
#[cfg(test)]
pub(crate) mod testing;
pub mod value;

use std::collections::BTreeMap;

use msgscript_proto::message::Level;

use modules::io::Streams;
use modules::re::Patterns;
use scratch::Scratch;

/// The memory limit of a `Ctx` that was given none, in bytes: the contract's default.
const DEFAULT_MEMORY: usize = 128 << 20;

/// What one invocation owns on the Rust side. Dropped and made anew with each.
#[derive(Debug)]
pub struct Ctx {
    /// The scratch folder.
    pub scratch: Scratch,
    /// What `io` keeps: current files, unfinished lines.
    pub streams: Streams,
    /// What `os.getenv` finds: the granted values, and what the script set.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Compiled patterns of `re`. They depend on nothing but their text, so they may be kept for the
    /// next invocation of the same tenant.
    pub patterns: Patterns,
    /// The memory limit of the invocation, in bytes.
    pub memory_limit: usize,
    /// What was logged.
    pub log_sink: Vec<(Level, Vec<u8>)>,
}

impl Default for Ctx {
    fn default() -> Self {
        Ctx {
            scratch: Scratch::default(),
            streams: Streams::default(),
            env: BTreeMap::new(),
            patterns: Patterns::default(),
            memory_limit: DEFAULT_MEMORY,
            log_sink: Vec::new(),
        }
    }
}

impl Ctx {
    /// Logs one line, any bytes, without its newline.
    pub fn log(&mut self, level: Level, text: &[u8]) {
        self.log_sink.push((level, text.to_vec()));
    }
}
