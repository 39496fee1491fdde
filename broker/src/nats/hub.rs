//! Where messages find their subscribers: connected clients, and the broker's own handlers.
//!
//! Takes a publish, calls or queues for everyone who subscribes, gives whether anybody did. A handler is
//! called at once, may publish and (un)subscribe from inside, and must not take long.

mod clients;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::client::Client;
use super::subject::{valid_pattern, valid_subject};
use super::sublist::{Leaf, Sublist};
use crate::access::users::Users;

/// What the server allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest message, headers included, in bytes (below 1,000,000,000).
    pub max_payload: usize,
    /// The longest arguments of an operation, in bytes.
    pub max_control_line: usize,
    /// The most bytes that may wait to be written to a client.
    pub max_pending: usize,
    /// The most clients at a time.
    pub max_connections: usize,
    /// The most subscriptions of one client.
    pub max_subscriptions: usize,
    /// How long a client may take no byte of what is written to it.
    pub write_deadline: Duration,
    /// How long after `CONNECT` the first `PING` is sent; up to a fifth more.
    pub first_ping: Duration,
    /// How long between `PING`s to a silent client; two without an answer end the connection.
    pub ping_interval: Duration,
    /// The queue group that only the broker's own subscriptions are in, where there are users.
    pub own_group: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_payload: 1 << 20,
            max_control_line: 4096,
            max_pending: 64 << 20,
            max_connections: 65_536,
            max_subscriptions: 1 << 20,
            write_deadline: Duration::from_secs(10),
            first_ping: Duration::from_secs(2),
            ping_interval: Duration::from_secs(120),
            own_group: "msgscript".to_owned(),
        }
    }
}

/// A message on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Where to.
    pub subject: &'a str,
    /// Where replies go.
    pub reply: Option<&'a str>,
    /// The header block (see [`super::headers`]).
    pub headers: Option<&'a [u8]>,
    /// The payload.
    pub payload: &'a [u8],
}

/// A message as a handler gets it. It borrows from the buffer that the message was read into.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The subject it was published to.
    pub subject: &'a str,
    /// Where a reply goes, if one is wanted.
    pub reply: Option<&'a str>,
    /// The header block, as sent: perhaps not a valid one.
    pub headers: Option<&'a [u8]>,
    /// The payload.
    pub payload: &'a [u8],
}

impl Delivery<'_> {
    /// The payload to keep: the one copy that is made of it.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.payload)
    }
}

/// What a message is given to.
pub type Handler = Rc<dyn Fn(Delivery<'_>)>;

/// One of the broker's own subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    pub(crate) fn new(number: u64) -> SubscriptionId {
        SubscriptionId(number)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Why a message of the broker's own was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// It cannot be sent there.
    #[error("{0:?} is not a subject that can be published to (tokens between dots, no blanks, no wildcard)")]
    Subject(String),
    /// It is larger than clients were told.
    #[error("the message has {size} bytes; the server's max_payload is {max}")]
    TooLarge {
        /// Its size, headers included, in bytes.
        size: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Why a subscription was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} cannot be subscribed to (tokens between dots, no blanks, `>` only as the last one)")]
pub struct PatternError(String);

impl PatternError {
    pub(crate) fn new(pattern: &str) -> PatternError {
        PatternError(pattern.to_owned())
    }
}

/// A subscription of a client or of the broker.
pub(super) struct Subscription {
    id: u64,
    pattern: Box<str>,
    queue: Option<Rc<str>>,
    target: Target,
    delivered: Cell<u64>,
    /// How many deliveries end it; 0: none do.
    max: Cell<u64>,
    ended: Cell<bool>,
}

enum Target {
    Handler(Handler),
    Client { client: Rc<Client>, sid: Box<[u8]> },
}

impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

type Found = Vec<Rc<Leaf<Rc<Subscription>>>>;

/// The subscriptions of everyone, and the clients.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    users: RefCell<Rc<Users>>,
    sublist: RefCell<Sublist<Rc<Subscription>>>,
    own: RefCell<HashMap<SubscriptionId, Rc<Subscription>>>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    last_id: Cell<u64>,
    random: Cell<u64>,
    /// Kept between publishes for its memory only.
    found: RefCell<Found>,
}

impl Hub {
    /// A hub without subscribers.
    #[must_use]
    pub fn new(settings: Settings) -> Rc<Self> {
        Rc::new(Self {
            settings,
            users: RefCell::default(),
            sublist: RefCell::new(Sublist::new()),
            own: RefCell::default(),
            clients: RefCell::default(),
            last_id: Cell::new(0),
            random: Cell::new(random_seed() | 1),
            found: RefCell::default(),
        })
    }

    /// What it allows.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who may connect, from now on. A client whose user is gone or was changed is closed.
    pub fn set_users(&self, users: Users) {
        let users = Rc::new(users);
        for client in self.clients.borrow().values() {
            let user = client.user.borrow().clone();
            let stays = match &user {
                Some(user) => users.all.contains(user),
                None => users.all.is_empty(),
            };
            if !stays {
                client.push(b"-ERR 'Authorization Violation'\r\n");
                client.finish();
            }
        }
        *self.users.borrow_mut() = users;
    }

    /// Who may connect.
    #[must_use]
    pub fn users(&self) -> Rc<Users> {
        self.users.borrow().clone()
    }

