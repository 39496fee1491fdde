//! What a script may ask for: the one place that says yes or no. Pure.
//!
//! A "yes" is a [`Permitted`] value, which only this module can make and which the functions of
//! `host/` demand.

pub mod grant;

use crate::host::nats::{MOST_HOPS, Publish};
use crate::invocation::Invocation;

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
