//! Latency of a function in a container beside `podman run` of the same image: `bench-podman [ROUNDS]` (20).
//!
//! Both in turn on one Podman with storage of its own, 100 bytes in and out. Prints Markdown, milliseconds.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use msgscript_tests::harness::Setup;
use msgscript_tests::podman::{IMAGE, Podman};

/// The options that make `podman run` as safe as a function is.
const SAFE: [&str; 9] = [
    "--network=none",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--user=65534:65534",
    "--memory=128m",
    "--pids-limit=128",
    "--cpus=1",
    "--log-driver=none",
];

fn main() -> ExitCode {
    let rounds = std::env::args().nth(1).map_or(Ok(20), |text| text.parse());
    let Ok(rounds) = rounds else { return ExitCode::FAILURE };
    let podman = Podman::start();
    let broker = Setup::new()
        .env("CONTAINER_HOST", &podman.host())
        .file(
            "cat.lua",
            format!(
                "--* subject: cat\n--* name: cat\n--* executor: podman\n\
                 {{\"image\":\"{IMAGE}\",\"command\":[\"cat\"]}}\n"
            ),
        )
        .start();
    let body = "x".repeat(100);
    let (mut ours, mut safe, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        ours.push(timed(|| assert_eq!(broker.call("cat", &body), body)));
        // What the last one left to do is not the next one's.
        pause(&podman);
        let run = |options: &[&str]| {
            let args = [&["run", "--rm", "--interactive"], options, &[IMAGE, "cat"]].concat();
            assert_eq!(podman.command_with(&args, body.as_bytes()), body);
        };
        safe.push(timed(|| run(&SAFE)));
        plain.push(timed(|| run(&["--network=none"])));
    }
    println!("| {rounds} calls each | median ms | min | max | to `podman run` |\n|---|---:|---:|---:|---:|");
    // The first of each warms up.
    let base = median(&mut safe[1..].to_vec());
    for (name, mut times) in [
        ("function in a container", ours.split_off(1)),
        ("`podman run`, as safe", safe.split_off(1)),
        ("`podman run --network=none`", plain.split_off(1)),
    ] {
        let median = median(&mut times);
        let (least, most) = (times.first().copied(), times.last().copied());
        let millis = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.2} |",
            millis(Some(median)),
            millis(least),
            millis(most),
            median.as_secs_f64() / base.as_secs_f64()
        );
    }
    ExitCode::SUCCESS
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn pause(podman: &Podman) {
    while !podman.containers("cat").is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sorts; gives the middle.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
