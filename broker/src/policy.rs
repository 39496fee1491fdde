//! What a script may ask for: the one place that says yes or no. Pure.
//!
//! A "yes" is a [`Permitted`] value, which only this module can make and which the functions of
//! `host/` demand.

pub mod grant;

use crate::catalog::{Executor, Script};
use crate::config::Config;
use crate::host::nats::{MOST_HOPS, Publish};
use crate::invocation::{Invocation, Message, Reason};
use crate::units::print_size;

/// Something that policy allowed.
#[must_use]
#[derive(Debug)]
pub struct Permitted<T>(T);

impl<T> Permitted<T> {
    /// What was allowed.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// A refusal: the text names what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Why a message may not run a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The text for the caller.
    pub text: String,
    /// The limit, if one was passed.
    pub limit: String,
    /// What was measured.
    pub measured: String,
}

impl Refusal {
    fn new(reason: Reason, text: String) -> Refusal {
        Refusal { reason, text, limit: String::new(), measured: String::new() }
    }
}

/// Whether a message may run a script: the script must be sound, its executor there, the payload no larger
/// than allowed.
///
/// # Errors
/// The refusal.
pub fn admit(config: &Config, script: &Script, message: &Message) -> Result<(), Refusal> {
    if let Some(broken) = &script.broken {
        return Err(Refusal::new(Reason::ScriptError, broken.clone()));
    }
    if script.executor != Executor::Lua {
        let text = format!(
            "{}: this version runs no scripts of the executor {}",
            script.name,
            script.executor.name()
        );
        return Err(Refusal::new(Reason::Internal, text));
    }
    let size = message.payload.len() as u64;
    if size > config.limits.payload {
        let refusal = Refusal::new(Reason::TooLarge, "the payload is too large".to_owned());
        return Err(Refusal {
            limit: print_size(config.limits.payload),
            measured: print_size(size),
            ..refusal
        });
    }
    Ok(())
}

/// Whether a script of the tenant `default` may publish this: any subject but `$…` and `_INBOX.…`, within
/// the bound on hops.
///
/// # Errors
/// The refusal.
pub fn publish(caller: &Invocation, publish: Publish) -> Result<Permitted<Publish>, Denied> {
    let Publish { subject, hops, .. } = &publish;
    if subject.starts_with('$') || subject.starts_with("_INBOX.") {
        let tenant = &caller.script.tenant;
        return Err(Denied(format!("denied: {tenant} has no grant to publish to {subject}")));
    }
    if *hops > MOST_HOPS {
        return Err(Denied(format!("loop: message has come through {MOST_HOPS} scripts already")));
    }
    Ok(Permitted(publish))
}
