//! What the operator's pages show, gathered when a page is asked for.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::Core;
use crate::catalog::Script;
use crate::ingress::nats::Door;
use crate::ingress::pages::{Figures, Overview, PageData, Readiness, RunLine, ScriptData, ScriptFigures};
use crate::invocation::{Reason, format_id};
use crate::records::Record;
use crate::statistics::{Histogram, LastRun, Reasons};
use crate::units::{print_duration, print_time};

/// Scripts on the overview.
const BUSIEST: usize = 10;

/// Failures on the overview.
const LATEST: usize = 10;

/// Runs on a script's page.
const SHOWN: usize = 32;

/// Seconds of which the rates are the mean.
const RATE: usize = 10;

/// Whether messages can be served, and what limps.
pub(super) fn readiness(core: &Core) -> Readiness {
    let config = core.config();
    let mut notes: Vec<String> = config
        .sandbox_without
        .iter()
        .map(|layer| format!("the sandbox is without {}", layer.name()))
        .collect();
    if !core.door().is_some_and(Door::is_connected) {
        notes.push("the NATS server is away".to_owned());
    }
    if let Some(why) = core.catalog.away() {
        notes.push(format!("etcd cannot be asked ({why}): the scripts that are known stay in service"));
    }
    Readiness { ready: core.is_ready(), notes }
}

/// All scripts.
pub(super) fn all(core: &Core) -> PageData {
    let snapshot = core.catalog.current();
    let rejected = snapshot.problems.iter().filter(|problem| problem.rejects);
    PageData {
        scripts: snapshot.index.list().to_vec(),
        rejected: rejected.map(ToString::to_string).collect(),
    }
}

/// One script.
pub(super) fn script(core: &Core, subject: &str, name: &str) -> Option<ScriptData> {
    let snapshot = core.catalog.current();
    let found = snapshot.index.list().iter().find(|it| &*it.subject == subject && &*it.name == name)?;
    let statistics = core.statistics.script(found);
    let figures = statistics.as_ref().map(|it| figures(&it.reasons(), &it.latency())).unwrap_or_default();
    let last = statistics.map(|it| it.last()).unwrap_or_default();
    Some(ScriptData { script: found.clone(), figures, runs: runs(core, found, &last) })
}

/// The last runs, latest first, with what is kept of those that failed or said something; then older ones.
fn runs(core: &Core, script: &Rc<Script>, last: &[LastRun]) -> Vec<RunLine> {
    let kept = core.records.of(&script.subject, &script.name);
    let mut known = HashSet::new();
    let mut lines: Vec<RunLine> = Vec::new();
    for run in last {
        known.insert(run.invocation);
        let record = kept.iter().find(|record| record.ending.invocation == run.invocation);
        let at = SystemTime::now().checked_sub(run.at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut line = line(&script.subject, &script.name, at, run.invocation, run.reason);
        line.took = Some(run.took);
        if let Some(record) = record {
            with_words(&mut line, record);
        }
        lines.push(line);
    }
    lines.extend(kept.iter().filter(|record| !known.contains(&record.ending.invocation)).map(of_record));
    lines.truncate(SHOWN);
    lines
}

fn line(subject: &str, name: &str, at: SystemTime, invocation: u64, reason: Reason) -> RunLine {
    let ago = at.elapsed().unwrap_or_default().as_secs();
    RunLine {
        subject: subject.to_owned(),
        name: name.to_owned(),
        at: print_time(at),
        when: format!("{} ago", print_duration(Duration::from_secs(ago))),
        reason: reason.word(),
        took: None,
        invocation: format_id(invocation),
        error: String::new(),
        logs: Vec::new(),
    }
}

fn of_record(record: &Record) -> RunLine {
    let ending = &record.ending;
    let mut line = line(&record.subject, &ending.name, record.at, ending.invocation, ending.reason);
    with_words(&mut line, record);
    line
}

fn with_words(line: &mut RunLine, record: &Record) {
    line.error.clone_from(&record.ending.error);
    line.logs = record.ending.logs.iter().map(|log| log.text.clone()).collect();
}

/// The overview.
pub(super) fn overview(core: &Core) -> Overview {
    let now = Instant::now();
    let snapshot = core.catalog.current();
    let seconds = core.statistics.seconds(now);
    let of_late = &seconds[seconds.len().saturating_sub(RATE)..];
    let rate = |of: fn(&(u64, u64)) -> u64| of_late.iter().map(of).sum::<u64>() as f64 / RATE as f64;
    let (mut reasons, mut latency) = (Reasons::default(), Histogram::default());
    let mut busiest = Vec::new();
    for script in core.statistics.scripts() {
        reasons.merge(&script.reasons());
        latency.merge(&script.latency());
        busiest.push((script.reasons().total(), script));
    }
    busiest.sort_by_key(|(calls, _)| std::cmp::Reverse(*calls));
    busiest.truncate(BUSIEST);
    let scripts = snapshot.index.list();
    Overview {
        readiness: readiness(core),
        up: core.up(now),
        workers: core.pool.status(),
        queue: core.config().queue,
        scripts: scripts.len(),
        subjects: scripts.iter().map(|script| &script.subject).collect::<HashSet<_>>().len(),
        rejected: snapshot.problems.iter().filter(|problem| problem.rejects).count(),
        rate: rate(|(calls, _)| *calls),
        failing: rate(|(_, failed)| *failed),
        seconds,
        total: figures(&reasons, &latency),
        busiest: busiest
            .into_iter()
            .map(|(_, script)| ScriptFigures {
                tenant: script.tenant.to_string(),
                subject: script.subject.to_string(),
                name: script.name.to_string(),
                figures: figures(&script.reasons(), &script.latency()),
            })
            .collect(),
        latest: core.records.failures(LATEST).iter().map(of_record).collect(),
    }
}

fn figures(reasons: &Reasons, latency: &Histogram) -> Figures {
    let mut by_reason: Vec<(&str, u64)> =
        reasons.iter().map(|(reason, count)| (reason.word(), count)).collect();
    by_reason.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Figures {
        calls: reasons.total(),
        failures: reasons.failures(),
        reasons: by_reason,
        median: latency.quantile(0.5),
        late: latency.quantile(0.99),
    }
}
