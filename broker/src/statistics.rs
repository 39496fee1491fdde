//! What runs came to, counted: by script, by second, and what they asked of the broker.
//!
//! Fed where a run ends and where a host call is answered; read by pages, metrics and the control socket.
//! Pure but for the clock that it is given. Bounded: past so many scripts the rest is counted as one.

mod histogram;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use histogram::Histogram;

use crate::catalog::Script;
use crate::invocation::{Ending, Reason, Tenant};

/// Scripts that are counted by themselves.
const MOST_SCRIPTS: usize = 10_000;

/// Subjects that have series of their own among the metrics.
const MOST_SERIES: usize = 200;

/// Versions of scripts that are remembered.
const MOST_VERSIONS: usize = 65_536;

/// Seconds that are told apart.
pub const SECONDS: usize = 120;

/// Runs of a script that are remembered.
const LAST: usize = 16;

/// What stands for subject and name of all scripts past the most.
pub const OTHER: &str = "_other";

/// Counts by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons([u64; Reason::ALL.len()]);

impl Reasons {
    /// One more.
    pub fn add(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Reasons) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, more)| *mine += more);
    }

    /// How many ended so.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Each reason that there is, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().map(|reason| (reason, self.of(reason))).filter(|(_, count)| *count > 0)
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// All that are not `ok`.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.total() - self.of(Reason::Ok)
    }
}

/// A run that is remembered.
#[derive(Debug, Clone, Copy)]
pub struct LastRun {
    /// The invocation.
    pub invocation: u64,
    /// When it ended.
    pub at: Instant,
    /// How long it took, from the message's arrival on.
    pub took: Duration,
    /// How it ended.
    pub reason: Reason,
}

/// What the runs of one script came to, whatever its version.
#[derive(Debug)]
pub struct ScriptStatistics {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its subject.
    pub subject: Rc<str>,
    /// Its name.
    pub name: Rc<str>,
    /// Whether its subject has a series of its own among the metrics.
    pub own_series: bool,
    counts: RefCell<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reasons: Reasons,
    latency: Histogram,
    last: VecDeque<LastRun>,
}

impl ScriptStatistics {
    fn new((tenant, subject, name): &Key, own_series: bool) -> Rc<ScriptStatistics> {
        let counts = RefCell::default();
        Rc::new(ScriptStatistics {
            tenant: tenant.clone(),
            subject: subject.clone(),
            name: name.clone(),
            own_series,
            counts,
        })
    }

    /// How its runs ended.
    #[must_use]
    pub fn reasons(&self) -> Reasons {
        self.counts.borrow().reasons
    }

    /// How long they took, from the message's arrival on.
    #[must_use]
    pub fn latency(&self) -> Histogram {
        self.counts.borrow().latency.clone()
    }

    /// The last of them, latest first.
    #[must_use]
    pub fn last(&self) -> Vec<LastRun> {
        self.counts.borrow().last.iter().rev().copied().collect()
    }

    fn add(&self, run: LastRun) {
        let mut counts = self.counts.borrow_mut();
        counts.reasons.add(run.reason);
        counts.latency.add(run.took);
        if counts.last.len() >= LAST {
            counts.last.pop_front();
        }
        counts.last.push_back(run);
    }
}

/// Tenant, subject and name.
type Key = (Tenant, Rc<str>, Rc<str>);

/// What came of a host call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was made.
    Made,
    /// It was made and failed.
    Failed,
    /// Policy refused it.
    Denied,
}

impl Outcome {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Made => "made",
            Outcome::Failed => "failed",
            Outcome::Denied => "denied",
        }
    }
}

/// What came of a due time of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheduled {
    /// A run began, and ended in whatever way.
    Ran,
    /// None did in time.
    Missed,
    /// None did, since the run before it went on.
    Overlapped,
}

impl Scheduled {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Scheduled::Ran => "ran",
            Scheduled::Missed => "missed",
            Scheduled::Overlapped => "overlapped",
        }
    }
}

