//! A script's request, checked, and what came of it.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use msgscript_proto::net::{HttpRequest, HttpResponse, HttpResult};
use url::{ParseError, Url};

use super::{Error, headers};

/// A request as the script made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Header fields. Values may have placeholders of secrets.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Option<Bytes>,
    /// The longest it may take; `None`: as long as the run may.
    pub timeout: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// An answer.
    Response(Response),
    /// It failed.
    Failed(String),
    /// Policy forbids it.
    Denied(String),
}

/// An answer, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Where it came from.
    pub url: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, decompressed.
    pub body: Bytes,
}

impl Request {
    /// Copies a worker's request.
    #[must_use]
    pub fn from_wire(request: &HttpRequest<'_>) -> Request {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Request {
            method: text(request.method),
            url: text(request.url),
            headers: request.headers.iter().map(|(name, value)| (text(name), value.to_vec())).collect(),
            body: request.body.map(Bytes::copy_from_slice),
            timeout: request.timeout.map(Duration::from_nanos),
        }
    }

    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4);
        self.method.len() + self.url.len() + self.body.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }

    /// Checks it.
    pub(super) fn first_hop(self) -> Result<Hop, Error> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Error::Plain(format!("net/http: invalid method {:?}", self.method)))?;
        let mut url = parse_url(&self.url)?;
        url.set_fragment(None);
        let headers = headers::check(&self.headers)?;
        Ok(Hop { method, url, headers, body: self.body })
    }
}

/// One request on the wire, but for its secrets.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Reads a URL of the web, with Go's words for what is none.
pub(super) fn parse_url(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| Error::Plain(format!("parse {text:?}: {why}"));
    if text.contains(|c: char| c.is_ascii_control()) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    if text.contains(' ') && !text.contains('?') && !text.contains('/') || text.starts_with(' ') {
        return Err(bad("first path segment in URL cannot contain colon"));
    }
    let unsupported = |scheme: &str| Error::Failed(format!("unsupported protocol scheme {scheme:?}"));
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(unsupported(url.scheme())),
        Err(ParseError::RelativeUrlWithoutBase) => Err(unsupported("")),
        Err(ParseError::EmptyHost) => Err(Error::Failed("http: no Host in request URL".to_owned())),
        Err(ParseError::InvalidPort) => Err(bad("invalid port after host")),
        Err(ParseError::InvalidIpv6Address) if !text.contains(']') => Err(bad("missing ']' in host")),
        Err(error) => Err(bad(&error.to_string())),
    }
}

impl Fetched {
    /// Bytes that it brings in.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Fetched::Failed(text) | Fetched::Denied(text) => text.len(),
            Fetched::Response(response) => {
                let headers = response.headers.iter().map(|(name, value)| name.len() + value.len());
                response.url.len() + response.body.len() + headers.sum::<usize>()
            }
        }
    }

    /// As the worker is to get it.
    #[must_use]
    pub fn wire(&self) -> HttpResult<'_> {
        match self {
            Fetched::Failed(text) => HttpResult::Failed(text),
            Fetched::Denied(text) => HttpResult::Denied(text),
            Fetched::Response(response) => HttpResult::Response(HttpResponse {
                status: response.status,
                url: &response.url,
                headers: response.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
                body: &response.body,
            }),
        }
    }
}

/// A header field, if it is one.
pub(super) fn field(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), Error> {
    let bad_name = || Error::Failed(format!("net/http: invalid header field name {name:?}"));
    let bad_value = || Error::Failed(format!("net/http: invalid header field value for {name:?}"));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad_name())?;
    Ok((name, HeaderValue::from_bytes(value).map_err(|_| bad_value())?))
}
