//! What a server complains of (`-ERR`): told in the log, the same words not again and again.

use std::time::{Duration, Instant};

use super::servers::Server;

/// The same complaint is told again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest text that is told, in bytes.
const LONGEST: usize = 512;

/// The last one.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<(Vec<u8>, Instant)>,
    /// Not told since.
    more: u64,
}

impl Complaints {
    /// Tells of one.
    pub(super) fn add(&mut self, by: &Server, text: &[u8]) {
        let text = &text[..text.len().min(LONGEST)];
        if !self.is_news(text) {
            return;
        }
        let (server, more) = (by.address.to_string(), std::mem::take(&mut self.more));
        let text = String::from_utf8_lossy(text);
        match permission(&text) {
            Some((act, subject)) => {
                tracing::warn!(server, act, subject, more, "the NATS server refuses a permission");
            }
            None => tracing::warn!(server, error = &*text, more, "the NATS server complains"),
        }
    }

    fn is_news(&mut self, text: &[u8]) -> bool {
        if let Some((last, at)) = &self.last
            && last == text
            && at.elapsed() < AGAIN
        {
            self.more += 1;
            return false;
        }
        self.last = Some((text.to_vec(), Instant::now()));
        true
    }
}

/// What may not be done, and with which subject: `Permissions Violation for Publish to "x"`.
fn permission(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("Permissions Violation for ")?;
    let (act, subject) = rest.split_once('"')?;
    Some((act.trim(), subject.split('"').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_name_their_subject() {
        assert_eq!(permission("Permissions Violation for Publish to \"a.b\""), Some(("Publish to", "a.b")));
        let queue = "Permissions Violation for Subscription to \"a.>\" using queue \"g\"";
        assert_eq!(permission(queue), Some(("Subscription to", "a.>")));
        assert_eq!(permission("Stale Connection"), None);
    }

    #[test]
    fn the_same_is_told_once() {
        let mut complaints = Complaints::default();
        let told: Vec<bool> = [b"a", b"a", b"b", b"a"].map(|text| complaints.is_news(text)).into();
        assert_eq!((told, complaints.more), (vec![true, false, true, true], 1));
    }
}
