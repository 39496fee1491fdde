//! Three brokers behind a real nats-server are replaced one after the other while requests run.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use msgscript_tests::harness::{Broker, NatsServer, Setup};
use nix::sys::signal::Signal;
use tokio::task::LocalSet;

/// Bounds each answer; nothing is said of speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients that ask without a pause.
const CLIENTS: usize = 8;

/// What a client has seen, and whether it is to go on.
#[derive(Default)]
struct Load {
    answered: Cell<usize>,
    failed: Cell<usize>,
    over: Cell<bool>,
}

/// Asks, and does not ask again for what failed.
async fn ask(client: async_nats::Client, load: Rc<Load>) {
    let mut number = 0_u64;
    while !load.over.get() {
        number += 1;
        let request = async_nats::Request::new().payload(number.to_string().into()).timeout(Some(PATIENCE));
        match client.send_request("work".to_owned(), request).await {
            Ok(answer) if answer.payload == number.to_string().as_bytes() => {
                load.answered.set(load.answered.get() + 1);
            }
            _ => load.failed.set(load.failed.get() + 1),
        }
    }
}

fn broker(url: &str) -> Broker {
    let lua = "function OnMessage(_, p) require('time').sleep(0.005) return p end";
    Setup::new().nats(url).script("work", "work", lua).start()
}

/// Waits until so many more requests were answered.
async fn answered(load: &Load, more: usize) {
    let until = load.answered.get() + more;
    let wait = async {
        while load.answered.get() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("requests are answered");
}

/// Stops a broker and starts another, off this thread: the clients go on meanwhile.
async fn replace(old: Broker, url: String) -> Broker {
    let replace = move || {
        old.signal(Signal::SIGTERM);
        assert!(old.wait().success(), "a drained broker ends well");
        broker(&url)
    };
    tokio::task::spawn_blocking(replace).await.unwrap()
}

#[tokio::test]
async fn every_request_is_answered() {
    let server = NatsServer::start(&[]);
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut brokers: Vec<Broker> = (0..3).map(|_| broker(&server.url())).collect();
    let local = LocalSet::new();
    local
        .run_until(async {
            let load = Rc::new(Load::default());
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| tokio::task::spawn_local(ask(client.clone(), load.clone()))).collect();
            answered(&load, 100).await;
            for _ in 0..3 {
                let old = brokers.remove(0);
                brokers.push(replace(old, server.url()).await);
                answered(&load, 100).await;
            }
            load.over.set(true);
            for client in clients {
                client.await.unwrap();
            }
            assert_eq!(load.failed.get(), 0, "of {} requests", load.answered.get());
        })
        .await;
}
