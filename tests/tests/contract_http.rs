//! The contract's rules on HTTP: the JSON form, statuses, waits, paths and the operator's pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use msgscript_tests::harness::{Broker, PATIENCE, Setup, parse_response, request};

const ECHO: &str = "function OnMessage(subject, payload) return subject .. '|' .. payload end";
const BUSY: &str = "function OnMessage(_, s) local t = os.clock() while os.clock() - t < tonumber(s) do end return 'done' end";

/// Sends bytes as they are, ends the sending side, and reads until the server closes.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn the_answer_is_json_by_script_name() {
    let broker = Setup::new()
        .script("funcs.hello", "hello", "function OnMessage(_, name) return 'Hello, ' .. name end")
        .script("mixed", "good", ECHO)
        .script("mixed", "bad", "function OnMessage() error('bad') end")
        .script("bytes", "bytes", "function OnMessage(_, p) return p .. '\\255\\0' end")
        .script("odd.name", "we\"ird <name>", ECHO)
        .start();
    let response = broker.post("/funcs.hello", "John");
    let expected = format!(
        r#"{{"hello":{{"http_code":200,"error":"","http_headers":{{}},"is_html":false,"payload":"{}"}}}}"#,
        STANDARD.encode("Hello, John")
    );
    assert_eq!((response.status, response.text().trim_end()), (200, expected.as_str()));
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    let id = response.header("msgscript-invocation").expect("an id").to_owned();
    assert_ne!(broker.post("/funcs.hello", "").header("msgscript-invocation"), Some(id.as_str()));
    // Any method will do, and what follows the subject changes nothing.
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let response = broker.request(method, "/funcs.hello/rest?x=y", &[], b"Ann");
        assert_eq!(response.payload("hello"), "Hello, Ann", "{method}");
    }
    assert_eq!(broker.request("HEAD", "/funcs.hello", &[], b"").status, 200);
    assert_eq!(broker.post("/bytes", b"\x80").json()["bytes"]["payload"], STANDARD.encode(b"\x80\xff\0"));
    assert_eq!(broker.post("/odd.name", "x").payload("we\"ird <name>"), "odd.name|x");
    // One that fails beside one that does not.
    let mixed = broker.post("/mixed", "x");
    let json = mixed.json();
    assert_eq!(mixed.status, 200);
    assert_eq!((&json["bad"]["http_code"], &json["bad"]["reason"]), (&500.into(), &"script_error".into()));
    assert_eq!(json["bad"]["payload"], "");
    assert!(json["bad"]["error"].as_str().is_some_and(|text| text.contains("bad.lua:3: bad")), "{json}");
    assert_eq!((&json["good"]["http_code"], &json["good"]["error"]), (&200.into(), &"".into()));
    assert!(json["good"].get("reason").is_none(), "{json}");
}

