//! One request and its answer on one connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::pool::{Connection, Key};
use super::request::Hop;
use super::{Error, Run};
use crate::policy::Permitted;
use crate::policy::egress::Target;

/// Bytes and fields that the head of an answer may have.
const MOST_HEAD: usize = 64 << 10;
const MOST_FIELDS: usize = 256;

/// What servers are told we are: what they were told by the Go server.
const AGENT: HeaderValue = HeaderValue::from_static("Go-http-client/1.1");

/// An answer whose body is still to be read.
pub(super) struct Answered {
    pub(super) response: hyper::Response<Incoming>,
    pub(super) key: Key,
    pub(super) connection: Connection,
}

impl Answered {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
}

impl Run<'_> {
    /// Sends a request over a kept connection or a new one; waits for the head of the answer.
    pub(super) async fn exchange(
        &self,
        target: &Permitted<Target>,
        hop: &Hop,
        fields: HeaderMap,
    ) -> Result<Answered, Error> {
        let place = target.get();
        let key = Key {
            tenant: self.policy.tenant.clone(),
            tls: place.tls(),
            host: place.host_text().into(),
            port: place.port(),
        };
        let mut request = build(hop, fields)?;
        while let Some(mut connection) = self.client.pool.take(&key) {
            let again = hop.method.is_safe().then(|| request.clone());
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(Answered { response, key, connection }),
                // The server had closed it: nothing was sent, or what was may be sent again.
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(failed(error.error())),
                },
            }
        }
        let mut connection = self.open(target, &key).await?;
        match connection.sender.send_request(request).await {
            Ok(response) => Ok(Answered { response, key, connection }),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn open(&self, target: &Permitted<Target>, key: &Key) -> Result<Connection, Error> {
        let net = &self.client.net;
        let stream = net.connect(self.policy, target).await?;
        if key.tls {
            shake(net.tls.connect(stream, &key.host).await.map_err(Error::Failed)?).await
        } else {
            shake(stream).await
        }
    }
}

async fn shake<S>(stream: S) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true).max_headers(MOST_FIELDS).max_buf_size(MOST_HEAD);
    let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let task = tokio::task::spawn_local(async move {
        // What goes wrong is told to whoever waits for an answer.
        let _ = driver.await;
    });
    Ok(Connection::new(sender, task.abort_handle()))
}

/// Whether we ask for a compressed body, and so decompress it.
pub(super) fn asks_for_gzip(hop: &Hop) -> bool {
    hop.method != Method::HEAD
        && !hop.headers.contains_key(header::ACCEPT_ENCODING)
        && !hop.headers.contains_key(header::RANGE)
}

fn build(hop: &Hop, mut fields: HeaderMap) -> Result<hyper::Request<Full<Bytes>>, Error> {
    let bad = |what: &str| Error::Failed(format!("cannot be asked for: {what}"));
    let path = &hop.url[url::Position::BeforePath..url::Position::AfterQuery];
    let uri: Uri = path.parse().map_err(|_| bad("the path of the URL"))?;
    let host = &hop.url[url::Position::BeforeHost..url::Position::AfterPort];
    fields.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| bad("the host of the URL"))?);
    match fields.get(header::USER_AGENT) {
        None => drop(fields.insert(header::USER_AGENT, AGENT)),
        Some(own) if own.is_empty() => drop(fields.remove(header::USER_AGENT)),
        Some(_) => {}
    }
    if asks_for_gzip(hop) {
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if !hop.url.username().is_empty() && !fields.contains_key(header::AUTHORIZATION) {
        let decoded = |text| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let login = [decoded(hop.url.username()), decoded(hop.url.password().unwrap_or(""))].join(&b':');
        let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login)));
        fields.insert(header::AUTHORIZATION, value.map_err(|_| bad("the login of the URL"))?);
    }
    let body = hop.body.clone().unwrap_or_default();
    if !body.is_empty() || matches!(hop.method, Method::POST | Method::PUT | Method::PATCH) {
        fields.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let mut request = hyper::Request::new(Full::new(body));
    *request.method_mut() = hop.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = fields;
    Ok(request)
}

/// What hyper said, in Go's words where there are some.
pub(super) fn failed(error: &hyper::Error) -> Error {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    Error::Failed(match io {
        _ if error.is_incomplete_message() => "EOF".to_owned(),
        _ if error.is_parse_too_large() => {
            "net/http: server response headers exceeded 64KiB; aborted".to_owned()
        }
        _ if error.is_parse() => format!("net/http: malformed HTTP response: {error}"),
        Some(io) => super::super::net::io_text(io),
        None => error.to_string(),
    })
}
