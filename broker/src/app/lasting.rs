//! What goes on when nobody waits for it any longer.
//!
//! Takes a future, gives one that is polled by whoever waits for it; dropped before its end, the rest becomes a task
//! of its own. As a task from the start it would cost each message a turn of the loop, though few are left alone.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that ends, whoever waits. Must be dropped within a `LocalSet`.
pub(super) struct Lasting<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future> Lasting<F> {
    pub(super) fn new(future: F) -> Lasting<F> {
        Lasting(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Lasting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future> Drop for Lasting<F> {
    fn drop(&mut self) {
        // One that has panicked is not looked at again.
        if let Some(rest) = self.0.take().filter(|_| !std::thread::panicking()) {
            tokio::task::spawn_local(async move { drop(rest.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_util::FutureExt as _;
    use tokio::sync::Notify;
    use tokio::task::{LocalSet, yield_now};

    use super::Lasting;

    #[tokio::test]
    async fn what_nobody_waits_for_goes_on() {
        let (go, ended) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let work = || {
            let (go, ended) = (go.clone(), ended.clone());
            Lasting::new(async move {
                go.notified().await;
                ended.set(ended.get() + 1);
            })
        };
        let set = LocalSet::new();
        set.run_until(async {
            let mut left = work();
            assert!((&mut left).now_or_never().is_none());
            drop(left);
            yield_now().await;
            assert_eq!(ended.get(), 0);
            go.notify_one();
            yield_now().await;
            assert_eq!(ended.get(), 1, "it went on without us");
            go.notify_one();
            work().await;
            yield_now().await;
            assert_eq!(ended.get(), 2, "and ends but once");
        })
        .await;
    }
}