#[test]
fn each_ending_has_its_status_and_reason() {
    let broker = Setup::new()
        .workers(3)
        .args(&["--timeout", "700ms", "--memory", "32MiB", "--max-payload", "4KiB", "--max-output", "64KiB"])
        .script("fine", "fine", ECHO)
        .script("raises", "x", "function OnMessage() error('no') end")
        .script("loops", "x", "function OnMessage() while true do end end")
        .script("eats", "x", "function OnMessage() local t = {} while true do t[#t + 1] = {} end end")
        .script("talks", "x", "function OnMessage() return ('x'):rep(65 * 1024) end")
        .script("first", "a", "function OnMessage() error('no') end")
        .script("first", "b", "function OnMessage() while true do end end")
        .script("second", "a", "function OnMessage() while true do end end")
        .script("second", "b", "function OnMessage() error('no') end")
        .file("own.lua", "--* subject: own\n--* name: x\n--* timeout: 200ms\n--* memory: 8MiB\nfunction OnMessage(_, p) if p == 'eat' then local t = {} while true do t[#t + 1] = {} end end while true do end end")
        .start();
    for (subject, status, reason, limit) in [
        ("raises", 500, "script_error", None),
        ("loops", 504, "wall_time", Some("700ms")),
        ("eats", 500, "memory", Some("32MiB")),
        ("talks", 500, "output", Some("64KiB")),
        ("own", 504, "wall_time", Some("200ms")),
    ] {
        let response = broker.post(&format!("/{subject}"), "");
        assert_eq!((response.status, response.reason()), (status, reason), "{subject}: {response:?}");
        assert_eq!(response.header("msgscript-limit"), limit, "{subject}: {response:?}");
        assert_eq!(
            response.header("msgscript-measured").is_some(),
            limit.is_some(),
            "{subject}: {response:?}"
        );
        assert!(response.header("msgscript-invocation").is_some(), "{subject}");
        let json = response.json();
        assert_eq!(
            (&json["x"]["http_code"], &json["x"]["reason"]),
            (&status.into(), &reason.into()),
            "{json}"
        );
        assert!(json["x"]["error"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
    }
    let response = broker.post("/own", "eat");
    assert_eq!((response.status, response.reason()), (500, "memory"), "{response:?}");
    assert_eq!(response.header("msgscript-limit"), Some("8MiB"));
    // The first failure's status by name, when none succeeded.
    assert_eq!(broker.post("/first", "").status, 500);
    assert_eq!(broker.post("/second", "").status, 504);
    // At the limit of a payload, and past it.
    assert_eq!(broker.post("/fine", vec![b'x'; 4096]).status, 200);
    for length in [4097, 1 << 20] {
        let response = broker.post("/fine", vec![b'x'; length]);
        assert_eq!((response.status, response.reason()), (413, "too_large"), "{response:?}");
    }
    let chunked =
        b"POST /fine HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let body = format!("1001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1001));
    assert_eq!(
        parse_response(&exchange(broker.http(), &[&chunked[..], body.as_bytes()].concat())).status,
        413
    );
    let body = "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    let response = parse_response(&exchange(broker.http(), &[&chunked[..], body.as_bytes()].concat()));
    assert_eq!(response.payload("fine"), "fine|helloyou");
    let response = broker.post("/nobody", "");
    assert_eq!((response.status, response.reason()), (404, "not_found"), "{response:?}");
}

#[test]
fn the_path_names_the_subject() {
    let broker = Setup::new()
        .script("a.b", "x", ECHO)
        .script("wild.*", "x", ECHO)
        .script("rest.>", "x", ECHO)
        .script("per%2ecent", "x", ECHO)
        .script("übung", "x", ECHO)
        .start();
    for path in ["/a.b", "/a%2eb", "/%61.b", "/a.b/c/d", "/a.b?x", "/a.b/../c"] {
        assert_eq!(broker.post(path, "").status, 200, "{path}");
    }
    // Decoded once, not twice.
    assert_eq!(broker.post("/per%252ecent", "").payload("x"), "per%2ecent|");
    assert_eq!(broker.post("/a%252eb", "").status, 404);
    assert_eq!(broker.post("/%C3%BCbung", "").payload("x"), "übung|");
    assert_eq!(broker.post("/wild.card", "").payload("x"), "wild.card|");
    for path in [
        "/wild.*",
        "/wild.%2A",
        "/rest.>",
        "/rest.%3E",
        "/a..b",
        "/.a",
        "/a.",
        "/a%20b",
        "/a%00b",
        "/a%0Ab",
        "/a%ffb",
    ] {
        let response = broker.post(path, "");
        assert_eq!(response.status, 400, "{path}: {response:?}");
    }
    // A slash that was encoded is part of the name, which no script has.
    for path in ["/a.b%2Fc", "/x", "/A.B", "/a"] {
        let response = broker.post(path, "");
        assert_eq!((response.status, response.reason()), (404, "not_found"), "{path}: {response:?}");
    }
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let lines: String = upgrade.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("GET /a.b HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let mut stream = TcpStream::connect(broker.http()).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 501");
}

