//! Durable triggers, with a real nats-server that has JetStream.

use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use futures_util::StreamExt;
use msgscript_tests::harness::{Broker, NatsServer, Setup, program, wait_until};
use msgscript_tests::servers::free_port;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Bounds each wait; nothing is said of speed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Ground {
    server: NatsServer,
    context: Context,
    client: async_nats::Client,
    _store: TempDir,
}

/// A server with the stream ORDERS of `orders.>`.
async fn ground() -> Ground {
    let store = TempDir::new().unwrap();
    let server = NatsServer::start(&["-js", "-sd", store.path().to_str().unwrap()]);
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let config =
        stream::Config { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..Default::default() };
    context.create_stream(config).await.unwrap();
    Ground { server, context, client, _store: store }
}

impl Ground {
    fn broker(&self, headers: &str, lua: &str) -> Broker {
        let text = format!("--* subject: orders.*\n--* name: order\n--* stream: ORDERS\n{headers}\n{lua}\n");
        Setup::new().nats(&self.server.url()).file("order.lua", text).start()
    }

    async fn order(&self, payload: &str) {
        let sent = self.context.publish("orders.new", payload.to_owned().into()).await.unwrap();
        sent.await.unwrap();
    }

    /// Until the consumer has nothing that waits or is not acknowledged.
    async fn settled(&self) {
        let all = async {
            let stream = self.context.get_stream("ORDERS").await.unwrap();
            loop {
                if let Ok(info) = stream.consumer_info("msgscript-order").await
                    && info.num_pending == 0
                    && info.num_ack_pending == 0
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("all messages are settled");
    }
}

async fn next(subscriber: &mut async_nats::Subscriber) -> async_nats::Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("a message").unwrap()
}

const TELL: &str = "function OnMessage(_, p) require('nats').publish('seen', p) return 'ok' end";

#[tokio::test]
async fn what_came_before_the_broker_is_run_once() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    for n in 0..20 {
        ground.order(&n.to_string()).await;
    }
    let _brokers = [ground.broker("", TELL), ground.broker("", TELL)];
    let mut got = Vec::new();
    for _ in 0..20 {
        got.push(String::from_utf8(next(&mut seen).await.payload.to_vec()).unwrap().parse::<u32>().unwrap());
    }
    ground.settled().await;
    got.sort_unstable();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert!(tokio::time::timeout(Duration::from_millis(200), seen.next()).await.is_err(), "each ran once");
}

#[tokio::test]
async fn a_failure_is_tried_again_and_ends_as_a_dead_letter() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let lua = "function OnMessage(_, p) require('nats').publish('seen', p) error('no\\nway') end";
    let _broker = ground.broker("--* retries: 2\n--* backoff: 10ms, 20ms", lua);
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "red");
    headers.insert("Nats-Expected-Stream", "ORDERS");
    let sent = ground.context.publish_with_headers("orders.new", headers, "payload".into()).await.unwrap();
    sent.await.unwrap();
    for _ in 0..3 {
        next(&mut seen).await;
    }
    ground.settled().await;
    let dead = ground.context.get_stream("MSGSCRIPT_DEAD").await.unwrap();
    let letter = dead.get_raw_message(1).await.unwrap();
    assert_eq!(
        (letter.subject.as_str(), &letter.payload[..]),
        ("msgscript.dead.default.order", &b"payload"[..])
    );
    let header = |name: &str| letter.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(header("Colour"), "red");
    assert_eq!(header("Msgscript-Dead-Subject"), "orders.new");
    assert_eq!(header("Msgscript-Dead-Attempts"), "3");
    assert_eq!(header("Msgscript-Dead-Reason"), "script_error");
    assert!(header("Msgscript-Dead-Error").contains("order.lua:"));
    assert!(letter.headers.get("Nats-Expected-Stream").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_handed_back_is_not_one_that_was_tried() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let order = "--* subject: orders.*\n--* name: order\n--* stream: ORDERS\n--* lock: shared\n--* retries: 1\n\
        --* backoff: 200ms\n--* timeout: 300ms\n\
        function OnMessage(_, p) require('nats').publish('seen', p) error('no') end\n";
    let holder = "--* lock: shared\nfunction OnMessage() require('nats').publish('seen', 'held') \
        require('time').sleep(3) return 'ok' end";
    let broker =
        Setup::new().nats(&ground.server.url()).file("order.lua", order).lua("holder", holder).start();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| broker.call("holder", ""));
        broker.wait_for_words(&["reads its stream"]);
        let publish = async {
            assert_eq!(&next(&mut seen).await.payload[..], b"held");
            ground.order("one").await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(publish));
        assert_eq!(held.join().unwrap(), "ok");
    });
    for _ in 0..2 {
        assert_eq!(&next(&mut seen).await.payload[..], b"one");
    }
    ground.settled().await;
    let dead = ground.context.get_stream("MSGSCRIPT_DEAD").await.unwrap();
    let letter = dead.get_raw_message(1).await.unwrap();
    assert_eq!(letter.headers.get("Msgscript-Dead-Attempts").unwrap().as_str(), "2");
    // It was handed back, else this says nothing.
    let counts = ground.context.get_stream("MSGSCRIPT_HANDED_BACK").await.unwrap();
    let count = counts.get_raw_message(counts.cached_info().state.last_sequence).await.unwrap();
    assert!(std::str::from_utf8(&count.payload).unwrap().parse::<u32>().unwrap() >= 2, "{count:?}");
}

