//! What a row of the escape table is made of, and how it is run.
//!
//! Takes a row and a place to run it, gives what got through.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use msgscript_proto::VERSION;
use msgscript_proto::message::{Engine, Setup};
use msgscript_proto::sandbox::{Layer, Probe};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::prisoner::{Prisoner, PrisonerError, Seen};
use crate::pool::spawn::{SpawnPlan, Spawner};

/// Workers that are tried at a time.
const AT_A_TIME: usize = 4;

/// The longest an act may take that is not expected to go on for ever: a generous guard.
pub const GUARD: Duration = Duration::from_secs(20);

/// How long an act is watched that is expected to go on for ever.
const FOREVER: Duration = Duration::from_millis(100);

/// The memory limit that prisoners are told, in bytes. A worker may use as much again for itself.
pub const MEMORY: u64 = 32 << 20;

/// One line of the table: acts of one kind.
#[derive(Debug, Clone)]
pub struct Row {
    /// `R..` as in the threat model's table; `A..`: a layer that must hold alone.
    pub id: &'static str,
    /// What is tried.
    pub title: &'static str,
    /// Layers that are left out, to see what the others do.
    pub without: Vec<Layer>,
    /// The oldest version of Landlock's interface that holds this row.
    pub from_abi: u8,
    /// The acts, each in a worker of its own.
    pub cases: Vec<Case>,
    /// What an act leaves behind if it gets through; removed after the row.
    pub leaves: Option<PathBuf>,
}

impl Row {
    /// A row that no layer is left out of.
    #[must_use]
    pub fn of_all_layers(id: &'static str, title: &'static str, cases: Vec<Case>) -> Row {
        Row { id, title, without: Vec::new(), from_abi: 0, cases, leaves: None }
    }
}

/// One act.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// How. Steps before the last prepare it.
    pub steps: Vec<Probe>,
    /// What must come of the last step.
    pub expect: Expect,
}

/// What must come of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The worker dies by one of these signals.
    Killed(&'static [Signal]),
    /// The call fails with one of these errors, and the worker lives.
    Fails(&'static [Errno]),
    /// The call gives this.
    Gives(i64),
    /// The call gives anything but this.
    GivesNot(i64),
    /// The call gives at most this.
    AtMost(u64),
    /// The worker ends with this status.
    Exits(i32),
    /// It goes on for ever, and `SIGKILL` ends it.
    NeverEnds,
}

impl Expect {
    fn met(self, seen: Seen) -> bool {
        match (self, seen) {
            (Expect::Killed(signals), Seen::Killed(signal)) => signals.iter().any(|s| *s as i32 == signal),
            (Expect::Fails(errors), Seen::Returned(value)) => {
                errors.iter().any(|errno| i64::from(*errno as i32) == -value)
            }
            (Expect::Gives(wanted), Seen::Returned(value)) => wanted == value,
            (Expect::GivesNot(unwanted), Seen::Returned(value)) => unwanted != value,
            (Expect::AtMost(limit), Seen::Returned(value)) => u64::try_from(value).is_ok_and(|v| v <= limit),
            (Expect::Exits(wanted), Seen::Exited(status)) => wanted == status,
            (Expect::NeverEnds, Seen::Running) => true,
            _ => false,
        }
    }
}

/// Where rows are run.
#[derive(Debug)]
pub struct Ground {
    /// Starts the workers.
    pub spawner: Spawner,
    /// Behind which filter they try: one of the engines that obey probes.
    pub engine: Engine,
    /// The worker's program.
    pub worker_binary: PathBuf,
    /// Use no more of Landlock than this version.
    pub landlock_abi: Option<u8>,
    /// Layers that are left out of every row, besides its own.
    pub without: Vec<Layer>,
    /// The longest an act may take that is not expected to go on for ever ([`GUARD`]).
    pub longest: Duration,
}

impl Ground {
    /// What a worker is told that lacks these layers besides the ground's own.
    #[must_use]
    pub fn plan(&self, without: &[Layer]) -> Arc<SpawnPlan> {
        let without = Layer::ALL
            .into_iter()
            .filter(|layer| without.contains(layer) || self.without.contains(layer))
            .collect();
        Arc::new(SpawnPlan {
            worker_binary: self.worker_binary.clone(),
            setup: Setup {
                version: VERSION,
                engine: self.engine,
                memory: MEMORY,
                without,
                landlock_abi: self.landlock_abi,
                uid: None,
                paths: Vec::new(),
                plugins: Vec::new(),
            },
        })
    }
}

/// What came of a row.
#[derive(Debug, Clone)]
pub struct RowResult {
    /// The row's id.
    pub id: &'static str,
    /// The row's title.
    pub title: &'static str,
    /// How many acts were tried; 0 if Landlock is too old for the row.
    pub tried: usize,
    /// What got through, or could not be tried.
    pub failures: Vec<Failure>,
}

impl RowResult {
    /// Whether everything was held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An act that did not end as it must.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The act.
    pub case: String,
    /// What must come of it.
    pub expected: Expect,
    /// What did.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, expected {:?}", self.case, self.seen, self.expected)
    }
}

/// Runs every case of a row, each in a fresh worker, several at a time. `landlock_abi` is the version
/// in force.
pub async fn run_row(ground: &Ground, landlock_abi: u8, row: &Row) -> RowResult {
    let cases: &[Case] = if row.from_abi <= landlock_abi { &row.cases } else { &[] };
    let failures = stream::iter(cases)
        .map(|case| run_case(ground, &row.without, case))
        .buffer_unordered(AT_A_TIME)
        .filter_map(|failure| async { failure })
        .collect()
        .await;
    if let Some(path) = &row.leaves {
        // Whichever of the two it is; neither where the row holds.
        let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
    }
    RowResult { id: row.id, title: row.title, tried: cases.len(), failures }
}

async fn run_case(ground: &Ground, without: &[Layer], case: &Case) -> Option<Failure> {
    let seen = match try_case(ground, without, case).await {
        Ok(seen) if case.expect.met(seen) => return None,
        Ok(seen) => format!("{seen:?}"),
        Err(error) => error.to_string(),
    };
    Some(Failure { case: case.name.clone(), expected: case.expect, seen })
}

async fn try_case(ground: &Ground, without: &[Layer], case: &Case) -> Result<Seen, PrisonerError> {
    let mut prisoner = Prisoner::start(&ground.spawner, ground.plan(without)).await?;
    let longest = if case.expect == Expect::NeverEnds { FOREVER } else { ground.longest };
    let mut seen = Seen::Returned(0);
    for step in &case.steps {
        seen = prisoner.act(step, longest).await?;
        if !matches!(seen, Seen::Returned(_)) {
            break;
        }
    }
    if seen == Seen::Running && prisoner.kill()? != Seen::Killed(Signal::SIGKILL as i32) {
        return Err(PrisonerError::Silent("SIGKILL did not end it".to_owned()));
    }
    Ok(seen)
}
