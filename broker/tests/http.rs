//! The HTTP server against clients over real sockets: polite ones and hostile ones.
//!
//! Behind it stands an app that answers without workers, so that only the server is tested.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msgscript_broker::access::HttpAccess;
use msgscript_broker::access::webhook::Webhook;
use msgscript_broker::catalog::{Executor, Part, Script};
use msgscript_broker::ingress::App;
use msgscript_broker::ingress::http::{HttpSettings, Pages, serve};
use msgscript_broker::ingress::pages::{Figures, Overview, PageData, Readiness, ScriptData};
use msgscript_broker::invocation::{Answer, Call, Ending, Message, Reason};
use msgscript_broker::telemetry::trace::Tracer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};

/// Answers by subject: `echo` tells what came, `page` is in HTTP mode, `slow` takes 300 ms, `large` is
/// 32 MiB.
#[derive(Default)]
struct Fake {
    calls: Cell<usize>,
    finished: Rc<Cell<usize>>,
}

impl App for Fake {
    fn access(&self, _: &str) -> Option<Rc<HttpAccess>> {
        None
    }

    fn is_signed(&self, _: &Webhook, _: &Message) -> bool {
        false
    }

    fn refused(&self, _: &str, _: &str) {}

    fn scripts(&self, subject: &str) -> Vec<Rc<Script>> {
        match subject {
            "echo" | "page" | "slow" | "large" | "brief" | "nofn" => vec![script(subject)],
            _ => Vec::new(),
        }
    }

    fn longest(&self, script: &Script) -> Duration {
        match &*script.name {
            "brief" => Duration::from_millis(50),
            _ => Duration::from_secs(120),
        }
    }

    async fn call(&self, message: Message, scripts: &[Rc<Script>]) -> Vec<Ending> {
        self.calls.set(self.calls.get() + 1);
        let name = Rc::clone(&scripts[0].name);
        let finished = Rc::clone(&self.finished);
        let run = tokio::task::spawn_local(async move {
            match &*name {
                "slow" => tokio::time::sleep(Duration::from_millis(300)).await,
                "brief" => tokio::time::sleep(Duration::from_millis(1000)).await,
                _ => {}
            }
            finished.set(finished.get() + 1);
            vec![ending(&name, &message)]
        });
        run.await.unwrap()
    }

