//! Scripts kept in a real etcd: what Go servers write, what `msgscriptcli` does, what happens when etcd is away.

use std::process::{Command, Output};
use std::time::Duration;

use msgscript_tests::harness::{Broker, Setup, program, wait_until};
use msgscript_tests::servers::Etcd;

fn broker(etcd: &Etcd) -> Broker {
    Setup::new().args(&["-backend", "etcd", "-etcdurl", &etcd.endpoint()]).start()
}

/// The command line program, on this etcd.
fn cli(etcd: &Etcd, args: &[&str]) -> Output {
    let mut command = Command::new(program("msgscriptcli"));
    command.args(args).env_remove("ETCD_ENDPOINTS").args(["-e", &etcd.endpoint()]);
    command.output().expect("msgscriptcli runs")
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// etcd's own program puts a value, byte by byte as given.
fn put(etcd: &Etcd, key: &str, value: &str) {
    etcd.control(&["put", key, value]);
}

fn answers(broker: &Broker, path: &str, expected: &str) {
    let test = |answer: &msgscript_tests::harness::Response| {
        answer.status == 200 && answer.only_payload() == expected
    };
    broker.post_until(path, "", test);
}

/// As the Go server writes it.
fn record(subject: &str, name: &str, lua: &str) -> String {
    use base64::Engine;
    let content = base64::prelude::BASE64_STANDARD.encode(lua);
    format!(
        r#"{{"content":"{content}","executor":"","is_html":false,"libraries":null,"name":"{name}","subject":"{subject}"}}"#
    )
}

fn say(text: &str) -> String {
    format!("function OnMessage() return '{text}' end")
}

#[test]
fn what_go_wrote_runs_and_changes_are_seen_by_all_brokers() {
    let etcd = Etcd::start();
    put(&etcd, "msgscript/scripts/funcs.hello/hello", &record("funcs.hello", "hello", &say("one")));
    put(&etcd, "msgscript/scripts/funcs.bad/bad", "no json");
    let brokers = [broker(&etcd), broker(&etcd)];
    for broker in &brokers {
        answers(broker, "/funcs.hello", "one");
        let told =
            |event: &serde_json::Value| event["message"].as_str().is_some_and(|text| text.contains("JSON"));
        broker.wait_for_event("a broken value is named", told);
    }
    put(&etcd, "msgscript/scripts/funcs.hello/hello", &record("funcs.hello", "hello", &say("two")));
    put(&etcd, "msgscript/libs/web", "local greeting = 'from a library'");
    let with_library = record("lib", "user", "function OnMessage() return greeting end")
        .replace("\"libraries\":null", "\"libraries\":[\"web\"]");
    put(&etcd, "msgscript/scripts/lib/user", &with_library);
    for broker in &brokers {
        answers(broker, "/funcs.hello", "two");
        answers(broker, "/lib", "from a library");
    }
    // A value that is bad now costs nothing: the last good version stays. One that is gone is gone.
    put(&etcd, "msgscript/scripts/funcs.hello/hello", &record("funcs.hello", "hello", "function ("));
    etcd.control(&["del", "msgscript/scripts/lib/user"]);
    for broker in &brokers {
        broker.post_until("/lib", "", |answer| answer.status == 404);
        answers(broker, "/funcs.hello", "two");
    }
    let told = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.contains("funcs.hello/hello:1:"))
    };
    brokers[0].wait_for_event("a compiler's error has its place", told);
}

#[test]
fn an_etcd_that_goes_away_and_comes_back() {
    let mut etcd = Etcd::start();
    put(&etcd, "msgscript/scripts/a/n", &record("a", "n", &say("one")));
    let broker = broker(&etcd);
    answers(&broker, "/a", "one");
    etcd.stop();
    let away = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.starts_with("etcd cannot be asked"))
    };
    broker.wait_for_event("etcd is away", away);
    answers(&broker, "/a", "one");
    let ready = broker.get("/_/readyz");
    assert_eq!((ready.status, ready.text().lines().count()), (200, 2), "{}", ready.text());
    for page in [ready, broker.get("/_/")] {
        assert!(page.text().contains("etcd cannot be asked"), "{}", page.text());
    }
    assert!(broker.get("/_/metrics").text().contains("msgscript_store_connected 0"));
    let etcd = etcd.start_again();
    // What was changed while nobody watched, and compacted since, is not missed.
    put(&etcd, "msgscript/scripts/a/n", &record("a", "n", &say("two")));
    put(&etcd, "msgscript/scripts/b/n", &record("b", "n", &say("new")));
    etcd.compact();
    answers(&broker, "/a", "two");
    answers(&broker, "/b", "new");
    let back = |event: &serde_json::Value| event["message"] == "etcd is there again";
    broker.wait_for_event("etcd is back", back);
}

#[test]
fn a_broker_waits_for_its_etcd() {
    let mut etcd = Etcd::start();
    put(&etcd, "msgscript/scripts/a/n", &record("a", "n", &say("one")));
    etcd.stop();
    let broker = Setup::new().args(&["-backend", "etcd", "-etcdurl", &etcd.endpoint()]).spawn();
    let away = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.starts_with("etcd cannot be asked"))
    };
    broker.wait_for_event("etcd is away", away);
    let _etcd = etcd.start_again();
    broker.wait_for_words(&["ready"]);
    answers(&broker, "/a", "one");
}

