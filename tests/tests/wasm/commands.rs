//! What a command is given, and what its ending means.

use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::wasm;
use serde_json::json;

use crate::{tool, with};

fn broker() -> Broker {
    with(Setup::new(), "tool", tool()).start()
}

#[test]
fn it_answers_over_http() {
    let broker = broker();
    assert_eq!(broker.call("tool", "hello"), "hello|payload");
    let response = broker.request("PUT", "/tool/a/b?c=d", &[], b"env");
    assert_eq!(response.only_payload(), "tool|env|PUT|/a/b?c=d");
}

#[tokio::test]
async fn it_answers_over_nats() {
    let broker = broker();
    let client = broker.nats().await;
    let reply = client.request("tool", "env".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"tool|env||");
    let failed = client.request("tool", "exit 3".into()).await.expect("a reply");
    let headers = failed.headers.expect("headers");
    assert_eq!(headers.get("Msgscript-Reason").map(|value| value.as_str()), Some("script_error"));
}

#[test]
fn its_payload_is_its_input_and_a_small_text_is_in_its_environment_too() {
    let broker = broker();
    let whole = "x".repeat(64 << 10);
    assert_eq!(broker.call("tool", &whole), format!("{whole}|payload"));
    let over = "x".repeat((64 << 10) + 1);
    assert_eq!(broker.call("tool", &over), format!("{over}|none"));
    let most = "y".repeat(1 << 20);
    assert_eq!(broker.call("tool", &most), format!("{most}|none"));
    assert_eq!(broker.call("tool", "a\0b"), "a\0b|none");
    assert_eq!(broker.call("tool", ""), "|payload");
}

#[test]
fn a_document_is_the_answer_with_status_and_headers() {
    let broker = broker();
    let response = broker.post("/tool", "document");
    assert_eq!((response.status, response.header("x-a")), (201, Some("b")));
    assert_eq!(response.text(), "<b>");
}

#[test]
fn an_exit_status_is_a_failure_that_keeps_its_output() {
    let broker = broker();
    let (response, error) = broker.fail("tool", "exit 3");
    assert_eq!((response.status, response.reason()), (500, "script_error"));
    assert_eq!(error, "tool.lua: tool.wasm: exit status 3: cannot");
    assert_eq!(response.only_payload(), "so far");
    assert_eq!(broker.call("tool", "exit 0"), "so far");
}

#[test]
fn standard_error_of_a_good_run_goes_to_the_log() {
    let broker = broker();
    assert_eq!(broker.call("tool", "note"), "ok");
    for line in ["one", "two"] {
        broker.wait_for_event("a line", |event| event["text"] == json!(line) && event["script"] == "tool");
    }
}

#[test]
fn clocks_and_random_numbers_work_and_the_hosts_files_are_not_there() {
    let broker = broker();
    assert_eq!(broker.call("tool", "times"), "1 1 1");
    assert_eq!(broker.call("tool", "files"), "0 1 1 1", "only its own");
}

#[test]
fn output_may_be_as_large_as_the_limit() {
    let broker = with(Setup::new().args(&["--max-output", "2MiB"]), "tool", tool()).start();
    assert_eq!(broker.call("tool", &format!("big {}", 2 << 20)).len(), 2 << 20);
    let (response, error) = broker.fail("tool", &format!("big {}", (2 << 20) + 1));
    assert_eq!((response.status, response.reason()), (500, "output"));
    assert_eq!(response.header("msgscript-limit"), Some("2MiB"));
    assert_eq!(error, "tool.lua: result is too large");
}

#[test]
fn the_examples_answer() {
    let words = wasm::c(include_str!("../../../examples/wasm/words.c"));
    let reverse = wasm::c(include_str!("../../../examples/wasm/reverse.c"));
    let broker = with(with(Setup::new(), "words", &words), "reverse", &reverse).start();
    assert_eq!(broker.call("words", "one two\nthree\n"), "2 lines, 3 words, 14 bytes\n");
    let (_, error) = broker.fail("words", "");
    assert_eq!(error, "words.lua: words.wasm: exit status 2: send me some text");
    assert_eq!(broker.call("reverse", "one\ntwo\nthree"), "three\ntwo\none\n");
}
