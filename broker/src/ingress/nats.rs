//! The NATS door: one queue-group subscription per subject pattern in use, and the way back out.
//!
//! Behind it is the embedded server or a client of an external one; the rest of the broker cannot tell.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::envelope::{self, Envelope};
use crate::app::Core;
use crate::audit::{self, Act, Event};
use crate::catalog::Script;
use crate::host::nats::{MOST_HOPS, hops};
use crate::invocation::{Call, DEFAULT_TENANT, Ending, Message, Reason, Tenant};
use crate::nats::headers;
use crate::nats::hub::{Delivery, Handler, Hub, PatternError, Publish, SubscriptionId, random_seed};
use crate::reply::nats::NatsReply;
use crate::telemetry::trace::{Span, SpanKind, Tracer};
use crate::upstream::{Answered, Upstream};
use crate::{pipeline, reply, telemetry};

/// The server's side of the door.
#[derive(Clone)]
pub enum Door {
    /// Our own server, in this process.
    Embedded(Rc<Hub>),
    /// A client of another server.
    External(Upstream),
}

impl Door {
    /// Publishes a message; does not wait for anyone to get it.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub async fn publish(
        &self,
        subject: &str,
        reply: Option<&str>,
        fields: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<(), String> {
        match self {
            Door::Embedded(hub) => {
                let block = match fields {
                    [] => None,
                    _ => Some(
                        headers::write(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
                            .map_err(|error| error.to_string())?,
                    ),
                };
                let message = Publish { subject, reply, headers: block.as_deref(), payload: &payload };
                hub.publish(&message).map(|_| ()).map_err(|error| error.to_string())
            }
            Door::External(upstream) => {
                let sent = upstream.publish(subject, reply, fields, &payload).await;
                sent.map_err(|error| error.to_string())
            }
        }
    }

    /// Publishes a message and waits, for as long as it takes, for the first reply.
    ///
    /// # Errors
    /// Why it cannot be sent, or that nobody is there to reply.
    pub async fn request(
        &self,
        subject: &str,
        fields: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<Reply, String> {
        match self {
            Door::Embedded(hub) => {
                let (got, reply) = oneshot::channel();
                let got = Cell::new(Some(got));
                let take = move |delivery: Delivery<'_>| {
                    if let Some(got) = got.take() {
                        let error = delivery.headers.and_then(reply_error);
                        let _ = got.send(Reply { payload: delivery.payload_bytes(), error });
                    }
                };
                let inbox = Inbox::open(hub, Rc::new(take))?;
                let names = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
                let block = headers::write(names).map_err(|error| error.to_string())?;
                let (reply_to, headers) = (Some(inbox.subject.as_str()), Some(block.as_slice()));
                let message = Publish { subject, reply: reply_to, headers, payload: &payload };
                if !hub.publish(&message).map_err(|error| error.to_string())? {
                    return Err(NO_RESPONDERS.to_owned());
                }
                reply.await.map_err(|_| NO_RESPONDERS.to_owned())
            }
            Door::External(upstream) => {
                let answered = upstream.request(subject, fields, &payload).await;
                let Answered { headers, payload } = answered.map_err(|error| format!("nats: {error}"))?;
                let block = headers.as_deref().and_then(|block| headers::parse(block).ok());
                if block.as_ref().is_some_and(|block| block.status == Some(UNHEARD)) {
                    return Err(NO_RESPONDERS.to_owned());
                }
                let error = headers.as_deref().and_then(reply_error);
                Ok(Reply { payload, error })
            }
        }
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
        match self {
            Door::Embedded(hub) => hub.subscribe(pattern, queue, handler),
            Door::External(upstream) => upstream.subscribe(pattern, queue, handler),
        }
    }

    /// Ends a subscription; what is on its way is still handed out.
    pub fn unsubscribe(&self, id: SubscriptionId) {
        match self {
            Door::Embedded(hub) => hub.unsubscribe(id),
            Door::External(upstream) => upstream.unsubscribe(id),
        }
    }

    /// Waits, not for long, until the server knows of all that was asked of it, and what it had sent before is
    /// handed out.
    pub async fn settled(&self) {
        if let Door::External(upstream) = self {
            let _ = tokio::time::timeout(SETTLING, upstream.settled()).await;
        }
    }

    /// Waits for a server; whether there is one in time.
    pub async fn connected(&self, patience: Duration) -> bool {
        match self {
            Door::Embedded(_) => true,
            Door::External(upstream) => upstream.connected(patience).await,
        }
    }

    /// Waits until all that was sent is on its way.
    pub async fn flush(&self) {
        if let Door::External(upstream) = self {
            upstream.flush().await;
        }
    }

    /// Whether there is a server just now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        match self {
            Door::Embedded(_) => true,
            Door::External(upstream) => upstream.is_connected(),
        }
    }

    /// The largest message that the server takes, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        match self {
            Door::Embedded(hub) => hub.settings().max_payload,
            Door::External(upstream) => upstream.max_payload(),
        }
    }
}

