//! What the client's users and its connection share: subscriptions, what waits to be written, what is waited for.
//!
//! Outlives connections. No borrow is held while a handler is called.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use tokio::sync::{Notify, oneshot};

use super::output::Output;
use super::requests::Requests;
use crate::nats::hub::{Delivery, Handler};
use crate::nats::protocol::Message;

/// What a server takes as long as we do not know better.
const USUAL_MAX_PAYLOAD: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is no connection, but there will be.
    Away,
    Connected,
    /// What waits is still written if there is a connection; then that is the end.
    Closing,
}

/// A subscription.
struct Subscription {
    pattern: Rc<str>,
    queue: Option<Rc<str>>,
    handler: Handler,
    /// The server is told to end it, and may still have sent something before it knew.
    leaving: bool,
}

/// A `PING` that has no `PONG` yet.
#[derive(Default)]
pub(super) struct Ping {
    /// Subscriptions that are over when it is answered.
    ended: Vec<u64>,
    /// Who waits for it.
    done: Option<oneshot::Sender<()>>,
    /// The connection is over when it is answered.
    pub(super) last: bool,
}

/// See above.
pub(super) struct Shared {
    pub(super) output: RefCell<Output>,
    pub(super) requests: Requests,
    pub(super) max_payload: Cell<usize>,
    /// Told when there is room for output, and when the state changes.
    pub(super) changed: Notify,
    state: Cell<State>,
    subscriptions: RefCell<HashMap<u64, Subscription>>,
    last_sid: Cell<u64>,
    pings: RefCell<VecDeque<Ping>>,
    waker: RefCell<Option<Waker>>,
}

