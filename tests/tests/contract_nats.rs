//! The contract's rules on messages over NATS, on the embedded server and on a real nats-server.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use msgscript_tests::harness::{Broker, NatsServer, PATIENCE, Setup};
use serde_json::{Value, json};

/// Which server a test runs on.
#[derive(Clone, Copy)]
enum Server {
    Embedded,
    External,
}

/// A broker, its NATS server and a client of that.
struct Site {
    client: Client,
    broker: Broker,
    _server: Option<NatsServer>,
}

impl Site {
    async fn start(server: Server, setup: Setup) -> Site {
        match server {
            Server::Embedded => {
                let broker = setup.start();
                Site { client: broker.nats().await, broker, _server: None }
            }
            Server::External => {
                let server = NatsServer::start(&[]);
                let broker = setup.nats(&server.url()).start();
                let client = async_nats::connect(server.url()).await.expect("the server accepts");
                Site { client, broker, _server: Some(server) }
            }
        }
    }

    /// The one reply to a request.
    async fn ask(&self, subject: &str, payload: impl AsRef<[u8]>) -> Message {
        let payload = payload.as_ref().to_vec();
        let reply =
            tokio::time::timeout(PATIENCE, self.client.request(subject.to_owned(), payload.into())).await;
        let reply = reply.unwrap_or_else(|_| panic!("no reply from {subject}\n{}", self.broker.log()));
        reply.unwrap_or_else(|error| panic!("{subject}: {error}\n{}", self.broker.log()))
    }

    async fn text(&self, subject: &str, payload: impl AsRef<[u8]>) -> String {
        let reply = self.ask(subject, payload).await;
        assert_eq!(header(&reply, "Nats-Service-Error"), "", "{subject}");
        String::from_utf8(reply.payload.to_vec()).expect("UTF-8")
    }

    async fn document(&self, subject: &str, envelope: &Value) -> Value {
        let reply = self.ask(subject, envelope.to_string()).await;
        serde_json::from_slice(&reply.payload)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", reply.payload, reply.headers))
    }

    /// All replies to a request: so many must come, and then no more.
    async fn ask_all(&self, subject: &str, payload: &str, count: usize) -> Vec<Message> {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(inbox.clone()).await.expect("subscribed");
        let sent = self.client.publish_with_reply(subject.to_owned(), inbox, payload.to_owned().into()).await;
        sent.expect("sent");
        let mut got = Vec::new();
        while got.len() < count {
            let next = tokio::time::timeout(PATIENCE, replies.next()).await;
            got.push(next.unwrap_or_else(|_| panic!("{} of {count} replies", got.len())).expect("a reply"));
        }
        let more = tokio::time::timeout(Duration::from_millis(200), replies.next()).await;
        assert!(more.is_err(), "one reply too many: {more:?}");
        got
    }

    /// Waits until a subject answers, or until it does not.
    async fn until_answered(&self, subject: &str, answered: bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let reply = self.client.request(subject.to_owned(), "".into()).await;
            if reply.is_ok() == answered {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{subject}: {reply:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn header(message: &Message, name: &str) -> String {
    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
    value.map(|value| value.as_str().to_owned()).unwrap_or_default()
}

fn envelope(payload: &str) -> Value {
    json!({ "payload": STANDARD.encode(payload) })
}

/// One test of each name for each server.
macro_rules! on_both_servers {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Server::Embedded).await;
            })*
        }
        mod external {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Server::External).await;
            })*
        }
    };
}

on_both_servers!(
    raw_messages,
    failures,
    several_scripts,
    envelopes,
    only_envelopes_are_envelopes,
    the_setting_nats_reply,
    replies_are_no_triggers,
    reserved_subjects_never_run,
    wildcards,
    publishing_from_scripts,
    loops_end,
    results_that_are_too_large,
    subscriptions_follow_the_scripts,
);

const ECHO: &str = "function OnMessage(subject, payload) return subject .. '|' .. payload end";