#[tokio::test]
async fn a_dead_letter_as_large_as_the_server_takes_is_cut() {
    let ground = ground().await;
    let _broker = ground.broker("--* retries: 0", "function OnMessage() error('no') end");
    let whole = ground.client.server_info().max_payload;
    ground.order(&"x".repeat(whole)).await;
    ground.settled().await;
    let stream = ground.context.get_stream("MSGSCRIPT_DEAD").await.unwrap();
    let letter = stream.get_raw_message(1).await.unwrap();
    assert!(letter.payload.len() < whole && letter.payload.len() > whole - 8192, "{}", letter.payload.len());
    let note = letter.headers.get("Msgscript-Dead-Cut").unwrap().as_str();
    assert_eq!(note, format!("the payload had {whole} bytes"));
    let mut command = std::process::Command::new(program("msgscriptcli"));
    let out = command.args(["-u", &ground.server.url(), "dead", "replay", "1"]).output().unwrap();
    assert!(
        !out.status.success() && String::from_utf8_lossy(&out.stderr).contains("is not whole"),
        "{out:?}"
    );
}

#[tokio::test]
async fn a_killed_brokers_message_is_run_by_another() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let slow = "function OnMessage(_, p) require('nats').publish('seen', p) require('time').sleep(60) end";
    let broker = ground.broker("--* ack-wait: 1s", slow);
    ground.order("one").await;
    next(&mut seen).await;
    broker.signal(Signal::SIGKILL);
    broker.wait();
    let _other = ground.broker("--* ack-wait: 1s", TELL);
    assert_eq!(&next(&mut seen).await.payload[..], b"one");
    ground.settled().await;
}

#[tokio::test]
async fn a_run_longer_than_ack_wait_runs_once() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let lua =
        "function OnMessage(_, p) require('nats').publish('seen', p) require('time').sleep(2) return '' end";
    let _broker = ground.broker("--* ack-wait: 500ms", lua);
    ground.order("one").await;
    next(&mut seen).await;
    ground.settled().await;
    assert!(tokio::time::timeout(Duration::from_secs(1), seen.next()).await.is_err(), "it ran twice");
}

