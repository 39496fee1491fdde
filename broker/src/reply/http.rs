//! Endings to an HTTP response.
//!
//! Takes scripts with their endings, gives one response whose body is complete. Pure. Must never let a
//! script set a header that frames the message or speaks for us.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, StatusCode};

use super::METHODS;
use super::document::{ByName, ScriptResult, json};
use crate::catalog::Script;
use crate::invocation::{Answer, Ending, Reason, format_id};

/// A response as our server sends it.
pub type Response = hyper::Response<Full<Bytes>>;

static REASON: HeaderName = HeaderName::from_static("msgscript-reason");
static LIMIT: HeaderName = HeaderName::from_static("msgscript-limit");
static MEASURED: HeaderName = HeaderName::from_static("msgscript-measured");
static INVOCATION: HeaderName = HeaderName::from_static("msgscript-invocation");

/// The most header fields that a script may set.
const MAX_FIELDS: usize = 128;
/// The most bytes they may have together.
const MAX_FIELD_BYTES: usize = 32 << 10;

/// Fields that belong to the connection or to the message's framing: never a script's.
/// `service-worker-allowed` would let a function's page answer for the operator's.
const NOT_THEIRS: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "service-worker-allowed",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// The response to a request that ran these scripts; `endings[i]` is how `scripts[i]` ended.
#[must_use]
pub fn respond(method: &str, scripts: &[Rc<Script>], endings: &[Ending]) -> Response {
    let mut runs: Vec<(&Script, &Ending)> = scripts.iter().map(Rc::as_ref).zip(endings).collect();
    runs.sort_by_key(|(script, _)| &script.name);
    match runs.iter().find(|(script, ending)| http_mode(script, ending)) {
        Some((_, ending)) => answer(method, ending),
        None => by_name(method, &runs),
    }
}

/// Whether a run answers the request itself, instead of giving an entry of the JSON object.
fn http_mode(script: &Script, ending: &Ending) -> bool {
    script.http
        || match &ending.answer {
            Answer::Http { .. } => true,
            Answer::NoFunction { methods } => !methods.is_empty(),
            Answer::None | Answer::Message(_) | Answer::Result { .. } => false,
        }
}

/// The answer of a script in HTTP mode.
fn answer(method: &str, ending: &Ending) -> Response {
    if super::failed(ending) {
        return failure(method, ending);
    }
    let (body, headers): (&Bytes, &[_]) = match &ending.answer {
        Answer::Http { body, headers, .. } | Answer::Result { payload: body, headers, .. } => (body, headers),
        Answer::Message(body) => (body, &[]),
        Answer::None | Answer::NoFunction { .. } => (&Bytes::new(), &[]),
    };
    let mut response = hyper::Response::new(Full::new(body.clone()));
    *response.status_mut() = code(super::status(ending, Some(method)));
    let fields = response.headers_mut();
    if let Err(TooMany) = copy_fields(headers, fields) {
        return plain(500, Some(Reason::Output), "the script set too many or too long header fields");
    }
    fields.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/html"));
    describe(fields, ending);
    response
}

/// A failure in plain text, with `Allow` where a method is missing.
fn failure(method: &str, ending: &Ending) -> Response {
    let status = super::status(ending, Some(method));
    let mut response = plain(status, None, &super::text(ending));
    describe(response.headers_mut(), ending);
    if let (Answer::NoFunction { methods }, 405) = (&ending.answer, status)
        && let Ok(allow) = HeaderValue::try_from(allowed(methods))
    {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// The methods that would have been answered. `HEAD` falls back to `GET`.
fn allowed(methods: &[String]) -> String {
    let has = |name: &str| methods.iter().any(|method| method == name);
    let allow = METHODS.into_iter().filter(|name| has(name) || (*name == "HEAD" && has("GET")));
    allow.collect::<Vec<_>>().join(", ")
}

/// The JSON object, keyed by name. Two patterns may each have a script of the same name: the later one
/// is keyed by its subject too.
fn by_name(method: &str, runs: &[(&Script, &Ending)]) -> Response {
    let mut entries: Vec<(Cow<'_, str>, ScriptResult<'_>)> = Vec::with_capacity(runs.len());
    for (script, ending) in runs {
        let key = match entries.iter().any(|(name, _)| **name == *script.name) {
            false => Cow::Borrowed(&*script.name),
            true => Cow::Owned(format!("{}/{}", script.subject, script.name)),
        };
        entries.push((key, ScriptResult::new(ending, Some(method)).with_reason(ending)));
    }
    let mut response = hyper::Response::new(Full::new(json(&ByName(entries))));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let succeeded = runs.iter().find(|(_, ending)| !super::failed(ending));
    if let Some((_, ending)) = succeeded.or(runs.first()) {
        describe(fields, ending);
        if super::failed(ending) {
            *response.status_mut() = code(super::status(ending, Some(method)));
        }
    }
    response
}

/// A response in plain text to a request that no script answered.
#[must_use]
pub fn plain(status: u16, reason: Option<Reason>, text: &str) -> Response {
    let mut response = hyper::Response::new(Full::new(Bytes::from(format!("Error: {text}"))));
    *response.status_mut() = code(status);
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(reason) = reason {
        set_reason(fields, reason);
    }
    response
}

/// The response to a client whose wait is over while its scripts go on.
#[must_use]
pub fn waited(wait: Duration) -> Response {
    let text = format!("no answer within {wait:?}; the script goes on (see _timeout)");
    with_limit(plain(504, Some(Reason::Wait), &text), &format!("{wait:?}"), "")
}

/// The same response with a limit and what was measured, where not empty.
#[must_use]
pub fn with_limit(mut response: Response, limit: &str, measured: &str) -> Response {
    set(response.headers_mut(), &LIMIT, limit);
    set(response.headers_mut(), &MEASURED, measured);
    response
}

/// Our own header fields about a run.
fn describe(fields: &mut HeaderMap, ending: &Ending) {
    set_reason(fields, ending.reason);
    set(fields, &LIMIT, &ending.limit);
    set(fields, &MEASURED, &ending.measured);
    set(fields, &INVOCATION, &format_id(ending.invocation));
}

fn set_reason(fields: &mut HeaderMap, reason: Reason) {
    fields.insert(&REASON, HeaderValue::from_static(reason.word()));
    if reason == Reason::Overloaded {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

/// Sets one of our fields; an empty value, or one that is no header value, is left out.
fn set(fields: &mut HeaderMap, name: &'static HeaderName, value: &str) {
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(value)) {
        fields.insert(name, value);
    }
}

struct TooMany;

/// A script's header fields, without those that are not its own and those that are no field at all.
fn copy_fields(from: &[(String, String)], fields: &mut HeaderMap) -> Result<(), TooMany> {
    let size: usize = from.iter().map(|(name, value)| name.len() + value.len()).sum();
    if from.len() > MAX_FIELDS || size > MAX_FIELD_BYTES {
        return Err(TooMany);
    }
    for (name, value) in from {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !NOT_THEIRS.contains(&name.as_str())
            && !name.as_str().starts_with("msgscript-")
        {
            fields.append(name, value);
        }
    }
    Ok(())
}

/// A status that may stand in a final response; anything else is a fault.
fn code(status: u16) -> StatusCode {
    match status {
        200..=599 => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
