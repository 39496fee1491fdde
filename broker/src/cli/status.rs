//! `status` and `top`: how a broker fares, once or again and again.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::remote::{Target, plain};
use crate::control::report::{Figures, Status};
use crate::control::wire::Request;
use crate::units::print_duration;

/// Scripts that `top` shows.
const SHOWN: usize = 20;

/// Clears a terminal and goes to its first place.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What `top` is told.
#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    /// Seconds between looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Stop after so many looks
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Shows how it fares.
pub(super) fn status(target: &Target, json: bool, out: &mut dyn Write) -> Result<ExitCode> {
    let status = look(target)?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        show(&status, &|_| None, usize::MAX, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how it fares until it is interrupted: the scripts that ran most since the last look first.
pub(super) fn top(target: &Target, options: &TopArgs, json: bool, out: &mut dyn Write) -> Result<ExitCode> {
    let pause = Duration::try_from_secs_f64(options.interval.max(0.1))?;
    let clear = std::io::stdout().is_terminal() && !json;
    let mut before: HashMap<Key, u64> = HashMap::new();
    let mut at = Instant::now();
    let mut count = 0;
    loop {
        let mut status = look(target)?;
        let passed = std::mem::replace(&mut at, Instant::now()).elapsed().as_secs_f64();
        let rates: HashMap<Key, f64> =
            if count == 0 { HashMap::new() } else { rates(&status, &before, passed) };
        before = status.scripts.iter().map(|it| (key(it), it.figures.runs)).collect();
        status.scripts.sort_by(|one, other| {
            let rate = |it| rates.get(&key(it)).copied().unwrap_or(0.0);
            rate(other).total_cmp(&rate(one)).then(other.figures.runs.cmp(&one.figures.runs))
        });
        if json {
            writeln!(out, "{}", serde_json::to_string(&status)?)?;
        } else {
            if clear {
                write!(out, "{CLEAR}")?;
            }
            show(&status, &|it| rates.get(&key(it)).copied(), SHOWN, out)?;
        }
        out.flush()?;
        count += 1;
        if options.count.is_some_and(|most| count >= most) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(pause);
    }
}

type OfScript = crate::control::report::OfScript;
type Key = (String, String, String);

fn key(script: &OfScript) -> Key {
    (script.tenant.clone(), script.subject.clone(), script.name.clone())
}

/// Runs a second since the last look.
fn rates(status: &Status, before: &HashMap<Key, u64>, passed: f64) -> HashMap<Key, f64> {
    let rate = |script: &OfScript| {
        let more = script.figures.runs.saturating_sub(before.get(&key(script)).copied().unwrap_or(0));
        (key(script), more as f64 / passed.max(0.001))
    };
    status.scripts.iter().map(rate).collect()
}

fn look(target: &Target) -> Result<Status> {
    target.ask(&Request::Status {})?.one()
}

/// For people. `rate` gives a script's runs a second, if they are known.
fn show(
    status: &Status,
    rate: &dyn Fn(&OfScript) -> Option<f64>,
    most: usize,
    out: &mut dyn Write,
) -> Result<()> {
    let (pool, word) = (
        &status.pool,
        match (status.draining, status.ready) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "not ready",
        },
    );
    let up = print_duration(Duration::from_secs(status.up as u64));
    writeln!(out, "{word}, up {up}, process {}, version {}", status.pid, plain(&status.version))?;
    writeln!(
        out,
        "workers {}/{} ({} idle), running {}, queued {}/{}",
        pool.ready, pool.workers, pool.idle, pool.running, pool.queued, pool.queue
    )?;
    let total = &status.total;
    writeln!(
        out,
        "{:.1} runs a second, {:.1} failing; {} runs, {} failed{}; p50 {} p95 {} p99 {}",
        status.rate,
        status.failing,
        total.runs,
        total.failures,
        reasons(total),
        time(total.p50),
        time(total.p95),
        time(total.p99)
    )?;
    if status.rejected > 0 {
        writeln!(out, "{} scripts are rejected as they are now: see logs", status.rejected)?;
    }
    let due = if status.scripts.iter().any(|it| it.next.is_some()) { "DUE" } else { "" };
    let head = ["TENANT", "SUBJECT", "NAME", "RATE", "RUNS", "FAILED", "P50", "P95", "P99", due];
    let mut rows = vec![head.map(str::to_owned)];
    let row = |names: [&str; 3], rate: Option<f64>, it: &Figures, next: &Option<String>| {
        let [tenant, subject, name] = names.map(plain);
        let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        let (runs, failed) = (it.runs.to_string(), format!("{}{}", it.failures, reasons(it)));
        let due = next.as_deref().map(plain).unwrap_or_default();
        [tenant, subject, name, rate, runs, failed, time(it.p50), time(it.p95), time(it.p99), due]
    };
    if status.tenants.len() > 1 {
        rows.extend(status.tenants.iter().map(|it| row([&it.tenant, "(all)", ""], None, &it.figures, &None)));
    }
    let scripts = status.scripts.iter().take(most);
    rows.extend(scripts.map(|it| row([&it.tenant, &it.subject, &it.name], rate(it), &it.figures, &it.next)));
    if rows.len() > 1 {
        writeln!(out)?;
        table(&rows, out)?;
    }
    if status.scripts.len() > most {
        writeln!(out, "and {} more", status.scripts.len() - most)?;
    }
    Ok(())
}

fn reasons(figures: &Figures) -> String {
    let bad = figures.reasons.iter().filter(|(reason, _)| *reason != "ok");
    let words: Vec<String> = bad.map(|(reason, count)| format!("{} {count}", plain(reason))).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Milliseconds.
fn time(millis: Option<f64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(millis) if millis < 10.0 => format!("{millis:.2}ms"),
        Some(millis) => format!("{millis:.0}ms"),
    }
}

fn table(rows: &[[String; 10]], out: &mut dyn Write) -> Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 10] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
