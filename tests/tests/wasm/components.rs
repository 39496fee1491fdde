//! Components: commands, and HTTP handlers as other servers run them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use msgscript_tests::harness::Setup;
use msgscript_tests::wasm;

use crate::{tool, with};

#[test]
fn a_command_component_answers_as_a_module_does() {
    let broker = with(Setup::new(), "tool", &wasm::component(tool())).start();
    assert_eq!(broker.call("tool", "hello"), "hello|payload");
    let response = broker.request("PUT", "/tool/a?b", &[], b"env");
    assert_eq!(response.only_payload(), "tool|env|PUT|/a?b");
    let (_, error) = broker.fail("tool", "exit 3");
    assert_eq!(error, "tool.lua: tool.wasm: exit status 1: cannot", "a component knows good and bad only");
    assert_eq!(broker.call("tool", "times"), "1 1 1");
    assert_eq!(broker.call("tool", "files"), "0 1 1 1", "only its own");
    assert_eq!(broker.call("tool", &format!("big {}", 1 << 20)).len(), 1 << 20);
}

fn echo() -> Vec<u8> {
    wasm::component_of(include_str!("echo.wat"), "echo", include_str!("http.wit"))
}

#[test]
fn an_http_handler_answers_requests() {
    let broker = with(Setup::new(), "echo", &echo()).start();
    for body in ["", "hello", &"z".repeat(300_000)] {
        let response = broker.post("/echo/a/b?c=d", body);
        assert_eq!((response.status, response.header("x-kind")), (201, Some("proxy")), "{}", response.text());
        assert_eq!(response.text(), format!("/a/b?c=d{body}"));
    }
    assert_eq!(broker.get("/echo").text(), "/");
    assert_eq!(broker.get("/echo?q").text(), "/?q");
}

#[tokio::test]
async fn a_message_is_no_request() {
    let broker = with(Setup::new(), "echo", &echo()).start();
    let reply = broker.nats().await.request("echo", "x".into()).await.expect("a reply");
    let headers = reply.headers.expect("headers");
    assert_eq!(headers.get("Nats-Service-Error-Code").map(|value| value.as_str()), Some("405"));
}

#[test]
fn a_response_has_a_limit() {
    let broker = with(Setup::new().args(&["--max-output", "100KiB"]), "echo", &echo()).start();
    let response = broker.post("/echo", "z".repeat(200_000));
    assert_eq!((response.status, response.header("msgscript-reason")), (500, Some("output")));
    assert_eq!(broker.post("/echo", "small").status, 201);
}

/// A server that answers one request after another with 203 and the request's head.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let size = stream.read(&mut head).unwrap_or(0);
            let answer = format!("HTTP/1.1 203 X\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
            let _ = stream.write_all(&[answer.as_bytes(), &head[..size]].concat());
        }
    });
    address
}

/// Requests that a component makes are host calls, under the same policy as those of Lua's `http`.
#[test]
fn outgoing_requests_go_through_the_broker() {
    let fetch = wasm::component_of(include_str!("fetch.wat"), "fetch", include_str!("http.wit"));
    let broker = with(Setup::new(), "fetch", &fetch).start();
    let address = server();
    let response = broker.post("/fetch", address.to_string());
    assert_eq!(response.status, 203, "{}\n{}", response.text(), broker.log());
    let text = response.text();
    assert!(text.starts_with("GET /x?y HTTP/1.1\r\n"), "{text}");
    for header in ["x-from: wasm".to_owned(), format!("host: {address}")] {
        assert!(text.to_lowercase().contains(&format!("{header}\r\n")), "{text}");
    }
    // HTTP-request-denied is the sixteenth error: the broker's own door, and a metadata service.
    for denied in [broker.http().to_string(), "169.254.169.254".to_owned()] {
        let response = broker.post("/fetch", &denied);
        assert_eq!((response.status, response.text().as_str()), (502, "P"), "{denied}: {}", broker.log());
    }
    broker.wait_for_words(&["denied", "169.254.169.254"]);
}