    /// How many clients are connected.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Calls `handler` for each message to `pattern`; in a queue group, for its share of them.
    ///
    /// # Errors
    /// If the pattern is not valid.
    pub fn subscribe(
        &self,
        pattern: &str,
        queue: Option<&str>,
        handler: Handler,
    ) -> Result<SubscriptionId, PatternError> {
        let subscription = self.new_subscription(pattern, queue, Target::Handler(handler));
        if !valid_pattern(pattern) || !self.insert(&subscription) {
            return Err(PatternError(pattern.into()));
        }
        let id = SubscriptionId(subscription.id);
        self.own.borrow_mut().insert(id, subscription);
        Ok(id)
    }

    /// Ends a subscription that [`Self::subscribe`] made; unknown ones are no error.
    pub fn unsubscribe(&self, id: SubscriptionId) {
        let subscription = self.own.borrow_mut().remove(&id);
        if let Some(subscription) = subscription {
            self.remove(&subscription);
        }
    }

    /// Publishes a message of the broker's own. True if somebody got it: false is what a requester is told
    /// as "no responders".
    ///
    /// # Errors
    /// If subject or reply is not valid, or the message too large.
    pub fn publish(&self, message: &Publish<'_>) -> Result<bool, PublishError> {
        for subject in [Some(message.subject), message.reply].into_iter().flatten() {
            if !valid_subject(subject) {
                return Err(PublishError::Subject(subject.into()));
            }
        }
        let size = message.payload.len() + message.headers.unwrap_or_default().len();
        if size > self.settings.max_payload {
            return Err(PublishError::TooLarge { size, max: self.settings.max_payload });
        }
        Ok(self.route(None, message))
    }

    /// Delivers a message whose subject and reply hold no blanks or control characters.
    fn route(&self, from: Option<&Rc<Client>>, message: &Publish<'_>) -> bool {
        let mut found = self.found.take();
        self.sublist.borrow().matching(message.subject, &mut found);
        let mut delivered = false;
        for leaf in &found {
            for subscription in &leaf.plain {
                delivered |= self.deliver(subscription, from, message);
            }
        }
        for (index, leaf) in found.iter().enumerate() {
            for (name, _) in &leaf.groups {
                let met =
                    found[..index].iter().any(|other| other.groups.iter().any(|(known, _)| known == name));
                delivered |= !met && self.deliver_to_one(name, &found[index..], from, message);
            }
        }
        found.clear();
        self.found.replace(found);
        delivered
    }

    /// To a random member of the group `name`, or the next one that takes it.
    fn deliver_to_one(
        &self,
        name: &str,
        found: &[Rc<Leaf<Rc<Subscription>>>],
        from: Option<&Rc<Client>>,
        message: &Publish<'_>,
    ) -> bool {
        let groups = || found.iter().flat_map(|leaf| &leaf.groups).filter(|(known, _)| &**known == name);
        let count: usize = groups().map(|(_, members)| members.len()).sum();
        let members = || groups().flat_map(|(_, members)| members);
        let start = self.random_below(count);
        members().skip(start).chain(members().take(start)).any(|member| self.deliver(member, from, message))
    }

    fn deliver(&self, to: &Rc<Subscription>, from: Option<&Rc<Client>>, message: &Publish<'_>) -> bool {
        if to.ended.get() {
            return false;
        }
        match &to.target {
            Target::Handler(handler) => {
                let Publish { subject, reply, headers, payload } = *message;
                handler(Delivery { subject, reply, headers, payload });
                true
            }
            Target::Client { client, sid } => self.deliver_to_client(to, client, sid, from, message),
        }
    }

    fn deliver_to_client(
        &self,
        to: &Rc<Subscription>,
        client: &Rc<Client>,
        sid: &[u8],
        from: Option<&Rc<Client>>,
        message: &Publish<'_>,
    ) -> bool {
        if !client.options.get().echo && from.is_some_and(|from| Rc::ptr_eq(from, client)) {
            return false;
        }
        let taken = client.push_message(sid, message);
        to.delivered.set(to.delivered.get() + 1);
        if to.max.get() > 0 && to.delivered.get() >= to.max.get() {
            client.subscriptions.borrow_mut().remove(sid);
            self.remove(to);
        }
        if let Some(from) = from
            && client.is_behind()
        {
            from.stalled_by.replace(Some(client.clone()));
        }
        taken
    }

    fn new_subscription(&self, pattern: &str, queue: Option<&str>, target: Target) -> Rc<Subscription> {
        Rc::new(Subscription {
            id: self.next_id(),
            pattern: pattern.into(),
            queue: queue.map(Rc::from),
            target,
            delivered: Cell::new(0),
            max: Cell::new(0),
            ended: Cell::new(false),
        })
    }

    fn insert(&self, it: &Rc<Subscription>) -> bool {
        self.sublist.borrow_mut().insert(&it.pattern, it.queue.as_ref(), it.clone())
    }

    fn remove(&self, it: &Rc<Subscription>) {
        if !it.ended.replace(true) {
            self.sublist.borrow_mut().remove(&it.pattern, it.queue.as_ref(), it);
        }
    }

    fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// Xorshift: fair enough to spread messages, and no secret.
    fn random_below(&self, bound: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        if bound < 2 { 0 } else { (x % bound as u64) as usize }
    }
}

/// Random enough for names and for spreading; not for secrets.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