async fn raw_messages(server: Server) {
    let setup = Setup::new()
        .script("raw.echo", "echo", ECHO)
        .lua("none", "function OnMessage() end")
        .lua("bytes", "function OnMessage(_, p) return p:reverse() end")
        .lua(
            "headers",
            "function OnMessage(_, _, h) return tostring(h and (h['X-Test'] or h['x-test'])) end",
        );
    let site = Site::start(server, setup).await;
    let reply = site.ask("raw.echo", "héllo").await;
    assert_eq!(&reply.payload[..], "raw.echo|héllo".as_bytes());
    assert_eq!(header(&reply, "Msgscript-Name"), "echo");
    assert!(!header(&reply, "Msgscript-Invocation").is_empty());
    assert_eq!(header(&reply, "Nats-Service-Error"), "");
    let again = site.ask("raw.echo", "").await;
    assert_eq!(&again.payload[..], b"raw.echo|");
    assert_ne!(header(&again, "Msgscript-Invocation"), header(&reply, "Msgscript-Invocation"));
    assert_eq!(&site.ask("bytes", [0, 1, 255]).await.payload[..], [255, 1, 0]);
    assert!(site.ask("none", "").await.payload.is_empty());
    let mut headers = HeaderMap::new();
    headers.insert("X-Test", "given");
    let reply = site.client.request_with_headers("headers", headers, "".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"given");
    // Nobody waits: it runs all the same.
    site.client.publish("none", "".into()).await.expect("sent");
    site.broker.wait_for_words(&["Script returned no response"]);
    let missing = site.client.request("nobody.there", "".into()).await.expect_err("no script");
    assert_eq!(missing.kind(), async_nats::RequestErrorKind::NoResponders);
}

