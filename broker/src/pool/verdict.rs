//! What a run came to: a worker's word or its death, as an ending. Pure.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use bytes::Bytes;
use msgscript_proto::outcome::{Failure, Fault, Outcome};
use nix::sys::signal::Signal;

use super::calls;
use crate::catalog::{Executor, Script};
use crate::invocation::{Answer, Ending, Reason, format_id};
use crate::units::print_size;
use crate::{result, wasm};

/// The ending that a worker reports.
#[must_use]
pub fn of_outcome(id: u64, script: &Script, outcome: &Outcome<'_>) -> Ending {
    match outcome {
        Outcome::Message(Some(text)) => Ending::message(id, script, Bytes::copy_from_slice(text)),
        Outcome::Message(None) => {
            let (name, subject, invocation) = (&*script.name, &*script.subject, format_id(id));
            tracing::warn!(script = name, subject, invocation, "Script returned no response");
            Ending::message(id, script, Bytes::new())
        }
        Outcome::Http { body, status, headers } => http(id, script, body, *status, headers),
        Outcome::NoFunction { methods } if methods.is_empty() && !script.http => {
            let text = format!("{}: failed to find global function named 'OnMessage'", place(script));
            Ending::failed(id, script, Reason::ScriptError, text)
        }
        Outcome::NoFunction { methods } => {
            let methods = methods.iter().map(|name| (*name).to_owned()).collect();
            let error = "the script has no function for this method".to_owned();
            let failed = Ending::failed(id, script, Reason::Denied, error);
            Ending { answer: Answer::NoFunction { methods }, ..failed }
        }
        Outcome::NeedsPlugin { name } => {
            let name = String::from_utf8_lossy(name);
            let text =
                format!("{}: there is no worker with the plugin {}", place(script), name.escape_debug());
            Ending::failed(id, script, Reason::Internal, text)
        }
        Outcome::Failed(failure) => of_failure(id, script, failure),
        Outcome::Command { stdout, stderr, status, trap } => {
            let failure = match trap {
                Some(trap) => Some((*trap).to_owned()),
                None => (*status != 0).then(|| format!("exit status {status}")),
            };
            let what = &module(script);
            let stdout = Bytes::copy_from_slice(stdout);
            result::ending(id, script, result::Done { what, failure, stdout, stderr })
        }
    }
}

/// Script and module, as their author wrote them.
fn module(script: &Script) -> String {
    let path = wasm::file::written(&script.source.text).unwrap_or_default();
    format!("{}: {path}", place(script))
}

fn place(script: &Script) -> &str {
    script.parts.last().map_or(&*script.name, |part| &*part.name)
}

fn http(id: u64, script: &Script, body: &[u8], status: i64, headers: &[(&[u8], &[u8])]) -> Ending {
    let Some(status) = u16::try_from(status).ok().filter(|status| (200..=599).contains(status)) else {
        let text = format!("{}: {status} is no HTTP status (200 to 599)", place(script));
        return Ending::failed(id, script, Reason::ScriptError, text);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    Ending::answered(id, script, Answer::Http { body: Bytes::copy_from_slice(body), status, headers })
}

fn of_failure(id: u64, script: &Script, failure: &Failure<'_>) -> Ending {
    let reason = match failure.fault {
        Fault::Script | Fault::ScriptBytes | Fault::ScriptCount => Reason::ScriptError,
        Fault::Memory => Reason::Memory,
        Fault::Output => Reason::Output,
        Fault::Time => Reason::WallTime,
        Fault::Artifact => Reason::Internal,
    };
    let mut text = String::from_utf8_lossy(failure.text).into_owned();
    if script.executor == Executor::Wasm && reason == Reason::ScriptError {
        text = format!("{}: {text}", module(script));
    } else if reason != Reason::ScriptError {
        text = format!("{}: {text}", place(script));
    }
    let mut ending = Ending::failed(id, script, reason, text);
    if failure.limit != 0 {
        let print =
            if failure.fault == Fault::ScriptCount { |count: u64| count.to_string() } else { print_size };
        ending.limit = print(failure.limit);
        ending.measured = print(failure.measured);
    }
    ending
}

/// Why a worker that died took its run along. `words`: what it, or a library in it, wrote last.
/// `starved`: its control group had no memory left, and the kernel killed for it.
#[must_use]
pub fn of_death(status: Option<ExitStatus>, words: &[u8], starved: bool) -> (Reason, String) {
    let Some(status) = status else {
        return (Reason::Internal, "the worker process is lost".to_owned());
    };
    match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGSYS)) => {
            let text = "the worker process was killed for a forbidden system call";
            let name = calls::named(words).map(|name| format!(" ({name})"));
            (Reason::KilledSyscall, text.to_owned() + &name.unwrap_or_default())
        }
        Some(Ok(Signal::SIGKILL)) if starved => (Reason::Memory, "memory limit reached".to_owned()),
        Some(Ok(Signal::SIGSEGV)) => (
            Reason::Crashed,
            "the worker process crashed (SIGSEGV): the script exhausted the stack?".to_owned(),
        ),
        Some(Ok(signal)) => (Reason::Crashed, format!("the worker process was killed ({})", signal.as_str())),
        Some(Err(_)) => (Reason::Crashed, "the worker process was killed".to_owned()),
        None if status.code() == Some(EXHAUSTED) => (Reason::Memory, "memory limit reached".to_owned()),
        None => (Reason::Crashed, format!("the worker process ended ({status})")),
    }
}

/// The exit status of a worker that ran out of memory.
const EXHAUSTED: i32 = 77;

#[cfg(test)]
mod tests {
    use super::of_death;
    use crate::invocation::Reason;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn each_death_has_its_reason() {
        for (raw, reason) in [
            (nix::libc::SIGSYS, Reason::KilledSyscall),
            (nix::libc::SIGSEGV, Reason::Crashed),
            (nix::libc::SIGKILL, Reason::Crashed),
            (77 << 8, Reason::Memory),
            (0, Reason::Crashed),
        ] {
            assert_eq!(of_death(Some(ExitStatus::from_raw(raw)), b"", false).0, reason);
        }
        assert_eq!(of_death(None, b"", false).0, Reason::Internal);
        let words = format!("{}{}\n", msgscript_proto::FORBIDDEN_CALL, nix::libc::SYS_socket);
        let (_, text) = of_death(Some(ExitStatus::from_raw(nix::libc::SIGSYS)), words.as_bytes(), false);
        assert!(text.ends_with("(socket)"), "{text}");
        let killed = |starved| of_death(Some(ExitStatus::from_raw(nix::libc::SIGKILL)), b"", starved).0;
        assert_eq!((killed(true), killed(false)), (Reason::Memory, Reason::Crashed));
    }
}
