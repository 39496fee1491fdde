//! One request and its response.
//!
//! Takes hyper's request, gives the response, in this order: target, scripts, body, message, call, wait.
//! Must never stop a run because its client left.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, EXPECT, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::activity::Activity;
use super::body::{self, BodyError};
use super::request::{self, Target};
use super::{Door, HttpSettings, Pages};
use crate::access::{Demand, shows_token};
use crate::audit::{self, Act, Event};
use crate::catalog::Script;
use crate::ingress::App;
use crate::ingress::pages;
use crate::invocation::{Call, Message, Reason};
use crate::reply::http::{Response, plain, respond, waited, with_limit};
use crate::reply::{METHODS, size_text};
use crate::telemetry::trace::{Span, SpanKind, Tracer};

/// How long a client waits that does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Past the longest run, so that its own ending is what the client gets.
const GRACE: Duration = Duration::from_millis(500);
/// How long a refusal for overload is held back: a client that asks again at once would otherwise take more of
/// the broker by refusals than others do by answers. At least this long, and less than twice.
const CALM: Duration = Duration::from_millis(25);

/// How long the next such refusal is held back: evenly spread, since many that were let go at once would come back
/// at once, and whoever came in between would wait for all of them.
fn calm() -> Duration {
    static REFUSALS: AtomicU32 = AtomicU32::new(0);
    // Multiples of the golden ratio, modulo 1: each falls into the widest gap that the ones before it left.
    let place = REFUSALS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
    CALM + CALM.mul_f64(f64::from(place) / f64::from(u32::MAX))
}

/// One connection's client.
pub(super) struct Client<A> {
    door: Rc<Door<A>>,
    address: Bytes,
    loopback: bool,
    activity: Rc<Activity>,
}

impl<A> Client<A> {
    pub(super) fn new(door: Rc<Door<A>>, peer: SocketAddr, activity: Rc<Activity>) -> Self {
        let address = peer.ip().to_canonical();
        Client { door, address: address.to_string().into(), loopback: address.is_loopback(), activity }
    }
}

/// The response to a request.
pub(super) async fn answer<A: App>(client: &Client<A>, request: Request<Incoming>) -> Response {
    client.activity.begin();
    let response = respond_to(client, request).await;
    client.activity.end();
    response
}

async fn respond_to<A: App>(client: &Client<A>, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let settings = &client.door.settings;
    let refusal = match request::target(&head) {
        Ok(Target::Function { subject, url }) if settings.pages != Pages::Only => {
            let (subject, url): (Rc<str>, Rc<str>) = (subject.into(), url.into());
            return function(client, head, body, subject, url).await;
        }
        Ok(Target::Function { .. }) => pages::not_found(),
        Ok(Target::Page(path)) => {
            let page = pages::answer(&*client.door.app, settings, client.loopback, path, &head);
            if page.status() == StatusCode::FORBIDDEN {
                let (reason, client) = (Reason::Denied.word(), &*String::from_utf8_lossy(&client.address));
                let event = Event { reason, client, text: path, ..Event::default() };
                audit::record(Act::Refused, &event);
            }
            page
        }
        Err(refusal) => closing(plain(refusal.status(), None, &refusal.to_string())),
    };
    refuse(&head, body, refusal).await
}

/// The response of a subject's scripts.
async fn function<A: App>(
    client: &Client<A>,
    head: Parts,
    mut body: Incoming,
    subject: Rc<str>,
    url: Rc<str>,
) -> Response {
    let arrived = Instant::now();
    let app = &client.door.app;
    // Before anything is said about the subject: a stranger does not learn which scripts there are.
    let access = app.access(&subject);
    let demand = access.as_ref().map_or(Demand::Nothing, |access| access.demand(&subject));
    let authorization = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if let Demand::Token(tokens) = demand
        && !shows_token(tokens, authorization)
    {
        return refuse(&head, body, forbidden(client, &subject)).await;
    }
    let scripts = app.scripts(&subject);
    let nothing = scripts.is_empty() && !matches!(demand, Demand::Signature(_));
    if nothing || is_reserved(&subject) {
        return refuse(&head, body, no_script(&subject)).await;
    }
    let Door { settings, budget, .. } = &*client.door;
    let read = body::collect(&mut body, settings.max_payload, settings.body_timeout, budget);
    let payload = match read.await {
        Ok(payload) => payload,
        Err(error) => {
            note_refusal(&error, &subject, client);
            return without_body(settings, &head, body, error).await;
        }
    };
    let call = Call::Http { method: head.method.as_str().into(), url };
    let headers = request::fields(head.headers, &client.address);
    let shown_subject = Rc::clone(&subject);
    let trace = app.tracer().map(|tracer| Rc::new(begin(tracer, &scripts, &head.method, &headers, arrived)));
    let message = Message { subject, shown_subject, call, payload, headers, arrived, trace };
    if let Demand::Signature(webhook) = demand {
        if !app.is_signed(webhook, &message) {
            return forbidden(client, &message.subject);
        }
        if scripts.is_empty() {
            return no_script(&message.subject);
        }
    }
    run(&client.door, message, scripts).await
}

