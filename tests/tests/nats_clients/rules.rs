//! The rules of the protocol, one by one, and clients that break them or are slow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use msgscript_broker::nats::Settings;
use msgscript_tests::embedded_nats::EmbeddedNats;

use super::raw::Raw;

/// An unconnected client (verbose, pedantic) that sends `bytes`: what it gets until the end.
fn ends_with(settings: Settings, bytes: &str) -> String {
    let server = EmbeddedNats::start(settings);
    let mut client = Raw::open(server.address()).0;
    client.send(bytes);
    client.rest()
}

#[test]
fn info_says_what_clients_need() {
    let server = EmbeddedNats::start(Settings { max_payload: 1234, ..Settings::default() });
    let (_, info) = Raw::open(server.address());
    let (_, next) = Raw::open(server.address());
    assert_eq!(info["server_id"].as_str().unwrap().len(), 56);
    assert_eq!(info["server_id"], next["server_id"]);
    assert_ne!(info["client_id"], next["client_id"]);
    assert_eq!(
        (&info["server_name"], &info["proto"], &info["headers"], &info["max_payload"], &info["client_ip"]),
        (&"msgscript".into(), &1.into(), &true.into(), &1234.into(), &"127.0.0.1".into())
    );
    assert_eq!((&info["host"], &info["port"]), (&"127.0.0.1".into(), &server.address().port().into()));
    for absent in ["ldm", "tls_required", "auth_required", "jetstream", "connect_urls"] {
        assert_eq!(info.get(absent), None);
    }
}

#[test]
fn errors_that_close() {
    let default = Settings::default;
    assert_eq!(ends_with(default(), "GET / HTTP/1.1\r\n"), "-ERR 'Unknown Protocol Operation'\r\n");
    assert_eq!(ends_with(default(), "PUB a 1\r\nxyz\r\n"), "-ERR 'Unknown Protocol Operation'\r\n");
    assert_eq!(
        ends_with(default(), &format!("SUB {} 1\r\n", "a".repeat(5000))),
        "-ERR 'maximum control line exceeded'\r\n"
    );
    assert_eq!(ends_with(default(), "PUB a 1048577\r\n"), "-ERR 'Maximum Payload Violation'\r\n");
    let small = Settings { max_payload: 10, ..default() };
    assert_eq!(ends_with(small, "PUB a 11\r\n"), "-ERR 'Maximum Payload Violation'\r\n");
    assert_eq!(ends_with(default(), "CONNECT {\"protocol\":2}\r\n"), "-ERR 'invalid client protocol'\r\n");
    assert_eq!(
        ends_with(default(), "CONNECT {\"no_responders\":true}\r\n"),
        "-ERR 'no responders requires headers support'\r\n"
    );
}

#[test]
fn errors_that_close_without_a_word() {
    for bytes in [
        "PUB a\r\n",
        "PUB a x\r\n",
        "SUB a\r\n",
        "UNSUB \r\n",
        "HPUB a 0 0\r\n\r\n",
        "CONNECT {\r\n",
        "-ERR 'x'\r\n",
    ] {
        assert_eq!(ends_with(Settings::default(), &format!("PING\r\n{bytes}")), "PONG\r\n", "{bytes:?}");
    }
}

#[test]
fn errors_that_stay_open() {
    let server = EmbeddedNats::start(Settings { max_subscriptions: 2, ..Settings::default() });
    let mut client = Raw::open(server.address()).0;
    client.send("SUB a..b 1\r\nSUB a.>.b 2\r\nPUB a.* 0\r\n\r\nSUB a 3\r\nSUB b 4\r\nSUB c 5\r\n");
    let wanted = [
        "-ERR 'Invalid Subject'",
        "-ERR 'Invalid Subject'",
        "-ERR 'Invalid Publish Subject'",
        "+OK",
        "+OK",
        "+OK",
        "-ERR 'maximum subscriptions exceeded'",
    ];
    assert_eq!(client.flush(), wanted);
    client.send("UNSUB 3\r\nSUB c 5\r\n");
    assert_eq!(client.flush(), ["+OK", "+OK"]);
}