/// The output of `msgscriptcli dead`.
fn dead(ground: &Ground, args: &[&str]) -> String {
    let mut command = std::process::Command::new(program("msgscriptcli"));
    let out = command.args(["-u", &ground.server.url(), "dead"]).args(args).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_replayed() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let broker = ground.broker("--* retries: 0", "function OnMessage() error('no') end");
    ground.order("payload").await;
    ground.settled().await;
    let listed: serde_json::Value = serde_json::from_str(&dead(&ground, &["list", "--json"])).unwrap();
    assert_eq!(
        (&listed["number"], &listed["script"], &listed["attempts"]),
        (&1.into(), &"order".into(), &1.into())
    );
    assert!(dead(&ground, &["show", "1"]).ends_with("\n\npayload\n"));
    let head = "--* subject: orders.*\n--* name: order\n--* stream: ORDERS\n";
    broker.write("order.lua", format!("{head}--* retries: 0\n{TELL}\n"));
    wait_until("the new version reads", || broker.count_events("reads its stream") >= 2);
    dead(&ground, &["replay", "1"]);
    assert_eq!(&next(&mut seen).await.payload[..], b"payload");
    ground.settled().await;
    assert_eq!(dead(&ground, &["list"]), "");
}

#[tokio::test]
async fn a_tenant_reads_its_own_subjects_only() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    ground.order("theirs").await;
    let config = stream::Config {
        name: "MIXED".into(),
        subjects: vec!["acme.>".into(), "secret.>".into()],
        ..Default::default()
    };
    ground.context.create_stream(config).await.unwrap();
    for subject in ["secret.a", "acme.a"] {
        let sent = ground.context.publish(subject, subject.into()).await.unwrap();
        sent.await.unwrap();
    }
    // The first has a subject of its own, in a stream with others'; the second none; the third another's consumer.
    let script = |subject: &str, name: &str, more: &str| {
        format!("--* subject: {subject}\n--* name: {name}\n--* stream: MIXED\n{more}\n{TELL}\n")
    };
    let tenant = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n\
        [tenant.grants]\nnats = [\"seen\"]\n";
    let broker = Setup::new()
        .nats(&ground.server.url())
        .config(tenant)
        .file("acme/a.lua", script("acme.*", "a", "--* durable: first"))
        .file("acme/b.lua", script("secret.*", "b", ""))
        .start();
    assert_eq!(&next(&mut seen).await.payload[..], b"acme.a");
    assert!(broker.log().contains("is not among this folder's"), "{}", broker.log());
    broker.write("acme/c.lua", script("acme.b", "c", "--* durable: first"));
    broker.wait_for_words(&["acme/c.lua", "is one for another subject"]);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), seen.next()).await.is_err(),
        "a foreign message"
    );
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_leaves_the_rest() {
    let ground = ground().await;
    let mut seen = ground.client.subscribe("seen").await.unwrap();
    ground.client.flush().await.unwrap();
    let lua =
        "function OnMessage(_, p) require('nats').publish('seen', p) require('time').sleep(1) return '' end";
    let broker = ground.broker("", lua);
    for n in 0..12 {
        ground.order(&n.to_string()).await;
    }
    let mut got = vec![next(&mut seen).await.payload];
    broker.signal(Signal::SIGTERM);
    assert!(broker.wait().success());
    let _other = ground.broker("", TELL);
    ground.settled().await;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(300), seen.next()).await {
        got.push(message.payload);
    }
    let mut numbers: Vec<u32> =
        got.iter().map(|p| std::str::from_utf8(p).unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "each ran, none twice");
}

