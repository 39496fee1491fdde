//! Questions that wait for their answers, all by one subscription.
//!
//! Each has an inbox subject of its own that cannot be guessed: who knows it can answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::nats::hub::{Delivery, random_seed};

/// An answer as it came.
#[derive(Debug)]
pub struct Answered {
    /// Its header block, if it has one: perhaps not a valid one.
    pub headers: Option<Bytes>,
    /// The payload.
    pub payload: Bytes,
}

/// All that wait.
pub(super) struct Requests {
    prefix: String,
    /// There is a subscription.
    pub(super) subscribed: Cell<bool>,
    waiting: RefCell<HashMap<Box<str>, oneshot::Sender<Answered>>>,
}

impl Requests {
    pub(super) fn new() -> Requests {
        let prefix = format!("_INBOX.{:016x}{:016x}.", random_seed(), random_seed());
        Requests { prefix, subscribed: Cell::new(false), waiting: RefCell::default() }
    }

    /// What all inboxes match.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// An inbox, as long as it is held.
    pub(super) fn open(&self) -> (Inbox<'_>, oneshot::Receiver<Answered>) {
        let token = format!("{:016x}{:016x}", random_seed(), random_seed());
        let (got, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(token.as_str().into(), got);
        (Inbox { requests: self, subject: format!("{}{token}", self.prefix) }, answer)
    }

    /// Takes an answer. The first counts; who no longer waits gets none.
    pub(super) fn take(&self, delivery: &Delivery<'_>) {
        let token = delivery.subject.strip_prefix(&self.prefix);
        let Some(waiting) = token.and_then(|token| self.waiting.borrow_mut().remove(token)) else { return };
        let headers = delivery.headers.map(Bytes::copy_from_slice);
        let _ = waiting.send(Answered { headers, payload: delivery.payload_bytes() });
    }
}

/// See [`Requests::open`].
pub(super) struct Inbox<'a> {
    requests: &'a Requests,
    pub(super) subject: String,
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.subject.strip_prefix(&self.requests.prefix) {
            self.requests.waiting.borrow_mut().remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_own_answer_once() {
        let requests = Requests::new();
        let (first, mut one) = requests.open();
        let (second, mut two) = requests.open();
        assert!(second.subject.starts_with(requests.pattern().trim_end_matches('*')));
        let answer = |subject: &str, payload: &'static [u8]| {
            requests.take(&Delivery { subject, reply: None, headers: None, payload });
        };
        answer(&second.subject, b"2");
        answer(&second.subject, b"again");
        answer("_INBOX.other.1", b"no");
        assert_eq!(&two.try_recv().unwrap().payload[..], b"2");
        one.try_recv().unwrap_err();
        drop(first);
        assert!(requests.waiting.borrow().is_empty());
    }
}