impl Shared {
    pub(super) fn new() -> Rc<Shared> {
        Rc::new(Shared {
            output: RefCell::default(),
            requests: Requests::new(),
            max_payload: Cell::new(USUAL_MAX_PAYLOAD),
            changed: Notify::new(),
            state: Cell::new(State::Away),
            subscriptions: RefCell::default(),
            last_sid: Cell::new(0),
            pings: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    pub(super) fn set_state(&self, state: State) {
        if self.state.get() != State::Closing {
            self.state.set(state);
        }
        self.changed.notify_waiters();
        self.wake();
    }

    /// Waits until the state is this, or the end has come.
    pub(super) async fn until(&self, state: State) {
        while self.state.get() != state && self.state.get() != State::Closing {
            self.changed.notified().await;
        }
    }

    /// Has the connection's task look at what there is to do.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// For the connection's task: this is how to wake it.
    pub(super) fn woken_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Queues a line of the client's own, if there is a connection.
    pub(super) fn line(&self, line: &str) {
        if self.state.get() == State::Connected {
            self.output.borrow_mut().line(line.as_bytes());
            self.wake();
        }
    }

    /// Adds a subscription. Pattern and queue must be valid.
    pub(super) fn subscribe(&self, pattern: &str, queue: Option<&str>, handler: Handler) -> u64 {
        let sid = self.last_sid.get() + 1;
        self.last_sid.set(sid);
        let made =
            Subscription { pattern: pattern.into(), queue: queue.map(Into::into), handler, leaving: false };
        self.line(&made.line(sid));
        self.subscriptions.borrow_mut().insert(sid, made);
        sid
    }

    /// Ends a subscription. What the server has sent before it knows is still given out.
    pub(super) fn unsubscribe(&self, sid: u64) {
        if self.state.get() == State::Connected {
            if let Some(subscription) = self.subscriptions.borrow_mut().get_mut(&sid) {
                subscription.leaving = true;
            }
            self.line(&unsubscribe(sid));
        } else {
            self.forget(&[sid]);
        }
    }

    /// Handlers may hold what holds us: they are dropped outside of the borrow.
    fn forget(&self, sids: &[u64]) {
        let gone: Vec<_> =
            sids.iter().filter_map(|sid| self.subscriptions.borrow_mut().remove(sid)).collect();
        drop(gone);
    }

    /// Sends a `PING`.
    pub(super) fn ping(&self, done: Option<oneshot::Sender<()>>, last: bool) {
        if self.state.get() != State::Connected {
            return;
        }
        let all = self.subscriptions.borrow();
        let ended = all.iter().filter(|(_, it)| it.leaving).map(|(sid, _)| *sid).collect();
        self.pings.borrow_mut().push_back(Ping { ended, done, last });
        self.line("PING\r\n");
    }

    /// How many `PING`s wait for an answer.
    pub(super) fn pings(&self) -> usize {
        self.pings.borrow().len()
    }

    /// A `PONG` came: whether it was that of the last `PING` of the connection.
    pub(super) fn pong(&self) -> bool {
        let Some(Ping { ended, done, last }) = self.pings.borrow_mut().pop_front() else { return false };
        self.forget(&ended);
        if let Some(done) = done {
            let _ = done.send(());
        }
        last
    }

    /// The lines by which a server that knows of the subscriptions `announced` learns of those there are; and all
    /// that it knows then.
    pub(super) fn introduction(&self, announced: &[u64]) -> (Vec<u8>, Vec<u64>) {
        let all = self.subscriptions.borrow();
        let stays = |sid: &u64| all.get(sid).is_some_and(|it| !it.leaving);
        let mut sids: Vec<u64> = all.keys().copied().filter(stays).collect();
        sids.sort_unstable();
        let gone = announced.iter().filter(|sid| !stays(sid)).map(|sid| unsubscribe(*sid));
        let new = sids.iter().filter(|sid| !announced.contains(sid));
        let new = new.filter_map(|sid| Some(all.get(sid)?.line(*sid)));
        let lines = gone.chain(new).collect::<String>().into_bytes();
        (lines, sids)
    }

    /// Has the server send nothing more on this connection, and end it.
    pub(super) fn leave(&self) {
        let sids: Vec<u64> = self.subscriptions.borrow().keys().copied().collect();
        for sid in sids {
            self.line(&unsubscribe(sid));
        }
        self.ping(None, true);
    }

    /// The connection is gone. How many bytes may be lost.
    pub(super) fn lost(&self) -> usize {
        if self.state.get() == State::Connected {
            self.set_state(State::Away);
        }
        // Nobody waits any longer for answers to what was asked on it.
        self.pings.borrow_mut().clear();
        let all = self.subscriptions.borrow();
        let left: Vec<u64> = all.iter().filter(|(_, it)| it.leaving).map(|(sid, _)| *sid).collect();
        drop(all);
        self.forget(&left);
        self.output.borrow_mut().cut()
    }

    /// Hands a message to whom it is for.
    pub(super) fn deliver(&self, sid: &[u8], message: &Message<'_>) {
        let sid = std::str::from_utf8(sid).ok().and_then(|digits| digits.parse::<u64>().ok());
        let Some(sid) = sid else { return };
        let text = std::str::from_utf8;
        let words = (text(message.subject), message.reply.map(text).transpose());
        let (Ok(subject), Ok(reply)) = words else {
            return tracing::debug!("message passed over: its subject is no UTF-8");
        };
        let delivery = Delivery { subject, reply, headers: message.headers, payload: message.payload };
        let handler = self.subscriptions.borrow().get(&sid).map(|it| it.handler.clone());
        if let Some(handler) = handler {
            handler(delivery);
        }
    }
}

impl Subscription {
    fn line(&self, sid: u64) -> String {
        match &self.queue {
            Some(queue) => format!("SUB {} {queue} {sid}\r\n", self.pattern),
            None => format!("SUB {} {sid}\r\n", self.pattern),
        }
    }
}

fn unsubscribe(sid: u64) -> String {
    format!("UNSUB {sid}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Rc<Shared> {
        let shared = Shared::new();
        shared.set_state(State::Connected);
        shared
    }

    fn counting() -> (Rc<Cell<u32>>, Handler) {
        let count = Rc::new(Cell::new(0));
        let own = count.clone();
        (count, Rc::new(move |_: Delivery<'_>| own.set(own.get() + 1)))
    }

    fn send(shared: &Shared, sid: &[u8]) {
        shared.deliver(sid, &Message { subject: b"a", reply: None, headers: None, payload: b"" });
    }

    fn text(lines: (Vec<u8>, Vec<u64>)) -> (String, Vec<u64>) {
        (String::from_utf8(lines.0).unwrap(), lines.1)
    }

    #[test]
    fn what_was_sent_before_the_end_of_a_subscription_is_given_out() {
        let shared = connected();
        let (count, handler) = counting();
        let sid = shared.subscribe("a", Some("g"), handler);
        shared.unsubscribe(sid);
        shared.ping(None, false);
        send(&shared, b"1");
        assert_eq!(count.get(), 1);
        assert!(!shared.pong());
        send(&shared, b"1");
        assert_eq!((count.get(), shared.pings()), (1, 0));
        assert!(!shared.pong(), "one that nobody asked for");
    }

    #[test]
    fn a_new_server_learns_what_has_changed() {
        let shared = connected();
        let (_, handler) = counting();
        let first = shared.subscribe("a", None, handler.clone());
        let (lines, known) = text(shared.introduction(&[]));
        assert_eq!((lines.as_str(), known.as_slice()), ("SUB a 1\r\n", &[1][..]));
        shared.subscribe("b.>", Some("g"), handler);
        shared.unsubscribe(first);
        assert_eq!(text(shared.introduction(&known)), ("UNSUB 1\r\nSUB b.> g 2\r\n".to_owned(), vec![2]));
        shared.lost();
        assert_eq!(text(shared.introduction(&[])), ("SUB b.> g 2\r\n".to_owned(), vec![2]));
    }

    #[test]
    fn bytes_that_are_no_delivery_are_passed_over() {
        let shared = connected();
        let (count, handler) = counting();
        shared.subscribe("a", None, handler);
        for sid in [&b"2"[..], b"", b"x", b"99999999999999999999999", b"\xff"] {
            send(&shared, sid);
        }
        shared.deliver(b"1", &Message { subject: b"\xff", reply: None, headers: None, payload: b"" });
        assert_eq!(count.get(), 0);
        send(&shared, b"1");
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn no_lines_wait_for_a_server_that_is_away() {
        let shared = Shared::new();
        let (_, handler) = counting();
        let sid = shared.subscribe("a", None, handler.clone());
        shared.ping(None, false);
        assert_eq!((shared.output.borrow().pending(), shared.pings()), (0, 0));
        shared.unsubscribe(sid);
        assert_eq!(Rc::strong_count(&handler), 1, "it is forgotten at once");
    }
}
