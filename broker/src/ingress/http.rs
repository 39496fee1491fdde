//! The HTTP/1 server: connections in, until told to stop.
//!
//! Takes a bound listener, the app, settings and a stop signal. Edge: this module and those below touch
//! HTTP clients and nothing else. Must never hold more of a client's bytes than the settings say, nor
//! wait for a client without an end.

mod activity;
mod body;
mod exchange;
mod request;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::activity::{Activity, Noted};
use self::body::Budget;
use self::exchange::Client;
use super::App;
use crate::nats::hub::random_seed;

/// Subject and URL that a request's target names, for the fuzz target.
#[cfg(fuzzing)]
#[must_use]
pub fn target_of(head: &hyper::http::request::Parts) -> Option<(String, String)> {
    match request::target(head) {
        Ok(request::Target::Function { subject, url }) => Some((subject.into_owned(), url.to_owned())),
        _ => None,
    }
}

/// The largest head of a request that is read, in bytes. Above the longest URL that we tell apart (64 KiB),
/// so that such a one gets its own status; [`request::MAX_FIELD_BYTES`] is the limit on fields.
const MAX_HEAD: usize = 96 << 10;

/// How long accepting pauses when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How a listener behaves.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The longest body, in bytes.
    pub max_payload: usize,
    /// The bytes of unfinished bodies that all connections together may hold.
    pub max_buffered: usize,
    /// The most connections at once; more wait in the system's queue.
    pub max_connections: usize,
    /// How long a connection lasts on which nothing happens: no whole head of a request comes, no byte of
    /// a response is taken. It ends after once to twice this.
    pub idle_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// Whether functions, pages or both are here.
    pub pages: Pages,
    /// The operator's bearer token, if there is one. An empty one matches nothing.
    pub admin_token: Option<Rc<[u8]>>,
    /// What the scripts of live pages show, so that no other page's can ask for ours. Not to be guessed.
    pub page_key: Rc<str>,
    /// Reads a duration as Go writes them (`1m30s`).
    pub parse_duration: fn(&str) -> Option<Duration>,
}

impl HttpSettings {
    /// The defaults: bodies of 1 MiB, 256 MiB of them unfinished, 10,000 connections, 30 s without
    /// activity or for a body; functions and pages both, no token.
    #[must_use]
    pub fn new(parse_duration: fn(&str) -> Option<Duration>) -> Self {
        HttpSettings {
            max_payload: 1 << 20,
            max_buffered: 256 << 20,
            max_connections: 10_000,
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            pages: Pages::Here,
            admin_token: None,
            page_key: format!("{:016x}{:016x}", random_seed(), random_seed()).into(),
            parse_duration,
        }
    }
}

/// Where the operator's pages (`/_/…`) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// On this listener, beside the functions.
    Here,
    /// On a listener of their own: this one has functions only.
    Elsewhere,
    /// This is that listener: it has no functions.
    Only,
}

/// Serves until `stop` resolves; then accepts nothing more, lets the requests in flight end, and returns.
/// Dropping the future instead closes every connection. Runs within a `LocalSet`.
pub async fn serve<A: App>(
    listener: TcpListener,
    app: Rc<A>,
    settings: HttpSettings,
    stop: impl Future<Output = ()>,
) {
    let max_connections = settings.max_connections;
    let door = Rc::new(Door { app, budget: Budget::new(settings.max_buffered), settings });
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < max_connections => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn_local(connection(Rc::clone(&door), stream, peer, stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// What all connections of a listener share.
struct Door<A> {
    app: Rc<A>,
    settings: HttpSettings,
    budget: Budget,
}

/// One connection, request after request.
async fn connection<A: App>(
    door: Rc<Door<A>>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let activity = Rc::new(Activity::default());
    let io = Noted::new(TokioIo::new(stream), Rc::clone(&activity));
    let idle_timeout = door.settings.idle_timeout;
    let client = Rc::new(Client::new(door, peer, Rc::clone(&activity)));
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(exchange::answer(&client, request).await) }
    });
    let mut http = http1::Builder::new();
    // A client may close its sending side and still read; one that is gone costs no more than the wait.
    http.max_header_size(MAX_HEAD).half_close(true);
    let mut connection = pin!(http.serve_connection(io, service));
    let mut look = pin!(tokio::time::sleep(idle_timeout));
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            _ = stopped.wait_for(|stopped| *stopped), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => {
                if !activity.take() {
                    return;
                }
                look.as_mut().reset(Instant::now() + idle_timeout);
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    }
}
