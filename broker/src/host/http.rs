//! `http`: requests of scripts to servers outside.
//!
//! Takes a batch of requests and carries them out at the same time, each judged at every hop. Addresses are
//! pinned (see [`super::net`]); redirects, framing headers, decompression and limits are ours, and no proxy
//! of the environment is used.

mod body;
mod exchange;
mod headers;
mod pool;
mod redirect;
mod request;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use futures_util::StreamExt;
use url::Url;

pub use request::{Fetched, Request, Response};

use super::net::{Net, NetError};
use super::{Answer, Caller};
use crate::policy::{Denied, Policy};
use crate::reply::METHODS;
use crate::secrets::{Redactor, SecretError, Secrets};
use crate::telemetry;
use crate::telemetry::trace::{Span, SpanKind};
use crate::units::print_size;
use pool::Pool;
use redirect::Next;

/// Requests of one call: more are refused. (The worker sends more in several calls.)
pub const MOST_REQUESTS: usize = 64;

/// Requests of one call that are under way at a time.
const AT_ONCE: usize = 16;

/// The largest body of an answer, in bytes, decompressed.
const MOST_BODY: u64 = 16 << 20;

/// All answers of one call, in bytes: they go to the worker in one message.
const MOST_BODIES: u64 = 48 << 20;

/// Requests that one request of a script may become by redirects.
const MOST_HOPS: usize = 10;

/// The client of all scripts. Connections are kept for the tenant that opened them.
pub struct Client {
    /// The way out.
    pub net: Rc<Net>,
    pool: Pool,
}

/// Why a request came to nothing.
#[derive(Debug)]
enum Error {
    Denied(String),
    /// The text as Go's client would have it, but for the request in front.
    Failed(String),
    /// The text as it is.
    Plain(String),
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Error {
        Error::Denied(denied.0)
    }
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Error {
        match error {
            NetError::Denied(denied) => denied.into(),
            NetError::Failed(text) => Error::Failed(text),
        }
    }
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Error {
        match error {
            SecretError::Denied(denied) => denied.into(),
            error @ SecretError::Unreadable(_) => Error::Failed(error.to_string()),
        }
    }
}

impl Client {
    /// A client on that network.
    #[must_use]
    pub fn new(net: Rc<Net>) -> Client {
        Client { net, pool: Pool::default() }
    }

    /// A configuration comes into force: connections that the old one allowed are not used again.
    pub fn forget(&self) {
        self.pool.clear();
    }

    /// Carries out a batch.
    pub async fn fetch_all(
        &self,
        policy: &Policy,
        secrets: &Secrets,
        caller: &Caller,
        requests: Vec<Request>,
    ) -> Answer {
        if requests.len() > MOST_REQUESTS {
            return Answer::Failed(format!("more than {MOST_REQUESTS} requests in one call"));
        }
        let room = Cell::new(caller.room.min(MOST_BODIES));
        let run = Run { client: self, policy, secrets, room, span: caller.span.as_deref() };
        let deadline = caller.invocation.deadline;
        let fetches = requests.into_iter().map(|request| run.fetch(request, deadline));
        let fetched: Vec<Fetched> = futures_util::stream::iter(fetches).buffered(AT_ONCE).collect().await;
        for result in &fetched {
            if let Fetched::Denied(text) = result {
                telemetry::denied(&caller.invocation, text, false);
            }
        }
        Answer::Http(fetched)
    }
}

/// One batch.
struct Run<'a> {
    client: &'a Client,
    policy: &'a Policy,
    secrets: &'a Secrets,
    /// Bytes of bodies that may still come in.
    room: Cell<u64>,
    /// The call's span, if the run is traced.
    span: Option<&'a Span>,
}

