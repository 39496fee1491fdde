//! Servers that are none, or that harm: they cost their connection and nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use msgscript_tests::harness::{Broker, NatsServer, PATIENCE, Setup, wait_until};
use nix::sys::signal::Signal;

const ECHO: &str = "function OnMessage(s, p) return s .. '|' .. p end";

const INFO: &str =
    "INFO {\"server_id\":\"X\",\"version\":\"2.9.0\",\"headers\":true,\"max_payload\":1048576}\r\n";

/// Accepts connections and does this with each, one after the other.
fn server(talk: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(&talk));
    url
}

/// As a server does: until the client's first `PING` is answered.
fn greet(stream: &TcpStream, info: &str) {
    let mut own = stream;
    let _ = own.write_all(info.as_bytes());
    let mut lines = BufReader::new(stream).lines();
    let _ = lines.find(|line| line.as_ref().map_or(true, |line| line == "PING"));
    let _ = own.write_all(b"PONG\r\n");
}

fn memory_mib(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a figure");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

#[test]
fn what_is_no_server_is_passed_over() {
    let cases = [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak NATS"),
        ("INFO {\"a\":\r\n", "its INFO cannot be read"),
        ("INFO {\"headers\":false}\r\n", "NATS 2.2 or newer is needed"),
        ("PING\r\n", "it does not begin with INFO"),
        ("INFO {\"headers\":true,\"tls_required\":true}\r\nPONG\r\n", "it speaks before TLS is agreed"),
        ("", "it closes the connection"),
    ];
    let bad = cases.map(|(bytes, _)| server(move |mut stream| drop(stream.write_all(bytes.as_bytes()))));
    let broker = Setup::new().nats(&bad.join(",")).lua("echo", ECHO).start();
    for (url, (_, words)) in bad.iter().zip(cases) {
        broker.wait_for_words(&["cannot be reached", url.trim_start_matches("nats://"), words]);
    }
    assert_eq!(broker.call("echo", "x"), "echo|x");
    // One that is a server is enough.
    let real = NatsServer::start(&[]);
    let both = Setup::new().nats(&format!("{},{}", bad[0], real.url())).lua("echo", ECHO).start();
    both.wait_for_words(&["NATS connected"]);
}

#[test]
fn a_line_without_an_end_and_a_claim_cost_no_memory() {
    let endless = server(|mut stream| {
        let _ = stream.write_all(b"INFO ");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let claim = server(|mut stream| {
        greet(&stream, &INFO.replace("1048576", "900000000"));
        let _ = stream.write_all(b"MSG a 1 200000000\r\nbut no more comes");
        std::thread::sleep(Duration::from_secs(2));
    });
    let large = server(|mut stream| {
        greet(&stream, INFO);
        let _ = stream.write_all(b"MSG a 1 900000000\r\n");
        let _ = stream.read(&mut [0; 1]);
    });
    let garbage = server(|mut stream| {
        greet(&stream, INFO);
        let _ = stream.write_all(&[0xff; 1 << 20]);
    });
    for (url, words) in [
        (endless, &["cannot be reached", "it does not speak NATS"][..]),
        (claim, &["NATS connection lost"]),
        (large, &["NATS connection lost", "Maximum Payload Violation"]),
        (garbage, &["NATS connection lost", "it breaks the protocol"]),
    ] {
        let broker = Setup::new().nats(&url).lua("echo", ECHO).start();
        broker.wait_for_words(words);
        assert_eq!(broker.call("echo", "x"), "echo|x");
        assert!(memory_mib(&broker) < 100, "{words:?}: {} MiB", memory_mib(&broker));
    }
}

#[test]
fn a_server_that_takes_nothing_makes_who_publishes_wait() {
    let url = server(|stream| {
        greet(&stream, INFO);
        std::thread::sleep(Duration::from_secs(60));
    });
    let lua = "function OnMessage(_, n) local nats, text = require('nats'), ('x'):rep(1000000)\n\
        for i = 1, tonumber(n) do nats.publish('a', text) end return 'sent' end";
    let broker = Setup::new().nats(&url).args(&["--timeout", "2s"]).lua("tells", lua).start();
    assert_eq!(broker.call("tells", "2"), "sent");
    let (response, _) = broker.fail("tells", "1000");
    assert_eq!(response.reason(), "wall_time", "{}", response.text());
    assert!(memory_mib(&broker) < 160, "{} MiB", memory_mib(&broker));
}

#[test]
fn what_waits_for_a_server_that_is_away_is_bounded() {
    let lua = "function OnMessage(_, n) local nats, text = require('nats'), ('x'):rep(1000000)\n\
        for i = 1, tonumber(n) do local ok, why = nats.publish('a', text)\n\
        if not ok then return tostring(why) end end return 'sent' end";
    let broker = Setup::new().nats("nats://127.0.0.1:1").lua("tells", lua).start();
    assert_eq!(broker.call("tells", "2"), "sent");
    let why = broker.post("/tells", "50").text();
    wait_until("told", || broker.is_running());
    let shown = broker.call("tells", "1");
    assert!(shown.contains("the NATS server is away"), "{shown} {why}");
}

/// Sends a message in answer to the end of the subscription to `echo`, before it answers the `PING` behind it; tells
/// of what is published to `answers`.
fn late(stream: &TcpStream, told: &SyncSender<()>) {
    let (mut own, mut echo) = (stream, String::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["SUB", "echo", _, sid] => {
                sid.clone_into(&mut echo);
                continue;
            }
            ["UNSUB", sid] if sid == echo => format!("MSG echo {sid} answers 1\r\nx\r\n"),
            ["PING"] => "PONG\r\n".to_owned(),
            ["HPUB", "answers", ..] => {
                let _ = told.send(());
                continue;
            }
            _ => continue,
        };
        let _ = own.write_all(answer.as_bytes());
    }
}

#[test]
fn what_a_server_sends_until_it_knows_that_we_leave_is_answered() {
    let (told, answered) = sync_channel(1);
    let url = server(move |stream| {
        greet(&stream, INFO);
        late(&stream, &told);
    });
    let broker = Setup::new().nats(&url).lua("echo", ECHO).start();
    broker.signal(Signal::SIGTERM);
    answered.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer\n{}", broker.log()));
    assert!(broker.wait().success(), "{}", broker.log());
}