/// A reply to a request.
#[derive(Debug)]
pub struct Reply {
    /// The message.
    pub payload: Bytes,
    /// The error that a service replied with.
    pub error: Option<String>,
}

/// The header by which services tell of failure.
const ERROR: &str = "Nats-Service-Error";

/// The status by which a server tells that nobody is subscribed.
const UNHEARD: &str = "503";

/// Nobody is subscribed.
const NO_RESPONDERS: &str = "nats: no responders available for request";

fn reply_error(block: &[u8]) -> Option<String> {
    let block = headers::parse(block).ok()?;
    block.get(ERROR).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// A subject of our own for one reply; closed when dropped.
struct Inbox {
    hub: Rc<Hub>,
    subject: String,
    subscription: SubscriptionId,
}

impl Inbox {
    /// The subject cannot be guessed: who knows it can answer.
    fn open(hub: &Rc<Hub>, handler: Handler) -> Result<Inbox, String> {
        let subject = format!("_INBOX.{:016x}{:016x}", random_seed(), random_seed());
        let subscription = hub.subscribe(&subject, None, handler).map_err(|error| error.to_string())?;
        Ok(Inbox { hub: hub.clone(), subject, subscription })
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.hub.unsubscribe(self.subscription);
    }
}

/// How long a server may take to hear of subscriptions.
const SETTLING: Duration = Duration::from_secs(2);

/// The broker's subscriptions, by pattern.
pub struct Subscriptions {
    door: Door,
    /// Whose messages these are; none: of all who have no account of their own.
    tenant: Option<Tenant>,
    group: String,
    active: RefCell<HashMap<Rc<str>, SubscriptionId>>,
}

impl Subscriptions {
    /// None yet.
    #[must_use]
    pub fn new(door: Door, group: &str, tenant: Option<Tenant>) -> Subscriptions {
        Subscriptions { door, tenant, group: group.to_owned(), active: RefCell::default() }
    }

    /// Subscribes to what is new among the patterns and lets go of what is not among them. The server knows when
    /// this returns, and what it had sent for the old ones is given out.
    pub async fn set(&self, app: &Rc<Core>, patterns: Vec<Rc<str>>) {
        self.active.borrow_mut().retain(|known, id| {
            let stays = patterns.contains(known);
            if !stays {
                self.door.unsubscribe(*id);
            }
            stays
        });
        for pattern in patterns {
            if self.active.borrow().contains_key(&pattern) {
                continue;
            }
            match self.subscribe(app, &pattern) {
                Ok(id) => drop(self.active.borrow_mut().insert(pattern, id)),
                Err(error) => {
                    tracing::error!(subject = &*pattern, error = error.to_string(), "cannot subscribe");
                }
            }
        }
        self.door.settled().await;
    }

    fn subscribe(&self, app: &Rc<Core>, pattern: &str) -> Result<SubscriptionId, PatternError> {
        let app = app.clone();
        let via = Via { door: self.door.clone(), tenant: self.tenant.clone() };
        let handler = Rc::new(move |delivery: Delivery<'_>| {
            let incoming = Incoming::from_delivery(&delivery);
            tokio::task::spawn_local(serve(app.clone(), via.clone(), incoming));
        });
        self.door.subscribe(pattern, Some(&self.group), handler)
    }
}

/// Which way a message came, and its answer goes.
#[derive(Clone)]
struct Via {
    door: Door,
    tenant: Option<Tenant>,
}

impl Via {
    /// Whether a script answers what comes this way.
    fn serves(&self, app: &Core, script: &Script) -> bool {
        match &self.tenant {
            Some(tenant) => script.tenant == *tenant,
            None => !app.has_account(&script.tenant),
        }
    }
}

/// A message as either server hands it over.
struct Incoming {
    subject: Rc<str>,
    reply: Option<Rc<str>>,
    headers: Rc<[(String, Bytes)]>,
    payload: Bytes,
}

impl Incoming {
    fn from_delivery(delivery: &Delivery<'_>) -> Incoming {
        let headers = match delivery.headers.map(headers::parse) {
            Some(Ok(block)) => merge(block.headers.into_iter()),
            _ => Rc::new([]),
        };
        Incoming {
            subject: delivery.subject.into(),
            reply: delivery.reply.map(Into::into),
            headers,
            payload: delivery.payload_bytes(),
        }
    }

