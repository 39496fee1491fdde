//! Out: what a caller gets for how its runs ended, in the words of either door.
//!
//! Takes the scripts of a subject and the ending of each run, in the same order; gives an HTTP response
//! ([`http`]) or a NATS reply ([`nats`]). Pure. Must never give a caller the text of a fault of our own,
//! which may name a host path, nor a byte that ends a header early.

mod document;
pub mod http;
pub mod nats;

use std::borrow::Cow;

use crate::invocation::{Answer, Ending, Reason, format_id};

/// The longest error text that leaves us, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// The methods that a script can have a function for.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Whether a run gave its caller nothing but an error.
#[must_use]
fn failed(ending: &Ending) -> bool {
    ending.reason != Reason::Ok || matches!(ending.answer, Answer::NoFunction { .. })
}

/// The status of an ending for a caller who used `method` (`None`: a plain message).
fn status(ending: &Ending, method: Option<&str>) -> u16 {
    match (&ending.answer, method) {
        (Answer::NoFunction { methods }, _) if lacks_message(ending, methods) => ending.reason.status(),
        (Answer::NoFunction { .. }, Some(method)) if !METHODS.contains(&method) => 501,
        (Answer::NoFunction { .. }, _) => 405,
        (Answer::Http { status, .. } | Answer::Result { status, .. }, _)
            if ending.reason == Reason::Ok || (ending.reason == Reason::ScriptError && *status >= 400) =>
        {
            *status
        }
        _ => ending.reason.status(),
    }
}

/// Whether the script has no function of any kind and the pipeline says so with a reason of its own.
fn lacks_message(ending: &Ending, methods: &[String]) -> bool {
    methods.is_empty() && !matches!(ending.reason, Reason::Ok | Reason::Denied)
}

/// The error's text for a stranger; empty if there is none.
fn text(ending: &Ending) -> Cow<'_, str> {
    if !failed(ending) {
        return Cow::Borrowed("");
    }
    if ending.reason == Reason::Internal && !ending.shown {
        let id = format_id(ending.invocation);
        return Cow::Owned(format!("internal error; the server's log has it under invocation {id}"));
    }
    if !ending.error.is_empty() {
        return Cow::Borrowed(bounded(&ending.error, MAX_TEXT));
    }
    if let Answer::NoFunction { methods } = &ending.answer {
        return Cow::Owned(match methods.as_slice() {
            [] => "the script has no function for this method".to_owned(),
            some => format!("the script has no function for this method, only for {}", some.join(", ")),
        });
    }
    Cow::Borrowed(sentence(ending.reason))
}

/// What a reason means, where nothing more is known.
fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Ok => "",
        Reason::NotFound => "no such script",
        Reason::Denied => "not allowed",
        Reason::TooLarge => "the request is too large",
        Reason::Overloaded => "too much is waiting already; try again later",
        Reason::Wait => "no worker became free in time",
        Reason::WallTime => "the run took too long and was stopped",
        Reason::CpuTime => "the run used too much CPU time and was stopped",
        Reason::ScriptError => "the script failed",
        Reason::Memory => "the run needed more memory than it may have",
        Reason::Output => "the result is too large",
        Reason::Crashed => "the worker process died",
        Reason::KilledSyscall => "the worker process was killed for a forbidden system call",
        Reason::Loop => "the message went round too often",
        Reason::Internal => "internal error",
        Reason::Cancelled => "the run was stopped by the operator",
    }
}

/// The longest beginning of a text that has at most `max` bytes.
fn bounded(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A text for a header: one line, no control characters, at most `max` bytes.
fn one_line(text: &str, max: usize) -> String {
    let line: String = bounded(text, max).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// A number of bytes as limits are written: `1MiB`, `1500B`.
#[must_use]
pub fn size_text(bytes: usize) -> String {
    match bytes {
        0 => "0B".to_owned(),
        n if n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
        n => format!("{n}B"),
    }
}

#[cfg(test)]
mod tests;
