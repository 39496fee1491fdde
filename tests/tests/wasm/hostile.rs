//! Hostile modules (W01 to W12): each costs its own call, is told why, and leaves the next one alone.

use std::time::{Duration, Instant};

use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::wasm;

use crate::{command, tool, with};

fn limited() -> Setup {
    Setup::new().workers(2).args(&["--timeout", "2s", "--memory", "32MiB"])
}

/// The reason of a call that must fail, and its error.
fn reason(broker: &Broker, name: &str) -> (String, String) {
    let (response, error) = broker.fail(name, "");
    (response.reason().to_owned(), error)
}

/// Processes that are workers of modules.
fn wasm_workers(broker: &Broker) -> Vec<u32> {
    let is_wasm = |pid: &u32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        exe.to_string_lossy().contains("worker-wasm")
    };
    broker.workers().into_iter().filter(is_wasm).collect()
}

#[test]
fn w01_endless_loops_are_interrupted() {
    let mut setup = with(limited(), "tool", tool());
    let loops = [
        ("plain", "(loop $a (br $a))"),
        ("table", "(loop $a (br_table $a $a (i32.const 5)))"),
        ("calls", "(loop $a (call $write (i32.const 0) (i32.const 0)) (br $a))"),
        ("fill", "(loop $a (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $a))"),
    ];
    for (name, body) in loops {
        setup = with(setup, name, &command(&format!(r#"(func (export "_start") {body})"#)));
    }
    let broker = setup.start();
    assert_eq!(broker.call("tool", "x"), "x|payload");
    for (name, _) in loops {
        let (response, error) = broker.fail(name, "");
        assert_eq!((response.status, response.reason()), (504, "wall_time"), "{error}");
        assert_eq!(response.header("msgscript-limit"), Some("2s"));
        assert_eq!(error, format!("{name}.lua: time limit reached"));
    }
    assert_eq!(broker.count_events("worker ended"), 0, "interrupted, not killed\n{}", broker.log());
    assert_eq!(broker.call("tool", "x"), "x|payload");
}

/// What waits outside of its own code cannot be interrupted: it is killed.
#[test]
fn w01_endless_waits_are_killed() {
    let broker = with(limited(), "tool", tool()).start();
    assert_eq!(broker.call("tool", "x"), "x|payload");
    let (response, _) = broker.fail("tool", "sleep");
    assert_eq!((response.status, response.reason()), (504, "wall_time"));
    assert_eq!(broker.call("tool", "x"), "x|payload");
}

#[test]
fn w02_memory_and_tables_end_at_the_limit() {
    let grow = |what: &str, by: &str| {
        let call = format!("({what} {by})");
        command(&format!(
            r#"(table 1 funcref)
            (func (export "_start")
              (i32.store8 (i32.const 16) (select (i32.const 110) (i32.const 121) (i32.eq {call} (i32.const -1))))
              (call $write (i32.const 16) (i32.const 1)))"#
        ))
    };
    let start = r#"(func (export "_start"))"#;
    let mut setup = with(limited(), "tool", tool());
    for (name, module) in [
        ("grow", grow("memory.grow", "(i32.const 65535)")),
        ("grow-some", grow("memory.grow", "(i32.const 100)")),
        ("grow-over", grow("memory.grow", "(i32.const 512)")),
        ("table-grow", grow("table.grow 0", "(ref.null func) (i32.const -1)")),
        ("table-over", grow("table.grow 0", "(ref.null func) (i32.const 10000000)")),
        ("memory", wasm::text(&format!("(module (memory 513) {start})"))),
        ("most", wasm::text(&format!("(module (memory 65536) {start})"))),
        ("table", wasm::text(&format!("(module (table 100000000 funcref) {start})"))),
        ("tables", wasm::text(&format!("(module {} {start})", "(table 190000 funcref)".repeat(30)))),
    ] {
        setup = with(setup, name, &module);
    }
    let broker = setup.start();
    for (name, grew) in
        [("grow", "n"), ("grow-some", "y"), ("grow-over", "n"), ("table-grow", "n"), ("table-over", "n")]
    {
        assert_eq!(broker.call(name, ""), grew, "{name}");
    }
    for name in ["memory", "most", "tables"] {
        let (reason, error) = reason(&broker, name);
        assert_eq!(
            (reason.as_str(), error.as_str()),
            ("memory", format!("{name}.lua: memory limit reached").as_str())
        );
    }
    // More elements than any table may have.
    let (table, error) = reason(&broker, "table");
    assert!(table == "script_error" && error.contains("exceeds the limit"), "{table}: {error}");
    let (response, _) = broker.fail("tool", "eat");
    assert_eq!((response.reason(), response.header("msgscript-limit")), ("memory", Some("32MiB")));
    assert_eq!(broker.call("tool", "x"), "x|payload");
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

#[test]
fn w03_traps_are_told_and_leave_the_worker_whole() {
    let traps = [
        ("unreachable", "(unreachable)", "unreachable"),
        ("load", "(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
        (
            "store",
            "(i32.store offset=4294967295 (i32.const -1) (i32.const 1))",
            "out of bounds memory access",
        ),
        ("divide", "(drop (i32.div_s (i32.const 1) (i32.load (i32.const 512))))", "integer divide by zero"),
        ("overflow", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer overflow"),
        ("stack", "(call $deep)", "call stack exhausted"),
        ("null", "(call_indirect (i32.const 0))", "uninitialized element"),
        ("fill", "(memory.fill (i32.const 1) (i32.const 1) (i32.const -1))", "out of bounds memory access"),
    ];
    let mut setup = limited();
    for (name, body, _) in traps {
        let module = command(&format!(
            r#"(table 1 funcref) (func $deep (call $deep))
            (func (export "_start") (call $write (i32.const 16) (i32.const 1)) {body})"#
        ));
        setup = with(setup, name, &module);
    }
    let broker = setup.start();
    for (name, _, words) in traps {
        for _ in 0..2 {
            let (response, error) = broker.fail(name, "");
            assert_eq!((response.status, response.reason()), (500, "script_error"), "{name}: {error}");
            assert!(
                error.starts_with(&format!("{name}.lua: {name}.wasm: ")) && error.contains(words),
                "{error}"
            );
            assert_eq!(response.only_payload(), "\0", "what it wrote until then");
        }
    }
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

#[test]
fn w05_pointers_out_of_bounds_are_errors() {
    let broker = with(
        limited(),
        "f",
        &wasm::text(
            r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
              (drop (call $write (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 8)))
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))
              (i32.store (i32.const 0) (i32.const 16))
              (i32.store (i32.const 4) (i32.const -1))
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -2)))
              (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)))
              (drop (call $read (i32.const 77) (i32.const 0) (i32.const 1) (i32.const 0)))
              (drop (call $random (i32.const 65000) (i32.const -1)))
              (drop (call $environ (i32.const -1) (i32.const -8)))
              (drop (call $poll (i32.const -1) (i32.const 0) (i32.const -1) (i32.const 0)))
              (unreachable)))"#,
        ),
    )
    .start();
    for _ in 0..3 {
        assert_eq!(reason(&broker, "f").0, "script_error");
    }
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

