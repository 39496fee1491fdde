//! `/_/metrics` as Prometheus reads it, and the rules and the dashboard that are made for it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use msgscript_tests::harness::{Broker, Setup};

fn monitoring() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/dist/monitoring")
}

/// Runs promtool (of Debian's package prometheus), which must be content.
fn promtool(args: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(monitoring())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs (scripts/test installs it)");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // Advice is no error for it, but is for us.
    assert!(
        output.status.success() && (args[0] != "check" || args[1] != "metrics" || said.is_empty()),
        "{args:?}: {said}"
    );
}

fn broker() -> Broker {
    let spin = "--* timeout: 100ms\nfunction OnMessage() while true do end end";
    Setup::new()
        .script("many.*", "many", "function OnMessage(subject) return subject end")
        .lua("fails", "function OnMessage() error('x') end")
        .lua("spins", spin)
        .lua(
            "asks",
            "function OnMessage() local http = require('http') http.get('http://169.254.169.254/') \
             os.getenv('X') require('nats').publish('nobody', '') return 'x' end",
        )
        .file("bad.lua", "--* subject: bad\n--* name: bad\nfunction (\n")
        .start()
}

/// A sample's value.
fn value(metrics: &str, sample: &str) -> String {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{metrics}")).to_owned()
}

#[test]
fn what_happened_is_counted_as_prometheus_reads_it() {
    let broker = broker();
    promtool(&["check", "metrics"], &broker.get("/_/metrics").text());
    for number in 0..20 {
        assert_eq!(broker.call(&format!("many.{number}"), ""), format!("many.{number}"));
    }
    assert_eq!(broker.post("/fails", "").status, 500);
    assert_eq!(broker.post("/spins", "").status, 504);
    assert_eq!(broker.call("asks", ""), "x");
    // The worker that was killed is buried a moment after its caller was told.
    broker.wait_for_words(&["worker ended", "wall_time"]);
    let response = broker.get("/_/metrics");
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let metrics = response.text();
    promtool(&["check", "metrics"], &metrics);
    let runs = |subject: &str, reason: &str| {
        format!("msgscript_invocations_total{{tenant=\"default\",subject=\"{subject}\",reason=\"{reason}\"}}")
    };
    let host_calls = |call: &str, outcome: &str| {
        format!("msgscript_host_calls_total{{tenant=\"default\",call=\"{call}\",outcome=\"{outcome}\"}}")
    };
    for (sample, expected) in [
        (runs("many.*", "ok"), "20"),
        (runs("fails", "script_error"), "1"),
        (runs("spins", "wall_time"), "1"),
        ("msgscript_worker_deaths_total{reason=\"wall_time\"}".to_owned(), "1"),
        (host_calls("http", "denied"), "1"),
        (host_calls("getenv", "denied"), "1"),
        (host_calls("nats publish", "made"), "1"),
        ("msgscript_scripts{state=\"good\"}".to_owned(), "4"),
        ("msgscript_rejected_files".to_owned(), "1"),
        ("msgscript_isolation_layer{name=\"seccomp\"}".to_owned(), "1"),
        ("msgscript_ready".to_owned(), "1"),
        ("msgscript_workers_configured".to_owned(), "2"),
        ("msgscript_nats_connected".to_owned(), "1"),
        ("msgscript_store_connected".to_owned(), "1"),
    ] {
        assert_eq!(value(&metrics, &sample), expected, "{sample}");
    }
    let spins = "msgscript_invocation_duration_seconds_bucket{tenant=\"default\",subject=\"spins\",le=";
    assert_eq!(value(&metrics, &format!("{spins}\"0.065536\"}}")), "0");
    assert_eq!(value(&metrics, &format!("{spins}\"+Inf\"}}")), "1");
    assert!(!metrics.contains("many.1"), "subjects are patterns, so that strangers make no series");
}

#[test]
fn rules_and_dashboard_are_about_metrics_that_there_are() {
    promtool(&["check", "rules", "alerts.yaml"], "");
    promtool(&["test", "rules", "alerts_test.yaml"], "");
    promtool(&["check", "config", "prometheus.yaml"], "");

    let read =
        |name: &str| std::fs::read_to_string(monitoring().join(name)).expect("a file of the repository");
    let dashboard: serde_json::Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let expressions: Vec<&str> =
        targets.map(|target| target["expr"].as_str().expect("an expression")).collect();
    assert!(expressions.len() > 20);
    // promtool reads no dashboards, but rules of the same expressions.
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(at, expr)| serde_json::json!({"record": format!("r{at}"), "expr": expr.replace("$__rate_interval", "1m")}))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    std::fs::write(file.path(), text).expect("written");
    promtool(&["check", "rules", file.path().to_str().expect("a path")], "");

    let broker = broker();
    for subject in ["many.1", "fails", "spins", "asks"] {
        let _ = broker.post(&format!("/{subject}"), "");
    }
    let metrics = broker.get("/_/metrics").text();
    let known: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let all = read("alerts.yaml") + &expressions.join("\n");
    let named = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in named.filter(|word| word.starts_with("msgscript_") || word.starts_with("process_")) {
        assert!(known.contains(name.trim_end_matches("_bucket")), "{name} is no metric of ours");
    }
}