#[test]
fn bytes_that_would_break_another_clients_line_go_nowhere() {
    let server = EmbeddedNats::start(Settings::default());
    let mut victim = Raw::connect(server.address());
    victim.send("SUB > 1\r\n");
    victim.flush();
    let mut client = Raw::connect(server.address());
    for subject in [&b"a\rb"[..], b"a\0", b"\xff\xfe", b"a r\x0b"] {
        client.send([b"PUB ", subject, b" 0\r\n\r\n"].concat());
        assert_eq!(client.flush(), ["-ERR 'Invalid Publish Subject'"], "{subject:?}");
    }
    client.send(b"SUB \xff 1\r\n");
    assert_eq!(client.flush(), ["-ERR 'Invalid Subject'"]);
    assert_eq!(victim.flush(), [""; 0]);
}

#[test]
fn too_many_connections() {
    let server = EmbeddedNats::start(Settings { max_connections: 1, ..Settings::default() });
    let mut first = Raw::connect(server.address());
    first.flush();
    assert_eq!(Raw::open(server.address()).0.rest(), "-ERR 'maximum connections exceeded'\r\n");
    drop(first);
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        let mut client = Raw::open(server.address()).0;
        let (text, ended) = client.settle(Duration::from_millis(50));
        if !ended {
            return;
        }
        assert!(Instant::now() < limit, "the place of a client that left is free again: {text}");
    }
}

