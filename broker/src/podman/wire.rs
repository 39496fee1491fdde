//! Requests to Podman that its Rust library gets wrong: create, attach, start, wait.
//!
//! Takes a socket and a request, gives its answer. One connection for each request: a Podman that was away
//! is there again for the next one. Answers are bounded.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// The version of the interface that we speak: the oldest that has all we use.
const VERSION: &str = "/v4.0.0/libpod";

/// The largest answer, in bytes.
const MOST: usize = 1 << 20;

/// Why Podman did not do it.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody listens at the socket.
    #[error("Podman is not there: {socket}: {source} (is `podman system service` or podman.socket running?)")]
    Absent {
        /// The socket.
        socket: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to Podman broke: {0}")]
    Broken(String),
    /// Podman said no.
    #[error("Podman: {message} (status {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it calls the cause.
        cause: String,
        /// Its words.
        message: String,
    },
}

fn broken(error: impl std::fmt::Display) -> WireError {
    WireError::Broken(error.to_string())
}

/// A request with a JSON body (`Value::Null`: none); gives the body of a good answer.
///
/// # Errors
/// See [`WireError`].
pub async fn post(socket: &Path, path: &str, body: &Value) -> Result<Bytes, WireError> {
    let response = send(socket, request(path, body)?).await?;
    let status = response.status();
    let bytes = read(response).await?;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        Ok(bytes)
    } else {
        Err(refused(status, &bytes))
    }
}

/// A connection that Podman gives over to the container's standard streams.
///
/// # Errors
/// See [`WireError`].
pub async fn upgrade(socket: &Path, path: &str) -> Result<TokioIo<Upgraded>, WireError> {
    let mut request = request(path, &Value::Null)?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("tcp"));
    let response = send(socket, request).await?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(status, &read(response).await?));
    }
    hyper::upgrade::on(response).await.map(TokioIo::new).map_err(broken)
}

fn request(path: &str, body: &Value) -> Result<Request<Full<Bytes>>, WireError> {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).map_err(broken)? };
    let request = Request::builder().method(Method::POST).uri(format!("{VERSION}{path}"));
    let request = request.header(HOST, "podman").header(CONTENT_TYPE, "application/json");
    request.body(Full::new(body.into())).map_err(broken)
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, WireError> {
    let stream = UnixStream::connect(socket).await;
    let stream =
        stream.map_err(|source| WireError::Absent { socket: socket.display().to_string(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the request, or with the streams it was given over to.
    tokio::task::spawn_local(connection.with_upgrades());
    sender.send_request(request).await.map_err(broken)
}

async fn read(response: Response<Incoming>) -> Result<Bytes, WireError> {
    Ok(Limited::new(response.into_body(), MOST).collect().await.map_err(broken)?.to_bytes())
}

fn refused(status: StatusCode, body: &[u8]) -> WireError {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let message = match text("message") {
        message if message.is_empty() => String::from_utf8_lossy(body).trim().to_owned(),
        message => message,
    };
    WireError::Refused { status: status.as_u16(), cause: text("cause"), message }
}

/// One of the standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Something else: Podman's own words.
    Other,
}

/// Takes the streams apart: frames of 8 bytes of head (stream, 0, 0, 0, length in big-endian) and data.
/// Pieces come in any size and go on as they come; nothing is kept but an unfinished head.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    /// Hands each piece of data in `bytes` to `take`.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Stream, &[u8])) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (part, rest) = bytes.split_at(bytes.len().min(8 - self.head.len()));
                self.head.extend_from_slice(part);
                bytes = rest;
                let [_, _, _, _, a, b, c, d] = self.head[..] else { continue };
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.left > 0 {
                    continue;
                }
            }
            let (data, rest) = bytes.split_at(bytes.len().min(self.left));
            let stream = match self.head.first() {
                Some(1) => Stream::Out,
                Some(2) => Stream::Err,
                _ => Stream::Other,
            };
            if !data.is_empty() {
                take(stream, data);
            }
            self.left -= data.len();
            bytes = rest;
            if self.left == 0 {
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stream: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], data].concat()
    }

    fn gather(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let (mut frames, mut out, mut err) = (Frames::default(), Vec::new(), Vec::new());
        for piece in pieces {
            frames.push(piece, |stream, data| match stream {
                Stream::Out => out.extend_from_slice(data),
                Stream::Err => err.extend_from_slice(data),
                Stream::Other => {}
            });
        }
        (out, err)
    }

    #[test]
    fn a_refusal_says_what_podman_said() {
        let error = refused(StatusCode::NOT_FOUND, br#"{"cause":"c","message":"m","response":404}"#);
        assert_eq!(error.to_string(), "Podman: m (status 404)");
        assert_eq!(refused(StatusCode::BAD_GATEWAY, b"x\n").to_string(), "Podman: x (status 502)");
    }

    proptest! {
        #[test]
        fn frames_come_apart_however_they_are_cut(
            parts in prop::collection::vec((0..4u8, prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            cuts in prop::collection::vec(0..200usize, 0..10),
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(stream, data)| frame(*stream, data)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let of = |wanted: u8| -> Vec<u8> {
                parts.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, data)| data.clone()).collect()
            };
            prop_assert_eq!(gather(&pieces), (of(1), of(2)));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (out, err) = gather(&[&bytes]);
            prop_assert!(out.len() + err.len() <= bytes.len());
        }
    }
}
