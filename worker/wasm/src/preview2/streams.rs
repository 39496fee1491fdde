//! Reading and writing an open file as a stream. Nothing here ever waits.

use bytes::Bytes;
use msgscript_worker::scratch::Reason;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError};

use super::files::{Opened, PIECE};

/// Reads from a position on.
pub struct Reader {
    file: Opened,
    offset: u64,
}

impl Reader {
    /// Of this file, from there.
    pub fn new(file: Opened, offset: u64) -> Reader {
        Reader { file, offset }
    }
}

fn failed(reason: Reason) -> StreamError {
    StreamError::LastOperationFailed(reason.into())
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> Result<Bytes, StreamError> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = vec![0; size.min(PIECE)];
        let size = self.file.files.tree().read_at(self.file.number, self.offset, &mut bytes);
        let size = size.map_err(failed)?;
        if size == 0 {
            return Err(StreamError::Closed);
        }
        self.offset = self.offset.saturating_add(size as u64);
        bytes.truncate(size);
        Ok(bytes.into())
    }
}

/// Writes from a position on, or at the end.
pub struct Writer {
    file: Opened,
    /// Where; `None`: at the end.
    offset: Option<u64>,
}

impl Writer {
    /// To this file, which appends if there is no position.
    pub fn new(file: Opened, offset: Option<u64>) -> Writer {
        Writer { file, offset }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let mut tree = self.file.files.tree();
        match &mut self.offset {
            Some(offset) => {
                tree.write_at(self.file.number, *offset, &bytes).map_err(failed)?;
                *offset = offset.saturating_add(bytes.len() as u64);
                Ok(())
            }
            None => tree.write(self.file.number, &bytes).map_err(|error| failed(error.reason)),
        }
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(PIECE)
    }
}