impl Run<'_> {
    /// One request of the batch, and its span if there is one. What it asks for stays out of that but for
    /// the host: paths and queries have secrets in them.
    async fn fetch(&self, mut request: Request, deadline: Instant) -> Fetched {
        let Some(span) = self.span else { return self.carry_out(request, deadline).await };
        let method = METHODS.into_iter().find(|known| *known == request.method).unwrap_or("_OTHER");
        let span = span.child(method, SpanKind::Client);
        span.set("http.request.method", method);
        if let Ok(url) = Url::parse(&request.url) {
            span.set("server.address", url.host_str().unwrap_or_default().to_owned());
            url.port_or_known_default().inspect(|port| span.set("server.port", i64::from(*port)));
        }
        let own = |name: &str| request.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !own("traceparent") && !own("tracestate") {
            let fields = span.fields().into_iter();
            request.headers.extend(fields.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        }
        let fetched = self.carry_out(request, deadline).await;
        match &fetched {
            Fetched::Response(response) => {
                span.set("http.response.status_code", i64::from(response.status));
                if response.status >= 400 {
                    span.fail("");
                }
            }
            Fetched::Failed(_) => span.fail("failed"),
            Fetched::Denied(_) => span.fail("denied"),
        }
        fetched
    }

    async fn carry_out(&self, request: Request, deadline: Instant) -> Fetched {
        let title = title(&request.method);
        let own = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let until = own.map_or(deadline, |own| own.min(deadline));
        let mut asked = request.url.clone();
        let mut redactor = Redactor::default();
        let following = self.follow(request, &mut asked, &mut redactor);
        let ended = match tokio::time::timeout_at(until.into(), following).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::Failed("context deadline exceeded".to_owned())),
        };
        match ended {
            Ok(response) => Fetched::Response(response),
            Err(Error::Denied(text)) => Fetched::Denied(redactor.text(text)),
            Err(Error::Plain(text)) => Fetched::Failed(redactor.text(text)),
            Err(Error::Failed(text)) => Fetched::Failed(redactor.text(format!("{title} {asked:?}: {text}"))),
        }
    }

    /// Makes the request and those that it is redirected to. `asked` is kept at the URL that is asked, and
    /// `redactor` at the secrets that were filled in.
    async fn follow(
        &self,
        request: Request,
        asked: &mut String,
        redactor: &mut Redactor,
    ) -> Result<Response, Error> {
        let mut hop = request.first_hop()?;
        for count in 1.. {
            let target = self.policy.fetch(&hop.url, hop.method.as_str())?;
            let host = target.get().host_text();
            let fields = headers::fill(&hop, self.policy, self.secrets, &host, redactor).await?;
            let answer = self.exchange(&target, &hop, fields).await?;
            match redirect::next(&hop, answer.status(), answer.headers())? {
                Next::Done => return self.response(&hop, answer, redactor).await,
                Next::Hop { next, location } => {
                    self.drain(answer).await;
                    *asked = location;
                    if count >= MOST_HOPS {
                        return Err(Error::Failed(format!("stopped after {MOST_HOPS} redirects")));
                    }
                    hop = *next;
                }
            }
        }
        Err(Error::Failed("no answer".to_owned()))
    }

    async fn response(
        &self,
        hop: &request::Hop,
        answer: exchange::Answered,
        redactor: &Redactor,
    ) -> Result<Response, Error> {
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        let body = self.read(hop, answer, &mut headers).await?;
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), redactor.bytes(value.as_bytes().to_vec())));
        Ok(Response {
            status: status.as_u16(),
            url: redactor.text(shown(&hop.url)),
            headers: headers.collect(),
            body: if redactor.is_empty() { body } else { redactor.bytes(body.into()).into() },
        })
    }

    /// Takes the bytes of a body from what may still come in.
    fn take(&self, size: usize) -> Result<(), Error> {
        let left = self.room.get().checked_sub(size as u64);
        self.room.set(left.unwrap_or(0));
        left.map(|_| ())
            .ok_or_else(|| Error::Failed("limit of bytes that host calls may bring in reached".to_owned()))
    }
}

fn too_large() -> Error {
    Error::Failed(format!("the response is larger than {}", print_size(MOST_BODY)))
}

/// A URL as scripts see it: without a password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("xxxxx"));
    }
    url.into()
}

/// `GET` as Go's errors write it.
fn title(method: &str) -> String {
    let mut letters = method.chars();
    let first = letters.next().into_iter();
    first.chain(letters.flat_map(char::to_lowercase)).collect()
}

#[cfg(test)]
mod tests;
