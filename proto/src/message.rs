//! What each side may say, as one closed enum per direction.
//!
//! A worker handles one message after another, in order. Wire types stay flat: a recursive type would
//! overflow the decoder's stack.

use bincode::{BorrowDecode, Encode};

use crate::host::{HostCall, HostReply};
use crate::outcome::Outcome;
use crate::sandbox::{Layer, Probe, Report};
use crate::sql::{SqliteCall, SqliteReply};

/// From the broker to a worker.
#[derive(Debug, Encode, BorrowDecode)]
pub enum ToWorker<'a> {
    /// The first message, read before the jail closes.
    Setup(Setup),
    /// Compiles a script and keeps it ready under its id. Nothing answers: a script that does not
    /// compile fails each `Invoke` with the compiler's message.
    Load(Load<'a>),
    /// Compiles a script without keeping it; answered by [`ToBroker::Checked`].
    Check(Load<'a>),
    /// Forgets a loaded script.
    Unload {
        /// The id given in `Load`.
        script: u64,
    },
    /// Runs a loaded script once; answered by [`ToBroker::Done`] or [`ToBroker::Returned`].
    Invoke(Invoke<'a>),
    /// Answers the [`ToBroker::HostCall`] of the same number.
    HostReply {
        /// The number of the call.
        call: u32,
        /// Its result.
        reply: HostReply<'a>,
    },
    /// Runs the one command of a worker set up as [`Engine::Command`]; answered by [`ToBroker::Output`], and
    /// by [`ToBroker::Exited`] at its end.
    Command(Command<'a>),
    /// Tries an act from inside the jail (only a worker set up as [`Engine::Probe`] or its like obeys).
    Probe(Probe),
    /// Compiles a WebAssembly module or component ([`Engine::WasmCompile`]); answered by
    /// [`ToBroker::Compiled`].
    Compile {
        /// The binary form, as the author built it.
        module: &'a [u8],
    },
    /// Makes the worker one of this compiled module for the rest of its life ([`Engine::Wasm`]), and closes
    /// its jail further. Nothing answers: one that cannot be used fails each `Invoke`.
    Bind {
        /// What a compiling worker gave, byte for byte.
        artifact: &'a [u8],
    },
    /// Asks a worker set up as [`Engine::Sqlite`]; answered by [`ToBroker::Sqlite`].
    Sqlite(SqliteCall<'a>),
}

/// From a worker to the broker: hostile until checked.
#[derive(Debug, Encode, BorrowDecode)]
pub enum ToBroker<'a> {
    /// The greeting, sent once the jail is closed.
    Ready {
        /// [`crate::VERSION`].
        version: u32,
        /// What the worker saw of its own jail.
        report: Report,
    },
    /// The worker could not close its jail and ends.
    NotJailed {
        /// The layer that failed.
        layer: Layer,
        /// What the kernel said.
        error: &'a str,
    },
    /// Whether the source of a `Check` compiles.
    Checked {
        /// The compiler's message with the author's places, if it does not.
        error: Option<&'a [u8]>,
    },
    /// A line that the script printed or logged.
    Log {
        /// The running invocation.
        invocation: u64,
        /// How grave it is.
        level: Level,
        /// The text, any bytes.
        text: &'a [u8],
    },
    /// The running script asks for something only the broker may do.
    HostCall {
        /// The running invocation.
        invocation: u64,
        /// Counts from 1 within an invocation.
        call: u32,
        /// What is asked.
        request: HostCall<'a>,
    },
    /// An `Invoke` that was not started and is not going to be: it belongs to an epoch that is over (see
    /// [`crate::slate`]), or arrived while the worker waited for a host reply.
    Returned {
        /// The invocation that did not start.
        invocation: u64,
    },
    /// An invocation ended.
    Done {
        /// Which.
        invocation: u64,
        /// Wall time of the run, in nanoseconds, by the worker's clock.
        nanos: u64,
        /// Peak memory of the run, in bytes, by the engine's account.
        memory: u64,
        /// How it ended.
        outcome: Outcome<'a>,
    },
    /// A piece of what a command wrote.
    Output {
        /// Whether it went to standard error.
        error: bool,
        /// The piece.
        bytes: &'a [u8],
    },
    /// A command ended, and with it all that it had started.
    Exited {
        /// Its exit status; -1 if a signal ended it.
        status: i32,
    },
    /// What a [`ToWorker::Probe`] came to, if the worker still lives: the return value, or the negated
    /// `errno`.
    Probed {
        /// The system call's result.
        result: i64,
    },
    /// The compiled form of a module, for [`ToWorker::Bind`].
    Compiled {
        /// It; empty if there is an error.
        artifact: &'a [u8],
        /// Why there is none.
        error: Option<&'a str>,
    },
    /// What a [`ToWorker::Sqlite`] came to.
    Sqlite(SqliteReply<'a>),
}

/// How a worker is to set itself up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Setup {
    /// [`crate::VERSION`] of the broker.
    pub version: u32,
    /// Which engine it will run.
    pub engine: Engine,
    /// The largest memory limit of any invocation it will be given, in bytes.
    pub memory: u64,
    /// The layers that the operator chose to do without.
    pub without: Vec<Layer>,
    /// Use no more of Landlock than this version of its interface has (tests; `None`: all there is).
    pub landlock_abi: Option<u8>,
    /// The user and group to become, where the broker may change them.
    pub uid: Option<u32>,
    /// What of the file system stays within reach. Nothing, for what runs scripts.
    pub paths: Vec<PathRule>,
    /// Lua C modules that the operator offers. Only [`Engine::Plugin`] loads them; others know their names.
    pub plugins: Vec<Plugin>,
}

/// A file or folder, with all that is below it, that a jail leaves within reach.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct PathRule {
    /// Its absolute path.
    pub path: String,
    /// For what.
    pub access: PathAccess,
}

/// What may be done with what lies below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum PathAccess {
    /// Reading files and listing folders.
    Read,
    /// The same, and running programs.
    Run,
    /// Reading, writing, making and removing files, folders and links.
    Write,
}

/// A Lua C module.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Plugin {
    /// What `require` knows it by, with `_` for each dot: the function that opens it is `luaopen_NAME`.
    pub name: String,
    /// The shared object. An absolute path.
    pub path: String,
}

