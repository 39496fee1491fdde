//! What waits to be written to the server: messages and the client's own lines, in one buffer.
//!
//! Written a batch at a time. When the connection is lost, the messages that no byte was written of stay for the
//! next one; the client's own lines do not, since it begins with its own.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::nats::headers::{self, HeaderError};
use crate::nats::protocol::push_number;

/// A buffer that grew past this is not kept for later.
const KEPT_CAPACITY: usize = 256 << 10;

/// A message to send. Subject and reply must be valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) subject: &'a str,
    pub(super) reply: Option<&'a str>,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) payload: &'a [u8],
}

impl Sent<'_> {
    /// Its size as servers count it.
    pub(super) fn size(&self) -> usize {
        self.head() + self.payload.len()
    }

    fn head(&self) -> usize {
        if self.fields.is_empty() { 0 } else { headers::size(self.pairs()) }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (*name, value.as_bytes()))
    }
}

/// The buffers.
#[derive(Debug, Default)]
pub(super) struct Output {
    queued: Vec<u8>,
    /// Where the client's own lines are in it.
    own: Vec<Range<usize>>,
    writing: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn pending(&self) -> usize {
        self.queued.len() + self.writing.len() - self.written
    }

    /// Queues a message.
    pub(super) fn message(&mut self, message: &Sent<'_>) -> Result<(), HeaderError> {
        let Sent { subject, reply, fields, payload } = *message;
        let (start, head) = (self.queued.len(), message.head());
        let queued = &mut self.queued;
        // Verb, blanks, line ends and two numbers take less than 48.
        queued.reserve(subject.len() + reply.map_or(0, str::len) + head + payload.len() + 48);
        queued.extend_from_slice(if fields.is_empty() { b"PUB " } else { b"HPUB " });
        for word in [Some(subject), reply].into_iter().flatten() {
            queued.extend_from_slice(word.as_bytes());
            queued.push(b' ');
        }
        if !fields.is_empty() {
            push_number(queued, head);
            queued.push(b' ');
        }
        push_number(queued, head + payload.len());
        queued.extend_from_slice(b"\r\n");
        if !fields.is_empty()
            && let Err(error) = headers::append(queued, message.pairs())
        {
            queued.truncate(start);
            return Err(error);
        }
        queued.extend_from_slice(payload);
        queued.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Queues a line of the client's own.
    pub(super) fn line(&mut self, line: &[u8]) {
        let start = self.queued.len();
        self.queued.extend_from_slice(line);
        self.own.push(start..self.queued.len());
    }

    /// Sets lines of the client's own in front of all else. Nothing may be half written.
    pub(super) fn begin(&mut self, lines: Vec<u8>) {
        debug_assert!(self.written == self.writing.len(), "a new connection");
        (self.writing, self.written) = (lines, 0);
    }

    /// Writes all there is; ready when nothing is left.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        loop {
            while self.written < self.writing.len() {
                let rest = &self.writing[self.written..];
                let count = ready!(stream.as_mut().poll_write(context, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += count;
                self.unflushed = true;
            }
            if self.queued.is_empty() {
                break;
            }
            self.next_batch();
        }
        if self.unflushed {
            ready!(stream.poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn next_batch(&mut self) {
        self.writing.clear();
        if self.writing.capacity() > KEPT_CAPACITY {
            self.writing = Vec::new();
        }
        self.written = 0;
        self.own.clear();
        std::mem::swap(&mut self.writing, &mut self.queued);
    }

    /// After the loss of a connection: keeps the messages that wait. How many bytes were on their way, of which
    /// nobody knows whether they arrived.
    pub(super) fn cut(&mut self) -> usize {
        let lost = self.writing.len() - self.written;
        (self.writing, self.written, self.unflushed) = (Vec::new(), 0, false);
        for own in self.own.drain(..).rev() {
            self.queued.drain(own);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn sent<'a>(reply: Option<&'a str>, fields: &'a [(&'a str, &'a str)]) -> Sent<'a> {
        Sent { subject: "a.b", reply, fields, payload: b"0123456789" }
    }

    fn queued(output: &Output) -> String {
        String::from_utf8_lossy(&output.queued).into_owned()
    }

    #[test]
    fn messages_as_the_server_reads_them() {
        let mut output = Output::default();
        output.message(&sent(None, &[])).unwrap();
        output.message(&sent(Some("r"), &[("K", "v")])).unwrap();
        let wanted = "PUB a.b 10\r\n0123456789\r\nHPUB a.b r 18 28\r\nNATS/1.0\r\nK: v\r\n\r\n0123456789\r\n";
        assert_eq!(queued(&output), wanted);
        assert_eq!(sent(None, &[("K", "v")]).size(), 28);
        assert_eq!(output.pending(), wanted.len());
        output.message(&sent(None, &[("K", "v\r\nPUB x 0")])).unwrap_err();
        assert_eq!(queued(&output), wanted, "nothing is left of what cannot be sent");
    }

    #[test]
    fn own_lines_end_with_their_connection() {
        let mut output = Output::default();
        for _ in 0..2 {
            output.line(b"SUB x 1\r\n");
            output.message(&sent(None, &[])).unwrap();
            output.line(b"PING\r\n");
        }
        assert_eq!(output.cut(), 0);
        assert_eq!(queued(&output), "PUB a.b 10\r\n0123456789\r\n".repeat(2));
    }

    #[tokio::test]
    async fn all_is_written_in_order() {
        let mut output = Output::default();
        output.message(&sent(None, &[])).unwrap();
        output.begin(b"SUB x 1\r\n".to_vec());
        let mut stream = Vec::new();
        poll_fn(|cx| output.poll_write(&mut stream, cx)).await.unwrap();
        assert_eq!(String::from_utf8(stream).unwrap(), "SUB x 1\r\nPUB a.b 10\r\n0123456789\r\n");
        assert_eq!(output.pending(), 0);
    }

    #[tokio::test]
    async fn what_was_begun_is_lost_with_its_connection() {
        let mut output = Output::default();
        output.message(&sent(None, &[])).unwrap();
        // Takes ten bytes, then no more.
        let (mut stream, _other) = tokio::io::duplex(10);
        let blocked = poll_fn(|cx| Poll::Ready(output.poll_write(&mut stream, cx).is_pending())).await;
        assert!(blocked);
        output.message(&Sent { subject: "c", ..sent(None, &[]) }).unwrap();
        assert_eq!(output.cut(), 14);
        assert_eq!(queued(&output), "PUB c 10\r\n0123456789\r\n");
    }
}