#[test]
fn malformed_requests_cost_only_themselves() {
    let broker = Setup::new().script("a", "x", ECHO).start();
    for bytes in [
        "GET / HTTP/9.9\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ] {
        let answer = exchange(broker.http(), bytes.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 400"), "{bytes:?}: {text}");
    }
    // Two ways to say where a body ends are a way to hide a second request in the first.
    let both = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = String::from_utf8_lossy(&exchange(broker.http(), both.as_bytes())).into_owned();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    let many: String = (0..2000).map(|number| format!("X-{number}: y\r\n")).collect();
    let head = format!("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{many}\r\n");
    let answer = exchange(broker.http(), head.as_bytes());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431") || answer.starts_with(b"HTTP/1.1 400"));
    assert_eq!(broker.call("a", "x"), "a|x");
}

#[test]
fn one_connection_serves_many_requests() {
    let broker = Setup::new().script("a", "x", ECHO).start();
    let first = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none";
    let second = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo";
    let answer =
        String::from_utf8_lossy(&exchange(broker.http(), format!("{first}{second}").as_bytes())).into_owned();
    let one = answer.find(&STANDARD.encode("a|one"));
    let two = answer.find(&STANDARD.encode("a|two"));
    assert!(one.is_some() && one < two, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_waiting_does_not_stop_the_script() {
    let script = r#"function OnMessage(_, seconds)
      local t = os.clock()
      while os.clock() - t < tonumber(seconds) do end
      require("nats").publish("side.effect", "seen")
      return "done"
    end"#;
    let broker = Setup::new().workers(2).script("slow", "x", script).script("busy", "x", BUSY).start();
    let client = broker.nats().await;
    let mut effects = client.subscribe("side.effect").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let mut effect = async || {
        let message = tokio::time::timeout(PATIENCE, effects.next()).await.expect("the script ran on");
        assert_eq!(&message.expect("a message").payload[..], b"seen");
    };
    // The client's own wait ends first.
    let response = broker.post("/slow?_timeout=100ms", "1");
    assert_eq!(response.status, 504, "{response:?}");
    assert!(!response.reason().is_empty(), "{response:?}");
    effect().await;
    // The client goes away.
    let mut stream = TcpStream::connect(broker.http()).expect("the broker accepts");
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1").expect("sent");
    drop(stream);
    effect().await;
    // Values that are no duration mean the default, which is long enough here.
    for value in ["soon", "", "5", "-1s", "1m30s", "1.5s", "1500ms"] {
        let response = broker.post(&format!("/busy?_timeout={value}"), "0.1");
        assert_eq!(response.status, 200, "{value}: {response:?}");
    }
    assert_eq!(broker.post("/busy?a=b&_timeout=50ms&c=d", "0.5").status, 504);
}

fn pages_broker() -> Broker {
    Setup::new()
        .script(
            "pages.one",
            "first",
            "-- <script>alert('x')</script> & more\nfunction OnMessage() return 'x' end",
        )
        .script("pages.one", "second", ECHO)
        .script("pages.two", "odd<name>", ECHO)
        .start()
}

#[test]
fn pages_show_the_scripts() {
    let broker = pages_broker();
    for path in ["/", "/_/"] {
        let response = broker.get(path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert!(
            response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")),
            "{response:?}"
        );
    }
    for (path, kind) in [("/logo.webp", "image/webp"), ("/favicon.ico", "image/")] {
        let response = broker.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert!(response.header("content-type").is_some_and(|found| found.starts_with(kind)), "{response:?}");
        assert!(!response.body.is_empty());
    }
    let list = broker.get("/_/list").text();
    for text in ["pages.one", "pages.two", "first", "second", "odd&lt;name&gt;"] {
        assert!(list.contains(text), "no {text} in {list}");
    }
    assert!(!list.contains("odd<name>"), "{list}");
    let subject = broker.get("/_/subject/pages.one").text();
    assert!(
        subject.contains("first") && subject.contains("second") && !subject.contains("pages.two"),
        "{subject}"
    );
    let info = broker.get("/_/info/pages.one/first");
    assert_eq!(info.status, 200);
    let text = info.text();
    assert!(text.contains("&lt;script&gt;alert(") && !text.contains("<script>alert("), "{text}");
    assert!(text.contains("pages.one") && text.contains("OnMessage"), "{text}");
    // What a run said and why it failed is kept for the author, as text.
    let broker =
        Setup::new().lua("talks", "function OnMessage() print('<b>said</b>') error('why') end").start();
    assert_eq!(broker.post("/talks", "").status, 500);
    let runs = broker.get("/_/info/talks/talks").text();
    for text in ["&lt;b&gt;said&lt;/b&gt;", "talks.lua:3: why", "script_error"] {
        assert!(runs.contains(text), "no {text} in {runs}");
    }
}

#[test]
fn pages_that_are_not_there() {
    let broker = pages_broker();
    for path in ["/_/info/pages.one/third", "/_/subject/pages.nothing", "/_/info/pages.one", "/_/nothing"] {
        assert_eq!(broker.get(path).status, 404, "{path}");
    }
    assert_eq!(broker.get("/_/info/pages.two/odd%3Cname%3E").status, 200);
}

#[test]
fn pages_are_for_the_operator() {
    let broker = pages_broker();
    let paths = ["/_/", "/_/list", "/_/subject/pages.one", "/_/info/pages.one/first", "/_/nothing"];
    let port = broker.http().port();
    for path in paths {
        for host in [
            "example.com".to_owned(),
            format!("example.com:{port}"),
            "127.0.0.1.example.com".to_owned(),
            "10.0.0.1".to_owned(),
        ] {
            let response = broker.request("GET", path, &[("Host", &host)], b"");
            assert!([401, 403].contains(&response.status), "{path} {host}: {response:?}");
            assert!(!response.text().contains("pages.one"), "{response:?}");
        }
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Anything",
            "Via",
        ] {
            let response = broker.request("GET", path, &[(name, "for=127.0.0.1")], b"");
            assert!([401, 403].contains(&response.status), "{path} {name}: {response:?}");
        }
    }
    for host in
        ["localhost".to_owned(), format!("localhost:{port}"), "127.0.0.1".to_owned(), format!("[::1]:{port}")]
    {
        assert_eq!(broker.request("GET", "/_/list", &[("Host", &host)], b"").status, 200, "{host}");
    }
    // A token that nobody set opens nothing.
    for token in ["Bearer ", "Bearer x", "Basic eDp4"] {
        let response =
            broker.request("GET", "/_/list", &[("Host", "example.com"), ("Authorization", token)], b"");
        assert!([401, 403].contains(&response.status), "{token}: {response:?}");
    }
    // Functions do not care.
    assert_eq!(
        broker.request("POST", "/pages.two", &[("Host", "example.com"), ("Via", "x")], b"").status,
        200
    );
    assert_eq!(broker.request("GET", "/", &[("Host", "example.com")], b"").status, 200);
}

#[test]
fn a_token_opens_the_pages() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret-token\n").expect("written");
    let broker = Setup::new()
        .args(&["--admin-token-file", file.to_str().expect("UTF-8")])
        .script("pages.one", "first", ECHO)
        .start();
    let foreign = |authorization: &str| {
        let headers =
            [("Host", "example.com"), ("X-Forwarded-For", "1.2.3.4"), ("Authorization", authorization)];
        broker.request("GET", "/_/list", &headers, b"").status
    };
    assert_eq!(foreign("Bearer s3cret-token"), 200);
    for wrong in
        ["Bearer s3cret-toke", "Bearer s3cret-token2", "Bearer ", "s3cret-token", "Basic s3cret-token", ""]
    {
        assert!([401, 403].contains(&foreign(wrong)), "{wrong}");
    }
    let in_query =
        broker.request("GET", "/_/list?token=s3cret-token", &[("Host", "example.com")], b"").status;
    assert!([401, 403].contains(&in_query));
    assert!(!broker.log().contains("s3cret"), "the token is in the log");
}

#[test]
fn pages_may_have_a_listener_of_their_own() {
    let broker =
        Setup::new().args(&["--admin-bind", "127.0.0.1:0"]).script("pages.one", "first", ECHO).start();
    let admin = broker.admin();
    assert_eq!(request(admin, "GET", "/_/list", &[], b"").status, 200);
    assert!(request(admin, "GET", "/_/list", &[], b"").text().contains("pages.one"));
    let foreign = request(admin, "GET", "/_/list", &[("Host", "example.com")], b"").status;
    assert!([401, 403].contains(&foreign));
    // Neither door does the other's work.
    assert_eq!(request(admin, "POST", "/pages.one", &[], b"").status, 404);
    for path in ["/_/", "/_/list", "/_/info/pages.one/first"] {
        let response = broker.get(path);
        assert_eq!(response.status, 404, "{path}: {response:?}");
    }
    assert_eq!(broker.call("pages.one", "x"), "pages.one|x");
}
