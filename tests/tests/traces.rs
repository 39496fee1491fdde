//! Traces: one message's way through HTTP, NATS, Lua and out again is one trace; who does not ask for traces
//! has none, and a collector that is away costs nobody an answer.

use std::net::TcpListener;

use msgscript_tests::collector::{Collector, Received};
use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::servers::free_port;
use msgscript_tests::web::{Authority, Web, reply};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

/// `front` asks `back` over NATS, which asks a web server.
fn setup(web: &Web) -> Setup {
    let back = format!(
        "local http = require('http') function OnMessage(_, text) print(text) \
         return http.get('{}').body end",
        web.url("/secret-path?token=secret")
    );
    let front = "local nats = require('nats') function POST(_, body) local answer, error = nats.request('back', body, 5) \
                 nats.publish('side', body) return answer or error end";
    Setup::new()
        .http_script("front", "front", front)
        .script("back", "back", &back)
        .lua("side", "function OnMessage() error('side fails') end")
}

fn web() -> Web {
    Web::start(|_, to| reply(to, 200, &[], b"from the web"))
}

fn call(broker: &Broker, state: &str) -> String {
    let parent = format!("00-{TRACE}-{SENDER}-01");
    let headers = [("traceparent", &*parent), ("tracestate", state)];
    broker.request("POST", "/front", &headers, b"text").text()
}

#[test]
fn one_call_is_one_trace() {
    let (web, collector) = (web(), Collector::start());
    let broker = setup(&web)
        .env("TELEMETRY_TRACES", "true")
        .env("OTEL_ENDPOINT", &collector.endpoint())
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .start();
    assert_eq!(call(&broker, "vendor=1"), "from the web");

    let server = collector.wait_for("of the request", |span| span.name == "POST /front");
    collector.wait_for("of the message that fails", |span| span.name == "process side");
    let spans: Vec<Received> = collector.spans().into_iter().filter(|span| span.trace == TRACE).collect();
    let under = |parent: &Received, name: &str| -> Received {
        let found = spans.iter().filter(|span| span.parent == parent.id && span.name == name);
        let found: Vec<&Received> = found.collect();
        assert_eq!(found.len(), 1, "{name} in {}: {spans:#?}", parent.name);
        found[0].clone()
    };
    let way =
        |from: &Received, names: &[&str]| names.iter().fold(from.clone(), |span, name| under(&span, name));

    assert_eq!((server.parent.as_str(), server.kind.as_str()), (SENDER, "server"));
    assert_eq!((server.service.as_str(), server.state.as_str()), ("msgscript", "vendor=1"));
    assert_eq!((server.get("http.route"), server.get("http.response.status_code")), ("/front", "200"));
    let run = under(&server, "run front");
    for (key, value) in [("tenant", "default"), ("subject", "front"), ("script", "front"), ("reason", "ok")] {
        assert_eq!(run.get(&format!("msgscript.{key}")), value, "{key}");
    }
    under(&server, "reply");
    under(&run, "queue");
    let asked = way(&run, &["worker", "nats request"]);
    assert_eq!((asked.kind.as_str(), asked.get("messaging.destination.name")), ("client", "back"));
    let process = under(&asked, "process back");
    assert_eq!(process.kind, "consumer");
    under(&process, "reply");
    let get = way(&process, &["run back", "worker", "http", "GET"]);
    assert_eq!((get.kind.as_str(), get.get("server.address")), ("client", "127.0.0.1"));
    assert_eq!(web.last().header("traceparent"), format!("00-{TRACE}-{}-01", get.id));
    assert_eq!(web.last().header("tracestate"), "vendor=1");
    assert!(!format!("{spans:?}").contains("secret"), "paths and queries stay out of spans");

    let side = way(&run, &["worker", "nats publish", "process side", "run side"]);
    assert!(side.error.as_ref().is_some_and(|text| text.contains("side fails")), "{side:?}");
    assert_eq!(side.get("msgscript.reason"), "script_error");
    let failed = broker.wait_for_words(&["invocation failed", "side fails"]);
    assert_eq!(failed["invocation"], side.get("msgscript.invocation"), "the log names the same invocation");

    for span in &spans {
        let parent = spans.iter().find(|parent| parent.id == span.parent);
        assert!(parent.is_some() || span.parent == SENDER, "{span:?}");
        assert!(span.time.0 <= span.time.1, "{span:?}");
        assert!(parent.is_none_or(|parent| parent.time.0 <= span.time.0 + 1_000_000), "{span:?}");
    }
}

