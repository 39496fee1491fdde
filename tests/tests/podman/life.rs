//! Nothing stays behind, whatever happens; and Podman may come and go.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use msgscript_tests::harness::{Broker, Setup, wait_until};
use msgscript_tests::podman::{IMAGE, Podman};
use nix::sys::signal::Signal;

use crate::{none_left, script, sh, shared, shell};

/// Sends a request and does not wait for its answer.
fn send(broker: &Broker, subject: &str) -> TcpStream {
    let mut stream = TcpStream::connect(broker.http()).expect("it accepts");
    let request = format!("POST /{subject}?_timeout=60s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    stream
}

fn runs(podman: &Podman, subject: &str) {
    let filter = format!("label=msgscript.script={subject}/{subject}");
    wait_until("the container runs", || {
        let args = ["ps", "--quiet", "--filter", "status=running", "--filter", &filter];
        !podman.command(&args).is_empty()
    });
}

#[test]
fn a_client_that_goes_away_stops_nothing_and_leaves_nothing() {
    let (podman, setup) = shared();
    let broker = shell(setup, "life-client", "sleep 1; echo finished >&2");
    let client = send(&broker, "life-client");
    runs(&podman, "life-client");
    drop(client);
    broker.wait_for_words(&["finished"]);
    none_left(&podman, "life-client");
}

#[test]
fn a_killed_brokers_containers_go_with_the_next_start() {
    let (podman, setup) = shared();
    let killed = shell(setup, "life-killed", "sleep 600");
    let (_, setup) = shared();
    let lives = shell(setup, "life-lives", "sleep 600");
    let _clients = (send(&killed, "life-killed"), send(&lives, "life-lives"));
    runs(&podman, "life-killed");
    runs(&podman, "life-lives");
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert_eq!(podman.containers("life-killed").len(), 1);
    let (_, setup) = shared();
    let next = setup.start();
    none_left(&podman, "life-killed");
    next.wait_for_words(&["an earlier broker left behind"]);
    // What another broker still uses is left alone.
    assert_eq!(podman.containers("life-lives").len(), 1);
}

#[test]
fn a_drain_lets_containers_finish() {
    let (podman, setup) = shared();
    let broker = shell(setup, "life-drain", "sleep 1; echo finished");
    let mut client = send(&broker, "life-drain");
    runs(&podman, "life-drain");
    broker.signal(Signal::SIGTERM);
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut answer).expect("an answer");
    let answer = msgscript_tests::harness::parse_response(&answer);
    assert_eq!((answer.status, answer.only_payload().as_str()), (200, "finished\n"));
    assert!(broker.wait().success());
    assert!(podman.containers("life-drain").is_empty());
}

#[test]
fn a_drain_that_is_cut_short_removes_them() {
    let (podman, setup) = shared();
    let broker = shell(setup.args(&["--drain-timeout", "100ms"]), "life-cut", "sleep 600");
    let mut client = send(&broker, "life-cut");
    runs(&podman, "life-cut");
    broker.signal(Signal::SIGTERM);
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut answer).expect("an answer");
    let answer = msgscript_tests::harness::parse_response(&answer);
    assert_eq!((answer.status, answer.reason()), (499, "cancelled"));
    assert!(answer.text().contains(IMAGE));
    assert!(broker.wait().success());
    assert!(podman.containers("life-cut").is_empty());
}

#[test]
fn podman_may_be_away_and_come_back() {
    let podman = Podman::start();
    podman.stop();
    let broker = Setup::new()
        .env("CONTAINER_HOST", &podman.host())
        .file("away.lua", script("life-away", "", &sh("cat")))
        .file("long.lua", script("life-long", "", &sh("sleep 600")))
        .lua("lua", "function OnMessage() return 'unharmed' end")
        .start();
    let (response, error) = broker.fail("life-away", "");
    assert_eq!((response.status, response.reason()), (500, "internal"));
    assert!(error.starts_with(&format!("{IMAGE}: Podman is not there")), "{error}");
    assert!(!error.contains("podman.sock"), "{error}");
    broker.wait_for_words(&["Podman failed", "podman.sock"]);
    assert_eq!(broker.call("lua", ""), "unharmed");
    podman.serve();
    assert_eq!(broker.call("life-away", "back"), "back");

    // Half-way through a run: that one fails, its container goes as soon as Podman is back.
    let mut client = send(&broker, "life-long");
    runs(&podman, "life-long");
    podman.stop();
    let mut answer = vec![0; 4096];
    client.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let size = std::io::Read::read(&mut client, &mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..size]).into_owned();
    assert!(answer.contains("connection to Podman broke"), "{answer}");
    assert_eq!(podman.containers("life-long").len(), 1);
    podman.serve();
    none_left(&podman, "life-long");
    assert_eq!(broker.call("life-away", "again"), "again");
}

#[test]
fn the_doctor_looks_at_podman() {
    let podman = Podman::shared();
    let doctor = |host: &str| {
        let mut command = std::process::Command::new(msgscript_tests::harness::program("msgscript-broker"));
        let output = command.arg("doctor").env("CONTAINER_HOST", host).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("podman: ")).expect("a line").to_owned()
    };
    let there = doctor(&podman.host());
    assert!(there.contains(" at /") && there.contains(|c: char| c.is_ascii_digit()), "{there}");
    assert!(doctor("unix:///not/there.sock").contains("not usable"));
    assert!(doctor("ssh://elsewhere").contains("only Unix sockets"));
}