/// W06: what is slow or large to compile costs its own calls only, and its verdict is remembered.
#[test]
fn w06_compile_bombs_end_at_limits_of_their_own() {
    let locals = 49_000;
    let mixed = |index| {
        format!("(local.set {index} (i64.add (local.get {index}) (local.get {})))", locals - 1 - index)
    };
    let uses: String = (0..locals).map(mixed).collect();
    let slow =
        format!(r#"(func (export "_start") (local {}) (loop $a {uses} (br $a)))"#, "i64 ".repeat(locals));
    let many = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))".repeat(100_000);
    let wide =
        format!(r#"(func (export "_start") (block (br_table {} (i32.const 0))))"#, "0 ".repeat(1_000_000));
    let mut setup = Setup::new().workers(2).lua("lua", "function OnMessage(_, p) return p end");
    for (name, functions) in [("slow", slow), ("many", many), ("wide", wide)] {
        setup = with(setup, name, &wasm::text(&format!("(module {functions})")));
    }
    let broker = setup.start();
    let verdict = |name: &str, words: &str, limit: Option<&str>| {
        let began = Instant::now();
        loop {
            let response = broker.post(&format!("/{name}?_timeout=1s"), "");
            assert_eq!(broker.call("lua", name), name, "others are served meanwhile");
            if response.status == 500 {
                assert!(response.text().contains(words), "{}", response.text());
                assert_eq!(response.header("msgscript-limit"), limit);
                return;
            }
            assert_eq!(response.status, 504, "{}", response.text());
            assert!(began.elapsed() < Duration::from_secs(120), "{}", broker.log());
        }
    };
    verdict("wide", "wide.wasm is not accepted", None);
    verdict("many", "many.wasm takes too much memory to compile", Some("512MiB"));
    verdict("slow", "slow.wasm takes too long to compile", Some("30s"));
    for name in ["wide", "many", "slow"] {
        let (_, error) = broker.fail(name, "");
        assert!(error.contains(&format!("{name}.lua: {name}.wasm")), "{error}");
    }
    assert_eq!(broker.count_events("\"not compiled\""), 3, "once each\n{}", broker.log());
}

