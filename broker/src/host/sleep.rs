//! `time.sleep`: the broker waits, so that the worker needs no system call for it, and jobs that were sent
//! ahead to it run elsewhere meanwhile. Needs no grant: waiting reaches nothing.

use std::time::Duration;

use super::{Answer, Caller};

/// Answers after that time. Never later than the run's own limit, which ends it then.
pub async fn sleep(caller: &Caller, millis: u64) -> Answer {
    tokio::time::sleep(Duration::from_millis(millis).min(caller.invocation.wall)).await;
    Answer::Done
}
