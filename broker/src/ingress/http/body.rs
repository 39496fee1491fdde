//! Reads a request's body, within limits of size, time and memory.
//!
//! Takes hyper's body, gives its bytes: without a copy when it came in one piece, without a timer when it
//! is there already. Must never hold more than the limit.

use std::cell::Cell;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};

/// The most that is read of a body that nobody wants, in bytes.
const MAX_DISCARD: usize = 4 << 20;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than the limit")]
    TooLarge,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("too many unfinished requests; try again later")]
    NoRoom,
    #[error("the body is malformed or incomplete")]
    Broken,
}

/// The bytes that unfinished bodies may still take.
pub(super) struct Budget(Cell<usize>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Budget(Cell::new(bytes))
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn collect(
    body: &mut Incoming,
    limit: usize,
    time: Duration,
    budget: &Budget,
) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut sum = Sum { limit, budget, taken: 0, first: Bytes::new(), all: BytesMut::new() };
    while let Some(frame) = body.frame().now_or_never() {
        if sum.add(frame)? || body.is_end_stream() {
            return Ok(sum.finish());
        }
    }
    let rest = async {
        while !sum.add(body.frame().await)? {}
        Ok(())
    };
    tokio::time::timeout(time, rest).await.map_err(|_| BodyError::TooSlow)??;
    Ok(sum.finish())
}

/// Reads and forgets a body whose request is refused, so that the client sees the refusal and not a reset
/// connection. Gives up on bodies that are long or slow.
pub(super) async fn discard(body: &mut Incoming) {
    let mut left = MAX_DISCARD;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Past the time the connection closes, which is all there is to do.
    let _ = tokio::time::timeout(DISCARD_TIME, read).await;
}

/// What has come of a body.
struct Sum<'a> {
    limit: usize,
    budget: &'a Budget,
    taken: usize,
    first: Bytes,
    all: BytesMut,
}

impl Sum<'_> {
    /// Adds a frame; gives whether the body has ended.
    fn add(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Result<bool, BodyError> {
        let Some(frame) = frame else { return Ok(true) };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { return Ok(false) };
        let free = self.budget.0.get();
        if self.taken + data.len() > self.limit {
            return Err(BodyError::TooLarge);
        }
        self.budget.0.set(free.checked_sub(data.len()).ok_or(BodyError::NoRoom)?);
        self.taken += data.len();
        if self.all.is_empty() && self.first.is_empty() {
            self.first = data;
        } else {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
            self.all.extend_from_slice(&data);
        }
        Ok(false)
    }

    fn finish(mut self) -> Bytes {
        match self.all.is_empty() {
            true => std::mem::take(&mut self.first),
            false => std::mem::take(&mut self.all).freeze(),
        }
    }
}

impl Drop for Sum<'_> {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() + self.taken);
    }
}