    fn from_client(message: async_nats::Message) -> Incoming {
        let headers = message.headers.as_ref().map_or_else(
            || Rc::new([]) as Rc<[(String, Bytes)]>,
            |map| {
                let fields = map.iter();
                merge(fields.flat_map(|(name, values)| {
                    let name: &str = name.as_ref();
                    values.iter().map(move |value| (name, value.as_str().as_bytes()))
                }))
            },
        );
        Incoming {
            subject: message.subject.as_str().into(),
            reply: message.reply.as_ref().map(|reply| reply.as_str().into()),
            headers,
            payload: message.payload,
        }
    }
}

/// One entry per name; repeated values joined by `, `.
fn merge<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Rc<[(String, Bytes)]> {
    let mut merged: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in fields {
        match merged.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => {
                all.extend_from_slice(b", ");
                all.extend_from_slice(value);
            }
            None => merged.push((name.to_owned(), value.to_vec())),
        }
    }
    merged.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Subjects that never run a script, and to which a reply would be a trigger of something else.
fn is_reserved(subject: &str) -> bool {
    subject.starts_with('$') || subject.starts_with("_INBOX.")
}

/// Whether a message to this subject would set something off: a reply must not.
pub(crate) fn is_trigger(app: &Core, reply: &str) -> bool {
    reply.starts_with('$') || !is_reserved(reply) && app.catalog.current().index.answers(reply)
}

/// Serves one message: runs the scripts that its subject matches, and replies. All of them, not only those
/// of the pattern it was delivered for: a server gives a queue group one copy of a message, however many of
/// the group's patterns match.
async fn serve(app: Rc<Core>, via: Via, incoming: Incoming) {
    if is_reserved(&incoming.subject) {
        return;
    }
    let snapshot = app.catalog.current();
    if let Some(reply) = &incoming.reply
        && is_trigger(&app, reply)
    {
        tracing::warn!(
            subject = &*incoming.subject,
            reply = &**reply,
            "message refused: its reply would be a trigger"
        );
        let (reason, text) = (Reason::Denied.word(), format!("its reply to {reply} would be a trigger"));
        let event = Event { subject: &incoming.subject, reason, text: &text, ..Event::default() };
        audit::record(Act::Refused, &event);
        return;
    }
    let mut scripts = snapshot.index.matching(&incoming.subject).into_owned();
    // Those of streams get their messages from there.
    scripts.retain(|script| script.trigger.is_none() && via.serves(&app, script));
    let trace = app.tracer.as_ref().map(|tracer| Rc::new(begin(tracer, &scripts, &incoming)));
    let (door, reply) = (via.door, incoming.reply.clone());
    let sender = Sender { app: app.clone(), door, reply, trace, _answering: app.answering.clone() };
    match envelope::parse(&incoming.payload) {
        Some(envelope) => Box::pin(serve_envelope(&sender, incoming, envelope, scripts)).await,
        None => serve_raw(&sender, incoming, scripts).await,
    }
}

/// A stream's message for a script, as if it had arrived now.
pub(crate) fn stored(app: &Core, script: &Rc<Script>, message: async_nats::Message) -> Message {
    let incoming = Incoming::from_client(message);
    let begin = |tracer| Rc::new(begin(tracer, std::slice::from_ref(script), &incoming));
    let trace = app.tracer.as_ref().map(begin);
    Message {
        shown_subject: incoming.subject.clone(),
        subject: incoming.subject,
        call: Call::Message,
        payload: incoming.payload,
        headers: incoming.headers,
        arrived: Instant::now(),
        trace,
    }
}

/// The span of a message that has arrived now, and that is for these scripts.
fn begin(tracer: &Tracer, scripts: &[Rc<Script>], incoming: &Incoming) -> Span {
    // Patterns are bounded, subjects need not be.
    let pattern = scripts.first().map_or("", |script| &*script.subject);
    let name = format!("process {pattern}");
    let span = tracer.message(name, SpanKind::Consumer, &incoming.headers, Instant::now());
    span.set("messaging.system", "nats");
    span.set("messaging.destination.name", incoming.subject.to_string());
    span
}

async fn serve_raw(sender: &Sender, incoming: Incoming, scripts: Vec<Rc<Script>>) {
    let message = Message {
        shown_subject: incoming.subject.clone(),
        subject: incoming.subject,
        call: Call::Message,
        payload: incoming.payload,
        headers: incoming.headers,
        arrived: Instant::now(),
        trace: sender.trace.clone(),
    };
    if sender.app.config().nats_reply == crate::config::value::NatsReply::Envelope {
        let endings = run_all(&sender.app, &message, &scripts).await;
        return sender.envelope(&endings, None).await;
    }
    if scripts.is_empty() {
        return sender.send(reply::nats::refusal(Reason::NotFound, reply::nats::NO_SCRIPT)).await;
    }
    // Each script answers when it is done; the last needs no task of its own.
    let (last, others) =
        scripts.split_last().map_or((None, &scripts[..]), |(last, others)| (Some(last), others));
    for script in others {
        let (sender, script, message) = (sender.clone(), script.clone(), message.clone());
        tokio::task::spawn_local(async move {
            let ending = run_one(&sender.app, script, message).await;
            sender.raw(&ending).await;
        });
    }
    if let Some(script) = last {
        let ending = run_one(&sender.app, script.clone(), message).await;
        sender.raw(&ending).await;
    }
}

