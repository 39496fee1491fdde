//! A client of an external NATS server, for what passes through the broker by the thousand: messages in, replies
//! out.
//!
//! One task of the broker's own thread reads, hands each message to its subscription's handler by a plain call,
//! and writes all that was published meanwhile in one go. It finds another server when one is lost, by the URLs
//! and by what servers tell of their cluster, and subscribes again. What the broker asks JetStream goes by a
//! client of its own (see [`Upstream::jetstream`]). It must never hold more than bounded bytes of either
//! direction, nor show a login in a text.

pub mod address;

mod complaints;
mod dial;
mod intake;
mod keep;
mod link;
mod login;
mod output;
mod requests;
mod servers;
mod shared;
mod stream;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{OnceCell, oneshot};

use self::address::Address;
use self::dial::Papers;
use self::login::Credentials;
use self::output::Sent;
pub use self::requests::Answered;
use self::servers::Servers;
use self::shared::{Shared, State};
use crate::nats::headers::HeaderError;
use crate::nats::hub::{Handler, PatternError, PublishError, SubscriptionId};
use crate::nats::subject::{valid_pattern, valid_subject};

/// From so many bytes that wait to be written on, who publishes waits too; and nothing is read.
const FULL: usize = 8 << 20;

/// How to reach a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// URLs with commas between them; they may have user and password, or a token.
    pub urls: String,
    /// A credentials file: JWT and seed.
    pub creds: Option<PathBuf>,
    /// PEM file of the roots that servers must prove themselves by; with it TLS is demanded.
    pub ca: Option<PathBuf>,
    /// Whose connection it is, for the log.
    pub whose: String,
}

/// Why a message was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// It cannot be.
    #[error("{0}")]
    Publish(#[from] PublishError),
    /// Its headers cannot be.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// There is no server, and what waits for one is already as much as may.
    #[error("the NATS server is away, and {0} bytes wait for it: no more is taken until it is back")]
    Away(usize),
}

/// A client. When the last copy is dropped it ends, after what waits is written.
#[derive(Clone)]
pub struct Upstream(Rc<Handle>);

struct Handle {
    shared: Rc<Shared>,
    options: Options,
    jetstream: OnceCell<async_nats::Client>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.set_state(State::Closing);
    }
}

impl Upstream {
    /// Begins to connect, and does not wait for it. Needs a `LocalSet`.
    ///
    /// # Errors
    /// A URL or a file that cannot be used.
    pub fn open(options: Options) -> Result<Upstream, String> {
        let (urls, login) = address::split(&options.urls);
        let addresses: Vec<Address> =
            urls.iter().map(|url| Address::parse(url)).collect::<Result<_, String>>()?;
        if let Some(path) = &options.creds {
            Credentials::read_now(path)?;
        }
        if let Some(path) = &options.ca {
            stream::check(path.clone())?;
        }
        let papers = Papers { login, creds: options.creds.clone(), ca: options.ca.clone() };
        let shared = Shared::new();
        let keeping = keep::keep(shared.clone(), Servers::new(addresses), papers, options.whose.clone());
        tokio::task::spawn_local(keeping);
        Ok(Upstream(Rc::new(Handle { shared, options, jetstream: OnceCell::new() })))
    }

    /// Waits for a connection; whether there is one in time.
    pub async fn connected(&self, patience: Duration) -> bool {
        let _ = tokio::time::timeout(patience, self.0.shared.until(State::Connected)).await;
        self.is_connected()
    }