#[test]
fn the_command_line_puts_lists_and_removes() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let script = "--* subject: cli.hello\n--* name: hello\n--* require: greet\n--* timeout: 3s\n\
                  function OnMessage(_, who) return greet(who) end\n";
    std::fs::write(path("hello.lua"), script).unwrap();
    std::fs::create_dir(path("libs")).unwrap();
    std::fs::write(path("libs/greet.lua"), "function greet(who) return 'Hello ' .. who end\n").unwrap();
    let broker = broker(&etcd);
    assert_eq!(good(&cli(&etcd, &["list"])), "No script in store\n");
    assert_eq!(good(&cli(&etcd, &["lib", "add", "-r", &path("libs")])), "added library greet\n");
    assert_eq!(good(&cli(&etcd, &["add", &path("hello.lua")])), "added cli.hello/hello\n");
    let list = good(&cli(&etcd, &["ls"]));
    assert_eq!(list, "SUBJECT    NAME   EXECUTOR  HTTP\ncli.hello  hello  lua       false\n");
    let json: serde_json::Value = serde_json::from_str(&good(&cli(&etcd, &["list", "--json"]))).unwrap();
    assert_eq!(json[0]["subject"], "cli.hello");
    assert_eq!(good(&cli(&etcd, &["lib", "list"])), "greet\n");
    let value = etcd.control(&["get", "--print-value-only", "msgscript/scripts/cli.hello/hello"]);
    let value: serde_json::Value = serde_json::from_str(&value).unwrap();
    let fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["content", "executor", "is_html", "libraries", "name", "subject"]);
    broker
        .post_until("/cli.hello", "Jo", |answer| answer.status == 200 && answer.only_payload() == "Hello Jo");
    // What is wrong is said, with its place, and nothing is put.
    std::fs::write(path("bad.lua"), "--* subject: x\n--* name: n\n--* http: perhaps\n").unwrap();
    let bad = cli(&etcd, &["add", &path("bad.lua")]);
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("bad.lua:3:"));
    let other = cli(&etcd, &["rm", "-s", "cli.hello", "-n", "other"]);
    assert!(
        !other.status.success()
            && String::from_utf8_lossy(&other.stderr).contains("no script cli.hello/other")
    );
    assert_eq!(good(&cli(&etcd, &["rm", "-s", "cli.hello", "-n", "hello"])), "removed cli.hello/hello\n");
    broker.post_until("/cli.hello", "", |answer| answer.status == 404);
    assert_eq!(good(&cli(&etcd, &["lib", "rm", "greet"])), "removed library greet\n");
    assert!(!cli(&etcd, &["lib", "rm", "greet"]).status.success());
}

#[test]
fn a_folder_and_an_etcd_are_compared_and_exchanged() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("libs")).unwrap();
    std::fs::write(path("a.lua"), "--* subject: a\n--* name: n\n--* require: x\nreturn 1\n").unwrap();
    std::fs::write(path("libs/x.lua"), "--* require: y\nx = 1\n").unwrap();
    std::fs::write(path("libs/y.lua"), "y = 1\n").unwrap();
    let scripts = folder.path().to_str().unwrap();
    let diff = cli(&etcd, &["diff", "--script", scripts]);
    assert_eq!(String::from_utf8_lossy(&diff.stdout), "+ a/n\n+ library x\n+ library y\n");
    assert_eq!(diff.status.code(), Some(1));
    assert_eq!(good(&cli(&etcd, &["import", "--script", scripts])), "library x\nlibrary y\na/n\n");
    assert_eq!(good(&cli(&etcd, &["diff", "--script", scripts])), "");
    put(&etcd, "msgscript/scripts/b/n", &record("b", "n", &say("new")));
    let other = tempfile::tempdir().unwrap();
    let target = other.path().to_str().unwrap();
    good(&cli(&etcd, &["export", target]));
    assert_eq!(good(&cli(&etcd, &["diff", "--script", target])), "", "what was written is what is there");
    let exported = std::fs::read_to_string(other.path().join("a/n.lua")).unwrap();
    assert_eq!(exported, "--* subject: a\n--* name: n\n--* require: x\nreturn 1\n");
    std::fs::write(other.path().join("a/n.lua"), "-- mine\n").unwrap();
    let kept = cli(&etcd, &["export", target]);
    assert!(!kept.status.success() && String::from_utf8_lossy(&kept.stderr).contains("differs and is kept"));
    wait_until("the file is as it was", || {
        std::thread::sleep(Duration::from_millis(1));
        std::fs::read_to_string(other.path().join("a/n.lua")).unwrap() == "-- mine\n"
    });
}

#[test]
fn a_tenants_subjects_are_its_own_in_etcd_too() {
    let etcd = Etcd::start();
    put(&etcd, "msgscript/scripts/acme.a/n", &record("acme.a", "n", &say("of acme")));
    put(&etcd, "msgscript/scripts/b/n", &record("b", "n", "return 1"));
    put(&etcd, "msgscript/scripts/>/n", &record(">", "n", &say("everything")));
    let config = "[[tenant]]\nname = \"acme\"\nscripts = \"acme\"\nsubjects = [\"acme.>\"]\n";
    let broker =
        Setup::new().config(config).args(&["-backend", "etcd", "-etcdurl", &etcd.endpoint()]).start();
    answers(&broker, "/acme.a", "of acme");
    let told = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.contains("belongs to a folder of its own"))
    };
    broker.wait_for_event("a pattern over another tenant's subjects is refused", told);
}
