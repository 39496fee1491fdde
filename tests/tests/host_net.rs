//! `tcp` and `nats.request` of scripts against real servers.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use msgscript_tests::harness::{EVAL, NatsServer, Setup, wait_until};
use msgscript_tests::web::{line, tcp_server};

#[test]
fn tcp_reads_and_writes() {
    let address = tcp_server(|mut reader, mut to| {
        while let Some(asked) = line(&mut reader) {
            let sent = match &*asked {
                "lines" => to.write_all(b"one\r\ntwo\nlast"),
                "number" => to.write_all(b" 42.5 tail"),
                "bye" => return,
                "silence" => Ok(()),
                other => to.write_all(format!("<{other}>").as_bytes()),
            };
            sent.unwrap();
        }
    });
    let broker = Setup::new().lua("eval", EVAL).start();
    let tcp = |code: &str| {
        broker.eval(&format!("local tcp = require('tcp') local c = assert(tcp.open('{address}')) {code}"))
    };
    assert_eq!(tcp("c:write('a', 1, '\\n') return c:read()"), "<a1>");
    assert_eq!(tcp("c:write('abcdef\\n') return c:read(3), c:read(100)"), "<ab|cdef>");
    assert_eq!(
        tcp("c:write('lines\\nbye\\n') return c:read('*l'), c:read('*l'), c:read('*l'), c:read('*l')"),
        "one|two|last|nil"
    );
    assert_eq!(tcp("c:write('lines\\nbye\\n') return #c:read('*a'), c:read()"), "13|nil");
    assert_eq!(tcp("c:write('number\\nbye\\n') return c:read('*n') + 1, c:read('*a')"), "43.5| tail");
    assert_eq!(tcp("return c.dialTimeout, c.readTimeout, c.writeTimeout, c.closeTimeout"), "5|1|1|1");
    let told = tcp("c.readTimeout = 0.2 c:write('silence\\n') return pcall(c.read, c)");
    assert!(told.starts_with("false|") && told.contains("read tcp 127.0.0.1:"), "{told}");
    assert!(told.ends_with(&format!("->{address}: i/o timeout")), "{told}");
    let told = tcp("c:close() return pcall(c.close, c)");
    assert!(told.starts_with("false|"), "{told}");
    let told = tcp("c:close() return pcall(c.write, c, 'x')");
    assert!(told.contains("bad argument #2 to write (write tcp"), "{told}");
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (code, expected) in [
        (format!("tcp.open('{refused}')"), format!("dial tcp {refused}: connect: connection refused")),
        ("tcp.open('nope')".into(), "dial tcp: address nope: missing port in address".into()),
        ("tcp.open('x.invalid:1', 2)".into(), "dial tcp: lookup x.invalid: no such host".into()),
    ] {
        assert_eq!(tcp(&format!("return {code}")), format!("nil|{expected}"));
    }
}

#[test]
fn connections_end_with_their_run() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    let address = tcp_server(move |mut reader, _| {
        count.fetch_add(1, Ordering::SeqCst);
        while line(&mut reader).is_some() {}
        count.fetch_sub(1, Ordering::SeqCst);
    });
    let broker = Setup::new().args(&["--timeout", "3s"]).lua("eval", EVAL).start();
    let many = format!(
        "local tcp = require('tcp') local n = 0 for i = 1, 20 do \
         local c, e = tcp.open('{address}') if not c then return n, e end n = n + 1 end"
    );
    assert_eq!(broker.eval(&many), "16|more than 16 connections are open");
    wait_until("all are closed", || open.load(Ordering::SeqCst) == 0);
    for last in ["error('x')", "while true do end", "return ('x'):rep(2^40)"] {
        let (_, _) = broker.fail("eval", &format!("require('tcp').open('{address}') {last}"));
        wait_until(last, || open.load(Ordering::SeqCst) == 0);
    }
}

const ASK: &str = "local nats = require('nats') \
    function OnMessage(_, code) local a, b = assert(loadstring('local nats = ... ' .. code))(nats) \
    return tostring(a) .. '|' .. tostring(b) end";

fn scripts() -> Setup {
    Setup::new()
        .workers(3)
        .lua("ask", ASK)
        .lua("shout", "function OnMessage(_, p, h) return p:upper() .. (h['Msgscript-Hops'] or '-') end")
        .lua("broken", "function OnMessage() error('no luck') end")
        .lua(
            "again",
            "local nats = require('nats') function OnMessage(_, p) \
            local r, e = nats.request('again', p, 20) return r or e end",
        )
}

fn requests(setup: Setup) {
    let broker = setup.start();
    let ask = |code: &str| broker.call("ask", code);
    assert_eq!(ask("return nats.request('shout', 'hey')"), "HEY1|nil");
    assert_eq!(ask("return nats.request('shout', 5, 2)"), "51|nil");
    assert_eq!(ask("return nats.request('nobody', 'x')"), "nil|nats: no responders available for request");
    assert_eq!(ask("return nats.request('a b', 'x')"), "nil|nats: invalid subject");
    let told = ask("return nats.request('broken', 'x')");
    assert!(told.starts_with("nil|") && told.contains("no luck"), "{told}");
    // N01: subjects that are not for scripts.
    for subject in ["$SYS.REQ.SERVER.PING", "$JS.API.INFO", "_INBOX.x", ""] {
        let told = ask(&format!("return nats.request('{subject}', 'x')"));
        assert!(told.starts_with("nil|"), "{subject}: {told}");
        assert!(subject.is_empty() || told.contains("denied: default has no grant to publish"), "{told}");
    }
}

#[test]
fn nats_requests_through_the_embedded_server() {
    requests(scripts());
}

#[test]
fn nats_requests_through_another_server() {
    let server = NatsServer::start(&[]);
    requests(scripts().nats(&server.url()));
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_says() {
    let broker = scripts().start();
    let client = broker.nats().await;
    let _silent = client.subscribe("silent").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(broker.call("ask", "return nats.request('silent', 'x', 0.2)"), "nil|nats: timeout");
}

/// N04: requests that beget requests end, at the bound on hops or because no worker is left.
#[test]
fn n04_request_loops_end() {
    let broker = scripts().workers(12).start();
    let told = broker.call("again", "x");
    assert!(told.contains("loop"), "{told}");
}