#[test]
fn w09_start_functions_have_the_same_limits() {
    let setup = with(
        limited(),
        "loop",
        &wasm::text(r#"(module (func $s (loop $a (br $a))) (start $s) (func (export "_start")))"#),
    );
    let setup = with(
        setup,
        "trap",
        &wasm::text(r#"(module (func $s unreachable) (start $s) (func (export "_start")))"#),
    );
    let broker = setup.start();
    assert_eq!(reason(&broker, "loop").0, "wall_time");
    assert_eq!(reason(&broker, "trap").0, "script_error");
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

/// W10: nothing that a run leaves in memory, globals or tables is there in the next.
#[test]
fn w10_memory_is_fresh_in_each_run() {
    let module = command(
        r#"(global $g (mut i32) (i32.const 7))
        (data (i32.const 32) "seven")
        (func (export "_start") (local $at i32) (local $sum i32)
          (drop (memory.grow (i32.const 20)))
          (local.set $at (i32.const 48))
          (loop $scan
            (local.set $sum (i32.or (local.get $sum) (i32.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $scan (i32.lt_u (local.get $at) (i32.const 1376256))))
          (i32.store8 (i32.const 16) (select (i32.const 100) (i32.const 102) (local.get $sum)))
          (i32.store8 (i32.const 17) (i32.add (global.get $g) (i32.const 48)))
          (call $write (i32.const 16) (i32.const 2))
          (call $write (i32.const 32) (i32.const 5))
          (global.set $g (i32.const 1))
          (memory.fill (i32.const 32) (i32.const 0x5a) (i32.const 1376224)))"#,
    );
    let broker = with(Setup::new().workers(1), "f", &module).start();
    for run in 0..20 {
        assert_eq!(broker.call("f", ""), "f7seven", "run {run}");
    }
    // All of them by one worker, and one that waits.
    assert!(wasm_workers(&broker).len() <= 2);
}

/// W11: calls without end into the host.
#[test]
fn w11_a_storm_of_calls_ends_with_the_run() {
    let storm = command(
        r#"(func (export "_start") (loop $a (call $write (i32.const 16) (i32.const 4096)) (br $a)))"#,
    );
    let broker = with(limited(), "f", &storm).start();
    let (response, _) = broker.fail("f", "");
    assert_eq!((response.status, response.reason()), (500, "output"));
    assert_eq!(response.header("msgscript-limit"), Some("8MiB"));
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

/// W12: a handler that never answers, or answers twice.
#[test]
fn w12_a_request_has_one_answer() {
    let response = "(local.set $response (call $response (call $fields)))";
    let answer = "(call $answer (local.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let handlers = [
        ("never", String::new(), "the component gave no response"),
        ("twice", format!("{response} {answer} {response} {answer}"), "unknown handle"),
    ];
    let mut setup = limited();
    for (name, handler, _) in &handlers {
        let module = format!(
            r#"(module
            (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
            (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
              (func $response (param i32) (result i32)))
            (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
              (func $answer (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
              (local $response i32) {handler}))"#
        );
        setup = with(setup, name, &wasm::component_of(&module, "echo", include_str!("http.wit")));
    }
    let broker = setup.start();
    for (name, _, words) in &handlers {
        let (reason, error) = reason(&broker, name);
        assert!(reason == "script_error" && error.contains(words), "{name}: {reason}: {error}");
    }
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

/// The kernel's word on a worker that runs a module: one thread, two filters, no way back.
#[test]
fn a_bound_worker_has_two_filters_and_one_thread() {
    let broker = with(Setup::new(), "tool", tool()).start();
    assert_eq!(broker.call("tool", "times"), "1 1 1");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let workers = wasm_workers(&broker);
        let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let all: Vec<String> = workers.iter().map(status).collect();
        assert!(all.iter().all(|status| status.is_empty() || status.contains("Threads:\t1\n")), "{all:?}");
        let filters =
            |count| all.iter().any(|status| status.contains(&format!("Seccomp_filters:\t{count}\n")));
        // One is bound, one waits for a module.
        if filters(2) && filters(1) {
            break;
        }
        assert!(Instant::now() < deadline, "{all:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
