//! The broker's figures in Prometheus' text format.
//!
//! Rendered when somebody asks, from what is counted anyway. The number of series is bounded: subjects past
//! the most are one.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::{Instant, SystemTime};

use msgscript_proto::sandbox::Layer;

use crate::app::Core;
use crate::ingress::nats::Door;
use crate::statistics::{Histogram, OTHER, Reasons};

/// What is written.
#[derive(Debug, Default)]
struct Text(String);

/// A label's name and value.
type Label<'a> = (&'a str, &'a dyn Display);

impl Text {
    /// Begins a metric.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0 += name;
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric of one sample.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[Label<'_>], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = bound.as_secs_f64();
            let labels: Vec<Label<'_>> =
                labels.iter().copied().chain([("le", &bound as &dyn Display)]).collect();
            self.sample(&bucket, &labels, count);
        }
        let labels_of_all: Vec<Label<'_>> =
            labels.iter().copied().chain([("le", &"+Inf" as &dyn Display)]).collect();
        self.sample(&bucket, &labels_of_all, histogram.count());
        self.sample(&format!("{name}_sum"), labels, histogram.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }
}

/// All metrics.
#[must_use]
pub fn render(core: &Core) -> String {
    let mut text = Text::default();
    about(&mut text, core);
    runs(&mut text, core);
    workers(&mut text, core);
    host_calls(&mut text, core);
    scripts(&mut text, core);
    process(&mut text, core);
    text.0
}

fn about(text: &mut Text, core: &Core) {
    text.family("msgscript_build_info", "gauge", "The version that runs.");
    text.sample("msgscript_build_info", &[("version", &crate::VERSION)], 1);
    let ready = u8::from(core.is_ready());
    text.one("msgscript_ready", "gauge", "Whether messages can be served, as /_/readyz says.", ready);
    let name = "msgscript_isolation_layer";
    text.family(
        name,
        "gauge",
        "Whether a layer of the sandbox is closed (0: left out by --sandbox-without).",
    );
    for layer in Layer::ALL {
        let closed = !core.config().sandbox_without.contains(&layer);
        text.sample(name, &[("name", &layer.name())], u8::from(closed));
    }
    let connected = core.door().is_some_and(Door::is_connected);
    text.one("msgscript_nats_connected", "gauge", "Whether there is a NATS server.", u8::from(connected));
}

