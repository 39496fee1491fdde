//! Which files are modules, how they change, and what is kept of them.

use std::path::PathBuf;

use msgscript_tests::harness::{Broker, Setup, program};
use msgscript_tests::wasm;

use crate::{command, script, tool, with};

/// A command that answers this.
fn says(text: &str) -> Vec<u8> {
    let length = text.len();
    command(&format!(
        r#"(data (i32.const 16) "{text}")
        (func (export "_start") (call $write (i32.const 16) (i32.const {length})))"#
    ))
}

fn error_of(module: &[u8]) -> String {
    let broker = with(Setup::new(), "f", module).start();
    let (response, error) = broker.fail("f", "");
    assert_eq!((response.status, response.reason()), (500, "script_error"), "{error}");
    error
}

#[test]
fn a_missing_or_bad_file_is_an_error_of_the_call_that_names_it() {
    let broker = Setup::new().file("deep/f.lua", script("f", "sub/f.wasm")).start();
    let (response, error) = broker.fail("f", "");
    assert_eq!((response.status, response.reason()), (500, "script_error"));
    assert_eq!(error, "deep/f.lua: cannot read sub/f.wasm: there is no such file");
    assert!(broker.get("/_/list").text().contains("f"), "it stays listed");
    let is = |text: &str| {
        let response = broker.post_until("/f", "", |response| response.text().contains(text));
        assert_eq!(response.status, 500);
    };
    broker.write("deep/sub/f.wasm", "(module)");
    is("sub/f.wasm is not a WebAssembly module");
    broker.write("deep/sub/f.wasm", b"\x7fELF\x02\x01\x01");
    is("sub/f.wasm is not a WebAssembly module");
    broker.write("deep/sub/f.wasm", &tool()[..tool().len() - 100]);
    is("sub/f.wasm is not accepted");
    broker.write("deep/sub/f.wasm", says("there"));
    broker.post_until("/f", "", |response| response.status == 200 && response.only_payload() == "there");
    std::fs::remove_file(broker.scripts().join("deep/sub/f.wasm")).expect("removed");
    is("there is no such file");
}

#[test]
fn a_file_may_lie_anywhere_for_the_default_tenant() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.wasm");
    std::fs::write(&path, says("far")).expect("written");
    let broker = Setup::new()
        .file("f.lua", script("f", path.to_str().expect("a path")))
        .file("sub/g.lua", script("g", "../g.wasm"))
        .file("g.wasm", says("up"))
        .start();
    assert_eq!((broker.call("f", "").as_str(), broker.call("g", "").as_str()), ("far", "up"));
}

#[test]
fn a_changed_file_takes_effect() {
    let broker = with(Setup::new(), "f", &says("one")).start();
    assert_eq!(broker.call("f", ""), "one");
    broker.write("f.wasm", says("two"));
    broker.post_until("/f", "", |response| response.only_payload() == "two");
    broker.write("f.wasm", says("one"));
    broker.post_until("/f", "", |response| response.only_payload() == "one");
    assert_eq!(broker.count_events("\"compiled\""), 2, "what is known already is not compiled again");
}

#[test]
fn modules_that_ask_for_more_than_there_is_are_refused() {
    for (name, module, words) in [
        ("import", r#"(module (import "env" "system" (func)) (func (export "_start")))"#, "env::system"),
        (
            "wasi",
            r#"(module (import "wasi_snapshot_preview1" "sock_connect" (func)) (func (export "_start")))"#,
            "sock_connect",
        ),
        ("no start", "(module)", "_start"),
        ("memory64", "(module (memory i64 1))", "memory64"),
        ("threads", "(module (memory 1 1 shared))", "threads"),
        ("gc", "(module (type (struct (field i32))))", "gc"),
        ("exceptions", "(module (tag))", "exceptions"),
        ("tail calls", "(module (func return_call 0))", "tail call"),
        ("memories", "(module (memory 1) (memory 1))", "memories"),
    ] {
        let error = error_of(&wasm::text(module));
        assert!(
            error.contains(words) && error.contains("f.wasm") && error.starts_with("f.lua: "),
            "{name}: {error}"
        );
    }
    let neither = error_of(&wasm::text("(component)"));
    assert!(neither.contains("exports neither wasi:cli/run nor wasi:http/incoming-handler"), "{neither}");
}

fn state(broker: &Broker) -> PathBuf {
    broker.folder().join("state")
}

/// A broker that keeps its state in this folder.
fn kept(state: &std::path::Path, module: &[u8]) -> Broker {
    with(Setup::new().args(&["--state-dir", state.to_str().expect("a path")]), "f", module).start()
}

fn artifacts(state: &std::path::Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(state.join("wasm")).expect("a folder").flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "artifact")).collect()
}

#[test]
fn a_second_start_runs_warm_and_damage_is_compiled_again() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path();
    let compiled = |broker: &Broker| {
        assert_eq!(broker.call("f", "hello"), "hello|payload");
        broker.count_events("\"compiled\"")
    };
    assert_eq!(compiled(&kept(state, tool())), 1);
    assert_eq!(compiled(&kept(state, tool())), 0, "warm");
    let path = artifacts(state).pop().expect("an artifact");
    let mut bytes = std::fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let broker = kept(state, tool());
    assert_eq!(compiled(&broker), 1, "damaged");
    assert_eq!(broker.count_events("damaged or foreign"), 1);
    drop(broker);
    assert_eq!(compiled(&kept(state, tool())), 0, "and kept again");
    // Somebody else's key: nothing of it is trusted.
    std::fs::write(state.join("wasm/key"), [7; 32]).expect("written");
    assert_eq!(compiled(&kept(state, tool())), 1, "foreign");
    // A module that is another one's artifact is no module.
    let broker = kept(state, &std::fs::read(artifacts(state).pop().expect("one")).expect("readable")[32..]);
    let (_, error) = broker.fail("f", "");
    assert!(error.contains("is not a WebAssembly module"), "{error}");
}

#[test]
fn without_the_program_only_these_functions_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(program("msgscript-worker"), folder.path().join("msgscript-worker")).expect("copied");
    let folder = folder.path().to_str().expect("a path");
    let setup =
        Setup::new().args(&["--worker-dir", folder]).lua("lua", "function OnMessage() return 'yes' end");
    let broker = with(setup, "f", tool()).start();
    assert_eq!(broker.call("lua", ""), "yes");
    let (response, error) = broker.fail("f", "");
    assert_eq!(response.reason(), "script_error");
    assert!(error.contains("msgscript-worker-wasm is not beside msgscript-worker"), "{error}");
}

#[test]
fn more_modules_than_workers_are_served_by_turns() {
    let mut setup = Setup::new().workers(2);
    for index in 0..12 {
        setup = with(setup, &format!("f{index}"), &says(&format!("I am {index}")));
    }
    let broker = setup.start();
    for _ in 0..3 {
        for index in 0..12 {
            assert_eq!(broker.call(&format!("f{index}"), ""), format!("I am {index}"));
        }
    }
    assert!(broker.workers().len() < 20, "{:?}", broker.workers());
    assert!(state(&broker).parent().is_some());
}

#[test]
fn many_calls_at_once_are_all_answered() {
    let broker = with(Setup::new(), "tool", tool()).start();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let broker = &broker;
            scope.spawn(move || {
                for call in 0..10 {
                    let text = format!("{client} {call}");
                    assert_eq!(broker.call("tool", &text), format!("{text}|payload"));
                }
            });
        }
    });
}
