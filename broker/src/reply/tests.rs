use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use proptest::prelude::*;

use super::http::{Response, plain, respond};
use super::nats::{envelope, envelope_error, raw, refusal};
use super::size_text;
use crate::catalog::Script;
use crate::invocation::{Answer, Ending, Reason};

fn script(name: &str, http: bool) -> Rc<Script> {
    Rc::new(Script { http, ..Script::for_test("t.*", name) })
}

fn ending(name: &str, reason: Reason, answer: Answer) -> Ending {
    Ending {
        invocation: 0x2a,
        name: name.into(),
        reason,
        answer,
        error: String::new(),
        shown: false,
        limit: String::new(),
        measured: String::new(),
        logs: Vec::new(),
    }
}

fn said(name: &str, text: &'static str) -> Ending {
    ending(name, Reason::Ok, Answer::Message(Bytes::from_static(text.as_bytes())))
}

fn failed(name: &str, reason: Reason, error: &str) -> Ending {
    Ending { error: error.into(), ..ending(name, reason, Answer::None) }
}

fn page(status: u16, headers: &[(&str, &str)]) -> Ending {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    ending("p", Reason::Ok, Answer::Http { body: Bytes::from_static(b"<p>"), status, headers })
}

fn no_function(methods: &[&str]) -> Ending {
    let methods = methods.iter().map(|m| (*m).to_owned()).collect();
    ending("p", Reason::Denied, Answer::NoFunction { methods })
}