/// A host call as it is counted: whose, which, with what outcome.
pub type HostCall = (Tenant, &'static str, Outcome);

/// All counts of a broker.
#[derive(Debug)]
pub struct Statistics {
    started: Instant,
    /// By version, so that a run finds its own at once.
    versions: RefCell<HashMap<u64, Rc<ScriptStatistics>>>,
    scripts: RefCell<BTreeMap<Key, Rc<ScriptStatistics>>>,
    /// Tenants' subjects that have series of their own.
    series: RefCell<HashSet<(Tenant, Rc<str>)>>,
    seconds: RefCell<Seconds>,
    host_calls: RefCell<BTreeMap<HostCall, u64>>,
    scheduled: RefCell<BTreeMap<(Tenant, Scheduled), u64>>,
    refused: Cell<u64>,
}

impl Statistics {
    /// None yet.
    #[must_use]
    pub fn new(started: Instant) -> Statistics {
        Statistics {
            started,
            versions: RefCell::default(),
            scripts: RefCell::default(),
            series: RefCell::default(),
            seconds: RefCell::default(),
            host_calls: RefCell::default(),
            scheduled: RefCell::default(),
            refused: Cell::new(0),
        }
    }

    /// A run ended.
    pub fn ended(&self, script: &Script, ending: &Ending, arrived: Instant) {
        let now = Instant::now();
        self.seconds.borrow_mut().add(self.second(now), ending.reason != Reason::Ok);
        let took = now.saturating_duration_since(arrived);
        let run = LastRun { invocation: ending.invocation, at: now, took, reason: ending.reason };
        let found = self.versions.borrow().get(&script.id).cloned();
        found.unwrap_or_else(|| self.enter(script)).add(run);
    }

    /// A version of a script that ran for the first time.
    fn enter(&self, script: &Script) -> Rc<ScriptStatistics> {
        let mut scripts = self.scripts.borrow_mut();
        let mut key = (script.tenant.clone(), script.subject.clone(), script.name.clone());
        if scripts.len() >= MOST_SCRIPTS && !scripts.contains_key(&key) {
            key = (OTHER.into(), OTHER.into(), OTHER.into());
        }
        let new = || ScriptStatistics::new(&key, self.has_series(&key));
        let found = scripts.entry(key.clone()).or_insert_with(new).clone();
        let mut versions = self.versions.borrow_mut();
        if versions.len() >= MOST_VERSIONS {
            versions.clear();
        }
        versions.insert(script.id, found.clone());
        found
    }

    /// Whether a script's subject has a series of its own among the metrics: the first ones have, for good.
    fn has_series(&self, (tenant, subject, _): &Key) -> bool {
        let mut series = self.series.borrow_mut();
        let subject = (tenant.clone(), subject.clone());
        series.contains(&subject) || (series.len() < MOST_SERIES && series.insert(subject))
    }

    /// A host call was answered.
    pub fn host_call(&self, tenant: &Tenant, kind: &'static str, outcome: Outcome) {
        *self.host_calls.borrow_mut().entry((tenant.clone(), kind, outcome)).or_default() += 1;
    }

    /// A due time of a schedule came to this.
    pub fn scheduled(&self, tenant: &Tenant, outcome: Scheduled) {
        *self.scheduled.borrow_mut().entry((tenant.clone(), outcome)).or_default() += 1;
    }

    /// What due times of schedules came to, by tenant.
    #[must_use]
    pub fn due_times(&self) -> Vec<((Tenant, Scheduled), u64)> {
        self.scheduled.borrow().iter().map(|(of, count)| (of.clone(), *count)).collect()
    }

    /// A request was refused before any script was looked for.
    pub fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// How many requests were refused so.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.get()
    }

    /// Every script that has run, by tenant, subject and name.
    #[must_use]
    pub fn scripts(&self) -> Vec<Rc<ScriptStatistics>> {
        self.scripts.borrow().values().cloned().collect()
    }

    /// One script, if it has run.
    #[must_use]
    pub fn script(&self, script: &Script) -> Option<Rc<ScriptStatistics>> {
        let key = (script.tenant.clone(), script.subject.clone(), script.name.clone());
        self.scripts.borrow().get(&key).cloned()
    }

    /// The host calls.
    #[must_use]
    pub fn host_calls(&self) -> Vec<(HostCall, u64)> {
        self.host_calls.borrow().iter().map(|(call, count)| (call.clone(), *count)).collect()
    }

    /// Runs, and failures among them, in each of the last [`SECONDS`] whole seconds, oldest first.
    #[must_use]
    pub fn seconds(&self, now: Instant) -> Vec<(u64, u64)> {
        self.seconds.borrow().last(self.second(now))
    }

    fn second(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_secs()
    }
}

/// Runs and failures by second.
#[derive(Debug)]
struct Seconds([(u64, u64, u64); SECONDS + 1]);

impl Default for Seconds {
    fn default() -> Self {
        Seconds([(u64::MAX, 0, 0); SECONDS + 1])
    }
}

impl Seconds {
    fn add(&mut self, second: u64, failed: bool) {
        let slot = &mut self.0[Self::place(second)];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 += 1;
        slot.2 += u64::from(failed);
    }

