//! The audit log: every refusal, kill and administrative act, one line of JSON each.
//!
//! Takes [`Event`]s of the broker's one thread; gives lines to a file of their own (a thread writes them) or to
//! the standard log under the target `audit`. Must never keep anybody waiting: what does not fit the queue
//! is counted, and the count told. A tenant that causes more than its share of lines has them counted, too.

mod line;
mod writer;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::catalog::{Script, Snapshot};
use crate::invocation::{Answer, Ending, Reason, Tenant};
use crate::schedule::Bucket;
use writer::Writer;

/// Lines that one tenant may cause: a second, and at once.
const SHARE: (f64, f64) = (200.0, 1000.0);

/// How long counted lines of a tenant may wait to be told, as long as anything is written.
const TOLD_EACH: Duration = Duration::from_secs(1);

/// Tenants whose share is remembered.
const MOST_TENANTS: usize = 10_000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A message or request was not let in.
    Refused,
    /// A run was ended by the broker or the kernel.
    Killed,
    /// A host call was refused.
    CallDenied,
    /// A worker was killed that had no run.
    WorkerKilled,
    /// A script went into service.
    ScriptAccepted,
    /// A script, or the newest version of one, did not.
    ScriptRejected,
    /// A script left service.
    ScriptRemoved,
    /// The broker serves.
    Started,
    /// Another configuration is in force.
    Reloaded,
    /// A configuration was not taken over.
    NotReloaded,
    /// Nothing new comes in any more.
    Draining,
    /// The broker has ended.
    Stopped,
    /// So many lines are missing here (`count`).
    Omitted,
}

impl Act {
    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Act::Refused => "refused",
            Act::Killed => "killed",
            Act::CallDenied => "call_denied",
            Act::WorkerKilled => "worker_killed",
            Act::ScriptAccepted => "script_accepted",
            Act::ScriptRejected => "script_rejected",
            Act::ScriptRemoved => "script_removed",
            Act::Started => "started",
            Act::Reloaded => "reloaded",
            Act::NotReloaded => "not_reloaded",
            Act::Draining => "draining",
            Act::Stopped => "stopped",
            Act::Omitted => "omitted",
        }
    }

    /// Whether an operator caused it, not a stranger.
    fn is_administrative(self) -> bool {
        !matches!(self, Act::Refused | Act::Killed | Act::CallDenied | Act::WorkerKilled)
    }
}

/// What is known of it; what is empty is left out of the line. All of it may be a stranger's words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Event<'a> {
    /// Whose script it concerns.
    pub tenant: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The script's name.
    pub script: &'a str,
    /// The run.
    pub invocation: Option<u64>,
    /// The reason, of the one vocabulary.
    pub reason: &'a str,
    /// The limit that was reached.
    pub limit: &'a str,
    /// What was measured.
    pub measured: &'a str,
    /// Who asked: an address or a user's name.
    pub client: &'a str,
    /// The file that it concerns.
    pub file: &'a str,
    /// More, in words.
    pub text: &'a str,
    /// How many.
    pub count: Option<u64>,
}

