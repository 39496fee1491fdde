//! Why a container gave no answer, as an ending. Pure.
//!
//! Every text names the image. What Podman says of the host goes to the log, not to the caller.

use std::rc::Rc;
use std::time::Instant;

use msgscript_proto::message::Limits;

use super::container::ContainerError;
use super::wire::WireError;
use crate::invocation::{Ending, Invocation, Reason};
use crate::policy::Denied;
use crate::units::{print_duration, print_size};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// Policy forbids it.
    Denied(Denied),
    /// So many wait already.
    Full(usize),
    /// No place became free in time. The message arrived then.
    NoPlace(Instant),
    /// The deadline came. The message arrived then.
    Late(Instant),
    /// The server stops.
    Cancelled,
    /// The image is not to be had.
    NoImage(String),
    /// What the author wrote cannot be run: no such command, no such user.
    Author(String),
    /// It wrote too much: the limit, and what had come.
    TooLong(u64, usize),
    /// Podman itself.
    Podman(Rc<WireError>),
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Fault {
        Fault::Denied(denied)
    }
}

impl From<Rc<WireError>> for Fault {
    fn from(error: Rc<WireError>) -> Fault {
        Fault::Podman(error)
    }
}

/// What Podman says where the author is at fault.
const AUTHORS: [&str; 5] = [
    "executable file not found",
    "a command that was not found",
    "no matching entries in",
    "no command or entrypoint",
    "OCI permission denied",
];

impl Fault {
    /// Podman could not pull.
    pub(super) fn of_pull(error: Rc<WireError>) -> Fault {
        match &*error {
            WireError::Refused { message, .. } => Fault::NoImage(format!("it cannot be pulled: {message}")),
            _ => Fault::Podman(error),
        }
    }

    /// The container gave no output.
    pub(super) fn of_container(error: ContainerError, limits: &Limits) -> Fault {
        let error = match error {
            ContainerError::TooLong(size) => return Fault::TooLong(limits.output, size),
            ContainerError::Create(error) | ContainerError::Run(error) => error,
        };
        match &error {
            WireError::Refused { message, cause, .. } => {
                let says = |words: &&&str| message.contains(**words) || cause.contains(**words);
                match AUTHORS.iter().find(says) {
                    Some(_) => Fault::Author(message.clone()),
                    None if says(&&"image not known") => Fault::NoImage("it is gone".to_owned()),
                    None => Fault::Podman(Rc::new(error)),
                }
            }
            _ => Fault::Podman(Rc::new(error)),
        }
    }

    /// The ending of a run that this stopped.
    pub(super) fn ending(self, run: &Invocation, image: &str) -> Ending {
        let failed = |reason, text: String| Ending::failed(run.id, &run.script, reason, text);
        let limited = |ending: Ending, limit: String, measured: String| Ending { limit, measured, ..ending };
        let since = |arrived: Instant| {
            print_duration(std::time::Duration::from_millis(
                u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
            ))
        };
        match self {
            Fault::Denied(Denied(text)) => failed(Reason::Denied, text),
            Fault::Full(limit) => {
                let text = format!("{image}: too many messages are waiting for a container");
                limited(failed(Reason::Overloaded, text), limit.to_string(), limit.to_string())
            }
            Fault::NoPlace(arrived) => {
                let text = format!("{image}: no place for a container became free in time");
                limited(failed(Reason::Wait, text), print_duration(run.wall), since(arrived))
            }
            Fault::Late(arrived) => {
                let text = format!("{image}: time limit reached");
                limited(failed(Reason::WallTime, text), print_duration(run.wall), since(arrived))
            }
            Fault::Cancelled => {
                failed(Reason::Cancelled, format!("{image}: stopped: the server is shutting down"))
            }
            Fault::NoImage(why) => failed(Reason::ScriptError, format!("image {image}: {why}")),
            Fault::Author(text) => failed(Reason::ScriptError, format!("{image}: {text}")),
            Fault::TooLong(limit, size) => {
                let text = format!("{image}: the result is too large");
                limited(
                    failed(Reason::Output, text),
                    print_size(limit),
                    format!("over {}", print_size(size as u64)),
                )
            }
            Fault::Podman(error) => {
                let id = crate::invocation::format_id(run.id);
                tracing::error!(invocation = id, image, %error, "Podman failed");
                let what = match &*error {
                    WireError::Absent { .. } => "Podman is not there",
                    WireError::Broken(_) => "the connection to Podman broke",
                    WireError::Refused { .. } => "Podman could not run it",
                };
                let text = format!("{image}: {what}; the server's log has it under invocation {id}");
                Ending { shown: true, ..failed(Reason::Internal, text) }
            }
        }
    }
}
