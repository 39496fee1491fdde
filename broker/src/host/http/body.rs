//! Bodies of answers: read whole, under a limit that also holds for what they decompress to.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderMap};

use super::exchange::{Answered, asks_for_gzip, failed};
use super::request::Hop;
use super::{Error, MOST_BODY, Run, too_large};

/// Bytes of a redirect's body that are read to keep the connection.
const DRAINED: usize = 16 << 10;

impl Run<'_> {
    /// The body. If we asked for a compressed one and got it, decompressed, and the fields that spoke of the
    /// compressed one taken out of `headers`.
    pub(super) async fn read(
        &self,
        hop: &Hop,
        answer: Answered,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, Error> {
        let Answered { response, key, connection } = answer;
        let mut incoming = response.into_body();
        let mut whole = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| match failed(&error) {
                Error::Failed(text) if text == "EOF" => Error::Failed("unexpected EOF".to_owned()),
                error => error,
            })?;
            if let Some(data) = frame.data_ref() {
                self.take(data.len())?;
                whole.extend_from_slice(data);
                if whole.len() as u64 > MOST_BODY {
                    return Err(too_large());
                }
            }
        }
        self.client.pool.put(key, connection);
        let gzip = headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        if !gzip || !asks_for_gzip(hop) || whole.is_empty() {
            return Ok(whole.freeze());
        }
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        let compressed = whole.len();
        let most = MOST_BODY.min(self.room.get() + compressed as u64);
        // Many bytes from few: not on the thread that serves everybody.
        let plain = tokio::task::spawn_blocking(move || gunzip(&whole, most)).await;
        let plain = plain.unwrap_or_else(|error| Err(error.to_string())).map_err(Error::Failed)?;
        if plain.len() as u64 > most {
            return Err(too_large());
        }
        self.take(plain.len().saturating_sub(compressed))?;
        Ok(plain.into())
    }

    /// Reads the rest of a redirect, if that is little, so that its connection can be used again.
    pub(super) async fn drain(&self, answer: Answered) {
        let Answered { response, key, connection } = answer;
        if response.status().is_informational() || connection.sender.is_closed() {
            return;
        }
        let mut incoming = response.into_body();
        let mut size = 0;
        while let Some(Ok(frame)) = incoming.frame().await {
            size += frame.data_ref().map_or(0, Bytes::len);
            if size > DRAINED {
                return;
            }
        }
        self.client.pool.put(key, connection);
    }
}

/// At most one byte more than `most`.
fn gunzip(bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(most + 1).read_to_end(&mut plain);
    match read {
        Ok(_) => Ok(plain),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err("unexpected EOF".to_owned()),
        Err(error) => Err(format!("gzip: {error}")),
    }
}
