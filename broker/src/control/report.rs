//! How the broker fares, as a document: what `status` and `top` show.
//!
//! Takes the core, gives a value. The counts are those of [`crate::statistics`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::app::Core;
use crate::statistics::{Histogram, Reasons};

/// Seconds of which the rates are the mean.
const RATE: usize = 10;

/// How a broker fares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been up, in seconds.
    pub up: f64,
    /// Whether messages can be served.
    pub ready: bool,
    /// Whether it is stopping.
    pub draining: bool,
    /// The pool and its queue.
    pub pool: PoolFigures,
    /// Runs a second, of late.
    pub rate: f64,
    /// Failures a second, of late.
    pub failing: f64,
    /// Scripts that are rejected as they are now.
    pub rejected: usize,
    /// All runs.
    pub total: Figures,
    /// By tenant.
    pub tenants: Vec<OfTenant>,
    /// By script, those in service that have not run among them.
    pub scripts: Vec<OfScript>,
}

/// The pool and its queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFigures {
    /// Workers as configured.
    pub workers: usize,
    /// Those that can run functions.
    pub ready: usize,
    /// Of these, idle.
    pub idle: usize,
    /// Invocations that run.
    pub running: usize,
    /// Invocations that wait.
    pub queued: usize,
    /// How many may wait.
    pub queue: usize,
}

/// What runs came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many there were.
    pub runs: u64,
    /// How many did not end well.
    pub failures: u64,
    /// How many ended for which reason.
    pub reasons: BTreeMap<String, u64>,
    /// What half of them did not exceed, in milliseconds from the message's arrival on.
    pub p50: Option<f64>,
    /// The same of 95 %.
    pub p95: Option<f64>,
    /// The same of 99 %.
    pub p99: Option<f64>,
}

impl Figures {
    fn new(reasons: &Reasons, latency: &Histogram) -> Figures {
        let at = |share| latency.quantile(share).map(|took: Duration| took.as_secs_f64() * 1e3);
        Figures {
            runs: reasons.total(),
            failures: reasons.failures(),
            reasons: reasons.iter().map(|(reason, count)| (reason.word().to_owned(), count)).collect(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

/// A tenant's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfTenant {
    /// Which.
    pub tenant: String,
    /// Its runs.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A script's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfScript {
    /// Whose.
    pub tenant: String,
    /// Its subject.
    pub subject: String,
    /// Its name.
    pub name: String,
    /// When it is due next, if it has a schedule: RFC 3339, in its own time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Its runs.
    #[serde(flatten)]
    pub figures: Figures,
}

/// How it fares now.
#[must_use]
pub fn status(core: &Core) -> Status {
    let now = Instant::now();
    let (config, pool, snapshot) = (core.config(), core.pool.status(), core.catalog.current());
    let seconds = core.statistics.seconds(now);
    let late = &seconds[seconds.len().saturating_sub(RATE)..];
    let rate = |of: fn(&(u64, u64)) -> u64| late.iter().map(of).sum::<u64>() as f64 / RATE as f64;
    let (mut total, mut tenants) = (<(Reasons, Histogram)>::default(), BTreeMap::new());
    let clock = jiff::Timestamp::now();
    let (mut scripts, mut next) = (BTreeMap::new(), BTreeMap::new());
    for script in snapshot.index.list() {
        let key = (script.tenant.to_string(), script.subject.to_string(), script.name.to_string());
        tenants.entry(key.0.clone()).or_insert_with(<(Reasons, Histogram)>::default);
        let due = script.timer.as_ref().and_then(|timer| timer.coming(clock, 1).pop());
        next.extend(due.map(|due| (key.clone(), due)));
        scripts.insert(key, Figures::default());
    }
    for script in core.statistics.scripts() {
        let (reasons, latency) = (script.reasons(), script.latency());
        let tenant = tenants.entry(script.tenant.to_string()).or_default();
        for sum in [&mut total, tenant] {
            sum.0.merge(&reasons);
            sum.1.merge(&latency);
        }
        let key = (script.tenant.to_string(), script.subject.to_string(), script.name.to_string());
        scripts.insert(key, Figures::new(&reasons, &latency));
    }
    Status {
        version: crate::VERSION.to_owned(),
        pid: std::process::id(),
        up: core.up(now).as_secs_f64(),
        ready: core.is_ready(),
        draining: core.orders.is_draining(),
        pool: PoolFigures {
            workers: config.workers,
            ready: pool.ready,
            idle: pool.idle,
            running: pool.in_flight,
            queued: pool.queued,
            queue: config.queue,
        },
        rate: rate(|(runs, _)| *runs),
        failing: rate(|(_, failed)| *failed),
        rejected: snapshot.problems.iter().filter(|problem| problem.rejects).count(),
        total: Figures::new(&total.0, &total.1),
        tenants: tenants
            .into_iter()
            .map(|(tenant, sum)| OfTenant { tenant, figures: Figures::new(&sum.0, &sum.1) })
            .collect(),
        scripts: scripts
            .into_iter()
            .map(|(key, figures)| {
                let next = next.remove(&key);
                let (tenant, subject, name) = key;
                OfScript { tenant, subject, name, next, figures }
            })
            .collect(),
    }
}
