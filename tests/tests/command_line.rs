//! Command line and configuration file of the broker, as a user types them.

use std::process::Command;

use msgscript_tests::harness::{Setup, program};

const ECHO: &str = "function OnMessage(_, payload) return payload end";

#[test]
fn options_take_one_dash_or_two() {
    let broker = Setup::new()
        .args(&["-log", "debug", "-max-payload=2KiB", "-drain-timeout", "1s", "--timeout=3s"])
        .lua("echo", ECHO)
        .start();
    assert_eq!(broker.call("echo", "x"), "x");
    broker.wait_for_event("debug output", |event| event["level"] == "DEBUG");
    assert_eq!(broker.post("/echo", vec![b'x'; 2048]).status, 200);
    assert_eq!(broker.post("/echo", vec![b'x'; 2049]).status, 413);
}

#[test]
fn a_configuration_file_sets_what_the_command_line_does_not() {
    let broker = Setup::new()
        .config("[broker]\ntimeout = \"300ms\"\nmax-payload = \"1KiB\"\n")
        .args(&["--max-payload", "2KiB"])
        .lua("loops", "function OnMessage() while true do end end")
        .lua("echo", ECHO)
        .start();
    assert_eq!(broker.post("/loops", "").header("msgscript-limit"), Some("300ms"));
    assert_eq!(broker.post("/echo", vec![b'x'; 1500]).status, 200);
    assert_eq!(broker.post("/echo", vec![b'x'; 2500]).status, 413);
}

/// What a broker that does not start says; it must not exit with success.
fn refusal(setup: Setup) -> String {
    let broker = setup.spawn();
    let status = broker.wait();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {}", broker.log());
    broker.log()
}

#[test]
fn mistakes_are_named() {
    for (toml, words) in [
        ("[broker]\nworkers = 2\nwokers = 3\n", &["wokers", "3"][..]),
        ("[broker]\n\n[brocker]\nworkers = 2\n", &["brocker", "3"]),
        ("[[tenant]]\nname = \"acme\"\nsubject = [\"acme.>\"]\n", &["subject", "3"]),
        ("[broker]\ntimeout = \"soon\"\n", &["timeout", "soon"]),
        ("[broker\n", &["1"]),
        // Tenants are an issue of their own; until then nobody must believe that they hold.
        ("[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\n", &["tenant"]),
    ] {
        let text = refusal(Setup::new().config(toml));
        for word in words {
            assert!(text.contains(word), "no {word:?} for {toml:?} in {text}");
        }
    }
    for (args, word) in [
        (&["--no-such-option"][..], "no-such-option"),
        (&["--timeout", "soon"], "soon"),
        (&["--memory", "lots"], "lots"),
        (&["--backend", "floppy"], "floppy"),
        (&["--config", "/nowhere/config.toml"], "/nowhere/config.toml"),
        (&["--log", "loud"], "loud"),
        (&["--sandbox-without", "hope"], "hope"),
    ] {
        let text = refusal(Setup::new().args(args));
        assert!(text.contains(word), "no {word:?} for {args:?} in {text}");
    }
}

#[test]
fn two_brokers_cannot_have_one_port() {
    let first = Setup::new().lua("echo", ECHO).start();
    let port = first.http().port();
    let text = refusal(Setup::new().port(port));
    assert!(text.contains(&port.to_string()), "{text}");
    let nats = first.nats_url().replace("nats://", "");
    let text = refusal(Setup::new().embedded_nats(&nats));
    assert!(text.contains(&nats), "{text}");
    assert_eq!(first.call("echo", "x"), "x");
}

#[test]
fn the_doctor_finds_nothing_wrong_here() {
    let output =
        Command::new(program("msgscript-broker")).arg("doctor").env_clear().output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for word in ["landlock", "seccomp"] {
        assert!(text.to_lowercase().contains(word), "no {word} in {text}");
    }
}

#[test]
fn help_lists_the_options() {
    let output = Command::new(program("msgscript-broker")).arg("--help").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for option in
        ["script", "library", "port", "natsurl", "workers", "timeout", "memory", "drain-timeout", "config"]
    {
        assert!(text.contains(&format!("--{option}")), "no --{option} in {text}");
    }
}
