//! What came from the server and is not yet taken: one buffer, read in place.
//!
//! Grows with what really comes, up to what one operation may need; gives the room back when little comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The room there always is.
const ROOM: usize = 64 << 10;
/// After this many reads that would have fitted into it, a larger buffer is given back.
const QUIET_READS: u32 = 64;

/// The buffer.
#[derive(Debug)]
pub(super) struct Intake {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    quiet: u32,
}

impl Intake {
    pub(super) fn new() -> Intake {
        Intake { bytes: vec![0; ROOM], start: 0, end: 0, quiet: 0 }
    }

    /// What is there.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So many bytes at the front were taken.
    pub(super) fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once. Whether the room was used up, so that more may wait; `None` at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<bool>>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(stream).poll_read(context, &mut room))?;
        let (count, full) = (room.filled().len(), room.remaining() == 0);
        self.end += count;
        self.quiet = if self.end - self.start > ROOM { 0 } else { self.quiet.saturating_add(1) };
        Poll::Ready(Ok((count > 0).then_some(full)))
    }

    /// Room for a read: at least a quarter of the buffer.
    fn make_room(&mut self) {
        if self.bytes.len() - self.end >= self.bytes.len() / 4 && self.quiet <= QUIET_READS {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end > self.bytes.len() / 2 {
            // One operation that is not complete: what it claims is not taken on trust.
            self.bytes.resize(self.bytes.len() * 2, 0);
        } else if self.quiet > QUIET_READS && self.bytes.len() > ROOM && self.end <= ROOM / 2 {
            self.bytes.truncate(ROOM);
            self.bytes.shrink_to_fit();
        }
        if self.quiet > QUIET_READS {
            self.quiet = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Reads all of `bytes` and takes `piece` at a time.
    async fn through(bytes: &[u8], keep: usize) -> (Vec<u8>, usize) {
        let (mut stream, mut intake, mut seen, mut most) = (bytes, Intake::new(), Vec::new(), 0);
        while poll_fn(|cx| intake.poll_fill(&mut stream, cx)).await.unwrap().is_some() {
            most = most.max(intake.bytes.len());
            if intake.held().len() > keep {
                let count = intake.held().len() - keep.min(7);
                seen.extend_from_slice(&intake.held()[..count]);
                intake.take(count);
            }
        }
        seen.extend_from_slice(intake.held());
        (seen, most)
    }

    #[tokio::test]
    async fn nothing_is_lost_and_room_grows_with_what_is_kept() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 3) as u8).collect();
        for (keep, room) in [(0, ROOM), (100, ROOM), (ROOM / 3, ROOM), (1 << 20, 4 << 20)] {
            let (seen, most) = through(&bytes, keep).await;
            assert!(seen == bytes, "{keep}");
            assert!(most <= room, "{keep} {most}");
        }
    }

    #[tokio::test]
    async fn room_is_given_back() {
        let mut intake = Intake::new();
        let large = vec![1; 1 << 20];
        let mut stream = &large[..];
        while !stream.is_empty() {
            let _ = poll_fn(|cx| intake.poll_fill(&mut stream, cx)).await.unwrap();
        }
        assert!(intake.bytes.len() >= 1 << 20);
        intake.take(1 << 20);
        for _ in 0..=QUIET_READS + 1 {
            let _ = poll_fn(|cx| intake.poll_fill(&mut &b"PING\r\n"[..], cx)).await.unwrap();
            intake.take(6);
        }
        assert_eq!(intake.bytes.len(), ROOM);
    }
}