fn body(response: Response) -> String {
    let body = futures_util::FutureExt::now_or_never(response.into_body().collect());
    String::from_utf8(body.unwrap().unwrap().to_bytes().to_vec()).unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn one(method: &str, http: bool, ending: Ending) -> Response {
    respond(method, &[script(&ending.name, http)], &[ending])
}

#[test]
fn messages_answer_with_the_document_of_the_contract() {
    let response = one("POST", false, said("hello", "hi"));
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(field(&response, "msgscript-reason"), "ok");
    assert_eq!(field(&response, "msgscript-invocation"), "000000000000002a");
    assert_eq!(
        body(response),
        r#"{"hello":{"http_code":200,"error":"","http_headers":{},"is_html":false,"payload":"aGk="}}"#
    );
}

#[test]
fn one_success_is_a_success_and_names_decide() {
    let scripts = [script("b", false), script("a", false)];
    let endings = [said("b", "x"), failed("a", Reason::ScriptError, "t.lua:1: no")];
    let response = respond("GET", &scripts, &endings);
    assert_eq!(response.status(), 200);
    assert_eq!(
        body(response),
        concat!(
            r#"{"a":{"http_code":500,"error":"t.lua:1: no","reason":"script_error","http_headers":{},"#,
            r#""is_html":false,"payload":""},"#,
            r#""b":{"http_code":200,"error":"","http_headers":{},"is_html":false,"payload":"eA=="}}"#
        )
    );

    let endings = [failed("b", Reason::ScriptError, "no"), failed("a", Reason::Overloaded, "")];
    let response = respond("GET", &scripts, &endings);
    assert_eq!(response.status(), 503);
    assert_eq!(field(&response, "retry-after"), "1");
    assert_eq!(field(&response, "msgscript-reason"), "overloaded");
}

#[test]
fn one_name_on_two_patterns_loses_nothing() {
    let scripts = [script("a", false), script("a", false)];
    let text = body(respond("GET", &scripts, &[said("a", "1"), said("a", "2")]));
    assert!(text.contains(r#""a":{"#) && text.contains(r#""t.*/a":{"#), "{text}");
}

#[test]
fn a_script_in_http_mode_is_the_response() {
    let headers = [("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Own", "1")];
    let response = one("GET", false, page(201, &headers));
    assert_eq!(response.status(), 201);
    assert_eq!(field(&response, "content-type"), "text/html");
    assert_eq!(field(&response, "x-own"), "1");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(body(response), "<p>");

    let response = one("GET", false, page(200, &[("content-type", "text/css")]));
    assert_eq!(field(&response, "content-type"), "text/css");
    assert_eq!(response.headers().get_all("content-type").iter().count(), 1);
}

#[test]
fn the_first_in_http_mode_by_name_answers() {
    let scripts = [script("z", true), script("m", true), script("a", false)];
    let endings = [said("z", "z"), said("m", "m"), said("a", "a")];
    let response = respond("GET", &scripts, &endings);
    assert_eq!(field(&response, "content-type"), "text/html");
    assert_eq!(body(response), "m");
}

#[test]
fn scripts_set_no_header_that_is_not_theirs() {
    let headers = [
        ("Content-Length", "9"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
        ("Upgrade", "h2c"),
        ("Keep-Alive", "x"),
        ("Trailer", "x"),
        ("Msgscript-Reason", "memory"),
        ("X-Split", "a\r\nSet-Cookie: x=1"),
        ("X-Null", "a\0b"),
        ("Bad Name", "x"),
        ("Bad\r\nName", "x"),
        ("", "x"),
        ("X-Good", "ä\tb"),
    ];
    let response = one("GET", true, page(200, &headers));
    let mut names: Vec<&str> = response.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "msgscript-invocation", "msgscript-reason", "x-good"]);
    assert_eq!(field(&response, "msgscript-reason"), "ok");
}

#[test]
fn too_many_headers_are_a_failure() {
    let many: Vec<(&str, &str)> = vec![("x", "y"); 200];
    let response = one("GET", true, page(200, &many));
    assert_eq!((response.status().as_u16(), field(&response, "msgscript-reason")), (500, "output"));
    let long = "y".repeat(40 << 10);
    assert_eq!(one("GET", true, page(200, &[("x", &long)])).status(), 500);
}

#[test]
fn a_missing_method_is_405_and_an_unknown_one_501() {
    let response = one("DELETE", true, no_function(&["POST", "GET"]));
    assert_eq!(response.status(), 405);
    assert_eq!(field(&response, "allow"), "GET, HEAD, POST");
    assert_eq!(field(&response, "content-type"), "text/plain");
    assert_eq!(body(response), "Error: the script has no function for this method, only for POST, GET");

    let response = one("TRACE", false, no_function(&["GET"]));
    assert_eq!((response.status().as_u16(), field(&response, "allow")), (501, ""));
    assert_eq!(one("GET", true, no_function(&[])).status(), 405);
}

#[test]
fn failures_in_http_mode_are_plain_text() {
    let mut ending = failed("p", Reason::Memory, "not enough memory");
    ending.limit = "128MiB".into();
    ending.measured = "129MiB".into();
    let response = one("GET", true, ending);
    assert_eq!(response.status(), 500);
    assert_eq!(field(&response, "msgscript-limit"), "128MiB");
    assert_eq!(field(&response, "msgscript-measured"), "129MiB");
    assert_eq!(body(response), "Error: not enough memory");
    assert_eq!(one("GET", true, failed("p", Reason::Cancelled, "")).status(), 499);
}

#[test]
fn faults_of_ours_are_not_told() {
    let secret = "cannot open /srv/secret/worker.sock";
    for http in [true, false] {
        let text = body(one("GET", http, failed("p", Reason::Internal, secret)));
        assert!(!text.contains("/srv") && text.contains("000000000000002a"), "{text}");
    }
    let reply = raw(&failed("p", Reason::Internal, secret), 1 << 20);
    assert!(!reply.headers.iter().any(|(_, value)| value.contains("/srv")));
    let document = envelope(&[failed("p", Reason::Internal, secret)], None, 1 << 20);
    assert!(!String::from_utf8_lossy(&document).contains("/srv"));
}

#[test]
fn statuses_that_are_none_become_500() {
    for status in [0, 99, 100, 101, 199, 600, 1000, u16::MAX] {
        assert_eq!(one("GET", true, page(status, &[])).status(), 500, "{status}");
    }
    assert_eq!(plain(413, None, "x").status(), 413);
}

#[test]
fn raw_replies_carry_the_string_and_who_said_it() {
    let reply = raw(&said("hello", "hi"), 1 << 20);
    assert_eq!(reply.payload, "hi");
    let expected = [("Msgscript-Name", "hello"), ("Msgscript-Invocation", "000000000000002a")];
    assert_eq!(reply.headers, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn raw_failures_are_service_errors_on_one_line() {
    let mut ending = failed("p", Reason::WallTime, "took\r\nNats-Service-Error-Code: 200\0 too long");
    ending.limit = "2s".into();
    let reply = raw(&ending, 1 << 20);
    assert!(reply.payload.is_empty());
    let value = |name| reply.headers.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v);
    assert_eq!(value("Nats-Service-Error"), "took  Nats-Service-Error-Code: 200  too long");
    assert_eq!(value("Nats-Service-Error-Code"), "504");
    assert_eq!(value("Msgscript-Reason"), "wall_time");
    assert_eq!(value("Msgscript-Limit"), "2s");

    let reply = raw(&no_function(&["GET"]), 1 << 20);
    assert!(reply.headers.contains(&("Nats-Service-Error-Code", "405".to_owned())));
    let reply = refusal(Reason::Loop, "\n");
    assert!(reply.headers.contains(&("Nats-Service-Error", "the message went round too often".to_owned())));
}

#[test]
fn results_over_max_payload_are_failures() {
    let ending = said("hello", "0123456789");
    let fits = raw(&ending, 1 << 20);
    let size = 12 + fits.headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum::<usize>() + 10;
    assert_eq!(raw(&ending, size), fits);
    let reply = raw(&ending, size - 1);
    assert!(reply.payload.is_empty());
    assert!(reply.headers.contains(&("Msgscript-Reason", "output".to_owned())));
    assert!(reply.headers.contains(&("Msgscript-Limit", size_text(size - 1))));

    let document = envelope(&[said("hello", "0123456789")], None, 20);
    assert!(document.starts_with(br#"{"script_result":[],"is_html":false,"error":"the result is "#));
}

#[test]
fn envelopes_get_the_document_of_the_contract() {
    let document = envelope(&[said("a", "hi"), failed("b", Reason::ScriptError, "no")], None, 1 << 20);
    assert_eq!(
        document,
        concat!(
            r#"{"script_result":["#,
            r#"{"http_code":200,"error":"","http_headers":{},"is_html":false,"payload":"aGk="},"#,
            r#"{"http_code":500,"error":"no","http_headers":{},"is_html":false,"payload":""}],"#,
            r#""is_html":false,"error":""}"#
        )
    );
    let headers = [("X-A", "1"), ("X-A", "2"), ("B", "3")];
    assert_eq!(
        envelope(&[page(404, &headers)], Some("GET"), 1 << 20),
        concat!(
            r#"{"script_result":[{"http_code":404,"error":"","http_headers":{"B":"3","X-A":"1, 2"},"#,
            r#""is_html":true,"payload":"PHA+"}],"is_html":true,"error":""}"#
        )
    );
    assert_eq!(
        envelope_error(super::nats::NO_SCRIPT),
        r#"{"script_result":[],"is_html":false,"error":"No script found for subject"}"#
    );
    let document = envelope(&[failed("a", Reason::Memory, "full")], None, 1 << 20);
    assert!(document.ends_with(br#""is_html":false,"error":"full"}"#));
}

#[test]
fn a_failed_command_keeps_what_it_wrote() {
    let mut ending = said("wasm", "so far");
    ending.reason = Reason::ScriptError;
    ending.error = "exit status 1".into();
    let text = body(one("GET", false, ending));
    assert!(
        text.contains(r#""error":"exit status 1""#) && text.contains(r#""payload":"c28gZmFy""#),
        "{text}"
    );
}

#[test]
fn sizes_are_written_as_limits_are() {
    let sizes =
        [(0, "0B"), (1, "1B"), (1500, "1500B"), (2048, "2KiB"), (1 << 20, "1MiB"), (3 << 30, "3072MiB")];
    for (bytes, text) in sizes {
        assert_eq!(size_text(bytes), text);
    }
}

proptest! {
    /// Whatever a script sets: no panic, and nothing that ends a header early.
    #[test]
    fn any_header_is_kept_safe(name in ".{0,12}", value in ".{0,30}", status: u16, error in ".{0,2000}") {
        let response = one("GET", true, page(status, &[(&name, &value)]));
        for value in response.headers().values() {
            prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
        let mut ending = failed(&name, Reason::ScriptError, &error);
        ending.limit = value;
        for (_, value) in raw(&ending, 1 << 20).headers {
            prop_assert!(!value.contains(char::is_control) && value.len() <= 1024);
        }
    }
}

#[test]
fn a_commands_document_is_an_entry_with_its_status() {
    let headers = vec![("A".to_owned(), "b".to_owned())];
    let answer = Answer::Result { payload: Bytes::from_static(b"hi"), status: 404, headers };
    let response = one("POST", false, ending("c", Reason::Ok, answer.clone()));
    assert_eq!(response.status(), 200);
    let expected =
        r#"{"c":{"http_code":404,"error":"","http_headers":{"A":"b"},"is_html":false,"payload":"aGk="}}"#;
    assert_eq!(body(response), expected);
    assert_eq!(&raw(&ending("c", Reason::Ok, answer.clone()), 1 << 20).payload[..], b"hi");
    // In HTTP mode it is the response.
    let response = one("GET", true, ending("c", Reason::Ok, answer.clone()));
    assert_eq!((response.status().as_u16(), field(&response, "a")), (404, "b"));
    // A failure keeps status and payload.
    let failed = Ending { error: "no".into(), ..ending("c", Reason::ScriptError, answer) };
    let response = one("POST", false, failed);
    assert_eq!(response.status(), 404);
    assert!(body(response).contains(r#""payload":"aGk=""#));
}
