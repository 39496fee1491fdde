//! How a run came out, whatever kind of module it was.
//!
//! Takes the engine's errors, gives what the broker is told.

use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::budget::Budget;
use crate::streams::TooMuch;

/// The longest error text, in bytes.
const ERROR: usize = 4 << 10;

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// A command, by itself or by a trap.
    Command {
        /// Its standard output.
        stdout: Vec<u8>,
        /// Its standard error.
        stderr: Vec<u8>,
        /// Its exit status.
        status: i32,
        /// The trap that ended it.
        trap: Option<String>,
    },
    /// An HTTP handler answered.
    Http {
        /// The status.
        status: u16,
        /// The headers.
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        /// The body.
        body: Vec<u8>,
        /// Its standard output and error, for the log.
        log: Vec<u8>,
    },
    /// It has no function for this kind of message.
    NoFunction,
    /// It failed.
    Failed(Failed),
}

/// Why a run failed, or was ended.
#[derive(Debug)]
pub enum Failed {
    /// It trapped, or did what it may not.
    Trap(String),
    /// It would have used this much memory, in bytes.
    Memory(u64),
    /// It would have written this much, in bytes.
    Output(u64),
    /// Its time was over.
    Time,
    /// The compiled module cannot be used.
    Artifact(String),
}

/// What an error of a run means. An exit status is no failure: it is given back.
pub fn judge(error: &Error, budget: &Budget) -> Result<i32, Failed> {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(exit.0);
    }
    if let Some(too_much) = error.chain().find_map(|cause| cause.downcast_ref::<TooMuch>()) {
        return Err(Failed::Output(too_much.measured));
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return Err(Failed::Time);
    }
    // A module that was refused memory mostly ends itself, one way or another.
    if let Some(wanted) = budget.refused() {
        return Err(Failed::Memory(wanted));
    }
    Err(Failed::Trap(text(error)))
}

/// An error's text, the cause first, then where it happened.
pub fn text(error: &Error) -> String {
    let mut text = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        text = format!("{text}\n{backtrace}");
    }
    text.truncate(text.floor_char_boundary(ERROR));
    text
}
