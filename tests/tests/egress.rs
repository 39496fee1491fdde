//! Where scripts of the tenant `default` may not go: link-local addresses, metadata services and the
//! broker's own listeners, however they are named. (Named tenants: `policy/egress/tests.rs`.)

use msgscript_tests::harness::{Broker, EVAL, Setup};
use msgscript_tests::web::{Web, reply};
use nix::sys::signal::Signal;

fn get(broker: &Broker, url: &str) -> String {
    broker.eval(&format!("local r, e = require('http').get([[{url}]]) return r and r.status_code or e"))
}

/// P01, P11: the broker's own doors in every notation of this machine.
#[test]
fn p11_own_listeners() {
    let broker = Setup::new().args(&["--admin-bind", "127.0.0.1:0"]).lua("eval", EVAL).start();
    let nats: std::net::SocketAddr = broker.nats_url().trim_start_matches("nats://").parse().unwrap();
    let notations = [
        "127.0.0.1",
        "localhost",
        "0",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.9.9.9",
        "[::ffff:127.0.0.1]",
        "LOCALHOST.",
        "[::]",
        "[::1]",
        "[::ffff:7f00:1]",
    ];
    for port in [broker.http().port(), broker.admin().port(), nats.port()] {
        for host in notations {
            let told = get(&broker, &format!("http://{host}:{port}/_/"));
            assert!(told.starts_with("denied: default has no grant to reach http"), "{host}:{port} {told}");
            let bare = host.trim_matches(['[', ']']);
            let open = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
            let told = broker.eval(&format!("return require('tcp').open('{open}:{port}')"));
            assert!(told.starts_with("nil|denied: default has no grant to reach"), "{open}:{port} {told}");
        }
    }
    broker.wait_for_words(&["host call denied", "the broker itself listens there"]);
    let other = Web::canary();
    assert_eq!(get(&broker, &other.url("/")), "200", "other ports of this machine are open to `default`");
}

/// P02: metadata services and link-local addresses.
#[test]
fn p02_metadata() {
    let broker = Setup::new().lua("eval", EVAL).start();
    for host in [
        "169.254.169.254",
        "169.254.0.7",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
    ] {
        for url in [format!("http://{host}/latest/meta-data/"), format!("https://{host}:8443/")] {
            let told = get(&broker, &url);
            assert!(told.starts_with("denied: default has no grant to reach"), "{url} {told}");
        }
        let told = broker.eval(&format!("return require('tcp').open('{host}:80')"));
        assert!(told.starts_with("nil|denied: "), "{host} {told}");
    }
}

/// P05: redirects lead nowhere that a request may not go.
#[test]
fn p05_redirects_are_judged() {
    let broker = Setup::new().lua("eval", EVAL).start();
    let web = Web::start(|request, to| {
        let (status, location) = request.path[1..].split_once('?').unwrap_or(("200", ""));
        reply(to, status.parse().unwrap(), &[("Location", location)], b"")
    });
    for status in [301, 302, 303, 307, 308] {
        for location in [
            format!("http://{}/hello", broker.http()),
            format!("http://localhost:{}/_/", broker.http().port()),
            "http://169.254.169.254/latest/".to_owned(),
            "//[fe80::1]/".to_owned(),
        ] {
            let told = get(&broker, &web.url(&format!("/{status}?{location}")));
            assert!(told.starts_with("denied: default has no grant to reach"), "{status} {location}: {told}");
        }
    }
    let chain = (0..6).fold(format!("http://{}/", broker.http()), |to, _| web.url(&format!("/302?{to}")));
    assert!(get(&broker, &chain).starts_with("denied: "), "at the end of a chain");
}

/// P06: what a URL seems to say does not count.
#[test]
fn p06_parser_confusion() {
    let broker = Setup::new().lua("eval", EVAL).start();
    let (canary, own) = (Web::canary(), broker.http());
    for url in [
        format!("http://{}@{own}/", canary.address()),
        format!("http://{own}#@{}/", canary.address()),
        format!("http://{own}\\@{}/", canary.address()),
        format!("http://{own}?@{}/", canary.address()),
        format!("http://\u{ff11}27.0.0.1:{}/", own.port()),
        format!("http://%31%32%37.0.0.1:{}/", own.port()),
        format!("http://127。0。0。1:{}/", own.port()),
    ] {
        let told = get(&broker, &url);
        assert!(told.starts_with("denied: "), "{url} {told}");
    }
    assert_eq!(canary.connections(), 0);
}

/// P15: new calls are judged by the configuration in force; a bad one changes nothing.
#[test]
fn p15_reload() {
    let web =
        Web::start(|request, to| reply(to, 200, &[], request.header("x-key").len().to_string().as_bytes()));
    let folder = tempfile::tempdir().unwrap();
    let (config, key) = (folder.path().join("c.toml"), folder.path().join("key"));
    std::fs::write(&key, "12345").unwrap();
    let secret = |host: &str| format!("[secret.k]\nfile = \"{}\"\nhosts = [\"{host}\"]\n", key.display());
    std::fs::write(&config, secret("127.0.0.1")).unwrap();
    let broker = Setup::new().args(&["--config", config.to_str().unwrap()]).lua("eval", EVAL).start();
    let send = || {
        broker.eval(&format!(
            "local r, e = require('http').get('{}', {{headers = {{['X-Key'] = '{{{{secret:k}}}}'}}}}) \
             return r and r.body or e",
            web.url("/")
        ))
    };
    assert_eq!(send(), "5");
    std::fs::write(&config, "[secret.k]\nhosts = 5\n").unwrap();
    broker.signal(Signal::SIGHUP);
    broker.wait_for_words(&["configuration not reloaded"]);
    assert_eq!(send(), "5");
    std::fs::write(&config, secret("elsewhere.example")).unwrap();
    broker.signal(Signal::SIGHUP);
    broker.wait_for_words(&["configuration reloaded"]);
    assert!(send().starts_with("denied: the secret k may not go to 127.0.0.1"));
    assert_eq!(web.requests().len(), 2);
}

/// P14: bad names cost a run its host calls, not the broker its threads: others are served meanwhile.
#[test]
fn p14_a_flood_of_bad_names() {
    let broker = Setup::new()
        .workers(2)
        .lua("eval", EVAL)
        .lua("hello", "function OnMessage() return 'hi' end")
        .start();
    let code = "local list = {} for i = 1, 70 do list[i] = {'GET', 'http://n' .. i .. '.invalid/'} end \
        local all, errors = require('http').request_batch(list) return #all, #errors";
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| broker.post("/eval?_timeout=60s", code).only_payload());
        for _ in 0..20 {
            assert_eq!(broker.call("hello", ""), "hi");
        }
        assert_eq!(flood.join().unwrap(), "0|70");
    });
}
