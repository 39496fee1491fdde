//! One worker that obeys probes, and what became of it.
//!
//! Takes acts, gives what was seen. The process never outlives its value.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use msgscript_proto::codec;
use msgscript_proto::message::{ToBroker, ToWorker};
use msgscript_proto::sandbox::{Probe, Report};
use tokio::time::timeout;

use crate::host::child::{Child, ChildError, End};
use crate::pool::spawn::{SpawnPlan, Spawner};

/// Why there is no prisoner to ask.
pub type PrisonerError = ChildError;

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The worker lives and the call gave this: a value, or a negated `errno`.
    Returned(i64),
    /// The worker was killed by this signal.
    Killed(i32),
    /// The worker ended with this status.
    Exited(i32),
    /// The worker was still at it when the time was over.
    Running,
}

/// A worker set up as `Engine::Probe`, jailed and verified.
#[derive(Debug)]
pub struct Prisoner {
    child: Child,
    /// What it reported of its jail.
    pub report: Report,
}

impl Prisoner {
    /// Starts one and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or its jail does not close.
    pub async fn start(spawner: &Spawner, plan: Arc<SpawnPlan>) -> Result<Prisoner, PrisonerError> {
        let child = Child::start(spawner, plan).await?;
        Ok(Prisoner { report: child.report.clone(), child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Has it try this for at most so long.
    ///
    /// # Errors
    /// When the socket fails, or it answers with something else.
    pub async fn act(&mut self, probe: &Probe, longest: Duration) -> Result<Seen, PrisonerError> {
        self.child.send(&ToWorker::Probe(probe.clone())).await?;
        match timeout(longest, self.child.recv()).await {
            Err(_) => Ok(Seen::Running),
            Ok(Ok(Some(bytes))) => match codec::decode(&bytes) {
                Ok(ToBroker::Probed { result }) => Ok(Seen::Returned(result)),
                other => Err(PrisonerError::Silent(format!("{other:?}"))),
            },
            Ok(Ok(None)) => Ok(self.kill()?),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Kills it; gives how it ended: by itself, if it was ending already.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kill(&mut self) -> io::Result<Seen> {
        Ok(match self.child.kill()? {
            End::Killed(signal) => Seen::Killed(signal),
            End::Exited(status) => Seen::Exited(status),
        })
    }
}
