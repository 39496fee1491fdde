//! Tenants with accounts of their own on a real nats-server: what is in one account is heard and answered there
//! and nowhere else.

use std::time::Duration;

use futures_util::StreamExt;
use msgscript_tests::harness::{Broker, NatsServer, Setup};
use nix::sys::signal::Signal;
use tempfile::NamedTempFile;

const SERVER: &str = "accounts {\n\
    MAIN: { users: [ { user: main, password: m } ] }\n\
    ACME: { users: [ { user: acme, password: a } ] }\n\
    BETA: { users: [ { user: beta, password: b } ] }\n}\n";

fn server() -> (NamedTempFile, NatsServer) {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), SERVER).expect("written");
    let server = NatsServer::start(&["-c", file.path().to_str().expect("UTF-8")]);
    (file, server)
}

fn url(server: &NatsServer, user: &str, password: &str) -> String {
    server.url().replace("nats://", &format!("nats://{user}:{password}@"))
}

fn tenant(name: &str, url: &str) -> String {
    format!(
        "[[tenant]]\nname = \"{name}\"\nsubjects = [\"{name}.>\"]\nscripts = \"{name}\"\n\
         [tenant.grants]\nnats = [\"{name}.out\"]\n[tenant.nats]\nurl = \"{url}\"\n"
    )
}

fn start(server: &NatsServer, config: &str) -> Broker {
    let echo = |subject: &str| {
        format!(
            "--* subject: {subject}\n--* name: n\nfunction OnMessage(_, p)\n\
             if p == 'tell' then assert(require('nats').publish('{0}', 'told')) end\n\
             return '{subject} ' .. p end\n",
            subject.replace("echo", "out")
        )
    };
    Setup::new()
        .nats(&url(server, "main", "m"))
        .config(config)
        .file("acme/n.lua", echo("acme.echo"))
        .file("beta/n.lua", echo("beta.echo"))
        .file("free.lua", echo("free"))
        .start()
}

async fn client(server: &NatsServer, user: &str, password: &str) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().user_and_password(user.to_owned(), password.to_owned());
    options.connect(server.url()).await.expect("a user")
}

/// The answer, or none if nobody is there to give one.
async fn ask(client: &async_nats::Client, subject: &str, payload: &'static str) -> Option<String> {
    let reply = client.request(subject.to_owned(), payload.into()).await;
    reply.ok().map(|reply| String::from_utf8_lossy(&reply.payload).into_owned())
}