/// Runs by tenant and subject.
fn runs(text: &mut Text, core: &Core) {
    let mut by_subject: BTreeMap<(String, String), (Reasons, Histogram)> = BTreeMap::new();
    for script in core.statistics.scripts() {
        let key = match script.own_series {
            true => (script.tenant.to_string(), script.subject.to_string()),
            false => (OTHER.to_owned(), OTHER.to_owned()),
        };
        let (reasons, latency) = by_subject.entry(key).or_default();
        reasons.merge(&script.reasons());
        latency.merge(&script.latency());
    }
    let name = "msgscript_invocations_total";
    text.family(name, "counter", "Runs of scripts that ended, by how they ended.");
    for ((tenant, subject), (reasons, _)) in &by_subject {
        for (reason, count) in reasons.iter() {
            let labels: [Label<'_>; 3] =
                [("tenant", tenant), ("subject", subject), ("reason", &reason.word())];
            text.sample(name, &labels, count);
        }
    }
    let name = "msgscript_invocation_duration_seconds";
    text.family(name, "histogram", "Time of runs, from the message's arrival to their end.");
    for ((tenant, subject), (_, latency)) in &by_subject {
        text.histogram(name, &[("tenant", tenant), ("subject", subject)], latency);
    }
}

fn workers(text: &mut Text, core: &Core) {
    let status = core.pool.status();
    let name = "msgscript_workers";
    text.family(name, "gauge", "Worker processes that can run scripts.");
    text.sample(name, &[("state", &"busy")], status.ready - status.idle);
    text.sample(name, &[("state", &"idle")], status.idle);
    let config = core.config();
    text.one("msgscript_workers_configured", "gauge", "The setting `workers`.", config.workers);
    text.one("msgscript_runs_in_flight", "gauge", "Runs that workers have been handed.", status.in_flight);
    text.one("msgscript_queue_length", "gauge", "Messages that wait for a worker.", status.queued);
    text.one("msgscript_queue_limit", "gauge", "The setting `queue`.", config.queue);
    let name = "msgscript_workers_started_total";
    text.one(name, "counter", "Worker processes that have joined.", core.pool.started());
    let name = "msgscript_worker_deaths_total";
    text.family(name, "counter", "Worker processes that were killed or died, by why.");
    for (reason, count) in core.pool.deaths().iter() {
        text.sample(name, &[("reason", &reason.word())], count);
    }
}

fn host_calls(text: &mut Text, core: &Core) {
    let name = "msgscript_host_calls_total";
    text.family(name, "counter", "What scripts asked of the broker; denied: policy refused it.");
    for ((tenant, kind, outcome), count) in core.statistics.host_calls() {
        text.sample(name, &[("tenant", &tenant), ("call", &kind), ("outcome", &outcome.word())], count);
    }
    let name = "msgscript_schedules_total";
    text.family(name, "counter", "Due times of schedules that this broker took, by what came of them.");
    for ((tenant, outcome), count) in core.statistics.due_times() {
        text.sample(name, &[("tenant", &tenant), ("outcome", &outcome.word())], count);
    }
    let name = "msgscript_requests_refused_total";
    let help = "HTTP requests without the token or signature that their subject demands.";
    text.one(name, "counter", help, core.statistics.refusals());
}

fn scripts(text: &mut Text, core: &Core) {
    let snapshot = core.catalog.current();
    let all = snapshot.index.list();
    let broken = all.iter().filter(|script| script.broken.is_some()).count();
    text.family("msgscript_scripts", "gauge", "Scripts in service; broken: without a good version.");
    text.sample("msgscript_scripts", &[("state", &"good")], all.len() - broken);
    text.sample("msgscript_scripts", &[("state", &"broken")], broken);
    let there = u8::from(core.catalog.away().is_none());
    text.one("msgscript_store_connected", "gauge", "Whether the store of scripts can be asked.", there);
    let rejected = snapshot.problems.iter().filter(|problem| problem.rejects).count();
    text.one("msgscript_rejected_files", "gauge", "Scripts and libraries that are not in service.", rejected);
}

/// The process, under the names that all exporters use.
fn process(text: &mut Text, core: &Core) {
    use nix::sys::resource::{UsageWho, getrusage};
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let used = seconds(usage.user_time()) + seconds(usage.system_time());
        text.one("process_cpu_seconds_total", "counter", "CPU time of the broker (not of workers).", used);
    }
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    if let (Some(pages), Ok(Some(size))) = (pages, nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)) {
        let bytes = pages * u64::try_from(size).unwrap_or(4096);
        text.one("process_resident_memory_bytes", "gauge", "Memory of the broker (not of workers).", bytes);
    }
    let up = core.up(Instant::now());
    let start =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(up);
    text.one("process_start_time_seconds", "gauge", "When it started, since 1970.", start.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("m", &[("a", &"x\"\\\n{"), ("b", &1)], 2.5);
        assert_eq!(text.0, "m{a=\"x\\\"\\\\\\n{\",b=\"1\"} 2.5\n");
    }

    #[test]
    fn a_histogram_ends_with_all() {
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_secs(1));
        histogram.add(Duration::from_secs(1000));
        let mut text = Text::default();
        text.histogram("m", &[("a", &"b")], &histogram);
        let lines: Vec<&str> = text.0.lines().collect();
        assert_eq!(lines.len(), 27);
        assert_eq!(
            lines[23..],
            [
                "m_bucket{a=\"b\",le=\"134.217728\"} 1",
                "m_bucket{a=\"b\",le=\"+Inf\"} 2",
                "m_sum{a=\"b\"} 1001",
                "m_count{a=\"b\"} 2",
            ]
        );
    }
}
