//! What flows through the pipeline: a message, one run of a script for it, and how that ended.
//!
//! Pure values.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::catalog::Script;
use crate::locks::Held;
use crate::telemetry::trace::{RunTrace, Span};

/// A tenant's name.
pub type Tenant = Rc<str>;

/// The tenant of everything that no `[[tenant]]` of the configuration claims.
pub const DEFAULT_TENANT: &str = "default";

/// A message as an ingress hands it in.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subject it came on.
    pub subject: Rc<str>,
    /// The subject that the script is to see (an envelope may name another).
    pub shown_subject: Rc<str>,
    /// How it came.
    pub call: Call,
    /// The payload or body.
    pub payload: Bytes,
    /// Headers: name, value. Names of HTTP headers are lower-case.
    pub headers: Rc<[(String, Bytes)]>,
    /// When it arrived.
    pub arrived: Instant,
    /// Its span, if it is traced.
    pub trace: Option<Rc<Span>>,
}

/// How a message came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Over NATS: `OnMessage`.
    Message,
    /// Over HTTP: a method function, or `OnMessage`.
    Http {
        /// The method.
        method: Rc<str>,
        /// Path and query behind the subject.
        url: Rc<str>,
    },
}

/// One run of one script for one message.
#[derive(Debug)]
pub struct Invocation {
    /// Unique within the broker's life.
    pub id: u64,
    /// The script, at the version in service when the message came.
    pub script: Rc<Script>,
    /// The message.
    pub message: Message,
    /// The longest it may run once started.
    pub wall: Duration,
    /// When it must have ended: waiting counts.
    pub deadline: Instant,
    /// Its spans, if it is traced.
    pub trace: Option<Box<RunTrace>>,
    /// The lock under which it runs, held as long as this is.
    pub held: Option<Rc<Held>>,
}

impl Invocation {
    /// Ends when the lock is lost under which it runs.
    pub async fn lock_lost(&self) {
        match &self.held {
            Some(held) => held.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// Why an invocation ended: the one vocabulary of every door, log and page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It answered.
    Ok,
    /// No such script.
    NotFound,
    /// The caller may not, or the script has no function for this method.
    Denied,
    /// The request is too large.
    TooLarge,
    /// Too much is waiting already.
    Overloaded,
    /// No worker became free in time.
    Wait,
    /// The run took too long.
    WallTime,
    /// The run used too much CPU.
    CpuTime,
    /// The script raised an error.
    ScriptError,
    /// The memory limit.
    Memory,
    /// The result is too large.
    Output,
    /// The worker process died.
    Crashed,
    /// The worker was killed for a system call.
    KilledSyscall,
    /// A message that went round too often.
    Loop,
    /// A fault of ours.
    Internal,
    /// Stopped by the operator or a drain.
    Cancelled,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Reason; 16] = [
        Reason::Ok,
        Reason::NotFound,
        Reason::Denied,
        Reason::TooLarge,
        Reason::Overloaded,
        Reason::Wait,
        Reason::WallTime,
        Reason::CpuTime,
        Reason::ScriptError,
        Reason::Memory,
        Reason::Output,
        Reason::Crashed,
        Reason::KilledSyscall,
        Reason::Loop,
        Reason::Internal,
        Reason::Cancelled,
    ];

    /// The word for headers, logs and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reason::Ok => "ok",
            Reason::NotFound => "not_found",
            Reason::Denied => "denied",
            Reason::TooLarge => "too_large",
            Reason::Overloaded => "overloaded",
            Reason::Wait => "wait",
            Reason::WallTime => "wall_time",
            Reason::CpuTime => "cpu_time",
            Reason::ScriptError => "script_error",
            Reason::Memory => "memory",
            Reason::Output => "output",
            Reason::Crashed => "crashed",
            Reason::KilledSyscall => "killed_syscall",
            Reason::Loop => "loop",
            Reason::Internal => "internal",
            Reason::Cancelled => "cancelled",
        }
    }

    /// The HTTP status and `Nats-Service-Error-Code`.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Reason::Ok => 200,
            Reason::NotFound => 404,
            Reason::Denied => 403,
            Reason::TooLarge => 413,
            Reason::Overloaded => 503,
            Reason::Wait | Reason::WallTime | Reason::CpuTime => 504,
            Reason::ScriptError
            | Reason::Memory
            | Reason::Output
            | Reason::Crashed
            | Reason::KilledSyscall
            | Reason::Loop
            | Reason::Internal => 500,
            Reason::Cancelled => 499,
        }
    }
}

/// How an invocation ended: everything the caller sees comes from here.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The invocation's id, printed as [`format_id`] does.
    pub invocation: u64,
    /// The script's name.
    pub name: Rc<str>,
    /// Why it ended.
    pub reason: Reason,
    /// What it answered, if it did.
    pub answer: Answer,
    /// The error's text, empty if there is none.
    pub error: String,
    /// Whether callers see the text of an error of our own, too: it says nothing of the host.
    pub shown: bool,
    /// The limit that was reached, in its unit (`128MiB`, `2s`), empty if none.
    pub limit: String,
    /// What was measured against it, in the same form.
    pub measured: String,
    /// What the script printed and logged.
    pub logs: Vec<LogLine>,
}

/// What a script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it failed, or returned no string.
    None,
    /// `OnMessage`'s string.
    Message(Bytes),
    /// A method function's answer. Header names and values are checked (no control characters).
    Http {
        /// The body.
        body: Bytes,
        /// The status, 200 to 599.
        status: u16,
        /// The headers as the script gave them, in order.
        headers: Vec<(String, String)>,
    },
    /// A command's own result document: as a message, but with a status and headers in the JSON answer.
    Result {
        /// The payload.
        payload: Bytes,
        /// The status, 200 to 599.
        status: u16,
        /// The headers, in the order of their names. Not checked.
        headers: Vec<(String, String)>,
    },
    /// The script is in HTTP mode and has no function for the method: 405 with `Allow`, or 501 if no
    /// script could have one. These exist.
    NoFunction {
        /// Names of the method functions that exist.
        methods: Vec<String>,
    },
}

/// A line that a script printed or logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How grave it is.
    pub level: tracing::Level,
    /// The text; invalid UTF-8 replaced.
    pub text: String,
}

/// An invocation's id as users see it: 16 hexadecimal digits.
#[must_use]
pub fn format_id(id: u64) -> String {
    format!("{id:016x}")
}
