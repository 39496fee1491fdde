//! Standard output and error of a run, kept in memory.
//!
//! Takes what a module writes; the end of the run takes it all. Output has a hard limit, past which the run
//! ends; of error text only the beginning is kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// Bytes that a module may write at a time.
const CHUNK: usize = 64 << 10;

/// The run's output is over its limit.
#[derive(Debug, thiserror::Error)]
#[error("result is too large")]
pub struct TooMuch {
    /// What it would have been, in bytes.
    pub measured: u64,
}

/// Where a run writes. Copies share it.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    limit: u64,
    hard: bool,
}

impl Sink {
    /// One that ends the run past so many bytes.
    pub fn with_limit(limit: u64) -> Sink {
        Sink(Arc::new(Mutex::new(Kept { bytes: Vec::new(), limit, hard: true })))
    }

    /// One that keeps so many bytes and drops the rest.
    pub fn keeping(limit: u64) -> Sink {
        Sink(Arc::new(Mutex::new(Kept { bytes: Vec::new(), limit, hard: false })))
    }

    /// What was written. Nothing is left.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.kept().bytes)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // One thread: nobody can have died with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to what was written.
    ///
    /// # Errors
    /// When that would be over a limit that ends the run.
    pub fn add(&self, bytes: &[u8]) -> Result<(), TooMuch> {
        let mut kept = self.kept();
        let measured = (kept.bytes.len() + bytes.len()) as u64;
        if measured > kept.limit && kept.hard {
            return Err(TooMuch { measured });
        }
        let room = usize::try_from(kept.limit).unwrap_or(usize::MAX) - kept.bytes.len();
        kept.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.add(&bytes).map_err(|error| StreamError::Trap(error.into()))
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(CHUNK)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, std::io::Error>> {
        let added = self.add(bytes).map_err(std::io::Error::other);
        Poll::Ready(added.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_has_a_limit_and_error_text_an_end() {
        let out = Sink::with_limit(4);
        assert!(out.add(b"1234").is_ok());
        assert_eq!(out.add(b"56").unwrap_err().measured, 6);
        assert_eq!(out.take(), b"1234");
        let error = Sink::keeping(4);
        assert!(error.add(b"123").is_ok() && error.add(b"456").is_ok() && error.add(b"7").is_ok());
        assert_eq!(error.take(), b"1234");
    }
}
