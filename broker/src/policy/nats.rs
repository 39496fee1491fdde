//! Which subjects a script may publish to. Pure.

use super::grants::Subjects;
use super::{Denied, Permitted, Policy};
use crate::host::nats::{MOST_HOPS, Publish};
use crate::nats::subject::matches;

impl Policy {
    /// Whether this may be published: to a granted subject, never to `$…` and `_INBOX.…`, and within the
    /// bound on hops.
    ///
    /// # Errors
    /// The refusal.
    pub fn publish(&self, publish: Publish) -> Result<Permitted<Publish>, Denied> {
        let Publish { subject, hops, .. } = &publish;
        let reserved = subject.starts_with('$') || subject.starts_with("_INBOX.");
        let granted = match &self.grants.nats {
            Subjects::Unreserved => true,
            Subjects::Listed(patterns) => patterns.iter().any(|pattern| matches(pattern, subject)),
        };
        if reserved || !granted {
            let grant = format!("nats = [\"{subject}\"]");
            let grant = if reserved { "reserved subject" } else { &grant };
            return Err(Denied::new(&self.tenant, &format!("publish to {subject}"), grant));
        }
        if *hops > MOST_HOPS {
            return Err(Denied(format!("loop: message has come through {MOST_HOPS} scripts already")));
        }
        Ok(Permitted(publish))
    }
}