async fn failures(server: Server) {
    let setup = Setup::new()
        .args(&["--timeout", "500ms", "--memory", "32MiB"])
        .lua("raises", "function OnMessage()\n  error('two\\nlines')\nend")
        .lua("broken", "function OnMessage(\n")
        .lua("loops", "function OnMessage() while true do end end")
        .lua("eats", "function OnMessage() local t = {} while true do t[#t + 1] = {} end end")
        .lua("echo", ECHO);
    let site = Site::start(server, setup).await;
    for (subject, code, reason, text) in [
        ("raises", "500", "script_error", "raises.lua:4: two"),
        ("broken", "500", "script_error", "broken.lua:"),
        ("loops", "504", "wall_time", ""),
        ("eats", "500", "memory", ""),
    ] {
        let reply = site.ask(subject, "").await;
        assert!(reply.payload.is_empty(), "{subject}");
        assert_eq!(header(&reply, "Nats-Service-Error-Code"), code, "{subject}: {:?}", reply.headers);
        assert_eq!(header(&reply, "Msgscript-Reason"), reason, "{subject}");
        assert_eq!(header(&reply, "Msgscript-Name"), subject);
        assert!(!header(&reply, "Msgscript-Invocation").is_empty(), "{subject}");
        let error = header(&reply, "Nats-Service-Error");
        assert!(!error.is_empty() && error.contains(text), "{subject}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
        if text.is_empty() {
            assert!(!header(&reply, "Msgscript-Limit").is_empty(), "{subject}: {:?}", reply.headers);
            assert!(!header(&reply, "Msgscript-Measured").is_empty(), "{subject}: {:?}", reply.headers);
        }
        assert_eq!(site.text("echo", "x").await, "echo|x");
    }
}

async fn several_scripts(server: Server) {
    let setup = Setup::new()
        .script("many", "a", "function OnMessage() return 'from a' end")
        .script("many", "b", "function OnMessage() return 'from b' end")
        .script("many", "c", "function OnMessage() error('from c') end");
    let site = Site::start(server, setup).await;
    let replies = site.ask_all("many", "", 3).await;
    let by_name: HashMap<String, &Message> =
        replies.iter().map(|reply| (header(reply, "Msgscript-Name"), reply)).collect();
    assert_eq!(&by_name["a"].payload[..], b"from a");
    assert_eq!(&by_name["b"].payload[..], b"from b");
    assert!(header(by_name["c"], "Nats-Service-Error").contains("from c"));
    let document = site.document("many", &envelope("")).await;
    let results = document["script_result"].as_array().expect("results");
    assert_eq!(results.len(), 3, "{document}");
    let codes: Vec<&Value> = results.iter().map(|result| &result["http_code"]).collect();
    assert_eq!(codes, [&json!(200), &json!(200), &json!(500)]);
}

async fn envelopes(server: Server) {
    let setup = Setup::new()
        .lua("echo", ECHO)
        .lua("raises", "function OnMessage() error('no') end")
        .lua("slow", "function OnMessage(_, p) require('nats').publish('slow.done', p) return 'x' end")
        .http_script(
            "page",
            "page",
            "function GET(url, body) return '<' .. url .. body .. '>', 201, { ['X-A'] = 'b' } end\nfunction OnMessage() return 'message' end",
        );
    let site = Site::start(server, setup).await;
    // Every field in the Go server's order.
    let reply = site.ask("echo", envelope("hi").to_string()).await;
    let expected = format!(
        r#"{{"script_result":[{{"http_code":200,"error":"","http_headers":{{}},"is_html":false,"payload":"{}"}}],"is_html":false,"error":""}}"#,
        STANDARD.encode("echo|hi")
    );
    assert_eq!(String::from_utf8_lossy(&reply.payload), expected);
    let full = json!({
        "async": false, "executor": "lua", "method": "", "payload": STANDARD.encode("hi"),
        "raw": false, "subject": "echo", "url": ""
    });
    let document = site.document("echo", &full).await;
    assert_eq!(document["script_result"][0]["payload"], STANDARD.encode("echo|hi"));
    // Another subject inside is what the script sees; the message's own decides what runs.
    let other = json!({ "payload": "", "subject": "raises" });
    let document = site.document("echo", &other).await;
    assert_eq!(document["script_result"][0]["payload"], STANDARD.encode("raises|"));
    let document = site.document("raises", &envelope("")).await;
    assert_eq!(document["script_result"][0]["http_code"], 500, "{document}");
    let error = document["script_result"][0]["error"].as_str().expect("text");
    assert!(error.contains("raises.lua:3: no"), "{error}");
    // HTTP mode through an envelope.
    let get = json!({ "payload": STANDARD.encode("b"), "method": "GET", "url": "/x?y" });
    let document = site.document("page", &get).await;
    assert_eq!(document["is_html"], true, "{document}");
    let result = &document["script_result"][0];
    assert_eq!(result["payload"], STANDARD.encode("</x?yb>"), "{document}");
    assert_eq!((&result["http_code"], &result["is_html"]), (&json!(201), &json!(true)));
    assert_eq!(result["http_headers"]["X-A"], "b", "{document}");
    let document = site.document("page", &envelope("")).await;
    assert_eq!(document["script_result"][0]["payload"], STANDARD.encode("message"), "{document}");
    let delete = json!({ "payload": "", "method": "DELETE" });
    assert_eq!(site.document("page", &delete).await["script_result"][0]["http_code"], 405);
    // `async` answers at once and runs in the background.
    let mut done = site.client.subscribe("slow.done").await.expect("subscribed");
    site.client.flush().await.expect("flushed");
    let background = json!({ "payload": STANDARD.encode("later"), "async": true });
    let replies = site.ask_all("slow", &background.to_string(), 1).await;
    assert_eq!(&replies[0].payload[..], b"{}");
    let message = tokio::time::timeout(PATIENCE, done.next()).await.expect("it ran").expect("a message");
    assert_eq!(&message.payload[..], b"later");
}

async fn only_envelopes_are_envelopes(server: Server) {
    let site = Site::start(server, Setup::new().lua("echo", "function OnMessage(_, p) return p end")).await;
    for raw in [
        "{}",
        "[]",
        "null",
        "7",
        "{",
        r#"{"payload":7}"#,
        r#"{"payload":"not base64!"}"#,
        r#"{"payload":"aGk"}"#,
        r#"{"payload":"aGk=","async":"yes"}"#,
        r#"{"payload":"aGk=","method":5}"#,
        r#"{"payload":"aGk=","url":{}}"#,
        r#"{"payload":"aGk="} and more"#,
        r#"[{"payload":"aGk="}]"#,
        r#"{"message":"hello"}"#,
        r#"{"data":{"payload":"aGk="}}"#,
    ] {
        assert_eq!(site.text("echo", raw).await, raw);
    }
    let document = site.document("echo", &envelope("hi")).await;
    assert_eq!(document["script_result"][0]["payload"], "aGk=");
}

async fn the_setting_nats_reply(server: Server) {
    let setup = Setup::new()
        .config("[broker]\nnats-reply = \"envelope\"\n")
        .lua("echo", ECHO)
        .script("two", "a", "function OnMessage() return 'a' end")
        .script("two", "b", "function OnMessage() error('b') end");
    let site = Site::start(server, setup).await;
    let reply = site.ask("echo", "raw").await;
    let document: Value = serde_json::from_slice(&reply.payload).expect("a document");
    assert_eq!(document["script_result"][0]["payload"], STANDARD.encode("echo|raw"), "{document}");
    let replies = site.ask_all("two", "", 1).await;
    let document: Value = serde_json::from_slice(&replies[0].payload).expect("a document");
    assert_eq!(document["script_result"].as_array().map(Vec::len), Some(2), "{document}");
}

async fn replies_are_no_triggers(server: Server) {
    let setup = Setup::new()
        .lua("echo", ECHO)
        .lua("sink", "function OnMessage() print('the sink ran') return 'x' end")
        .script("wild.*", "wild", "function OnMessage() print('the sink ran') return 'x' end");
    let site = Site::start(server, setup).await;
    let mut reserved = site.client.subscribe("$evil.>").await.expect("subscribed");
    site.client.flush().await.expect("flushed");
    for reply in ["sink", "wild.card", "$evil.reply", "echo"] {
        for payload in ["x".to_owned(), envelope("x").to_string()] {
            site.client.publish_with_reply("echo", reply, payload.into()).await.expect("sent");
        }
    }
    // What is refused is said.
    for reply in ["sink", "wild.card", "$evil.reply"] {
        site.broker.wait_for_words(&[reply, "WARN"]);
    }
    for _ in 0..10 {
        assert_eq!(site.text("echo", "x").await, "echo|x");
    }
    assert_eq!(site.broker.count_events("the sink ran"), 0, "{}", site.broker.log());
    let came = tokio::time::timeout(Duration::from_millis(100), reserved.next()).await;
    assert!(came.is_err(), "{came:?}");
}

async fn reserved_subjects_never_run(server: Server) {
    let setup = Setup::new().script(">", "all", "function OnMessage(s) print('ran for ' .. s) return s end");
    let site = Site::start(server, setup).await;
    for subject in ["_INBOX.x.y", "$SYS.x", "$x"] {
        site.client.publish(subject, "".into()).await.expect("sent");
    }
    // A request's own reply lands in an inbox, which this script's subject matches, too.
    assert_eq!(site.text("anything.at.all", "").await, "anything.at.all");
    site.broker.wait_for_words(&["ran for anything.at.all"]);
    assert_eq!(site.broker.count_events("ran for "), 1, "{}", site.broker.log());
}

async fn wildcards(server: Server) {
    let say = |name: &str| format!("function OnMessage(s) return '{name} ' .. s end");
    let setup = Setup::new()
        .script("w.*.z", "star", &say("star"))
        .script("w.>", "rest", &say("rest"))
        .script("w.y.z", "exact", &say("exact"))
        .script("w.y.z", "exact2", &say("exact2"));
    let site = Site::start(server, setup).await;
    let mut texts: Vec<String> = site
        .ask_all("w.y.z", "", 4)
        .await
        .iter()
        .map(|reply| String::from_utf8_lossy(&reply.payload).into_owned())
        .collect();
    texts.sort();
    assert_eq!(texts, ["exact w.y.z", "exact2 w.y.z", "rest w.y.z", "star w.y.z"]);
    assert_eq!(site.ask_all("w.a", "", 1).await[0].payload, "rest w.a");
    assert_eq!(site.ask_all("w.a.z", "", 2).await.len(), 2);
    let missing = site.client.request("w", "".into()).await.expect_err("`w.>` is not `w`");
    assert_eq!(missing.kind(), async_nats::RequestErrorKind::NoResponders);
}

async fn publishing_from_scripts(server: Server) {
    let publish = r#"
        local nats = require("nats")
        function OnMessage(_, subject)
          local ok, err = nats.publish(subject, "from the script")
          return tostring(ok) .. "|" .. tostring(err)
        end"#;
    let setup = Setup::new()
        .lua("publish", publish)
        .lua("number", "function OnMessage() return tostring(require('nats').publish('out.number', 15)) end")
        .lua(
            "other",
            "function OnMessage(_, p) return require('nats').publish('out.other', 'other got ' .. p) end",
        );
    let site = Site::start(server, setup).await;
    let mut out = site.client.subscribe("out.>").await.expect("subscribed");
    site.client.flush().await.expect("flushed");
    let mut next =
        async || tokio::time::timeout(PATIENCE, out.next()).await.expect("it comes").expect("a message");
    assert_eq!(site.text("publish", "out.here").await, "true|nil");
    let message = next().await;
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("out.here", b"from the script".as_slice()));
    assert_eq!(header(&message, "Msgscript-Hops"), "1");
    assert_eq!(site.text("number", "").await, "true");
    assert_eq!(&next().await.payload[..], b"15");
    // To another script of this broker.
    assert_eq!(site.text("publish", "other").await, "true|nil");
    let message = next().await;
    assert_eq!(&message.payload[..], b"other got from the script");
    assert_eq!(header(&message, "Msgscript-Hops"), "2");
    for subject in ["$SYS.x", "$JS.API.x", "_INBOX.abc", "a b", "a..b", "", "a.*", "a.>"] {
        let answer = site.text("publish", subject).await;
        assert!(answer.starts_with("false|") && answer != "false|nil", "{subject}: {answer}");
    }
}

