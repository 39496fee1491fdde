//! On which terms a job runs: what its tenant's policy says of workers. Pure.

use std::time::Duration;

use crate::config::value::Isolation;
use crate::policy::Policy;

/// A job's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What one worker may serve.
    pub isolation: Isolation,
    /// Workers that may run its tenant's scripts at a time.
    pub concurrency: usize,
    /// Jobs of its tenant that may wait.
    pub queue: usize,
    /// CPU time of the run, if it is limited by itself.
    pub cpu: Option<Duration>,
    /// Whether LuaJIT's compiler may be used.
    pub jit: bool,
}

impl Terms {
    /// The terms that a policy gives.
    #[must_use]
    pub fn of(policy: &Policy) -> Terms {
        let concurrency = policy.limits.concurrency.and_then(|most| usize::try_from(most).ok());
        Terms {
            isolation: policy.isolation,
            concurrency: concurrency.unwrap_or(usize::MAX),
            queue: policy.limits.queue,
            cpu: policy.limits.cpu,
            jit: policy.jit,
        }
    }
}
