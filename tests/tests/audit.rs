//! The audit log: what is refused, killed and done by the operator, a line each, whatever strangers say.

use std::path::{Path, PathBuf};

use msgscript_tests::harness::{Broker, Setup, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

const CONFIG: &str = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n\
    [tenant.limits]\nwall = \"300ms\"\npayload = \"1KiB\"\nmemory = \"16MiB\"\n\
    [[tenant]]\nname = \"shut\"\nsubjects = [\"shut.>\"]\nscripts = \"shut\"\n[tenant.http]\n\
    tokens = [\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]\n";

fn script(subject: &str, lua: &str) -> String {
    format!("--* subject: {subject}\n--* name: n\n{lua}\n")
}

fn setup() -> Setup {
    Setup::new()
        .config(CONFIG)
        .file("acme/loop.lua", script("acme.loop", "function OnMessage() while true do end end"))
        .file("acme/echo.lua", script("acme.echo", "function OnMessage(_, p) return p end"))
        .file(
            "acme/ask.lua",
            script(
                "acme.ask",
                "function OnMessage(_, p) return tostring(require('nats').publish(p, 'x')) end",
            ),
        )
        .file("acme/bad.lua", script("acme.bad", "function OnMessage("))
        .file("shut/echo.lua", script("shut.echo", "function OnMessage(_, p) return p end"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    assert!(whole.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{whole:?}");
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn wait_for(path: &Path, event: &str, fields: &[(&str, &str)]) -> Value {
    let fits = |line: &Value| {
        line["event"] == event && fields.iter().all(|(name, value)| line[name].as_str() == Some(value))
    };
    wait_until(&format!("{event} {fields:?} in {:?}", lines(path)), || lines(path).iter().any(fits));
    lines(path).into_iter().find(|line| fits(line)).expect("it was there")
}

fn audited() -> (tempfile::TempDir, PathBuf, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let broker = setup().args(&["--audit-log", path.to_str().expect("UTF-8")]).start();
    (folder, path, broker)
}

#[test]
fn refusals_kills_and_the_operators_acts_are_a_line_each() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path, broker) = audited();
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    wait_for(&path, "started", &[]);
    wait_for(&path, "script_accepted", &[("tenant", "acme"), ("subject", "acme.echo"), ("script", "n")]);
    let rejected = wait_for(&path, "script_rejected", &[("file", "acme/bad.lua")]);
    assert!(rejected["text"].as_str().is_some_and(|text| text.contains("acme/bad.lua:")), "{rejected}");

    let killed = broker.post("/acme.loop", "");
    assert_eq!(killed.reason(), "wall_time");
    let id = killed.header("msgscript-invocation").expect("an id");
    let line = wait_for(&path, "killed", &[("invocation", id), ("reason", "wall_time")]);
    assert_eq!((&line["tenant"], &line["limit"]), (&"acme".into(), &"300ms".into()), "{line}");
    assert!(line["measured"].is_string() && line["time"].as_str().is_some_and(|time| time.ends_with('Z')));

    assert_eq!(broker.post("/acme.echo", "x".repeat(2000)).reason(), "too_large");
    let line = wait_for(&path, "refused", &[("reason", "too_large"), ("subject", "acme.echo")]);
    assert_eq!((&line["limit"], &line["measured"]), (&"1KiB".into(), &"2000B".into()), "{line}");

    assert_eq!(broker.post("/acme.ask", "out").status, 200);
    let line = wait_for(&path, "call_denied", &[("subject", "acme.ask")]);
    assert!(line["text"].as_str().is_some_and(|text| text.contains("has no grant to publish")), "{line}");

    assert_eq!(broker.post("/shut.echo", "").status, 403);
    wait_for(&path, "refused", &[("tenant", "shut"), ("client", "127.0.0.1"), ("reason", "denied")]);
    let page = broker.request("GET", "/_/list", &[("host", "evil.example")], b"");
    assert_eq!(page.status, 403);
    wait_for(&path, "refused", &[("text", "/_/list")]);

    // A good answer, or an error of the script's own, is no event.
    let before = lines(&path).len();
    assert_eq!(broker.post("/acme.echo", "x").status, 200);

    std::fs::remove_file(broker.scripts().join("acme/echo.lua")).expect("removed");
    wait_for(&path, "script_removed", &[("subject", "acme.echo")]);
    assert_eq!(lines(&path).len(), before + 1, "{:?}", lines(&path));

    let config = broker.folder().join("config.toml");
    std::fs::write(&config, "nonsense = 1").expect("written");
    broker.signal(Signal::SIGHUP);
    wait_for(&path, "not_reloaded", &[]);
    std::fs::write(&config, CONFIG).expect("written");
    broker.signal(Signal::SIGHUP);
    wait_for(&path, "reloaded", &[]);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.wait().code(), Some(0));
    let events: Vec<Value> = lines(&path).iter().map(|line| line["event"].clone()).collect();
    assert_eq!(&events[events.len() - 2..], ["draining", "stopped"]);
}

#[test]
fn what_strangers_say_makes_no_line_of_its_own() {
    let (_folder, path, broker) = audited();
    let forged = "x\"}\n{\"event\":\"stopped\"}\n\u{1b}[2J\u{202e}";
    assert_eq!(broker.post("/acme.ask", forged).status, 200);
    let line = wait_for(&path, "call_denied", &[]);
    assert!(line["text"].as_str().is_some_and(|text| text.contains("\"event\":\"stopped\"")), "{line}");
    assert!(lines(&path).iter().all(|line| line["event"] != "stopped"));
}

#[test]
fn a_moved_file_is_made_anew_at_sighup() {
    let (_folder, path, broker) = audited();
    wait_for(&path, "started", &[]);
    let moved = path.with_extension("1");
    std::fs::rename(&path, &moved).expect("moved");
    broker.signal(Signal::SIGHUP);
    wait_for(&path, "reloaded", &[]);
    assert!(lines(&moved).iter().any(|line| line["event"] == "started"));
}

#[test]
fn without_a_file_it_is_part_of_the_log() {
    let broker = setup().start();
    let _ = broker.post("/acme.loop", "");
    let event = broker.wait_for_event("an audit event", |event| {
        event["target"] == "audit" && event["event"] == "killed" && event["reason"] == "wall_time"
    });
    assert_eq!((&event["tenant"], &event["subject"]), (&"acme".into(), &"acme.loop".into()), "{event}");
    assert!(event["invocation"].is_string(), "{event}");
}

#[test]
fn a_disk_that_is_full_stops_nobody() {
    let broker = setup().args(&["--audit-log", "/dev/full"]).start();
    broker.wait_for_words(&["the audit log is not written"]);
    for _ in 0..20 {
        assert_eq!(broker.post("/acme.echo", "x".repeat(2000)).reason(), "too_large");
    }
    assert_eq!(broker.post("/acme.echo", "x").status, 200);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let broker = setup().args(&["--audit-log", "/nonexistent/audit.log"]).spawn();
    assert_eq!(broker.wait().code(), Some(1));
    assert!(broker.log().contains("cannot write the audit log /nonexistent/audit.log"), "{}", broker.log());
}