async fn loops_end(server: Server) {
    let again = r#"
        function OnMessage(subject, payload)
          print("a round of " .. subject)
          local ok, err = require("nats").publish(payload, subject)
          if not ok then print("ended with " .. err) end
        end"#;
    let setup = Setup::new().lua("ping", again).lua("pong", again).lua("echo", ECHO);
    let site = Site::start(server, setup).await;
    site.client.publish("ping", "pong".into()).await.expect("sent");
    site.broker.wait_for_words(&["ended with", "loop"]);
    assert_eq!(site.broker.count_events("a round of "), 9, "one, and eight hops");
    let mut headers = HeaderMap::new();
    headers.insert("Msgscript-Hops", "9");
    let reply = site.client.request_with_headers("echo", headers, "".into()).await.expect("a reply");
    assert_eq!(header(&reply, "Msgscript-Reason"), "loop");
    assert_eq!(header(&reply, "Nats-Service-Error-Code"), "500");
    let mut headers = HeaderMap::new();
    headers.insert("Msgscript-Hops", "8");
    let reply = site.client.request_with_headers("echo", headers, "".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"echo|");
}

async fn results_that_are_too_large(server: Server) {
    let setup = Setup::new()
        .lua("large", "function OnMessage(_, n) return ('x'):rep(tonumber(n)) end")
        .lua("publish", "function OnMessage(_, n) return tostring(require('nats').publish('out', ('x'):rep(tonumber(n)))) end");
    let site = Site::start(server, setup).await;
    let reply = site.ask("large", "1000000").await;
    assert_eq!(reply.payload.len(), 1_000_000);
    let reply = site.ask("large", "2000000").await;
    assert!(reply.payload.is_empty());
    assert_eq!(header(&reply, "Msgscript-Reason"), "output");
    assert_eq!(header(&reply, "Nats-Service-Error-Code"), "500");
    assert!(
        !header(&reply, "Msgscript-Limit").is_empty() && !header(&reply, "Msgscript-Measured").is_empty()
    );
    // In an envelope it grows by a third.
    let document = site.document("large", &envelope("1000000")).await;
    let text = document.to_string();
    assert!(text.len() < 10_000 && text.contains("max_payload"), "{text}");
    assert_eq!(site.text("publish", "2000000").await, "false");
    assert_eq!(site.text("large", "3").await, "xxx");
}

