//! How a run ended, as the worker tells it.

use bincode::{BorrowDecode, Encode};

/// How a run ended. A kill, a crash and a time-out are seen by the broker, not told.
#[derive(Debug, Encode, BorrowDecode)]
pub enum Outcome<'a> {
    /// `OnMessage` returned a string, or something else (`None`).
    Message(Option<&'a [u8]>),
    /// A method function returned.
    Http {
        /// The body.
        body: &'a [u8],
        /// The status, as the script gave it.
        status: i64,
        /// Header fields: name, value. Not checked yet.
        headers: Vec<(&'a [u8], &'a [u8])>,
    },
    /// The script has no function for this entry; these method functions exist.
    NoFunction {
        /// Names among `GET`, `POST`, …; empty if the script has none at all.
        methods: Vec<&'a str>,
    },
    /// It asked for a plugin, which this worker does not have, before anything of it could be seen outside:
    /// it may run again, in a worker that does.
    NeedsPlugin {
        /// The plugin's name.
        name: &'a [u8],
    },
    /// It failed.
    Failed(Failure<'a>),
    /// A command ended by itself.
    Command {
        /// Its standard output.
        stdout: &'a [u8],
        /// Its standard error, as much as is kept.
        stderr: &'a [u8],
        /// Its exit status; 0 is success.
        status: i32,
        /// The trap that ended it, if one did; the status is not 0 then.
        trap: Option<&'a str>,
    },
}

/// Why a run failed.
#[derive(Debug, Encode, BorrowDecode)]
pub struct Failure<'a> {
    /// The kind.
    pub fault: Fault,
    /// For the caller: the error with the author's places. Any bytes.
    pub text: &'a [u8],
    /// The limit that was reached (0 if none), in bytes or calls.
    pub limit: u64,
    /// What was measured against it.
    pub measured: u64,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Fault {
    /// A Lua error nobody caught, or source that does not compile.
    Script,
    /// The memory limit.
    Memory,
    /// The result is too large.
    Output,
    /// The run was interrupted at its deadline.
    Time,
    /// The compiled module cannot be used: it is damaged, or of another build.
    Artifact,
    /// A Lua error nobody caught, about a limit in bytes that a script may live with (the scratch folder).
    ScriptBytes,
    /// The same, about a limit in numbers (files, host calls).
    ScriptCount,
}