/// A body that is too large, or that there is no room for, never meets a script.
fn note_refusal<A>(error: &BodyError, subject: &str, client: &Client<A>) {
    let reason = match error {
        BodyError::TooLarge => Reason::TooLarge,
        BodyError::NoRoom => Reason::Overloaded,
        BodyError::TooSlow | BodyError::Broken => return,
    };
    let (reason, client) = (reason.word(), &*String::from_utf8_lossy(&client.address));
    audit::record(Act::Refused, &Event { subject, reason, client, ..Event::default() });
}

fn no_script(subject: &str) -> Response {
    plain(404, Some(Reason::NotFound), &format!("no script for subject {subject:?}"))
}

/// The one response to everyone who may not call, whatever was missing or wrong.
fn forbidden<A: App>(client: &Client<A>, subject: &str) -> Response {
    client.door.app.refused(subject, &String::from_utf8_lossy(&client.address));
    let mut response = plain(403, Some(Reason::Denied), "not allowed");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Runs the scripts and waits for as long as the client does.
async fn run<A: App>(door: &Door<A>, message: Message, scripts: Vec<Rc<Script>>) -> Response {
    let (method, asked) = match &message.call {
        Call::Http { method, url } => {
            (Rc::clone(method), request::wait_of(url, door.settings.parse_duration))
        }
        Call::Message => ("".into(), None),
    };
    let asked = asked.unwrap_or(DEFAULT_WAIT);
    let longest = scripts.iter().map(|script| door.app.longest(script)).max().unwrap_or(asked);
    let wait = asked.min(longest.saturating_add(GRACE));
    let trace = message.trace.clone();
    let ended = tokio::time::timeout(wait, door.app.call(message, &scripts)).await;
    if ended.as_ref().is_ok_and(|endings| endings.iter().all(|ending| ending.reason == Reason::Overloaded)) {
        tokio::time::sleep(calm().min(wait)).await;
    }
    let reply = trace.as_ref().map(|trace| trace.child("reply", SpanKind::Internal));
    let response = match ended {
        Ok(endings) => respond(&method, &scripts, &endings),
        Err(_) => waited(wait),
    };
    drop(reply);
    if let Some(trace) = trace {
        end(&trace, &response);
    }
    response
}

/// The span of a request that arrived then, and that is for these scripts.
fn begin(
    tracer: &Tracer,
    scripts: &[Rc<Script>],
    method: &Method,
    headers: &[(String, Bytes)],
    arrived: Instant,
) -> Span {
    let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER");
    // Patterns are bounded, subjects need not be.
    let pattern = scripts.first().map_or("", |script| &*script.subject);
    let span = tracer.message(format!("{method} /{pattern}"), SpanKind::Server, headers, arrived);
    span.set("http.request.method", method);
    span.set("http.route", format!("/{pattern}"));
    span
}

fn end(span: &Span, response: &Response) {
    let status = response.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail("");
    }
    span.end();
}

/// Whether a subject never runs a script, as over NATS.
fn is_reserved(subject: &str) -> bool {
    subject.starts_with('$') || subject.starts_with("_INBOX.")
}

/// A response to a request whose body, or the rest of it, nobody needs.
async fn refuse(head: &Parts, mut body: Incoming, response: Response) -> Response {
    // A client that waits for "100 Continue" must not be asked to go on.
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        body::discard(&mut body).await;
    }
    response
}

/// The response to a request whose body could not be had.
async fn without_body(settings: &HttpSettings, head: &Parts, body: Incoming, error: BodyError) -> Response {
    let text = error.to_string();
    tracing::debug!(%error, uri = %head.uri, "no request body");
    match error {
        BodyError::TooLarge => {
            let response = plain(413, Some(Reason::TooLarge), &text);
            let response = with_limit(response, &size_text(settings.max_payload), "");
            refuse(head, body, closing(response)).await
        }
        BodyError::NoRoom => refuse(head, body, closing(plain(503, Some(Reason::Overloaded), &text))).await,
        BodyError::TooSlow => closing(plain(408, None, &text)),
        BodyError::Broken => closing(plain(400, None, &text)),
    }
}

/// The same response, and the connection's last.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
