//! What a request asks for, from its head.
//!
//! Takes a parsed head, gives the target or the status of a refusal. Pure. Must never let a path name a
//! subject that is no literal one, nor a client speak as `remote-addr`.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::{CONNECTION, COOKIE, HeaderName, UPGRADE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

/// The longest path and query, in bytes.
const MAX_URL: usize = 16 << 10;
/// The most bytes of header names and values.
pub(super) const MAX_FIELD_BYTES: usize = 32 << 10;

/// The header in which a script finds the client's address.
const REMOTE_ADDR: &str = "remote-addr";

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A page, by its whole path, not decoded.
    Page(&'a str),
    /// A function.
    Function {
        /// A literal subject.
        subject: Cow<'a, str>,
        /// Path and query behind it, as they came.
        url: &'a str,
    },
}

/// Why a head asks for nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the URL is longer than 16 KiB")]
    UrlTooLong,
    #[error("the header fields have more than 32 KiB")]
    FieldsTooLarge,
    #[error("WebSocket is not supported")]
    WebSocket,
    #[error("the target must be a path")]
    NoPath,
    #[error(
        "the first segment of the path must be a subject: tokens with dots between, no spaces, no wildcards"
    )]
    NoSubject,
}

impl Refusal {
    pub(super) fn status(&self) -> u16 {
        match self {
            Refusal::UrlTooLong => 414,
            Refusal::FieldsTooLarge => 431,
            Refusal::WebSocket => 501,
            Refusal::NoPath | Refusal::NoSubject => 400,
        }
    }
}

/// What a request is for. A target in absolute form counts by its path: its host is nothing to us.
pub(super) fn target(head: &Parts) -> Result<Target<'_>, Refusal> {
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if fields > MAX_FIELD_BYTES {
        return Err(Refusal::FieldsTooLarge);
    }
    if head.method == Method::CONNECT {
        return Err(Refusal::NoPath);
    }
    if is_websocket(&head.headers) {
        return Err(Refusal::WebSocket);
    }
    let url = head.uri.path_and_query().map_or("", |url| url.as_str());
    if url.len() > MAX_URL {
        return Err(Refusal::UrlTooLong);
    }
    split(url)
}

/// Splits path and query behind the subject.
fn split(url: &str) -> Result<Target<'_>, Refusal> {
    let rest = url.strip_prefix('/').ok_or(Refusal::NoPath)?;
    let (segment, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = &url[..url.find('?').unwrap_or(url.len())];
    if matches!(path, "/" | "/logo.webp" | "/favicon.ico") {
        return Ok(Target::Page(path));
    }
    let subject = percent_decode_str(segment).decode_utf8().map_err(|_| Refusal::NoSubject)?;
    match &*subject {
        "_" => Ok(Target::Page(path)),
        literal if is_literal(literal) => Ok(Target::Function { subject, url: behind }),
        _ => Err(Refusal::NoSubject),
    }
}

/// Whether this is a literal NATS subject: dots between tokens, none of them empty or a wildcard.
fn is_literal(subject: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    subject.split('.').all(|token| !matches!(token, "" | "*" | ">") && !token.contains(bad))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrades = headers.get(UPGRADE).is_some_and(|to| has_token(to.as_bytes(), b"websocket"));
    upgrades && headers.get_all(CONNECTION).iter().any(|c| has_token(c.as_bytes(), b"upgrade"))
}

/// Whether a list of tokens between commas has this one.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// How long the client says that it waits: `_timeout` of the query, if it can be read.
pub(super) fn wait_of(url: &str, parse: fn(&str) -> Option<Duration>) -> Option<Duration> {
    let (_, query) = url.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("_timeout="))?;
    parse(&percent_decode_str(value).decode_utf8().ok()?)
}

/// The header fields as scripts get them: lower-case names, each once, and the client's address.
pub(super) fn fields(headers: HeaderMap, client: &Bytes) -> Rc<[(String, Bytes)]> {
    let mut fields: Vec<(String, Bytes)> = Vec::with_capacity(headers.keys_len() + 1);
    let mut last = None;
    for (name, value) in headers {
        match name {
            Some(name) => {
                fields.push((name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())));
                last = Some(name);
            }
            // Another value of the field before it.
            None => {
                if let Some((_, all)) = fields.last_mut() {
                    *all = joined(all, last.as_ref(), value.as_bytes());
                }
            }
        }
    }
    fields.retain(|(name, _)| name != REMOTE_ADDR);
    fields.push((REMOTE_ADDR.to_owned(), client.clone()));
    fields.into()
}

fn joined(all: &Bytes, name: Option<&HeaderName>, value: &[u8]) -> Bytes {
    let separator: &[u8] = if name == Some(&COOKIE) { b"; " } else { b", " };
    let mut both = BytesMut::with_capacity(all.len() + separator.len() + value.len());
    both.extend_from_slice(all);
    both.extend_from_slice(separator);
    both.extend_from_slice(value);
    both.freeze()
}

#[cfg(test)]
mod tests;