    /// The seconds before this one.
    fn last(&self, now: u64) -> Vec<(u64, u64)> {
        let at = |back: u64| {
            let second = now.checked_sub(back)?;
            let (of, calls, failed) = self.0[Self::place(second)];
            (of == second).then_some((calls, failed))
        };
        (1..=SECONDS as u64).rev().map(|back| at(back).unwrap_or_default()).collect()
    }

    fn place(second: u64) -> usize {
        usize::try_from(second % (SECONDS as u64 + 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(script: &Script, reason: Reason) -> Ending {
        Ending::failed(7, script, reason, String::new())
    }

    #[test]
    fn runs_are_counted_by_script_whatever_its_version() {
        let statistics = Statistics::new(Instant::now());
        let one = Script::for_test("s", "n");
        let newer = Script { id: 2, ..Script::for_test("s", "n") };
        let other = Script { id: 3, ..Script::for_test("s", "m") };
        let arrived = Instant::now().checked_sub(Duration::from_millis(3)).unwrap();
        for (script, reason) in
            [(&one, Reason::Ok), (&newer, Reason::Memory), (&other, Reason::Ok), (&one, Reason::Ok)]
        {
            statistics.ended(script, &ending(script, reason), arrived);
        }
        let all = statistics.scripts();
        assert_eq!(
            all.iter().map(|it| (&*it.name, it.reasons().total())).collect::<Vec<_>>(),
            [("m", 1), ("n", 3)]
        );
        let reasons: Vec<_> = all[1].reasons().iter().collect();
        assert_eq!(reasons, [(Reason::Ok, 2), (Reason::Memory, 1)]);
        assert!(all[1].latency().quantile(0.5).unwrap() >= Duration::from_millis(2));
        let last = statistics.script(&newer).unwrap().last();
        assert_eq!(
            last.iter().map(|run| run.reason).collect::<Vec<_>>(),
            [Reason::Ok, Reason::Memory, Reason::Ok]
        );
    }

    #[test]
    fn past_the_most_the_rest_is_one() {
        let statistics = Statistics::new(Instant::now());
        for id in 0..MOST_SCRIPTS as u64 + 5 {
            let script = Script { id, ..Script::for_test("s", &id.to_string()) };
            statistics.ended(&script, &ending(&script, Reason::Ok), Instant::now());
        }
        let scripts = statistics.scripts();
        assert_eq!(scripts.len(), MOST_SCRIPTS + 1);
        let other = scripts.iter().find(|script| &*script.name == OTHER).unwrap();
        assert_eq!((other.reasons().total(), other.last().len()), (5, 5));
        assert!(scripts.iter().all(|script| script.own_series), "they are of one subject");
    }

    #[test]
    fn the_first_subjects_have_series_of_their_own() {
        let statistics = Statistics::new(Instant::now());
        for id in 0..MOST_SERIES as u64 + 5 {
            let script = Script { id, ..Script::for_test(&format!("s.{id}"), "n") };
            statistics.ended(&script, &ending(&script, Reason::Ok), Instant::now());
        }
        let scripts = statistics.scripts();
        assert_eq!(scripts.iter().filter(|script| script.own_series).count(), MOST_SERIES);
    }

    #[test]
    fn seconds_pass() {
        let mut seconds = Seconds::default();
        seconds.add(0, false);
        seconds.add(5, true);
        seconds.add(5, false);
        seconds.add(6, false);
        assert_eq!(seconds.last(6)[SECONDS - 6..], [(1, 0), (0, 0), (0, 0), (0, 0), (0, 0), (2, 1)]);
        assert_eq!(seconds.last(5 + SECONDS as u64)[0], (2, 1));
        assert_eq!(seconds.last(6 + SECONDS as u64)[0], (1, 0));
        assert!(seconds.last(7 + SECONDS as u64).iter().all(|second| *second == (0, 0)));
        seconds.add(5 + SECONDS as u64 + 1, false);
        assert_eq!(seconds.last(7 + SECONDS as u64)[SECONDS - 1], (1, 0));
    }

    #[test]
    fn host_calls_by_outcome() {
        let statistics = Statistics::new(Instant::now());
        for outcome in [Outcome::Made, Outcome::Denied, Outcome::Made] {
            statistics.host_call(&"t".into(), "http", outcome);
        }
        let calls = statistics.host_calls();
        assert_eq!(
            calls,
            [(("t".into(), "http", Outcome::Made), 2), (("t".into(), "http", Outcome::Denied), 1)]
        );
    }
}