async fn subscriptions_follow_the_scripts(server: Server) {
    let site = Site::start(server, Setup::new().lua("echo", ECHO)).await;
    site.broker.write("more.lua", format!("--* subject: more\n--* name: more\n{ECHO}"));
    site.until_answered("more", true).await;
    std::fs::remove_file(site.broker.scripts().join("more.lua")).expect("removed");
    site.until_answered("more", false).await;
    assert_eq!(site.text("echo", "x").await, "echo|x");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_of_one_queue_group_share_the_messages() {
    let server = NatsServer::start(&[]);
    let script = "function OnMessage(_, p) print('ran') require('nats').publish('seen', p) return p end";
    let brokers = [(); 2].map(|()| Setup::new().nats(&server.url()).lua("work", script).start());
    let client = async_nats::connect(server.url()).await.expect("the server accepts");
    let mut seen = client.subscribe("seen").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let requests = (0..200).map(|number: u32| client.request("work", number.to_string().into()));
    for (number, reply) in futures_util::future::join_all(requests).await.into_iter().enumerate() {
        assert_eq!(&reply.expect("a reply").payload[..], number.to_string().as_bytes());
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..200 {
        let message =
            tokio::time::timeout(PATIENCE, seen.next()).await.expect("each ran").expect("a message");
        *counts.entry(String::from_utf8_lossy(&message.payload).into_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 200, "something ran twice");
    let more = tokio::time::timeout(Duration::from_millis(200), seen.next()).await;
    assert!(more.is_err(), "something ran twice: {more:?}");
    for broker in &brokers {
        broker.wait_for_event("its share", |event| event["text"] == "ran");
    }
    // Another group has every message to itself.
    let other = Setup::new()
        .nats(&server.url())
        .config("[broker]\nqueue-group = \"other\"\n")
        .lua("work", "function OnMessage() return 'other' end")
        .start();
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.expect("subscribed");
    client.publish_with_reply("work", inbox, "x".into()).await.expect("sent");
    for _ in 0..2 {
        tokio::time::timeout(PATIENCE, replies.next()).await.expect("one from each group").expect("a reply");
    }
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_may_ask_for_credentials() {
    let server = NatsServer::start(&["--user", "ann", "--pass", "secret"]);
    let url = server.url().replace("nats://", "nats://ann:secret@");
    let by_flag = Setup::new().nats(&url).lua("echo", ECHO).start();
    let client = async_nats::ConnectOptions::with_user_and_password("ann".into(), "secret".into());
    let client = client.connect(server.url()).await.expect("the server accepts");
    let reply = client.request("echo", "x".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"echo|x");
    drop(by_flag);
    let by_environment = Setup::new().nats_env(&url).script("env", "env", ECHO).start();
    let reply = client.request("env", "x".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"env|x");
    assert!(!by_environment.log().contains("secret"), "the password is in the log");
    let token = NatsServer::start(&["--auth", "tok"]);
    let broker = Setup::new().nats(&token.url().replace("nats://", "nats://tok@")).lua("echo", ECHO).start();
    assert_eq!(broker.call("echo", "x"), "echo|x");
}
