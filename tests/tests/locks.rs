//! Locks of scripts: among brokers with a real etcd, and within one broker without.

use std::time::{Duration, Instant};

use msgscript_tests::harness::{Broker, Setup, wait_until};
use msgscript_tests::servers::Etcd;
use nix::sys::signal::Signal;

/// Counts in etcd by reading and writing, and tells when somebody else is in between.
const COUNT: &str = r#"
local etcd, time = require("etcd"), require("time")
local function read(key)
  local found = etcd.get(key, false)
  return found and found[1] and found[1]:getValue()
end
function OnMessage(_, who)
  if read("test/inside") then etcd.put("test/clash", who) end
  etcd.put("test/inside", who)
  local count = tonumber(read("test/count") or "0")
  time.sleep(0.01)
  etcd.put("test/count", tostring(count + 1))
  etcd.delete("test/inside")
  return "done"
end
"#;

/// Says that it holds the lock, waits, and writes.
const HOLD: &str = r#"
local etcd, time = require("etcd"), require("time")
function OnMessage(_, seconds)
  etcd.put("test/held", "yes")
  time.sleep(tonumber(seconds))
  etcd.put("test/late", "written")
  return "done"
end
"#;

fn record(subject: &str, lua: &str) -> (String, String) {
    use base64::Engine;
    let content = base64::prelude::BASE64_STANDARD.encode(lua);
    let value = format!(
        r#"{{"content":"{content}","executor":"","is_html":false,"libraries":null,"name":"n","subject":"{subject}"}}"#
    );
    (format!("msgscript/scripts/{subject}/n"), value)
}

fn etcd() -> Etcd {
    let etcd = Etcd::start();
    for (subject, lua) in [("count", COUNT), ("hold", HOLD)] {
        let (key, value) = record(subject, &format!("--* lock: jobs\n{lua}"));
        etcd.control(&["put", &key, &value]);
    }
    etcd
}

fn broker(etcd: &Etcd) -> Broker {
    Setup::new().env("ETCD_ENDPOINTS", &etcd.endpoint()).args(&["-backend", "etcd"]).start()
}

/// A call that may take longer than a client of HTTP usually waits.
fn count(broker: &Broker, who: &str) {
    let answer = broker.post("/count?_timeout=30s", who);
    assert_eq!((answer.status, answer.only_payload().as_str()), (200, "done"), "{}", answer.text());
}

fn value(etcd: &Etcd, key: &str) -> String {
    etcd.control(&["get", "--print-value-only", key]).trim().to_owned()
}

#[test]
fn brokers_take_turns() {
    let etcd = etcd();
    let brokers = [broker(&etcd), broker(&etcd)];
    std::thread::scope(|scope| {
        for (number, broker) in brokers.iter().cycle().take(6).enumerate() {
            scope.spawn(move || {
                for _ in 0..5 {
                    count(broker, &number.to_string());
                }
            });
        }
    });
    assert_eq!(value(&etcd, "test/count"), "30");
    assert_eq!(value(&etcd, "test/clash"), "");
    wait_until("all locks are let go", || {
        etcd.control(&["get", "--prefix", "--keys-only", "msgscript/locks/"]).is_empty()
    });
}

#[test]
fn a_brokers_death_frees_its_locks() {
    let etcd = etcd();
    let (one, other) = (broker(&etcd), broker(&etcd));
    std::thread::scope(|scope| {
        // The broker dies before it answers.
        scope.spawn(|| std::panic::catch_unwind(|| one.post("/hold", "60")).unwrap_err());
        wait_until("it holds the lock", || value(&etcd, "test/held") == "yes");
        one.signal(Signal::SIGKILL);
        let killed = Instant::now();
        count(&other, "x");
        println!("handed over {:?} after the kill", killed.elapsed());
    });
}

#[test]
fn who_was_stopped_for_too_long_writes_nothing_any_more() {
    let etcd = etcd();
    let (one, other) = (broker(&etcd), broker(&etcd));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| one.fail("hold?_timeout=60s", "2"));
        wait_until("it holds the lock", || value(&etcd, "test/held") == "yes");
        one.signal(Signal::SIGSTOP);
        // The lease runs out.
        count(&other, "x");
        // Longer than its script would have slept: its write is the first thing it would do.
        std::thread::sleep(Duration::from_millis(2500));
        one.signal(Signal::SIGCONT);
        let (answer, error) = held.join().expect("an answer");
        let told =
            error.contains("the lock `jobs` was lost") || error.contains("lock that guards this change");
        assert!(told, "{} {error}", answer.reason());
    });
    assert_eq!(value(&etcd, "test/late"), "");
    // It goes on with a new lease.
    count(&one, "y");
}

#[test]
fn turns_within_one_broker_without_etcd() {
    let lua = "--* lock: script\nlocal time = require('time')\n\
        function OnMessage(_, body) time.sleep(tonumber(body)) return 'done' end";
    let shared = lua.replace("script", "shared");
    let broker = Setup::new()
        .lua("slow", lua)
        .lua("holder", &shared)
        .lua("hasty", &format!("--* timeout: 200ms\n{shared}"))
        .workers(4)
        .start();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| broker.call("slow", "0.1"))).collect();
        assert!(runs.into_iter().all(|run| run.join().expect("an answer") == "done"));
    });
    // Four workers, one at a time.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| broker.call("holder", "2"));
        std::thread::sleep(Duration::from_millis(300));
        let answer = broker.post("/hasty", "0");
        assert_eq!((answer.status, answer.reason()), (504, "wait"), "{}", answer.text());
        assert!(answer.text().contains("the lock"), "{}", answer.text());
        assert_eq!(holder.join().expect("an answer"), "done");
    });
}

#[test]
fn a_bad_lock_is_named() {
    let broker = Setup::new().lua("x", "--* lock: two words\nfunction OnMessage() end").start();
    let (_, error) = broker.fail("x", "");
    assert!(error.contains("bad `lock`"), "{error}");
}
