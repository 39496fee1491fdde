//! What the server knows of one connected client, shared by its connection and by all who send to it.
//!
//! Takes output as bytes into one bounded buffer; a writer takes the buffer as a whole. Over the bound the
//! client is given up, without waiting for anybody.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::Notify;

use super::hub::{Publish, Subscription};
use super::protocol::push_number;
use crate::access::users::{Permissions, User};

/// A buffer that grew past this is not kept for later.
const KEPT_CAPACITY: usize = 256 * 1024;

/// What the client said in `CONNECT`; before that, the protocol's defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Each operation is answered with `+OK`.
    pub(super) verbose: bool,
    /// Subjects that are published to are checked.
    pub(super) pedantic: bool,
    /// It gets its own messages.
    pub(super) echo: bool,
    /// It reads `HMSG`.
    pub(super) headers: bool,
    /// It wants to know when nobody gets its request.
    pub(super) no_responders: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What is queued is still written; nothing is added.
    Finishing,
    /// Given up.
    Closed,
}

/// One connected client.
#[derive(Debug)]
pub(super) struct Client {
    /// Unique within the hub's life.
    pub(super) id: u64,
    /// Where it comes from.
    pub(super) ip: String,
    /// What it asked for.
    pub(super) options: Cell<Options>,
    /// Who it is, where there are users.
    pub(super) user: RefCell<Option<User>>,
    /// By its own names for them.
    pub(super) subscriptions: RefCell<HashMap<Box<[u8]>, Rc<Subscription>>>,
    /// The client that is to catch up before more is read from this one.
    pub(super) stalled_by: RefCell<Option<Rc<Client>>>,
    state: Cell<State>,
    queued: RefCell<Vec<u8>>,
    /// Bytes that the writer has taken and not yet written.
    writing: Cell<usize>,
    max_pending: usize,
    output: Notify,
    closed: Notify,
    drained: Notify,
}

impl Client {
    pub(super) fn new(id: u64, ip: String, max_pending: usize) -> Self {
        let options =
            Options { verbose: true, pedantic: true, echo: true, headers: false, no_responders: false };
        Self {
            id,
            ip,
            options: Cell::new(options),
            user: RefCell::default(),
            subscriptions: RefCell::default(),
            stalled_by: RefCell::default(),
            state: Cell::new(State::Open),
            queued: RefCell::default(),
            writing: Cell::new(0),
            max_pending,
            output: Notify::new(),
            closed: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// What it may do; `None`: everything.
    pub(super) fn permissions(&self) -> Option<Rc<Permissions>> {
        self.user.borrow().as_ref().map(|user| user.permissions.clone())
    }

    /// Queues bytes. False if the client takes no more; one that has too much waiting is closed.
    pub(super) fn push(&self, bytes: &[u8]) -> bool {
        self.push_with(bytes.len(), |queued| queued.extend_from_slice(bytes))
    }

    /// Queues a message for its subscription `sid`. Headers are left out if the client reads none.
    pub(super) fn push_message(&self, sid: &[u8], message: &Publish<'_>) -> bool {
        let headers = message.headers.filter(|block| !block.is_empty() && self.options.get().headers);
        let block = headers.unwrap_or_default();
        let reply = message.reply.unwrap_or_default();
        let size = block.len() + message.payload.len();
        // Verb, blanks, line ends and two numbers take less than 48.
        self.push_with(size + message.subject.len() + sid.len() + reply.len() + 48, |queued| {
            queued.extend_from_slice(if headers.is_some() { b"HMSG " } else { b"MSG " });
            for word in [message.subject.as_bytes(), sid, reply.as_bytes()] {
                queued.extend_from_slice(word);
                if !word.is_empty() {
                    queued.push(b' ');
                }
            }
            if headers.is_some() {
                push_number(queued, block.len());
                queued.push(b' ');
            }
            push_number(queued, size);
            for part in [b"\r\n", block, message.payload, b"\r\n"] {
                queued.extend_from_slice(part);
            }
        })
    }

    fn push_with(&self, room: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.state.get() != State::Open {
            return false;
        }
        if self.pending() + room > self.max_pending {
            tracing::warn!(
                client = self.id,
                ip = self.ip,
                pending = self.pending(),
                "slow NATS client closed"
            );
            self.close();
            return false;
        }
        let mut queued = self.queued.borrow_mut();
        if queued.is_empty() {
            self.output.notify_one();
        }
        queued.reserve(room);
        write(&mut queued);
        true
    }

    /// Bytes that wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.queued.borrow().len() + self.writing.get()
    }

    /// Whether so much waits that those who publish to it are to slow down.
    pub(super) fn is_behind(&self) -> bool {
        self.pending() > self.max_pending / 4 * 3
    }

    /// Waits until it is no longer behind, or gone.
    pub(super) async fn caught_up(&self) {
        while self.is_behind() && self.state.get() != State::Closed {
            self.drained.notified().await;
        }
    }

    /// For the writer: the next bytes, in place of what `batch` held; `None` when no more will come.
    pub(super) async fn next_output(&self, batch: &mut Vec<u8>) -> Option<()> {
        batch.clear();
        if batch.capacity() > KEPT_CAPACITY {
            *batch = Vec::new();
        }
        while self.queued.borrow().is_empty() {
            if self.state.get() != State::Open {
                return None;
            }
            self.output.notified().await;
        }
        std::mem::swap(batch, &mut *self.queued.borrow_mut());
        self.writing.set(batch.len());
        Some(())
    }

    /// For the writer: so many bytes are on their way.
    pub(super) fn wrote(&self, count: usize) {
        let was_behind = self.is_behind();
        self.writing.set(self.writing.get().saturating_sub(count));
        if was_behind && !self.is_behind() {
            self.drained.notify_waiters();
        }
    }

    /// Takes no more output; what is queued is still written.
    pub(super) fn finish(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Finishing);
            self.output.notify_one();
        }
    }

    /// Gives the client up at once.
    pub(super) fn close(&self) {
        self.state.set(State::Closed);
        self.queued.take();
        self.writing.set(0);
        self.output.notify_one();
        self.closed.notify_one();
        self.drained.notify_waiters();
    }

    /// Waits until it is given up.
    pub(super) async fn given_up(&self) {
        while self.state.get() != State::Closed {
            self.closed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_the_client_reads_them() {
        let client = Client::new(1, String::new(), 1000);
        let mut message = Publish { subject: "a.b", reply: None, headers: Some(b"HH"), payload: b"" };
        assert!(client.push_message(b"7", &message));
        client.options.set(Options { headers: true, ..client.options.get() });
        message.reply = Some("r");
        message.payload = b"0123456789";
        assert!(client.push_message(b"7", &message));
        message.headers = Some(b"");
        assert!(client.push_message(b"7", &message));
        let wanted =
            "MSG a.b 7 0\r\n\r\nHMSG a.b 7 r 2 12\r\nHH0123456789\r\nMSG a.b 7 r 10\r\n0123456789\r\n";
        assert_eq!(String::from_utf8_lossy(&client.queued.borrow()), wanted);
    }

    #[test]
    fn too_much_output_closes() {
        let client = Client::new(1, String::new(), 100);
        assert!(client.push(&[0; 75]));
        assert!(!client.is_behind());
        assert!(client.push(&[0; 25]));
        assert!(client.is_behind());
        assert!(!client.push(&[0]));
        assert_eq!(client.pending(), 0, "nothing is kept for a client that is given up");
        assert!(!client.push(b""));
    }
}