#[test]
fn silent_clients_are_asked_and_then_dropped() {
    let quick = Duration::from_millis(50);
    let server =
        EmbeddedNats::start(Settings { first_ping: quick, ping_interval: quick * 2, ..Settings::default() });
    let mut stale = Raw::connect(server.address());
    assert_eq!(stale.rest(), "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    let mut alive = Raw::connect(server.address());
    for _ in 0..4 {
        assert_eq!(alive.line(), "PING");
        alive.send("PONG\r\n");
    }
    let mut never_connected = Raw::open(server.address()).0;
    assert_eq!(never_connected.rest(), "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
}

#[test]
fn a_stop_says_so_and_loses_nothing() {
    let mut server = EmbeddedNats::start(Settings::default());
    let mut client = Raw::connect(server.address());
    client.send("SUB a 1\r\n");
    client.flush();
    client.send(format!("PUB a 1000000\r\n{}\r\n", "x".repeat(1_000_000)).repeat(20));
    assert_eq!(client.line(), "MSG a 1 1000000");
    server.begin_stop();
    // Everything that was delivered before comes whole, then the farewell, then the end.
    let rest = client.rest();
    let (messages, info) = rest.split_once("INFO ").expect("a farewell");
    assert_eq!((messages.len() - 1_000_002) % 1_000_019, 0, "only whole messages");
    assert_eq!(serde_json::from_str::<serde_json::Value>(info).unwrap()["ldm"], true);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_answers() {
    let server = EmbeddedNats::start(Settings::default());
    let mut client = Raw::connect(server.address());
    client.send("SUB r 1\r\nPUB echo r 5\r\nhello\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "MSG r 1 5\r\nhello\r\n");
}

/// A subscriber of `pattern` that reads nothing from now on.
fn deaf(server: &EmbeddedNats, pattern: &str) -> Raw {
    let mut client = Raw::connect(server.address());
    client.send(format!("SUB {pattern} 1\r\n"));
    client.flush();
    client
}

fn publish(client: &mut Raw, subject: &str, size: usize) {
    client.send(format!("PUB {subject} {size}\r\n{}\r\n", "x".repeat(size)));
}

#[test]
fn a_slow_subscriber_is_cut_off_and_nobody_else_waits() {
    let server = EmbeddedNats::start(Settings { max_pending: 8 << 20, ..Settings::default() });
    let mut slow = deaf(&server, "flood");
    let mut bystander = Raw::connect(server.address());
    bystander.send("SUB r 1\r\n");
    bystander.flush();
    let address = server.address();
    let flood = std::thread::spawn(move || {
        let mut publisher = Raw::connect(address);
        // More than the slow one's buffers and the kernel's hold.
        (0..40).for_each(|_| publish(&mut publisher, "flood", 1 << 20));
        publisher.flush()
    });
    let mut waits = Vec::new();
    while !flood.is_finished() {
        let asked = Instant::now();
        bystander.send("PUB echo r 2\r\nhi\r\n");
        assert_eq!((bystander.line(), bystander.line()), ("MSG r 1 2".into(), "hi".into()));
        waits.push(asked.elapsed());
    }
    assert_eq!(flood.join().unwrap(), [""; 0], "the publisher goes on");
    // A busy machine may delay one, but not most.
    waits.sort_unstable();
    assert!(waits[waits.len() / 2] < Duration::from_millis(100), "a bystander waited: {waits:?}");
    let text = slow.rest();
    assert!(text.len() < 40 << 20 && !text.contains("-ERR"), "cut off without a word");
}

#[test]
fn a_publisher_waits_for_a_subscriber_that_reads() {
    let server = EmbeddedNats::start(Settings { max_pending: 8 << 20, ..Settings::default() });
    let mut reader = deaf(&server, "flood");
    let address = server.address();
    let flood = std::thread::spawn(move || {
        let mut publisher = Raw::connect(address);
        (0..100).for_each(|_| publish(&mut publisher, "flood", 1 << 20));
        publisher.flush()
    });
    let mut room = vec![0; 1 << 20];
    let mut left = 100 * ("MSG flood 1 1048576\r\n\r\n".len() + (1 << 20));
    while left > 0 {
        let count = reader.stream.read(&mut room).unwrap();
        assert!(count > 0, "cut off with {left} bytes to come, although it reads");
        left -= count;
        // Slower than the publisher is.
        std::thread::sleep(Duration::from_millis(1));
    }
    flood.join().unwrap();
}

#[test]
fn a_client_that_takes_nothing_is_closed_after_the_deadline() {
    let deadline = Duration::from_millis(300);
    let server = EmbeddedNats::start(Settings { write_deadline: deadline, ..Settings::default() });
    let mut slow = deaf(&server, "flood");
    let mut publisher = Raw::connect(server.address());
    (0..20).for_each(|_| publish(&mut publisher, "flood", 1 << 20));
    publisher.flush();
    std::thread::sleep(deadline * 3);
    publisher.send("SUB r 1\r\nPUB flood r 0\r\n\r\n");
    assert_eq!(publisher.flush(), ["HMSG r 1 16 16", "NATS/1.0 503", "", ""], "nobody subscribes any more");
    assert!(slow.rest().len() < 20 << 20);
}

#[test]
fn broken_clients_cost_only_themselves() {
    let mut server = EmbeddedNats::start(Settings::default());
    let mut good = deaf(&server, "r");
    let mut held: Vec<TcpStream> = Vec::new();
    for round in 0..50 {
        for bytes in [
            "",
            "PUB a 1000000\r\nabc",
            "CONNECT {",
            "SUB x 1\r\n\0",
            "PUB echo r 3\r\nabcd",
            "HPUB echo r 9",
        ] {
            let mut bad = TcpStream::connect(server.address()).unwrap();
            bad.write_all(bytes.as_bytes()).unwrap();
            if round % 2 == 0 {
                held.push(bad);
            }
        }
        good.send("PUB echo r 2\r\nhi\r\n");
        assert_eq!((good.line(), good.line()), ("MSG r 1 2".into(), "hi".into()));
    }
    drop((good, held));
    assert_eq!(server.stop(), 0);
}

#[test]
fn memory_of_subscriptions_that_end_is_given_back() {
    let server = EmbeddedNats::start(Settings { max_subscriptions: 2, ..Settings::default() });
    let mut client = Raw::connect(server.address());
    // The limit would be met if those that ended by themselves still counted.
    for i in 0..100 {
        client.send(format!("SUB inbox.{i} {i}\r\nUNSUB {i} 1\r\nPUB echo inbox.{i} 1\r\nx\r\n"));
        assert_eq!(client.flush(), [format!("MSG inbox.{i} {i} 1"), "x".into()]);
    }
}

#[test]
fn ten_thousand_subjects() {
    let server = EmbeddedNats::start(Settings::default());
    let mut client = Raw::connect(server.address());
    let all: String = (0..10_000).map(|i| format!("SUB s.{i} {i}\r\n")).collect();
    client.send(all);
    assert_eq!(client.flush(), [""; 0]);
    let started = Instant::now();
    client.send((0..10_000).map(|i| format!("PUB s.{i} 0\r\n\r\n")).collect::<String>());
    let seen = client.flush();
    assert_eq!(seen.len(), 20_000);
    assert_eq!(seen[19_998], "MSG s.9999 9999 0");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
