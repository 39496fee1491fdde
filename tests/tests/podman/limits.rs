//! Limits: of time, memory, output, processes and containers.

use msgscript_tests::harness::Setup;
use msgscript_tests::podman::IMAGE;

use crate::{none_left, script, sh, shared, shell};

#[test]
fn time() {
    let (podman, setup) = shared();
    let slow = script("limit-time", "--* timeout: 2s", &sh("echo begun; sleep 600"));
    let broker = setup.file("slow.lua", slow).start();
    let (response, error) = broker.fail("limit-time", "");
    assert_eq!((response.status, response.reason()), (504, "wall_time"));
    assert_eq!(error, format!("{IMAGE}: time limit reached"));
    assert_eq!(response.header("msgscript-limit"), Some("2s"));
    none_left(&podman, "limit-time");
}

#[test]
fn memory() {
    let (podman, setup) = shared();
    let greedy = sh("dd if=/dev/zero of=/dev/null bs=200M count=1");
    let fill = sh("dd if=/dev/zero of=/tmp/fill bs=1M count=200");
    let broker = setup
        .args(&["--memory", "32MiB"])
        .file("greedy.lua", script("limit-memory", "", &greedy))
        .file("fill.lua", script("limit-tmpfs", "", &fill))
        .start();
    let (response, error) = broker.fail("limit-memory", "");
    assert_eq!((response.status, response.reason()), (500, "memory"), "{error}");
    assert!(error.contains(IMAGE), "{error}");
    assert_eq!(response.header("msgscript-limit"), Some("32MiB"));
    // The files in /tmp count as well.
    let (response, error) = broker.fail("limit-tmpfs", "");
    assert!(response.reason() == "memory" || error.contains("No space left"), "{error}");
    none_left(&podman, "limit-memory");
}

#[test]
fn output() {
    let (podman, setup) = shared();
    let broker = setup
        .args(&["--max-output", "1MiB"])
        .file("fits.lua", script("limit-fits", "", &sh("dd if=/dev/zero bs=1024 count=1024")))
        .file("endless.lua", script("limit-output", "", &sh("yes")))
        .file("chatty.lua", script("limit-chatty", "", &sh("yes | dd bs=1024 count=1024 >&2; echo done")))
        .start();
    assert_eq!(broker.call("limit-fits", "").len(), 1 << 20);
    let (response, error) = broker.fail("limit-output", "");
    assert_eq!((response.status, response.reason()), (500, "output"));
    assert_eq!(error, format!("{IMAGE}: the result is too large"));
    assert_eq!(response.header("msgscript-limit"), Some("1MiB"));
    none_left(&podman, "limit-output");
    // Standard error is kept up to a limit; the rest does no harm.
    assert_eq!(broker.call("limit-chatty", ""), "done\n");
    broker.wait_for_words(&["standard error past 64KiB is left out"]);
}

#[test]
fn processes() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "limit-pids", "for i in $(seq 400); do sleep 5 & done 2>&1; echo end");
    let response = broker.post("/limit-pids", "");
    let text = response.only_payload();
    assert!(text.contains("can't fork"), "{}: {text}", response.text());
}

#[test]
fn twenty_at_once_and_no_more_than_allowed() {
    let (podman, setup) = shared();
    let broker = shell(setup.args(&["--containers", "3"]), "limit-many", "cat; sleep 0.2");
    let address = broker.http();
    let calls = (0..20).map(|number| {
        std::thread::spawn(move || {
            let body = format!("call {number}");
            let path = "/limit-many?_timeout=60s";
            let response = msgscript_tests::harness::request(address, "POST", path, &[], body.as_bytes());
            (body, response)
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut most = 0;
    while calls.iter().any(|call| !call.is_finished()) {
        most = most.max(podman.containers("limit-many").len());
    }
    for call in calls {
        let (body, response) = call.join().expect("no panic");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.only_payload(), body);
    }
    assert!((1..=3).contains(&most), "{most} at once");
    none_left(&podman, "limit-many");
}

#[test]
fn who_waits_too_long_or_in_too_long_a_queue_is_told() {
    let (podman, setup) = shared();
    let setup: Setup = setup.args(&["--containers", "1", "--queue", "1"]);
    let broker = setup
        .file("long.lua", script("limit-long", "", &sh("sleep 600")))
        .file("wait.lua", script("limit-wait", "--* timeout: 1s", ""))
        .start();
    let address = broker.http();
    let send = |path: &'static str| {
        std::thread::spawn(move || msgscript_tests::harness::request(address, "POST", path, &[], b""))
    };
    let _long = send("/limit-long?_timeout=1ms");
    msgscript_tests::harness::wait_until("it runs", || !podman.containers("limit-long").is_empty());
    let waiting: Vec<_> = (0..2).map(|_| send("/limit-wait")).collect();
    let mut reasons: Vec<String> = waiting
        .into_iter()
        .map(|call| {
            let response = call.join().expect("no panic");
            assert!(response.text().contains(IMAGE), "{}", response.text());
            response.reason().to_owned()
        })
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["overloaded", "wait"]);
}