/// What a service says of itself.
async fn ask(client: &async_nats::Client, subject: &str) -> serde_json::Value {
    let reply = client.request(subject.to_owned(), "".into()).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

async fn is_discovered(client: async_nats::Client) {
    for payload in ["yes", "no", "yes"] {
        client.request("calls.any", payload.into()).await.unwrap();
    }
    let ping = ask(&client, "$SRV.PING").await;
    assert_eq!(
        (&ping["name"], &ping["type"]),
        (&"msgscript".into(), &"io.nats.micro.v1.ping_response".into())
    );
    let id = ping["id"].as_str().unwrap();
    let info = ask(&client, &format!("$SRV.INFO.msgscript.{id}")).await;
    let endpoint = &info["endpoints"][0];
    assert_eq!((&endpoint["subject"], &endpoint["queue_group"]), (&"calls.*".into(), &"msgscript".into()));
    let stats = ask(&client, "$SRV.STATS.msgscript").await;
    // The types of a client library read it.
    let stats: async_nats::service::Stats = serde_json::from_value(stats).unwrap();
    let endpoint = &stats.endpoints[0];
    assert_eq!((endpoint.requests, endpoint.errors), (3, 1));
    assert_eq!(endpoint.last_error.as_ref().unwrap().status, "script_error");
    assert!(endpoint.processing_time >= endpoint.average_processing_time);
    assert!(!endpoint.average_processing_time.is_zero());
}

const CALLS: &str = "function OnMessage(_, p) if p == 'no' then error('secret') end return p end";

#[tokio::test]
async fn services_are_discovered() {
    let broker = Setup::new().script("calls.*", "calls", CALLS).start();
    is_discovered(broker.nats().await).await;
    let server = NatsServer::start(&[]);
    let _broker = Setup::new().nats(&server.url()).script("calls.*", "calls", CALLS).start();
    is_discovered(async_nats::connect(server.url()).await.unwrap()).await;
}

#[tokio::test]
async fn a_tenant_is_not_discovered() {
    let tenant = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n";
    let text = format!("--* subject: acme.a\n--* name: hidden\n{CALLS}\n");
    let broker =
        Setup::new().config(tenant).file("acme/a.lua", text).script("calls.*", "calls", CALLS).start();
    let client = broker.nats().await;
    assert_eq!(&client.request("acme.a", "yes".into()).await.unwrap().payload[..], b"yes");
    for subject in ["$SRV.INFO", "$SRV.STATS"] {
        let told = ask(&client, subject).await;
        assert_eq!(told["endpoints"].as_array().unwrap().len(), 1, "{told}");
        assert!(!told.to_string().contains("hidden"));
    }
    // Nobody is made to answer where an answer would be a call.
    let mut answers = client.subscribe("calls.reply").await.unwrap();
    client.publish_with_reply("$SRV.PING", "calls.reply", "".into()).await.unwrap();
    client.flush().await.unwrap();
    broker.wait_for_words(&["request refused: its reply would be a trigger"]);
    assert!(tokio::time::timeout(Duration::from_millis(200), answers.next()).await.is_err());
}

/// What the script tells stays in a stream, too: the subscriber may be away as well.
#[tokio::test]
async fn a_server_killed_under_load_loses_nothing() {
    let store = TempDir::new().unwrap();
    let (port, folder) = (free_port().to_string(), store.path().to_str().unwrap().to_owned());
    let start = || NatsServer::start(&["-js", "-sd", &folder, "-p", &port]);
    let server = start();
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    for (name, subjects) in [("ORDERS", "orders.>"), ("DONE", "done.>")] {
        let config =
            stream::Config { name: name.into(), subjects: vec![subjects.into()], ..Default::default() };
        context.create_stream(config).await.unwrap();
    }
    let lua = "function OnMessage(_, p) require('nats').publish('done.' .. p, p) return '' end";
    let ground = Ground { server, context, client, _store: store };
    let _brokers = [ground.broker("--* ack-wait: 1s", lua), ground.broker("--* ack-wait: 1s", lua)];
    for n in 0..300 {
        ground.order(&n.to_string()).await;
    }
    let Ground { server, context, client, _store } = ground;
    drop(server);
    let ground = Ground { server: start(), context, client, _store };
    let all = async {
        loop {
            // The client may not be back yet.
            if let Ok(stream) = ground.context.get_stream("DONE").await
                && let Ok(mut subjects) = stream.info_with_subjects("done.>").await
            {
                let mut count = 0;
                while let Some(Ok(_)) = subjects.next().await {
                    count += 1;
                }
                if count == 300 {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all messages are run");
    ground.settled().await;
}

#[test]
fn the_embedded_server_has_no_streams() {
    let text = "--* subject: orders.*\n--* name: order\n--* stream: ORDERS\n";
    let broker = Setup::new().file("order.lua", format!("{text}{TELL}\n")).start();
    broker.wait_for_event("the script is named", |event| event.to_string().contains("no JetStream"));
}