async fn ask_until(client: &async_nats::Client, subject: &str, answers: bool) {
    for _ in 0..500 {
        if ask(client, subject, "x").await.is_some() == answers {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{subject} never {}", if answers { "answers" } else { "falls silent" });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_its_tenants_alone() {
    let (_file, server) = server();
    let broker = start(&server, &tenant("acme", &url(&server, "acme", "a")));
    let (main, acme, beta) = (
        client(&server, "main", "m").await,
        client(&server, "acme", "a").await,
        client(&server, "beta", "b").await,
    );
    ask_until(&acme, "acme.echo", true).await;
    ask_until(&main, "free", true).await;
    assert_eq!(ask(&acme, "acme.echo", "x").await.as_deref(), Some("acme.echo x"));
    assert_eq!(ask(&main, "free", "x").await.as_deref(), Some("free x"));
    // Nobody is subscribed anywhere else.
    for (name, client, subject) in [
        ("main", &main, "acme.echo"),
        ("acme", &acme, "free"),
        ("acme", &acme, "beta.echo"),
        ("beta", &beta, "acme.echo"),
        ("beta", &beta, "free"),
    ] {
        assert_eq!(ask(client, subject, "x").await, None, "{subject} in the account of {name}");
    }
    // What its scripts publish stays in the account.
    let mut heard = acme.subscribe("acme.out").await.expect("subscribed");
    let mut elsewhere = main.subscribe(">").await.expect("subscribed");
    acme.flush().await.expect("flushed");
    main.flush().await.expect("flushed");
    assert!(ask(&acme, "acme.echo", "tell").await.is_some());
    let told =
        tokio::time::timeout(Duration::from_secs(10), heard.next()).await.expect("in time").expect("one");
    assert_eq!(&told.payload[..], b"told");
    let leaked = tokio::time::timeout(Duration::from_millis(200), elsewhere.next()).await;
    assert!(leaked.is_err(), "{leaked:?}");
    assert!(!broker.log().contains("acme:a@"), "a password is in the log");

    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
    assert_eq!(ask(&acme, "acme.echo", "x").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_come_and_go_without_a_restart() {
    let (_file, server) = server();
    let acme = tenant("acme", &url(&server, "acme", "a"));
    let broker = start(&server, &acme);
    let (inside, beta) = (client(&server, "acme", "a").await, client(&server, "beta", "b").await);
    ask_until(&inside, "acme.echo", true).await;
    assert_eq!(ask(&beta, "beta.echo", "x").await, None);
    let path = broker.folder().join("config.toml");
    std::fs::write(&path, acme.clone() + &tenant("beta", &url(&server, "beta", "b"))).expect("written");
    broker.signal(Signal::SIGHUP);
    ask_until(&beta, "beta.echo", true).await;
    assert_eq!(ask(&inside, "acme.echo", "x").await.as_deref(), Some("acme.echo x"));
    std::fs::write(&path, tenant("beta", &url(&server, "beta", "b"))).expect("written");
    broker.signal(Signal::SIGHUP);
    ask_until(&inside, "acme.echo", false).await;
    ask_until(&beta, "beta.echo", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_keeps_nobody_else() {
    let (_file, server) = server();
    let bad = tenant("beta", "nats://beta:wrong@127.0.0.1:1");
    let broker = start(&server, &(tenant("acme", &url(&server, "acme", "a")) + &bad));
    let (main, acme) = (client(&server, "main", "m").await, client(&server, "acme", "a").await);
    ask_until(&acme, "acme.echo", true).await;
    ask_until(&main, "free", true).await;
    // Not by another's connection instead.
    assert_eq!(ask(&main, "beta.echo", "x").await, None);
    let mut elsewhere = main.subscribe("beta.>").await.expect("subscribed");
    main.flush().await.expect("flushed");
    let _ = broker.post("/beta.echo", "tell");
    assert!(tokio::time::timeout(Duration::from_millis(200), elsewhere.next()).await.is_err());
    assert_eq!(broker.post("/beta.echo", "x").status, 200, "over HTTP it is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_in_the_account_now_in_force() {
    let store = tempfile::TempDir::new().expect("a folder");
    let text = SERVER.replace("{ users", "{ jetstream: enabled, users");
    let text = format!("jetstream {{ store_dir: \"{}\" }}\n{text}", store.path().display());
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let server = NatsServer::start(&["-c", file.path().to_str().expect("UTF-8")]);
    let (one, other) = (client(&server, "acme", "a").await, client(&server, "beta", "b").await);
    let mut heard = Vec::new();
    for client in [&one, &other] {
        let config = async_nats::jetstream::stream::Config {
            name: "ORDERS".into(),
            subjects: vec!["acme.orders".into()],
            ..Default::default()
        };
        let context = async_nats::jetstream::new(client.clone());
        context.create_stream(config).await.expect("a stream");
        heard.push(client.subscribe("acme.out").await.expect("subscribed"));
        client.flush().await.expect("flushed");
    }
    let lua = "--* subject: acme.orders\n--* name: o\n--* stream: ORDERS\n\
        function OnMessage(_, p) assert(require('nats').publish('acme.out', p)) return '' end\n";
    let broker = Setup::new()
        .nats(&url(&server, "main", "m"))
        .config(&tenant("acme", &url(&server, "acme", "a")))
        .file("acme/o.lua", lua)
        .start();
    let told = async |heard: &mut async_nats::Subscriber| {
        let got = tokio::time::timeout(Duration::from_secs(30), heard.next()).await;
        got.expect("in time").expect("one").payload
    };
    one.publish("acme.orders", "one".into()).await.expect("sent");
    assert_eq!(&told(&mut heard[0]).await[..], b"one");
    let config = tenant("acme", &url(&server, "beta", "b"));
    std::fs::write(broker.folder().join("config.toml"), config).expect("written");
    broker.signal(Signal::SIGHUP);
    other.publish("acme.orders", "other".into()).await.expect("sent");
    assert_eq!(&told(&mut heard[1]).await[..], b"other");
    // Where it was, nobody reads any more once a pull that was under way is over.
    tokio::time::sleep(Duration::from_millis(500)).await;
    one.publish("acme.orders", "late".into()).await.expect("sent");
    let late = tokio::time::timeout(Duration::from_secs(1), heard[0].next()).await;
    assert!(late.is_err(), "{late:?}");
}

#[test]
fn an_account_needs_a_server_and_a_login() {
    for (config, args, text) in [
        (tenant("acme", "nats://a:b@127.0.0.1:1"), None, "needs an external NATS server"),
        (
            tenant("acme", "x").replace("url = \"x\"", ""),
            Some("nats://127.0.0.1:1"),
            "needs a URL with a login",
        ),
    ] {
        let mut setup = Setup::new().config(&config);
        if let Some(url) = args {
            setup = setup.nats(url);
        }
        let broker = setup.spawn();
        assert_ne!(broker.wait().code(), Some(0));
        assert!(broker.log().contains(text), "{}", broker.log());
    }
}
