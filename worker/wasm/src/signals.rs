//! Signals: the broker's, that a run's time is over, and faults of our own code.
//!
//! Takes the engine to interrupt. The only file of this program with unsafe code beside `bound.rs`.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use msgscript_worker::jail::sys;
use nix::libc::{SIGBUS, SIGFPE, SIGILL, SIGSEGV};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use wasmtime::Engine;

/// What to interrupt.
static ENGINE: OnceLock<Engine> = OnceLock::new();

/// The exit status after a fault, as a shell would tell of SIGSEGV.
const FAULT: i32 = 139;

/// Lets a fault outside of a module's code end the process at once. To be called before the engine is built,
/// whose handlers pass on to this one what is no trap; the default would need a system call that the
/// filter forbids, and a crash would look like an escape.
///
/// # Errors
/// What the kernel says.
pub fn end_at_faults() -> nix::Result<()> {
    let action = SigAction::new(SigHandler::Handler(fault), SaFlags::empty(), SigSet::empty());
    for signal in [SIGSEGV, SIGBUS, SIGILL, SIGFPE] {
        // SAFETY: the handler only ends the process, by one system call.
        unsafe { sigaction(Signal::try_from(signal)?, &action) }?;
    }
    Ok(())
}

extern "C" fn fault(_: nix::libc::c_int) {
    sys::exit_now(FAULT)
}

/// Lets SIGUSR1 interrupt the run in progress. Between runs it does nothing.
///
/// # Errors
/// What the kernel says.
pub fn interrupt(engine: &Engine) -> nix::Result<()> {
    // Called once.
    let _ = ENGINE.set(engine.clone());
    let action = SigAction::new(SigHandler::Handler(time_is_over), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only adds to an atomic number, which is allowed at any point.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.map(|_| ())
}

extern "C" fn time_is_over(_: nix::libc::c_int) {
    if let Some(engine) = ENGINE.get() {
        engine.increment_epoch();
    }
}
