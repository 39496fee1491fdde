//! The same bytes to the real nats-server and to ours: the same answers, byte for byte.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use msgscript_broker::nats::Settings;
use msgscript_tests::embedded_nats::EmbeddedNats;

use super::raw::Raw;

/// A nats-server that ends with this value.
struct Real {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Real {
    /// On a port that it chooses itself, and writes down.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("/usr/sbin/nats-server")
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server: install the package nats-server");
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id()));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut real = Self { process, address, _folder: folder };
        let limit = Instant::now() + Duration::from_secs(10);
        let url = loop {
            let written = std::fs::read(&ports).unwrap_or_default();
            let written: serde_json::Value = serde_json::from_slice(&written).unwrap_or_default();
            if let Some(url) = written["nats"][0].as_str() {
                break url.to_owned();
            }
            assert!(Instant::now() < limit, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        };
        real.address = url.trim_start_matches("nats://").parse().unwrap();
        real
    }
}

/// One step of a script: which client sends what. Before the next step everything has settled.
type Step = (usize, &'static str);

/// After this much silence a server has said all that it has to say.
const QUIET_TIME: Duration = Duration::from_millis(120);

/// What each client got, and whether it was closed.
fn play(address: SocketAddr, steps: &[Step]) -> Vec<(String, bool)> {
    let count = steps.iter().map(|(client, _)| client + 1).max().unwrap_or(0);
    let mut clients: Vec<Raw> = (0..count).map(|_| Raw::open(address).0).collect();
    let mut seen = vec![(String::new(), false); count];
    for (index, bytes) in steps {
        let client = &mut clients[*index];
        // A client that was closed may be unable to send; that shows in what it got.
        let _ = std::io::Write::write_all(&mut client.stream, bytes.as_bytes());
        let (text, ended) = client.settle(QUIET_TIME);
        seen[*index].0 += &text;
        seen[*index].1 |= ended;
    }
    for (client, (seen, ended)) in clients.iter_mut().zip(&mut seen) {
        let (text, end) = client.settle(QUIET_TIME);
        *seen += &text;
        *ended |= end;
    }
    seen
}

const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n";
const MODERN: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true,\"headers\":true,\
    \"no_responders\":true,\"jwt\":null,\"nkey\":null,\"user\":null,\"lang\":\"x\",\"more\":[{}]}\r\n";

const SCRIPTS: &[(&str, &[Step])] = &[
    ("defaults", &[(0, "PING\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nPUB a 2\r\nhi\r\nPONG\r\n")]),
    ("connect defaults", &[(0, "CONNECT {}\r\nSUB a..b 1\r\nPUB a..b 0\r\n\r\nPING\r\n")]),
    ("case and blanks", &[(0, QUIET), (0, "sub\ta  1 \r\nPub  a\t 2\r\nhi\r\npInG\r\n")]),
    ("bare line feeds", &[(0, "CONNECT {\"verbose\":false}\nSUB a 1\nPUB a 2\nhi\r\nPING\n")]),
    ("ping with more", &[(0, "PING and more\r\n+OK\r\nINFO {}\r\nPING\r\n")]),
    (
        "wildcards",
        &[
            (0, QUIET),
            (0, "SUB a.* 1\r\nSUB a.> 2\r\nSUB *.b 3\r\n"),
            (0, "PUB a 0\r\n\r\n"),
            (0, "PUB a.b.c 1\r\nx\r\n"),
            (0, "UNSUB 1\r\nUNSUB 3\r\nPUB a.b 1\r\ny\r\n"),
        ],
    ),
    (
        "invalid subjects",
        &[(0, MODERN), (0, "SUB . 1\r\nSUB a. 2\r\nSUB .a 3\r\nSUB >.a 4\r\nSUB a.>.b 5\r\nPING\r\n")],
    ),
    (
        "wildcards inside tokens are literal",
        &[(0, QUIET), (0, "SUB a*.b> 1\r\nPUB a*.b> 0\r\n\r\nPUB ax.bx 0\r\n\r\nPING\r\n")],
    ),
    (
        "empty tokens match nothing",
        &[(0, QUIET), (0, "SUB > 1\r\nPUB a..b 0\r\n\r\nPUB .a 0\r\n\r\nPUB a. 0\r\n\r\nPING\r\n")],
    ),
    (
        "pedantic",
        &[(0, "CONNECT {\"verbose\":false,\"pedantic\":true}\r\nPUB a.* 0\r\n\r\nPUB > 0\r\n\r\nPING\r\n")],
    ),
    ("sid in use", &[(0, QUIET), (0, "SUB a 1\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\nPING\r\n")]),
    (
        "unsubscribe after",
        &[
            (0, QUIET),
            (0, "SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\nPING\r\n"),
            (0, "SUB a 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nUNSUB 2 1\r\nPUB a 1\r\n3\r\nPING\r\n"),
            (0, "SUB a 3\r\nUNSUB 3 x\r\nUNSUB 9\r\nPUB a 0\r\n\r\nPING\r\n"),
            (0, "SUB a 4\r\nUNSUB 4 3\r\nUNSUB 4 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nPING\r\n"),
        ],
    ),
    (
        "echo off",
        &[
            (0, "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB a 1\r\nSUB a q 2\r\n"),
            (1, QUIET),
            (1, "SUB a q 7\r\n"),
            (0, "PUB a 1\r\nx\r\nPING\r\n"),
            (1, "UNSUB 7\r\nPUB a 1\r\ny\r\n"),
        ],
    ),
    (
        "connect again",
        &[(
            0,
            "CONNECT {\"verbose\":false}\r\nPING\r\nCONNECT {\"verbose\":true}\r\nCONNECT {\"echo\":false}\r\nSUB a 1\r\nPUB a 0\r\n\r\n",
        )],
    ),
    (
        "replies",
        &[
            (0, QUIET),
            (1, QUIET),
            (0, "SUB a 1\r\n"),
            (1, "SUB r.* 5\r\nPUB a r.1 3\r\nabc\r\n"),
            (0, "PUB r.1 2\r\nok\r\n"),
        ],
    ),
    (
        "headers",
        &[
            (0, MODERN),
            (1, QUIET),
            (1, "SUB a 1\r\n"),
            (0, "SUB a 1\r\nHPUB a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n"),
            (0, "HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\nHPUB a 0 2\r\nhi\r\nHPUB a 3 5\r\nxyzhi\r\nPING\r\n"),
        ],
    ),
    (
        "no responders",
        &[
            (0, MODERN),
            (
                0,
                "SUB r.* 9\r\nPUB nobody r.1 2\r\nhi\r\nPUB nobody 2\r\nhi\r\nPUB nobody x.1 2\r\nhi\r\nPING\r\n",
            ),
            (0, "UNSUB 9 1\r\nPUB nobody r.1 0\r\n\r\nPUB nobody r.1 0\r\n\r\nPUB a.. r.1 0\r\n\r\nPING\r\n"),
        ],
    ),
    (
        "no responders needs a plain subscription",
        &[(0, MODERN), (0, "SUB r q 9\r\nPUB nobody r 2\r\nhi\r\nPING\r\n")],
    ),
    (
        "a tail subscriber answers for everybody",
        &[(0, MODERN), (1, QUIET), (1, "SUB > 1\r\n"), (0, "SUB r 9\r\nPUB x r 2\r\nhi\r\nPING\r\n")],
    ),
    ("headers not asked for", &[(0, QUIET), (0, "PING\r\nHPUB a 0 0\r\n\r\nPING\r\n")]),
    ("unknown verb", &[(0, "PING\r\nFOO\r\n")]),
    ("verb of a server", &[(0, QUIET), (0, "MSG a 1 0\r\n\r\n")]),
    ("empty line", &[(0, QUIET), (0, "\r\n")]),
    ("http", &[(0, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")]),
    ("payload too long", &[(0, QUIET), (0, "SUB a 1\r\nPUB a 2\r\nhii\r\n")]),
    ("payload without its end", &[(0, QUIET), (0, "PUB a 2\r\nhi\rx")]),
    (
        "payload in pieces",
        &[(0, QUIET), (0, "SUB a 1\r\nPUB a 5\r\nhe"), (0, "ll"), (0, "o\r"), (0, "\nPI"), (0, "NG\r\n")],
    ),
    ("pub without size", &[(0, QUIET), (0, "PING\r\nPUB a\r\n")]),
    ("pub with a bad size", &[(0, QUIET), (0, "PING\r\nPUB a 1x\r\n")]),
    ("pub with a huge size", &[(0, QUIET), (0, "PING\r\nPUB a 99999999999\r\n")]),
    ("pub over max_payload", &[(0, QUIET), (0, "PING\r\nPUB a 1048577\r\n")]),
    ("hpub with a head larger than all", &[(0, MODERN), (0, "PING\r\nHPUB a 5 4\r\n")]),
    ("sub without sid", &[(0, QUIET), (0, "PING\r\nSUB a\r\n")]),
    ("unsub without sid", &[(0, QUIET), (0, "PING\r\nUNSUB \r\n")]),
    ("connect is no json", &[(0, "PING\r\nCONNECT {x\r\n")]),
    ("connect with a wrong type", &[(0, "PING\r\nCONNECT {\"verbose\":1}\r\n")]),
    ("protocol 2", &[(0, "CONNECT {\"protocol\":2}\r\n")]),
    ("no responders without headers", &[(0, "CONNECT {\"no_responders\":true}\r\n")]),
    ("client error", &[(0, QUIET), (0, "PING\r\n-ERR 'x'\r\n")]),
];

/// Scripts are mostly waiting, so several run at a time, each on servers of its own: subjects are shared.
#[test]
fn same_bytes_same_answers() {
    let share = SCRIPTS.len().div_ceil(8);
    std::thread::scope(|scope| {
        for scripts in SCRIPTS.chunks(share) {
            scope.spawn(move || compare(scripts));
        }
    });
}

fn compare(scripts: &[(&str, &[Step])]) {
    let real = Real::start();
    let ours = EmbeddedNats::start(Settings::default());
    for (name, steps) in scripts {
        let (ours, real) = (play(ours.address(), steps), play(real.address, steps));
        assert_eq!(ours, real, "{name} (left: ours, right: nats-server)");
    }
}

#[test]
fn long_lines_end_the_same_way() {
    let real = Real::start();
    let ours = EmbeddedNats::start(Settings::default());
    for bytes in
        [format!("PING\r\nSUB {} 1\r\n", "a".repeat(5000)), format!("PING\r\nPUB {}", "a".repeat(5000))]
    {
        let play = |address| {
            let mut client = Raw::connect(address);
            client.send(&bytes);
            client.settle(Duration::from_millis(100))
        };
        assert_eq!(play(ours.address()), play(real.address));
    }
}

#[test]
fn queue_groups_spread_the_same_way() {
    let real = Real::start();
    let ours = EmbeddedNats::start(Settings::default());
    for address in [real.address, ours.address()] {
        let mut client = Raw::connect(address);
        // One group over two patterns and two subscriptions of one of them, another group, a plain one.
        client.send("SUB a.b q 1\r\nSUB a.b q 2\r\nSUB a.* q 3\r\nSUB a.> r 4\r\nSUB a.b 5\r\n");
        client.send("PUB a.b 0\r\n\r\n".repeat(300));
        let lines = client.flush();
        let count = |sid: u32| lines.iter().filter(|line| **line == format!("MSG a.b {sid} 0")).count();
        assert_eq!((count(1) + count(2) + count(3), count(4), count(5)), (300, 300, 300));
        assert!((1..=3).all(|sid| count(sid) > 50), "{} {} {}", count(1), count(2), count(3));
    }
}
