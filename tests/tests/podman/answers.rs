//! What a container gets and what its output becomes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use msgscript_tests::podman::{APP_IMAGE, IMAGE};

use crate::{none_left, script, sh, shared, shell};

#[test]
fn hello() {
    let (podman, setup) = shared();
    let broker = setup.file("hello.lua", script("answer-hello", "", "")).start();
    assert_eq!(broker.call("answer-hello", ""), "hello\n");
    none_left(&podman, "answer-hello");
}

#[test]
fn the_payload_is_standard_input() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "answer-cat", "cat");
    assert_eq!(broker.call("answer-cat", "over and over"), "over and over");
    // More than a pipe holds, with every byte there is.
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let response = broker.post("/answer-cat", &bytes);
    let payload = STANDARD.decode(response.only()["payload"].as_str().expect("a payload")).expect("base64");
    assert_eq!((response.status, payload == bytes), (200, true));
    assert_eq!(broker.call("answer-cat", ""), "");
}

#[test]
fn binary_output_stays_what_it_is() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "answer-binary", r"printf '\000\001\377\r\n\n'");
    let payload = broker.post("/answer-binary", "").only()["payload"].clone();
    assert_eq!(payload, STANDARD.encode(b"\0\x01\xff\r\n\n"));
}

#[test]
fn the_environment_tells_of_the_message() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "answer-env", "echo \"$SUBJECT|$METHOD|$URL|${PAYLOAD-none}|$HOME\"");
    let response = broker.request("PUT", "/answer-env/a/b?c=d", &[], b"pay load");
    assert_eq!(response.only_payload(), "answer-env|PUT|/a/b?c=d|pay load|/\n");
    assert_eq!(broker.call("answer-env", "with\0nul"), "answer-env|POST||none|/\n");
}

#[tokio::test]
async fn over_nats() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "answer-nats", "echo \"$SUBJECT|$METHOD|$URL|$(cat)\"");
    let client = broker.nats().await;
    let reply = client.request("answer-nats", "hi".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"answer-nats|||hi\n");
    assert!(reply.headers.is_some_and(|headers| headers.get("Msgscript-Invocation").is_some()));
}

#[test]
fn failures_have_standard_error_and_the_output() {
    let (podman, setup) = shared();
    let broker = shell(setup, "answer-fail", "echo so far; echo what went wrong >&2; exit 3");
    let (response, error) = broker.fail("answer-fail", "");
    assert_eq!((response.status, response.reason()), (500, "script_error"));
    assert_eq!(error, format!("{IMAGE}: exit status 3: what went wrong"));
    assert_eq!(response.only_payload(), "so far\n");
    none_left(&podman, "answer-fail");
}

#[test]
fn standard_error_of_a_success_is_logged() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "answer-log", "echo a word for the log >&2; echo done");
    assert_eq!(broker.call("answer-log", ""), "done\n");
    let event = broker.wait_for_words(&["a word for the log"]);
    assert_eq!((&event["script"], &event["level"]), (&"answer-log".into(), &"INFO".into()));
}

#[test]
fn a_result_document_is_the_result() {
    let (_podman, setup) = shared();
    let document =
        r#"{"http_code":201,"error":"","http_headers":{"X-A":"b"},"is_html":true,"payload":"PGI+"}"#;
    let broker = shell(setup, "answer-html", &format!("echo '{document}'"));
    let response = broker.get("/answer-html");
    assert_eq!((response.status, response.text().as_str()), (201, "<b>"));
    assert_eq!((response.header("content-type"), response.header("x-a")), (Some("text/html"), Some("b")));
}

#[test]
fn a_page_needs_no_document() {
    let (_podman, setup) = shared();
    let page = script("answer-page", "--* http: true", &sh("echo '<p>'"));
    let broker = setup.file("page.lua", page).start();
    let response = broker.get("/answer-page");
    assert_eq!((response.status, response.text().as_str()), (200, "<p>\n"));
}

#[test]
fn users_of_images_and_descriptions() {
    let (_podman, setup) = shared();
    let app = script("answer-app", "", &sh("id -u")).replace(IMAGE, APP_IMAGE);
    let other =
        script("answer-other", "", &format!("{}, \"user\": \"77:78\", \"groups\": [\"99\"]", sh("id")));
    let broker = setup.file("app.lua", app).file("other.lua", other).start();
    assert_eq!(broker.call("answer-app", ""), "10001\n");
    let id = broker.call("answer-other", "");
    assert!(id.contains("uid=77") && id.contains("gid=78") && id.contains("99"), "{id}");
}

#[test]
fn what_cannot_run_is_told_with_the_image() {
    let (podman, setup) = shared();
    let broker = setup
        .file("gone.lua", script("answer-gone", "", "").replace(IMAGE, "localhost/no-such:9"))
        .file(
            "never.lua",
            script("answer-never", "", "\"pull\": \"never\"").replace(IMAGE, "localhost/no-such:9"),
        )
        .file("always.lua", script("answer-always", "", "\"pull\": \"always\""))
        .file("command.lua", script("answer-command", "", "\"command\": [\"no-such-command\"]"))
        .file("user.lua", script("answer-user", "", "\"user\": \"stranger\""))
        .file("json.lua", script("answer-json", "", "\"command\": }"))
        .file("type.lua", script("answer-type", "", "\"command\": \"echo\""))
        .file("extra.lua", script("answer-extra", "", "\"colour\": \"blue\""))
        .start();
    for (subject, status, words) in [
        ("answer-gone", 500, &["localhost/no-such:9", "not here", "local images only"][..]),
        ("answer-never", 500, &["localhost/no-such:9", "\"never\""]),
        ("answer-always", 403, &[IMAGE, "denied: default has no grant to pull"]),
        ("answer-command", 500, &[IMAGE, "no-such-command", "not found"]),
        ("answer-user", 500, &[IMAGE, "stranger"]),
        ("answer-json", 500, &["json.lua:6:", "no JSON object"]),
        ("answer-type", 500, &["type.lua:", "`command` must be a list"]),
    ] {
        let (response, error) = broker.fail(subject, "");
        assert_eq!(response.status, status, "{subject}: {error}");
        for word in words {
            assert!(error.contains(word), "{subject}: {error} lacks {word}");
        }
        none_left(&podman, subject);
    }
    // As in the Go server fields that mean nothing harm nothing; they are told of.
    assert_eq!(broker.call("answer-extra", ""), "hello\n");
    broker.wait_for_words(&["colour"]);
}