#[test]
fn the_last_spans_leave_before_the_end() {
    let (web, collector) = (web(), Collector::start());
    let endpoint = format!("http://{}", collector.endpoint());
    let broker = setup(&web).env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).start();
    assert_eq!(call(&broker, ""), "from the web");
    broker.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(broker.wait().success());
    assert!(collector.spans().iter().any(|span| span.name == "POST /front"));
}

#[test]
fn a_collectors_certificate_is_verified() {
    let (web, authority) = (web(), Authority::default());
    let collector = Collector::start_tls(&authority.issue("localhost", 2020, 2040));
    let port = collector.endpoint().rsplit(':').next().expect("a port").to_owned();
    let folder = tempfile::TempDir::new().expect("a folder");
    let (ours, foreign) = (folder.path().join("ours.pem"), folder.path().join("foreign.pem"));
    std::fs::write(&ours, authority.pem()).expect("written");
    std::fs::write(&foreign, Authority::default().pem()).expect("written");
    let broker = |certificate: &std::path::Path| {
        setup(&web)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("localhost:{port}"))
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.to_str().expect("a path"))
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer x")
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
            .start()
    };
    let refused = broker(&foreign);
    assert_eq!(call(&refused, ""), "from the web");
    refused.wait_for_words(&["traces are not exported"]);
    assert_eq!(collector.spans(), []);
    let trusted = broker(&ours);
    assert_eq!(call(&trusted, ""), "from the web");
    collector.wait_for("of the request", |span| span.name == "POST /front");
}

#[test]
fn nobody_asked_nothing_is_traced() {
    let web = web();
    let broker = setup(&web).env("OTEL_ENDPOINT", "127.0.0.1:1").start();
    assert_eq!(call(&broker, "vendor=1"), "from the web");
    assert_eq!(web.last().header("traceparent"), "");
}

#[test]
fn a_sender_decides_what_is_recorded() {
    let (web, collector) = (web(), Collector::start());
    let broker = setup(&web).env("TELEMETRY_TRACES", "1").env("OTEL_ENDPOINT", &collector.endpoint()).start();
    let parent = format!("00-{TRACE}-{SENDER}-00");
    assert_eq!(broker.request("POST", "/front", &[("traceparent", &parent)], b"").status, 200);
    assert!(web.last().header("traceparent").starts_with(&format!("00-{TRACE}-")));
    assert!(web.last().header("traceparent").ends_with("-00"));
    // One without a sender is recorded, and by then the other would be there.
    assert_eq!(broker.post("/front", "").status, 200);
    collector.wait_for("of the second", |span| span.name == "POST /front");
    assert!(collector.spans().iter().all(|span| span.trace != TRACE));
}

#[test]
fn a_collector_that_is_away_costs_no_answer() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    for endpoint in [format!("127.0.0.1:{}", free_port()), deaf.local_addr().expect("an address").to_string()]
    {
        let web = web();
        let broker = setup(&web)
            .env("TELEMETRY_TRACES", "true")
            .env("OTEL_ENDPOINT", &endpoint)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
            .start();
        for _ in 0..50 {
            assert_eq!(call(&broker, ""), "from the web");
        }
        broker.wait_for_words(&["traces are not exported"]);
        for _ in 0..50 {
            assert_eq!(call(&broker, ""), "from the web");
        }
        assert_eq!(broker.count_events("traces are not exported"), 1, "a warning now and then");
        broker.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(broker.wait().success());
    }
}