    /// Whether there is a server just now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.shared.state() == State::Connected
    }

    /// The largest message that the server takes, headers included, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.0.shared.max_payload.get()
    }

    /// Calls `handler` for each message to `pattern`; in a queue group, for its share of them. Holds over
    /// connections.
    ///
    /// # Errors
    /// If the pattern is not valid.
    pub fn subscribe(
        &self,
        pattern: &str,
        queue: Option<&str>,
        handler: Handler,
    ) -> Result<SubscriptionId, PatternError> {
        let fits = |queue: &str| queue.bytes().all(|byte| byte > b' ' && byte != 0x7f) && !queue.is_empty();
        if !valid_pattern(pattern) || !queue.is_none_or(fits) {
            return Err(PatternError::new(pattern));
        }
        Ok(SubscriptionId::new(self.0.shared.subscribe(pattern, queue, handler)))
    }

    /// Ends a subscription; what the server has sent before it knew is still handed out (see [`Self::settled`]).
    pub fn unsubscribe(&self, id: SubscriptionId) {
        self.0.shared.unsubscribe(id.number());
    }

    /// Waits until the server has taken all that was sent before, and all that it had sent until then is handed
    /// out. False if the connection is gone first: then it knows nothing of us any longer.
    pub async fn settled(&self) -> bool {
        let (done, settled) = oneshot::channel();
        self.0.shared.ping(Some(done), false);
        settled.await.is_ok()
    }

    /// Publishes a message; waits only for room. While the server is away it is kept for the next connection, as
    /// long as there is room.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn publish(
        &self,
        subject: &str,
        reply: Option<&str>,
        fields: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<(), SendError> {
        let invalid = [Some(subject), reply].into_iter().flatten().find(|subject| !valid_subject(subject));
        if let Some(subject) = invalid {
            return Err(PublishError::Subject(subject.to_owned()).into());
        }
        let message = Sent { subject, reply, fields, payload };
        let (size, max) = (message.size(), self.max_payload());
        if size > max {
            return Err(PublishError::TooLarge { size, max }.into());
        }
        let shared = &self.0.shared;
        loop {
            let pending = shared.output.borrow().pending();
            if pending < FULL {
                break;
            }
            if !self.is_connected() {
                return Err(SendError::Away(pending));
            }
            shared.changed.notified().await;
        }
        shared.output.borrow_mut().message(&message)?;
        shared.wake();
        Ok(())
    }

    /// Publishes a message and waits, for as long as it takes, for the first answer.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn request(
        &self,
        subject: &str,
        fields: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<Answered, SendError> {
        let shared = &self.0.shared;
        if !shared.requests.subscribed.replace(true) {
            let own = Rc::downgrade(shared);
            let handler: Handler = Rc::new(move |delivery| {
                if let Some(shared) = own.upgrade() {
                    shared.requests.take(&delivery);
                }
            });
            shared.subscribe(&shared.requests.pattern(), None, handler);
        }
        let (inbox, answer) = shared.requests.open();
        self.publish(subject, Some(&inbox.subject), fields, payload).await?;
        match answer.await {
            Ok(answered) => Ok(answered),
            // Its sender is held as long as the inbox is.
            Err(_) => std::future::pending().await,
        }
    }

    /// The client by which JetStream is asked, connected when it is first needed.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn jetstream(&self) -> Result<async_nats::Client, String> {
        self.0.jetstream.get_or_try_init(|| jetstream(&self.0.options)).await.cloned()
    }

    /// Waits until all that was sent is on its way, by this client and by that for JetStream.
    pub async fn flush(&self) {
        self.settled().await;
        if let Some(client) = self.0.jetstream.get() {
            let _ = client.flush().await;
        }
    }
}

/// Connects the other client as this one is connected.
async fn jetstream(options: &Options) -> Result<async_nats::Client, String> {
    let Options { urls, creds, ca, whose } = options;
    let mut options = async_nats::ConnectOptions::new().name("msgscript-broker").retry_on_initial_connect();
    if let Some(path) = creds {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| format!("nats-creds {}: {error}", path.display()))?;
    }
    if let Some(path) = ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    let whose = whose.clone();
    options = options.event_callback(move |event| {
        let whose = whose.clone();
        async move { tracing::info!(%event, whose, "JetStream connection") }
    });
    let (options, servers) = address::nats_options(options, urls);
    options.connect(servers).await.map_err(|error| format!("NATS at {}: {error}", address::redacted(urls)))
}