async fn serve_envelope(sender: &Sender, incoming: Incoming, envelope: Envelope, scripts: Vec<Rc<Script>>) {
    let background = envelope.detached;
    if background {
        sender.document(Bytes::from_static(b"{}")).await;
    }
    let shown =
        envelope.subject.as_deref().filter(|subject| !subject.is_empty() && **subject != *incoming.subject);
    let shown: Rc<str> = shown.map_or_else(|| incoming.subject.clone(), Into::into);
    let call = match &envelope.method {
        Some(method) if !method.is_empty() => {
            Call::Http { method: method.as_str().into(), url: envelope.url.as_deref().unwrap_or("").into() }
        }
        _ => Call::Message,
    };
    let message = Message {
        subject: incoming.subject,
        shown_subject: shown.clone(),
        call,
        payload: envelope.payload,
        headers: incoming.headers,
        arrived: Instant::now(),
        trace: sender.trace.clone(),
    };
    let foreign = *shown != *message.subject;
    let refused = scripts.iter().find(|script| foreign && &*script.tenant != DEFAULT_TENANT);
    let endings = match refused {
        Some(script) => {
            let text = "an envelope's subject must be that of its message".to_owned();
            let ending = Ending::failed(sender.app.pool.next_id(), script, Reason::Denied, text);
            telemetry::ended(script, &ending);
            vec![ending]
        }
        None => run_all(&sender.app, &message, &scripts).await,
    };
    if !background {
        sender.envelope(&endings, envelope.method.as_deref()).await;
    }
}

/// Runs all scripts at once; endings in the scripts' order.
async fn run_all(app: &Rc<Core>, message: &Message, scripts: &[Rc<Script>]) -> Vec<Ending> {
    let runs = scripts.iter().map(|script| run_one(app, script.clone(), message.clone()));
    futures_util::future::join_all(runs).await
}

/// Runs one script, unless the message has gone round too often.
async fn run_one(app: &Rc<Core>, script: Rc<Script>, message: Message) -> Ending {
    let hops = hops(&message);
    if hops > MOST_HOPS {
        let text = format!("message has come through {hops} scripts");
        let failed = Ending::failed(app.pool.next_id(), &script, Reason::Loop, text);
        let ending = Ending { limit: MOST_HOPS.to_string(), measured: hops.to_string(), ..failed };
        telemetry::ended(&script, &ending);
        app.statistics.ended(&script, &ending, message.arrived);
        return ending;
    }
    pipeline::run(app.clone(), script, message).await
}

/// Where the answers to one message go.
#[derive(Clone)]
struct Sender {
    app: Rc<Core>,
    door: Door,
    reply: Option<Rc<str>>,
    /// The message's span, if it is traced.
    trace: Option<Rc<Span>>,
    /// Keeps the doors open until the answer is sent.
    _answering: Rc<()>,
}

impl Sender {
    /// One script's answer to a raw message.
    async fn raw(&self, ending: &Ending) {
        if self.reply.is_some() {
            self.send(reply::nats::raw(ending, self.most())).await;
        }
    }

    /// All scripts' answers in one document.
    async fn envelope(&self, endings: &[Ending], method: Option<&str>) {
        if self.reply.is_none() {
            return;
        }
        let document = match endings {
            [] => reply::nats::envelope_error(reply::nats::NO_SCRIPT),
            _ => reply::nats::envelope(endings, method, self.most()),
        };
        self.document(document).await;
    }

    async fn document(&self, payload: Bytes) {
        self.send(NatsReply { headers: Vec::new(), payload }).await;
    }

    async fn send(&self, message: NatsReply) {
        let Some(reply) = &self.reply else { return };
        let span = self.trace.as_ref().map(|trace| trace.child("reply", SpanKind::Internal));
        let fields: Vec<(&str, &str)> =
            message.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Err(error) = self.door.publish(reply, None, &fields, message.payload).await {
            tracing::warn!(reply = &**reply, error, "reply not sent");
            span.inspect(|span| span.fail(error));
        }
    }

    fn most(&self) -> usize {
        self.door.max_payload()
    }
}
