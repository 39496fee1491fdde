//! One worker that obeys probes, and what became of it.
//!
//! Takes acts, gives what was seen. The process never outlives its value.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use msgscript_proto::codec;
use msgscript_proto::message::{ToBroker, ToWorker};
use msgscript_proto::sandbox::{Probe, Report};
use tokio::time::timeout;

use crate::pool::solo::Solo;
pub use crate::pool::solo::SoloError as PrisonerError;
use crate::pool::spawn::{SpawnPlan, Spawner};

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

/// A worker set up as `Engine::Probe` or its like, jailed and verified.
#[derive(Debug)]
pub struct Prisoner {
    solo: Solo,
    /// What it reported of its jail.
    pub report: Report,
}

impl Prisoner {
    /// Starts one and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or its jail does not close.
    pub async fn start(spawner: &Spawner, plan: Arc<SpawnPlan>) -> Result<Prisoner, PrisonerError> {
        let solo = Solo::start(spawner, plan).await?;
        let report = solo.report.clone();
        Ok(Prisoner { solo, report })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.solo.pid()
    }

    /// Has it try this for at most so long.
    ///
    /// # Errors
    /// When the socket fails, or it answers with something else.
    pub async fn act(&mut self, probe: &Probe, longest: Duration) -> Result<Seen, PrisonerError> {
        self.solo.send(&ToWorker::Probe(probe.clone())).await?;
        match timeout(longest, self.solo.recv()).await {
            Err(_) => Ok(Seen::Running),
            Ok(Ok(Some(bytes))) => match codec::decode(&bytes) {
                Ok(ToBroker::Probed { result }) => Ok(Seen::Returned(result)),
                other => Err(PrisonerError::Silent(format!("{other:?}"))),
            },
            Ok(Ok(None)) => Ok(self.kill()?),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Kills it; gives how it ended, as [`Solo::kill`] does.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kill(&mut self) -> io::Result<Seen> {
        self.solo.kill().map(seen)
    }
}

fn seen(status: ExitStatus) -> Seen {
    match (status.signal(), status.code()) {
        (Some(signal), _) => Seen::Killed(signal),
        (None, code) => Seen::Exited(code.unwrap_or(-1)),
    }
}
