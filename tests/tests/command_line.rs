//! Command line and configuration file of the broker, as a user types them.

use std::process::Command;

use msgscript_tests::harness::{Setup, program};
use nix::sys::signal::Signal;

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

#[test]
fn the_service_manager_hears_how_it_fares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let broker = Setup::new()
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "1000000")
        .lua("echo", ECHO)
        .start();
    assert_eq!(broker.call("echo", "x"), "x");
    broker.signal(Signal::SIGTERM);
    assert!(broker.wait().success());
    manager.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while let Ok(size) = manager.recv(&mut buffer) {
        heard.push(String::from_utf8_lossy(&buffer[..size]).into_owned());
    }
    assert_eq!(heard.first().map(String::as_str), Some("READY=1"), "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("STOPPING=1"), "{heard:?}");
    assert!(heard.contains(&"WATCHDOG=1".to_owned()), "{heard:?}");
}

#[test]
fn each_program_writes_what_packages_need() {
    for name in ["msgscript-broker", "msgscriptcli"] {
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| Command::new(program(name)).args(args).output().unwrap();
        assert!(run(&["man", folder.path().to_str().unwrap()]).status.success());
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{page}");
        for shell in ["bash", "zsh", "fish"] {
            let output = run(&["completion", shell]);
            assert!(output.status.success());
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("doctor") == (name == "msgscript-broker")
            );
        }
        let version = run(&["--version"]).stdout;
        let version = String::from_utf8_lossy(&version);
        assert!(version.starts_with(&format!("{name} {}", env!("CARGO_PKG_VERSION"))), "{version}");
    }
}

#[test]
fn one_name_stands_for_both_programs() {
    let run = |args: &[&str]| {
        let output = Command::new(program("msgscript")).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    };
    assert!(run(&["server", "--version"]).1.starts_with("msgscript-broker "));
    assert!(run(&["-version"]).1.starts_with("msgscript-broker "));
    assert!(run(&["cli", "--version"]).1.starts_with("msgscriptcli "));
    assert_eq!(run(&["serve"]).0, 64);
    assert_eq!(run(&["health", "x"]).0, 64);
    let broker = Setup::new().start();
    let port = broker.http().port().to_string();
    assert_eq!(run(&["health", &port]), (0, String::new()));
    broker.signal(Signal::SIGTERM);
    assert!(broker.wait().success());
    let (status, text) = run(&["health", &port]);
    assert!(status == 1 && text.contains("no answer"), "{status} {text}");
}