/// What a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, BorrowDecode)]
pub enum Engine {
    /// Lua without a compiler: no executable page can come to be.
    Lua,
    /// Lua with LuaJIT's compiler.
    LuaJit,
    /// Lua with the operator's C modules. They keep memory that no rewind reaches, so such a worker serves
    /// one run and ends.
    Plugin,
    /// No scripts: one command of the host, which a script may run.
    Command,
    /// No engine: acts named by `Probe` messages, to test the jail from inside.
    Probe,
    /// One WebAssembly module, bound by the first message.
    Wasm,
    /// The compiler of WebAssembly: runs nothing.
    WasmCompile,
    /// As [`Engine::Probe`], behind the filter of a WebAssembly worker that is not bound yet.
    ProbeWasm,
    /// The same, bound.
    ProbeWasmBound,
    /// As [`Engine::Probe`], behind the compiler's filter.
    ProbeWasmCompile,
    /// No scripts: SQLite, on the files of one granted folder.
    Sqlite,
    /// As [`Engine::Probe`], behind the filter of a worker with LuaJIT's compiler.
    ProbeJit,
}

/// A script's text.
#[derive(Debug, Encode, BorrowDecode)]
pub struct Load<'a> {
    /// The broker's id for this version of the script.
    pub script: u64,
    /// The parts of the chunk, in order: libraries, then the script itself.
    pub parts: Vec<Part<'a>>,
}

/// One file's part of a chunk.
#[derive(Debug, Encode, BorrowDecode)]
pub struct Part<'a> {
    /// Its name in error messages (`hello.lua`), as the author knows it.
    pub name: &'a str,
    /// Its text. Binary chunks are refused.
    pub text: &'a [u8],
}

/// One run.
#[derive(Debug, Encode, BorrowDecode)]
pub struct Invoke<'a> {
    /// Unique within the broker's life.
    pub invocation: u64,
    /// The epoch in which it may begin (see [`crate::slate`]).
    pub epoch: u8,
    /// The id given in `Load`.
    pub script: u64,
    /// What to call with what.
    pub entry: Entry<'a>,
    /// Headers of the message or request: name, value. Names of HTTP headers are lower-case.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The payload or body.
    pub payload: &'a [u8],
    /// What it may use.
    pub limits: Limits,
}

/// The function that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Entry<'a> {
    /// `OnMessage(subject, payload, headers)`.
    Message {
        /// The message's subject, as the script is to see it.
        subject: &'a str,
    },
    /// The function named after the method: `GET(url, body, headers)`. A script not declared to be in
    /// HTTP mode that has an `OnMessage` runs that instead.
    Http {
        /// The subject, for `OnMessage`.
        subject: &'a str,
        /// `GET`, `POST`, …
        method: &'a str,
        /// Path and query behind the subject.
        url: &'a str,
        /// Whether the script's header says `http: true`.
        declared: bool,
    },
}

/// A command of the host.
#[derive(Debug, Encode, BorrowDecode)]
pub struct Command<'a> {
    /// What `/bin/sh -c` is to run.
    pub line: &'a [u8],
    /// Its standard input.
    pub input: &'a [u8],
    /// Its working directory.
    pub folder: &'a str,
    /// Its environment: name, value.
    pub env: Vec<(&'a str, &'a [u8])>,
    /// The CPU time that one of its processes may use, in seconds.
    pub cpu: u64,
}

/// What an invocation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Limits {
    /// Memory of the script's state and scratch folder, in bytes.
    pub memory: u64,
    /// Size of the result, in bytes.
    pub output: u64,
    /// Bytes of log lines; what is over is dropped, with a line that says so.
    pub log: u64,
    /// Number of host calls.
    pub host_calls: u32,
    /// Whether folders of the host are granted, so that a program which would look for them need not ask in vain.
    pub folders: bool,
    /// Bytes of names and files in the scratch folder; within `memory`.
    pub scratch: u64,
    /// Files, folders and links in the scratch folder.
    pub scratch_files: u32,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Level {
    /// For the author while writing.
    Debug,
    /// `print`.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}
