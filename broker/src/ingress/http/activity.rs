//! Tells a connection on which something happens from one that only lasts.
//!
//! hyper's own timer for heads is made anew for each request, and it has none for responses that nobody
//! takes. Here both cost a flag: who wakes up once in a while and finds no [`Activity`] ends the connection.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// What happened on a connection since somebody looked.
#[derive(Default)]
pub(super) struct Activity {
    /// A request is being answered, which has limits of its own.
    answering: Cell<bool>,
    /// A request was answered, or the client took bytes of a response.
    moved: Cell<bool>,
}

impl Activity {
    /// A whole head is there.
    pub(super) fn begin(&self) {
        self.answering.set(true);
    }

    /// The response is ready to be written.
    pub(super) fn end(&self) {
        self.answering.set(false);
        self.moved.set(true);
    }

    /// Whether anything happened since the last call. Bytes of a head do not count: it has to be whole.
    pub(super) fn take(&self) -> bool {
        self.moved.take() || self.answering.get()
    }
}

/// A stream that notes when the client takes bytes.
pub(super) struct Noted<S> {
    stream: S,
    activity: Rc<Activity>,
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, activity: Rc<Activity>) -> Self {
        Noted { stream, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.moved.set(true);
        }
        written
    }
}

impl<S: Read + Unpin> Read for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }
}