impl<'a> Event<'a> {
    /// Of a script.
    #[must_use]
    pub fn of(script: &'a Script) -> Event<'a> {
        let (tenant, subject, name) = (&*script.tenant, &*script.subject, &*script.name);
        Event { tenant, subject, script: name, file: &script.source.name, ..Event::default() }
    }

    /// With no more than these words.
    #[must_use]
    pub fn told(text: &'a str) -> Event<'a> {
        Event { text, ..Event::default() }
    }
}

/// Where lines go, and who has caused how many.
#[derive(Default)]
struct Log {
    writer: Option<Writer>,
    shares: HashMap<Tenant, Share>,
    looked: Option<Instant>,
}

struct Share {
    bucket: Bucket,
    omitted: u64,
}

thread_local! {
    /// Of the broker's one thread.
    static LOG: RefCell<Log> = RefCell::default();
}

/// Opens the file that lines go to from now on, or opens it again under its name; `None`: the standard log.
///
/// # Errors
/// When it cannot be opened. Lines go where they went before.
pub fn open(file: Option<&Path>) -> std::io::Result<()> {
    LOG.with_borrow_mut(|log| {
        match (file, &log.writer) {
            (None, _) => log.writer = None,
            (Some(file), Some(writer)) => writer.reopen(writer::open(file)?),
            (Some(file), None) => log.writer = Some(Writer::start(writer::open(file)?)?),
        }
        Ok(())
    })
}

/// Writes what is still to be written, and lets go of the file. Waits no longer than two seconds.
pub fn close() {
    LOG.with_borrow_mut(|log| {
        log.tell_omitted();
        log.writer = None;
    });
}

/// Something happened.
pub fn record(act: Act, event: &Event<'_>) {
    LOG.with_borrow_mut(|log| log.record(act, event, Instant::now()));
}

impl Log {
    fn record(&mut self, act: Act, event: &Event<'_>, now: Instant) {
        if self.looked.is_none_or(|looked| now >= looked + TOLD_EACH) {
            self.looked = Some(now);
            self.tell_omitted();
        }
        if !act.is_administrative() && !self.has_room(event.tenant, now) {
            return;
        }
        self.write(act, event);
    }

    /// Whether a tenant may have one more line; counts it otherwise.
    fn has_room(&mut self, tenant: &str, now: Instant) -> bool {
        if !self.shares.contains_key(tenant) {
            if self.shares.len() >= MOST_TENANTS {
                self.tell_omitted();
                self.shares.clear();
            }
            let share = Share { bucket: Bucket::new(now, SHARE.1), omitted: 0 };
            self.shares.insert(tenant.into(), share);
        }
        let Some(share) = self.shares.get_mut(tenant) else { return true };
        let has = share.bucket.take(now, SHARE.0, SHARE.1);
        share.omitted += u64::from(!has);
        has
    }

    /// Tells of the lines that tenants had no room for.
    fn tell_omitted(&mut self) {
        let omitted = self.shares.iter_mut().filter(|(_, share)| share.omitted > 0);
        let omitted: Vec<(Tenant, u64)> =
            omitted.map(|(tenant, share)| (tenant.clone(), std::mem::take(&mut share.omitted))).collect();
        for (tenant, count) in omitted {
            let text = "more lines than a tenant may cause";
            let event = Event { tenant: &tenant, count: Some(count), text, ..Event::default() };
            self.write(Act::Omitted, &event);
        }
    }

    fn write(&mut self, act: Act, event: &Event<'_>) {
        match &mut self.writer {
            Some(writer) => writer.write(line::json(act, event)),
            None => line::log(act, event),
        }
    }
}

/// A run ended: a line if it was refused or killed.
pub fn ended(script: &Script, ending: &Ending) {
    let act = match ending.reason {
        Reason::Denied if matches!(ending.answer, Answer::NoFunction { .. }) => return,
        Reason::Denied | Reason::TooLarge | Reason::Overloaded | Reason::Wait | Reason::Loop => Act::Refused,
        Reason::WallTime
        | Reason::CpuTime
        | Reason::Memory
        | Reason::Output
        | Reason::Crashed
        | Reason::KilledSyscall
        | Reason::Cancelled => Act::Killed,
        Reason::Ok | Reason::NotFound | Reason::ScriptError | Reason::Internal => return,
    };
    let event = Event {
        invocation: Some(ending.invocation),
        reason: ending.reason.word(),
        limit: &ending.limit,
        measured: &ending.measured,
        text: &ending.error,
        ..Event::of(script)
    };
    record(act, &event);
}

/// Another state of the catalogue comes into service: what is new, what is gone, what was refused.
pub fn catalog_changed(old: &Snapshot, new: &Snapshot) {
    let before: HashSet<u64> = old.index.list().iter().map(|script| script.id).collect();
    for script in new.index.list().iter().filter(|script| script.broken.is_none()) {
        if !before.contains(&script.id) {
            record(Act::ScriptAccepted, &Event::of(script));
        }
    }
    let served: HashSet<_> = new.index.list().iter().map(|script| (&script.subject, &script.name)).collect();
    for script in old.index.list().iter().filter(|script| !served.contains(&(&script.subject, &script.name)))
    {
        record(Act::ScriptRemoved, &Event::of(script));
    }
    let known: HashSet<_> = old.problems.iter().collect();
    for problem in new.problems.iter().filter(|problem| problem.rejects && !known.contains(problem)) {
        let text = problem.to_string();
        record(Act::ScriptRejected, &Event { file: &problem.file, text: &text, ..Event::default() });
    }
}

#[cfg(test)]
mod tests;
