//! Servers that go, come back, or ask their clients to leave; brokers that leave.

use std::time::Duration;

use msgscript_tests::harness::{Broker, NatsServer, PATIENCE, Setup, kill_process};
use msgscript_tests::servers::free_port;
use nix::sys::signal::Signal;

const ECHO: &str = "function OnMessage(s, p) return s .. '|' .. p end";

async fn ask(client: &async_nats::Client, subject: &str, payload: &str) -> Option<String> {
    let reply = client.request(subject.to_owned(), payload.to_owned().into()).await;
    reply.ok().map(|reply| String::from_utf8_lossy(&reply.payload).into_owned())
}

async fn ask_until(client: &async_nats::Client, subject: &str) {
    let asking = async {
        while ask(client, subject, "x").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it answers at last");
}

fn connected_to(broker: &Broker, server: &NatsServer, times: usize) {
    let address = format!("127.0.0.1:{}", server.port());
    msgscript_tests::harness::wait_until("a connection", || {
        let events = broker.events();
        let here = |event: &&serde_json::Value| {
            event["message"] == "NATS connected" && event["server"] == address.as_str()
        };
        events.iter().filter(here).count() >= times
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back() {
    let server = NatsServer::start(&[]);
    let tells = "function OnMessage(_, p) require('nats').publish('told', p) return 'sent' end";
    let broker = Setup::new().nats(&server.url()).lua("echo", ECHO).lua("tells", tells).start();
    let client = async_nats::connect(server.url()).await.expect("connected");
    assert_eq!(ask(&client, "echo", "x").await.as_deref(), Some("echo|x"));
    let port = server.port().to_string();
    drop((client, server));
    broker.wait_for_words(&["NATS connection lost"]);
    broker.post_until("/tells", "kept", |response| response.status == 200);
    let ready = broker.get("/_/readyz").text();
    assert!(ready.contains("the NATS server is away"), "{ready}");

    let server = NatsServer::start(&["-p", &port]);
    let client = async_nats::connect(server.url()).await.expect("connected");
    connected_to(&broker, &server, 2);
    ask_until(&client, "echo").await;
    assert!(!broker.get("/_/readyz").text().contains("away"));
}

#[test]
fn messages_wait_for_a_server_that_is_away() {
    let port = free_port();
    let tells = "function OnMessage(_, p) require('nats').publish('told', p) return 'sent' end";
    let url = format!("nats://127.0.0.1:{port}");
    // It is the broker that hears it, too: it subscribes before it sends what waits.
    let told = "function OnMessage(_, p) error('heard ' .. p) end";
    let broker = Setup::new().nats(&url).lua("tells", tells).lua("told", told).start();
    broker.wait_for_words(&["there is no NATS server yet"]);
    assert_eq!(broker.call("tells", "kept"), "sent");
    let _server = NatsServer::start(&["-p", &port.to_string()]);
    broker.wait_for_words(&["heard kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_both_ways() {
    let server = NatsServer::start(&[]);
    let broker =
        Setup::new().nats(&server.url()).lua("echo", "function OnMessage(_, p) return p end").start();
    let client = async_nats::connect(server.url()).await.expect("connected");
    for size in [0, 1, 4_000, 65_535, 65_536, 500_000, 1_048_000] {
        let payload = "z".repeat(size);
        let asked = (0..4).map(|_| ask(&client, "echo", &payload));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.as_deref() == Some(&payload), "{size}\n{}", broker.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_leaves_answers_what_it_was_sent() {
    let server = NatsServer::start(&[]);
    let lua = "function OnMessage(_, p) require('time').sleep(0.2) return p end";
    let broker = Setup::new().nats(&server.url()).lua("slow", lua).start();
    let client = async_nats::connect(server.url()).await.expect("connected");
    assert!(ask(&client, "slow", "x").await.is_some());
    let mut inbox = client.subscribe("answers").await.expect("subscribed");
    for _ in 0..50 {
        client.publish_with_reply("slow", "answers", "x".into()).await.expect("sent");
    }
    // The server has them all before the broker is told.
    client.flush().await.expect("flushed");
    let _ = ask(&client, "nobody", "").await;
    broker.signal(Signal::SIGTERM);
    let answers = async {
        use futures_util::StreamExt;
        for _ in 0..50 {
            let answer = inbox.next().await.expect("an answer");
            assert_eq!(&answer.payload[..], b"x", "{answer:?}");
        }
    };
    tokio::time::timeout(PATIENCE, answers).await.expect("all are answered");
    assert!(broker.wait().success(), "{}", broker.log());
}

/// Two servers of one cluster.
fn cluster() -> (NatsServer, NatsServer) {
    let route = format!("nats://127.0.0.1:{}", free_port());
    let name = ["--cluster_name", "c"];
    let first = NatsServer::start(&[&name[..], &["--cluster", &route]].concat());
    let own = format!("nats://127.0.0.1:{}", free_port());
    let second = NatsServer::start(&[&name[..], &["--cluster", &own, "--routes", &route]].concat());
    (first, second)
}

/// Waits until the broker was told of the other server: messages pass between the two.
async fn together(client: &async_nats::Client) {
    ask_until(client, "echo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_of_the_cluster_takes_over() {
    let (first, second) = cluster();
    // It is given the URL of the first only.
    let broker = Setup::new().nats(&first.url()).lua("echo", ECHO).start();
    let client = async_nats::connect(second.url()).await.expect("connected");
    together(&client).await;
    drop(first);
    connected_to(&broker, &second, 1);
    ask_until(&client, "echo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_is_left_without_a_gap() {
    let (first, second) = cluster();
    let broker = Setup::new().nats(&first.url()).lua("echo", ECHO).start();
    let client = async_nats::connect(second.url()).await.expect("connected");
    together(&client).await;
    let asking = {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0..400 {
                let text = number.to_string();
                let answer = ask(&client, "echo", &text).await;
                assert_eq!(answer, Some(format!("echo|{text}")));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    kill_process(first.pid(), Signal::SIGUSR2);
    connected_to(&broker, &second, 1);
    broker.wait_for_words(&["lame duck"]);
    broker.wait_for_words(&["left for another"]);
    asking.await.expect("each is answered");
    // It is the other that is asked from now on.
    drop(first);
    assert_eq!(ask(&client, "echo", "x").await.as_deref(), Some("echo|x"));
    assert_eq!(broker.count_events("NATS connection lost"), 0, "{}", broker.log());
}