    fn tracer(&self) -> Option<&Tracer> {
        None
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: false, notes: vec!["why".to_owned()] }
    }

    fn page_data(&self) -> PageData {
        PageData { scripts: vec![script("echo")], rejected: Vec::new() }
    }

    fn script(&self, subject: &str, name: &str) -> Option<ScriptData> {
        let script = (subject, name) == ("echo", "echo");
        script.then(|| ScriptData {
            script: self::script("echo"),
            figures: Figures::default(),
            runs: Vec::new(),
        })
    }

    fn overview(&self) -> Overview {
        Overview::default()
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

fn script(name: &str) -> Rc<Script> {
    Rc::new(Script {
        id: 1,
        subject: name.into(),
        name: name.into(),
        tenant: "default".into(),
        http: name == "page",
        executor: Executor::Lua,
        jit: false,
        lock: None,
        trigger: None,
        timer: None,
        timeout: None,
        memory: None,
        source: Part { name: "echo.lua".into(), text: (*b"-- <source>").into() },
        parts: vec![Part { name: "echo.lua".into(), text: (*b"-- <source>").into() }],
        requires: Vec::new(),
        broken: None,
        headers: Vec::new(),
        unknown: Vec::new(),
    })
}

fn ending(name: &Rc<str>, message: &Message) -> Ending {
    let Call::Http { method, url } = &message.call else { panic!("no HTTP call") };
    let answer = match &**name {
        "page" => Answer::Http {
            body: message.payload.clone(),
            status: 201,
            headers: vec![("X-Split".into(), "a\r\nX-Evil: 1".into()), ("Content-Length".into(), "1".into())],
        },
        "large" => Answer::Http { body: vec![b'x'; 32 << 20].into(), status: 200, headers: Vec::new() },
        "nofn" => Answer::NoFunction { methods: vec!["GET".into()] },
        // In HTTP mode for the reader's sake: the body is then what the script said.
        _ => Answer::Http { body: told(message, method, url), status: 200, headers: Vec::new() },
    };
    Ending {
        invocation: 7,
        name: Rc::clone(name),
        reason: if &**name == "nofn" { Reason::Denied } else { Reason::Ok },
        answer,
        error: String::new(),
        shown: false,
        limit: String::new(),
        measured: String::new(),
        logs: Vec::new(),
    }
}

fn told(message: &Message, method: &str, url: &str) -> Bytes {
    let mut text = format!("{method} {} [{url}] {} bytes\n", message.subject, message.payload.len());
    for (name, value) in message.headers.iter() {
        text += &format!("{name}={}\n", String::from_utf8_lossy(value));
    }
    text.into()
}

fn parse_duration(text: &str) -> Option<Duration> {
    text.strip_suffix("ms")?.parse().ok().map(Duration::from_millis)
}

/// Limits short enough for tests.
fn settings() -> HttpSettings {
    HttpSettings {
        max_payload: 1000,
        idle_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        ..HttpSettings::new(parse_duration)
    }
}

struct Server {
    address: SocketAddr,
    app: Rc<Fake>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Server {
    async fn start(settings: HttpSettings) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Rc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or_default() };
        let ended = tokio::task::spawn_local(serve(listener, Rc::clone(&app), settings, stopped));
        Server { address, app, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What the server says to these bytes until it closes the connection.
    async fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // It may close before it has read all.
        let _ = stream.write_all(bytes.as_ref()).await;
        rest(&mut stream).await
    }

    /// The answer to one request with these header lines.
    async fn get(&self, target: &str, lines: &str) -> String {
        self.say(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"))
            .await
    }
}

/// Everything until the end, lossily. Ends by itself: a server that keeps the connection fails the test.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(size) = stream.read(&mut buffer).await
            && size > 0
        {
            all.extend_from_slice(&buffer[..size]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the connection stays open");
    String::from_utf8_lossy(&all).into_owned()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

fn responses(answer: &str) -> usize {
    answer.matches("HTTP/1.1 ").count()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_request_reaches_its_script_as_it_was_sent() {
    run(async {
        let server = Server::start(settings()).await;
        let request = "POST /ech%6F/a/../b?x=%20&y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nCookie: c=1\r\n\
            Cookie: d=2\r\nRemote-Addr: 6.6.6.6\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let answer = server.say(request).await;
        assert_eq!(status(&answer), "200", "{answer}");
        for line in [
            "POST echo [/a/../b?x=%20&y] 5 bytes\n",
            "x-a=1, 2\n",
            "cookie=c=1; d=2\n",
            "remote-addr=127.0.0.1\n",
            "content-type: text/html\r\n",
            "msgscript-reason: ok\r\n",
            "msgscript-invocation: 0000000000000007\r\n",
            "date: ",
        ] {
            assert!(answer.contains(line), "{line} in {answer}");
        }
        assert!(!answer.contains("6.6.6.6"));
    });
}

#[test]
fn connections_are_kept_and_pipelines_answered_in_order() {
    run(async {
        let server = Server::start(settings()).await;
        let two = "GET /echo/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/2 HTTP/1.1\r\nHost: h\r\n\
            Connection: close\r\n\r\n";
        let answer = server.say(two).await;
        assert_eq!(responses(&answer), 2, "{answer}");
        assert!(answer.find("[/1]").unwrap() < answer.find("[/2]").unwrap());
    });
}

#[test]
fn bodies_come_whole_in_pieces_and_in_chunks() {
    run(async {
        let server = Server::start(settings()).await;
        let chunked = "PUT /page HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
            3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n";
        assert!(server.say(chunked).await.ends_with("\r\n\r\nabcde"));

        let mut stream = server.connect().await;
        for piece in [
            "PUT /page HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Le",
            "ngth: 6\r\n\r\nab",
            "cd",
            "ef",
        ] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(rest(&mut stream).await.ends_with("\r\n\r\nabcdef"));

        let mut stream = server.connect().await;
        let head = "PUT /page HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"ab").await.unwrap();
        assert!(rest(&mut stream).await.ends_with("\r\n\r\nab"));
    });
}

#[test]
fn a_client_may_close_its_sending_side() {
    run(async {
        let server = Server::start(settings()).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(status(&rest(&mut stream).await), "200");
    });
}

#[test]
fn head_answers_have_no_body() {
    run(async {
        let server = Server::start(settings()).await;
        let answer = server.say("HEAD /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("content-length: ") && !answer.contains("content-length: 0"));
    });
}

#[test]
fn responses_cannot_be_split() {
    run(async {
        let server = Server::start(settings()).await;
        let answer = server.get("/page", "").await;
        assert_eq!(status(&answer), "201");
        assert!(!answer.to_lowercase().contains("x-evil") && answer.contains("content-length: 0\r\n"));
    });
}

#[test]
fn waits_end_and_runs_do_not() {
    run(async {
        let server = Server::start(settings()).await;
        let begun = Instant::now();
        let answer = server.get("/slow?_timeout=20ms", "").await;
        assert_eq!(status(&answer), "504");
        assert!(answer.contains("msgscript-reason: wait\r\n") && answer.contains("the script goes on"));
        assert!(begun.elapsed() < Duration::from_millis(250));
        // No longer than the script's own limit, whatever is asked.
        assert_eq!(status(&server.get("/brief?_timeout=5000ms", "").await), "504");
        // Nor does a client that leaves end a run.
        let mut stream = server.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        while server.app.calls.get() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(server.app.finished.get(), 3);
    });
}

#[test]
fn paths_name_literal_subjects_or_nothing() {
    run(async {
        let server = Server::start(settings()).await;
        for (target, expected) in [
            ("/echo", "200"),
            ("http://elsewhere.example/echo?x", "200"),
            ("/none", "404"),
            ("/$SYS.x", "404"),
            ("/_INBOX.x", "404"),
            ("//", "400"),
            ("//echo", "400"),
            ("/.", "400"),
            ("/..", "400"),
            ("/../echo", "400"),
            ("/%2e%2e", "400"),
            ("/%2e%2e%2fecho", "400"),
            ("/*", "400"),
            ("/a.%3E", "400"),
            ("/%00", "400"),
            ("/echo%00", "400"),
            ("/echo%0d%0a", "400"),
            ("/%c0%ae", "400"),
            ("/%ff", "400"),
            ("*", "400"),
            ("echo", "400"),
            ("/echo\u{7f}", "400"),
        ] {
            assert_eq!(status(&server.get(target, "").await), expected, "{target:?}");
        }
        let answer = server.get("/none", "").await;
        assert!(
            answer.contains("msgscript-reason: not_found\r\n") && answer.contains("content-type: text/plain")
        );
        assert!(answer.ends_with("Error: no script for subject \"none\""), "{answer}");
    });
}

#[test]
fn methods_are_any_but_connect() {
    run(async {
        let server = Server::start(settings()).await;
        for (method, expected) in [("TRACE", "200"), ("BREW", "200"), ("OPTIONS", "200")] {
            let answer =
                server.say(format!("{method} /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
            assert_eq!(status(&answer), expected, "{method}");
        }
        assert_eq!(status(&server.say("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n").await), "400");
        assert_eq!(status(&server.say("CONNECT /echo HTTP/1.1\r\nHost: h:80\r\n\r\n").await), "400");
        let answer = server.say("DELETE /nofn HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(status(&answer) == "405" && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        let answer = server.say("BREW /nofn HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!(status(&answer), "501");
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        assert_eq!(status(&server.get("/echo", upgrade).await), "501");
        assert_eq!(status(&server.get("/echo", "Upgrade: h2c\r\nConnection: upgrade\r\n").await), "200");
        // HTTP/2 without asking.
        let answer = server.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(matches!(status(&answer), "400" | "none"), "{answer}");
    });
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    run(async {
        let server = Server::start(settings()).await;
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 2\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "X: a\r\n folded\r\n",
            "X: a\0b\r\n",
            "X : a\r\n",
            "X\r\n",
            ": a\r\n",
            "X: a\rb\r\n",
        ] {
            let calls = server.app.calls.get();
            let second = "GET /echo/second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            let answer = server.say(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{lines}\r\n{second}")).await;
            assert_eq!((status(&answer), responses(&answer)), ("400", 1), "{lines:?}: {answer}");
            assert_eq!(server.app.calls.get(), calls, "{lines:?} ran a script");
        }
        for request in [
            "GET /echo HTTP/1.1 x\r\n\r\n",
            "GET\r\n\r\n",
            "\0\r\n\r\n",
            "G ET /echo HTTP/1.1\r\n\r\n",
            "GET /echo HTTP/3.1\r\n\r\n",
        ] {
            assert_eq!(status(&server.say(request).await), "400", "{request:?}");
        }
    });
}

/// RFC 9112 section 6.3: read by its chunks, answered, and the connection closed, so that whatever a proxy
/// took for the body is no second request.
#[test]
fn two_lengths_smuggle_nothing() {
    run(async {
        let server = Server::start(settings()).await;
        let orders = [
            "Content-Length: 60\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 60",
        ];
        for lines in orders {
            let request = format!(
                "POST /echo HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
            );
            let answer = server.say(request).await;
            assert_eq!(responses(&answer), 1, "{answer}");
            assert!(!answer.contains("smuggled") && answer.contains("connection: close\r\n"), "{answer}");
        }
        // Nor do chunks whose sizes read in two ways.
        for chunks in [
            "5 \nhello\r\n0\r\n\r\n",
            "5;x\n\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\n",
        ] {
            let calls = server.app.calls.get();
            let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = server.say(format!("{head}{chunks}GET /echo/smuggled HTTP/1.1\r\n\r\n")).await;
            assert_eq!(status(&answer), "400", "{chunks:?}: {answer}");
            assert_eq!(server.app.calls.get(), calls, "{chunks:?}");
        }
    });
}

#[test]
fn large_requests_are_refused() {
    run(async {
        let server = Server::start(settings()).await;
        let long_url = format!("/echo/{}", "x".repeat(20 << 10));
        assert_eq!(status(&server.get(&long_url, "").await), "414");
        let longer_url = format!("/echo/{}", "x".repeat(66 << 10));
        assert_eq!(status(&server.get(&longer_url, "").await), "414");
        let many: String = (0..1000).map(|n| format!("X-{n}: 1\r\n")).collect();
        assert_eq!(status(&server.get("/echo", &many).await), "431");
        let long = format!("X: {}\r\n", "x".repeat(40 << 10));
        assert_eq!(status(&server.get("/echo", &long).await), "431");
        let endless = format!("GET /echo HTTP/1.1\r\nX: {}", "x".repeat(200 << 10));
        assert!(matches!(status(&server.say(endless).await), "431" | "none"));
        assert_eq!(server.app.calls.get(), 0);
    });
}

#[test]
fn large_bodies_are_refused() {
    run(async {
        let server = Server::start(settings()).await;
        let answer = server
            .say(format!(
                "POST /page HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{}",
                "x".repeat(1000)
            ))
            .await;
        assert_eq!(status(&answer), "201");
        let calls = server.app.calls.get();
        // Sent whole: the client still gets to read the refusal.
        let body = "x".repeat(1 << 20);
        let answer = server
            .say(format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", 1 << 20))
            .await;
        assert_eq!(status(&answer), "413", "{answer}");
        assert!(
            answer.contains("connection: close\r\n") && answer.contains("msgscript-reason: too_large\r\n")
        );
        assert!(answer.contains("msgscript-limit: 1000B\r\n"));
        // Not sent at all.
        let answer = server.say("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!((status(&answer), responses(&answer)), ("413", 1), "{answer}");
        // In chunks that never end.
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = server.say(format!("{head}{}", "1\r\nx\r\n".repeat(1100))).await;
        assert_eq!(status(&answer), "413");
        assert_eq!(server.app.calls.get(), calls);
    });
}

#[test]
fn unfinished_bodies_share_a_budget() {
    run(async {
        let server = Server::start(HttpSettings { max_buffered: 1500, ..settings() }).await;
        let head = "POST /page HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n";
        let part = format!("{head}{}", "x".repeat(900));
        let mut first = server.connect().await;
        first.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = server.say(part.clone() + &"x".repeat(100)).await;
        assert_eq!(status(&answer), "503");
        assert!(answer.contains("retry-after: 1\r\n"));
        drop(first);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(status(&server.get("/echo", "").await), "200");
        let again = format!(
            "POST /page HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{}",
            "x".repeat(1000)
        );
        assert_eq!(status(&server.say(again).await), "201");
    });
}

#[test]
fn slow_clients_are_let_go() {
    run(async {
        let server = Server::start(settings()).await;
        let begun = Instant::now();
        // Nothing at all, half a head, a head that grows by a byte at a time.
        assert_eq!(server.say("").await, "");
        assert!(matches!(status(&server.say("GET /echo HTTP/1.1\r\nHost:").await), "none" | "408"));
        let mut dripping = server.connect().await;
        for byte in b"GET /echo HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if dripping.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(status(&rest(&mut dripping).await), "none" | "408"));
        let answer = server.say("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab").await;
        assert_eq!(status(&answer), "408");
        // After an answer.
        assert_eq!(status(&server.say("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await), "200");
        assert_eq!(server.app.calls.get(), 1);
        assert!(begun.elapsed() < Duration::from_secs(8));
    });
}

#[test]
fn clients_that_take_no_response_are_let_go() {
    run(async {
        let server = Server::start(HttpSettings { max_connections: 1, ..settings() }).await;
        let mut stalled = server.connect().await;
        stalled.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        // Only one connection may be: this one is served once the other is gone.
        assert_eq!(status(&server.get("/echo", "").await), "200");
        let got = rest(&mut stalled).await;
        assert!(got.len() < 32 << 20, "it took {} bytes", got.len());
    });
}

#[test]
fn idle_connections_over_the_cap_wait() {
    run(async {
        let server = Server::start(HttpSettings { max_connections: 2, ..settings() }).await;
        let idle = [server.connect().await, server.connect().await];
        let begun = Instant::now();
        assert_eq!(status(&server.get("/echo", "").await), "200");
        assert!(begun.elapsed() > Duration::from_millis(100));
        drop(idle);
    });
}

#[test]
fn stopping_lets_requests_end_and_takes_no_more() {
    run(async {
        let server =
            Server::start(HttpSettings { idle_timeout: Duration::from_secs(60), ..settings() }).await;
        let mut idle = server.connect().await;
        idle.write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut busy = server.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        while server.app.calls.get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.stop.send(()).unwrap();
        assert_eq!(status(&rest(&mut idle).await), "200");
        assert_eq!(server.app.finished.get(), 1);
        assert!(TcpStream::connect(server.address).await.is_err());
        assert_eq!(status(&rest(&mut busy).await), "200");
        tokio::time::timeout(Duration::from_secs(5), server.ended).await.unwrap().unwrap();
    });
}

#[test]
fn pages_are_shown_to_the_operator() {
    run(async {
        let server = Server::start(settings()).await;
        for (path, part) in [
            ("/", "Call a function"),
            ("/_", "<h2>Documentation</h2>"),
            ("/_/", "<h2>Documentation</h2>"),
            ("/_/docs", "<h1 id=\"msgscript\">"),
            ("/_/docs/DESIGN", "<h1 id=\"design\">"),
            ("/_/list", "/_/info/echo/echo"),
            ("/_/subject/echo", "/_/info/echo/echo"),
            ("/_/info/echo/echo", "-- &lt;source&gt;"),
            ("/_/info/%65cho/echo?x", "-- &lt;source&gt;"),
        ] {
            let answer = server.get(path, "").await;
            assert_eq!(status(&answer), "200", "{path}");
            assert!(answer.contains(part), "{path}: {answer}");
            assert!(
                answer.contains(
                    "content-security-policy: default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'"
                )
            );
            // The one script is a file of ours.
            let scripts = answer.replace("<script src=\"/_/live.js\" defer></script>", "");
            assert!(!scripts.contains("<script") && !answer.contains(" style="));
        }
        for (path, kind) in [
            ("/logo.webp", "content-type: image/webp"),
            ("/favicon.ico", "content-type: image/x-icon"),
            ("/_/style.css", "content-type: text/css"),
            ("/_/healthz", "\r\n\r\nok\n"),
        ] {
            let answer = server.get(path, "").await;
            assert!(status(&answer) == "200" && answer.contains(kind), "{path}");
        }
        let answer = server.get("/_/readyz", "").await;
        assert!(status(&answer) == "503" && answer.ends_with("not ready\nwhy\n"), "{answer}");
        for path in [
            "/_/none",
            "/_/subject/none",
            "/_/subject",
            "/_/info/echo",
            "/_/list/",
            "/_/info/%ff/echo",
            "/%5f/x",
        ] {
            assert_eq!(status(&server.get(path, "").await), "404", "{path}");
        }
        let answer = server
            .say(
                "POST /_/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            )
            .await;
        assert!(status(&answer) == "405" && answer.contains("allow: GET, HEAD"));
        assert_eq!(server.app.calls.get(), 0);
    });
}

#[test]
fn pages_are_hidden_from_others() {
    run(async {
        let token: Rc<[u8]> = (*b"s3cret").into();
        let server = Server::start(HttpSettings { admin_token: Some(token), ..settings() }).await;
        let foreign = "GET /_/list HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n";
        for path in ["/_/list", "/%5f/list", "/%5F", "/_/none", "/_/info/echo/echo"] {
            let answer = server.get(path, "X-Forwarded-For: 127.0.0.1\r\n").await;
            assert_eq!(status(&answer), "403", "{path}");
            assert!(!answer.contains("source"));
        }
        assert_eq!(status(&server.say(format!("{foreign}\r\n")).await), "403");
        assert_eq!(
            status(&server.say(format!("{foreign}Authorization: Bearer wrong!\r\n\r\n")).await),
            "403"
        );
        assert_eq!(
            status(&server.say(format!("{foreign}Authorization: Bearer s3cret\r\n\r\n")).await),
            "200"
        );
        let absolute =
            "GET http://example.org/_/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&server.say(absolute).await), "403");
        assert_eq!(status(&server.say("GET /_/list HTTP/1.0\r\nHost: localhost\r\n\r\n").await), "403");
    });
}

#[test]
fn pages_can_have_a_listener_of_their_own() {
    run(async {
        let functions = Server::start(HttpSettings { pages: Pages::Elsewhere, ..settings() }).await;
        for path in ["/_/list", "/_/", "/_", "/%5f/list", "/_/healthz"] {
            assert_eq!(status(&functions.get(path, "").await), "404", "{path}");
        }
        assert_eq!(status(&functions.get("/echo", "").await), "200");
        let pages = Server::start(HttpSettings { pages: Pages::Only, ..settings() }).await;
        assert_eq!(status(&pages.get("/_/list", "").await), "200");
        assert_eq!(status(&pages.get("/echo", "").await), "404");
        assert_eq!(pages.app.calls.get(), 0);
    });
}
