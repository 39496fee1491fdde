//! Official clients: Rust, Python, JavaScript, and Go's command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, HeaderMap, RequestErrorKind};
use futures_util::future::join_all;
use msgscript_broker::nats::Settings;
use msgscript_tests::embedded_nats::{ECHO, EmbeddedNats};

use futures_util::StreamExt;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Something that scripts/install-test-clients puts below target/clients.
fn installed(path: &str) -> PathBuf {
    let full = root().join("target/clients").join(path);
    assert!(full.exists(), "target/clients/{path} is missing: run scripts/install-test-clients");
    full
}

/// Runs to its end; killed after a minute.
fn run(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let limit = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_ok(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success() && output.stdout.ends_with(b"ok\n"), "{command:?}: {}", text(&output));
}

#[test]
fn python() {
    let server = EmbeddedNats::start(Settings::default());
    let program = root().join("tests/clients/python/client.py");
    assert_ok(Command::new(installed("python/bin/python3")).arg(program).arg(server.url()));
}

#[test]
fn javascript() {
    let server = EmbeddedNats::start(Settings::default());
    let program = root().join("tests/clients/js/client.cjs");
    let modules = installed("js/node_modules");
    assert_ok(Command::new("node").env("NODE_PATH", modules).arg(program).arg(server.url()));
}

/// Ends a program that would otherwise run on.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn go_command() {
    let server = EmbeddedNats::start(Settings::default());
    let home = tempfile::tempdir().unwrap();
    let nats = || {
        let mut command = Command::new(installed("go/nats"));
        command
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .args(["--server", &server.url()]);
        command
    };
    let output = run(nats().args(["request", "echo", "hello", "-H", "Abc:1"]));
    assert!(text(&output).contains("Abc: 1") && text(&output).contains("\nhello\n"), "{}", text(&output));
    let output = run(nats().args(["request", "nobody", "x", "--timeout", "5s"]));
    assert!(text(&output).contains("No responders"), "{}", text(&output));
    let output = run(nats().args(["rtt", "1"]));
    assert!(output.status.success(), "{}", text(&output));

    let mut responder = nats();
    responder.args(["reply", "go.*", "answer", "--queue", "q"]).stdin(Stdio::null());
    let _responder = Running(responder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let limit = Instant::now() + Duration::from_secs(10);
    let answer = loop {
        let output = run(nats().args(["request", "go.x", "q", "--timeout", "1s"]));
        if !text(&output).contains("No responders") || Instant::now() > limit {
            break output;
        }
    };
    assert!(
        text(&answer).contains("\nanswer\n") || text(&answer).starts_with("answer\n"),
        "{}",
        text(&answer)
    );

    let mut subscriber = nats();
    subscriber.args(["subscribe", "news.>", "--count", "3"]).stdin(Stdio::null());
    let mut subscriber = Running(subscriber.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let limit = Instant::now() + Duration::from_secs(20);
    while subscriber.0.try_wait().unwrap().is_none() {
        let output = run(nats().args(["publish", "news.x", "item"]));
        assert!(output.status.success() && Instant::now() < limit, "{}", text(&output));
    }
    let mut seen = String::new();
    subscriber.0.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    assert_eq!(seen.matches("\nitem\n").count(), 3, "{seen}");
}

async fn connect(server: &EmbeddedNats) -> async_nats::Client {
    ConnectOptions::new().connect(server.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_requests() {
    let server = EmbeddedNats::start(Settings::default());
    let client = connect(&server).await;
    let mut headers = HeaderMap::new();
    headers.append("A", "1");
    headers.append("A", "2");
    let reply = client.request_with_headers(ECHO, headers.clone(), "hello".into()).await.unwrap();
    assert_eq!((&reply.payload[..], reply.headers), (&b"hello"[..], Some(headers)));

    let error = client.request("nobody", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);

    for size in [0, 1, 4095, 4096, 65_536, 1 << 20] {
        let payload = vec![7; size];
        assert_eq!(client.request(ECHO, payload.clone().into()).await.unwrap().payload, payload);
    }
    let many = (0..2000).map(|i| {
        let client = client.clone();
        async move { client.request(format!("late.{i}"), i.to_string().into()).await.unwrap().payload }
    });
    for (i, payload) in join_all(many).await.into_iter().enumerate() {
        assert_eq!(payload, i.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_subscriptions() {
    let server = EmbeddedNats::start(Settings::default());
    let (client, other) = (connect(&server).await, connect(&server).await);
    let mut plain = client.subscribe("a.*").await.unwrap();
    let mut tail = client.subscribe("a.>").await.unwrap();
    let mut members = [
        client.queue_subscribe("a.b", "q".into()).await.unwrap(),
        client.queue_subscribe("a.b", "q".into()).await.unwrap(),
        other.queue_subscribe("a.b", "q".into()).await.unwrap(),
    ];
    client.flush().await.unwrap();
    other.flush().await.unwrap();
    for i in 0..300 {
        other.publish_with_reply("a.b", "r", i.to_string().into()).await.unwrap();
    }
    for i in 0..300 {
        for subscriber in [&mut plain, &mut tail] {
            let message = subscriber.next().await.unwrap();
            assert_eq!((message.payload, message.reply.unwrap().as_str()), (i.to_string().into(), "r"));
        }
    }
    client.drain().await.unwrap();
    other.drain().await.unwrap();
    let mut counts = Vec::new();
    for member in &mut members {
        counts.push(member.by_ref().count().await);
    }
    assert_eq!(counts.iter().sum::<usize>(), 300, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_unsubscribes_after() {
    let server = EmbeddedNats::start(Settings::default());
    let client = connect(&server).await;
    let mut limited = client.subscribe("x").await.unwrap();
    limited.unsubscribe_after(2).await.unwrap();
    for i in 0..5 {
        client.publish("x", i.to_string().into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let seen: Vec<_> = limited.map(|message| message.payload).collect().await;
    assert_eq!(seen, ["0", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_survives_a_stop() {
    let mut server = EmbeddedNats::start(Settings::default());
    let client = connect(&server).await;
    client.request(ECHO, "x".into()).await.unwrap();
    let left = tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    assert_eq!(left, 0, "nobody is forgotten on the way out");
    drop(client);
}
