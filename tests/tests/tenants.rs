//! Tenants: whose scripts answer what, who may call them, and how that changes without a restart.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use msgscript_tests::harness::{Broker, Setup, wait_until};
use nix::sys::signal::Signal;

const ECHO: &str = "function OnMessage(subject, payload) return 'echo ' .. payload end";

/// The tokens `acme-token` and `beta-token`; the password `secret` of the NATS user.
const CONFIG: &str = r#"
[[tenant]]
name = "acme"
subjects = ["acme.>"]
scripts = "acme"
[tenant.http]
tokens = ["sha256:ACME"]
[[tenant.http.webhook]]
subjects = ["acme.hook"]
form = "github"
secret = "hook"

[[tenant]]
name = "beta"
subjects = ["beta.>"]
scripts = "beta"
[tenant.grants]
nats = ["beta.out.>"]
[tenant.http]
tokens = ["sha256:BETA"]

[secret.hook]
env = "HOOK"

[[nats.user]]
name = "acme"
password = "$2y$04$ddLvArYghcF6nf5Y4mZUj.Ov0CgWnwNplOTeSYsZqrIZsC7AhxOYW"
tenant = "acme"

[[nats.user]]
name = "operator"
token = "sha256:OPERATOR"
publish = [">"]
subscribe = ["acme.>", "beta.>"]
"#;

fn digest(token: &str) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), token.as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout)[..64].to_owned()
}

fn config() -> String {
    let mut text = CONFIG.to_owned();
    for (word, token) in [("ACME", "acme-token"), ("BETA", "beta-token"), ("OPERATOR", "operator-token")] {
        text = text.replace(&format!("sha256:{word}"), &format!("sha256:{}", digest(token)));
    }
    text
}

fn setup() -> Setup {
    let script = |subject: &str| format!("--* subject: {subject}\n--* name: n\n{ECHO}\n");
    Setup::new()
        .config(&config())
        .env("HOOK", "It's a Secret to Everybody")
        .file("acme/echo.lua", script("acme.echo"))
        .file("acme/hook.lua", script("acme.hook"))
        .file("acme/thief.lua", script("beta.stolen"))
        .file("beta/echo.lua", script("beta.echo"))
        .file("free.lua", script("free"))
        .file("wild.lua", script(">"))
        .file("claim.lua", script("acme.mine"))
}

fn with_token(broker: &Broker, subject: &str, token: &str) -> (u16, String) {
    let authorization = format!("Bearer {token}");
    let response = broker.request("POST", subject, &[("authorization", &authorization)], b"x");
    (response.status, response.text())
}

#[test]
fn a_bearer_token_opens_its_tenants_functions_only() {
    let broker = setup().start();
    assert_eq!(broker.call("free", "x"), "echo x");
    assert_eq!(with_token(&broker, "/acme.echo", "acme-token").0, 200);
    assert_eq!(with_token(&broker, "/beta.echo", "beta-token").0, 200);
    let refused: Vec<_> = [
        with_token(&broker, "/acme.echo", "beta-token"),
        with_token(&broker, "/acme.echo", "wrong"),
        with_token(&broker, "/acme.echo", ""),
        with_token(&broker, "/acme.none", "beta-token"),
    ]
    .into();
    let without = broker.post("/acme.echo", "x");
    assert_eq!((without.status, without.reason()), (403, "denied"));
    for answer in &refused {
        assert_eq!(answer, &(403, without.text()), "all alike, whatever was wrong");
    }
    assert_eq!(with_token(&broker, "/acme.none", "acme-token").0, 404);
    let event = broker.wait_for_words(&["request refused", "acme.echo"]);
    assert_eq!(event["tenant"], "acme");
    for token in ["acme-token", "beta-token"] {
        assert!(!broker.log().contains(token), "a token is in the log");
    }
}

#[test]
fn nobody_answers_on_anothers_subjects() {
    let broker = setup().start();
    for (subject, token) in [("/beta.stolen", "beta-token"), ("/acme.mine", "acme-token")] {
        assert_eq!(with_token(&broker, subject, token).0, 404, "{subject}");
    }
    let (_, text) = with_token(&broker, "/acme.echo", "acme-token");
    assert_eq!(text.matches("payload").count(), 1, "the script of `>` answers nothing of a tenant's: {text}");
    for file in ["acme/thief.lua", "wild.lua", "claim.lua"] {
        broker.wait_for_words(&["rejected", file]);
    }
}

#[test]
fn a_webhook_is_its_signature() {
    let broker = setup().start();
    let signed = |signature: &str, body: &[u8]| {
        broker.request("POST", "/acme.hook", &[("x-hub-signature-256", signature)], body).status
    };
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(signed(good, b"Hello, World!"), 200);
    assert_eq!(signed(good, b"Hello, World?"), 403);
    assert_eq!(signed("", b"Hello, World!"), 403);
    assert_eq!(with_token(&broker, "/acme.hook", "acme-token").0, 403, "a token is no signature");
    assert!(!broker.log().contains("Everybody"), "the secret is in the log");
}

async fn connect(
    broker: &Broker,
    user: Option<(&str, &str)>,
    token: Option<&str>,
) -> Option<async_nats::Client> {
    let mut options = async_nats::ConnectOptions::new();
    if let Some((user, password)) = user {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    if let Some(token) = token {
        options = options.token(token.to_owned());
    }
    options.connect(broker.nats_url()).await.ok()
}

async fn ask(client: &async_nats::Client, subject: &str) -> Option<String> {
    let asked = client.request(subject.to_owned(), "x".into());
    let reply = tokio::time::timeout(Duration::from_secs(1), asked).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&reply.payload).into_owned())
}

#[tokio::test]
async fn nats_users_stay_within_their_tenant() {
    let broker = setup().start();
    for (user, token) in [
        (None, None),
        (Some(("acme", "wrong")), None),
        (Some(("nobody", "secret")), None),
        (Some(("operator", "operator-token")), None),
        (None, Some("wrong")),
    ] {
        assert!(connect(&broker, user, token).await.is_none(), "{user:?} {token:?}");
    }
    let acme = connect(&broker, Some(("acme", "secret")), None).await.expect("a user");
    let operator = connect(&broker, None, Some("operator-token")).await.expect("a user");
    assert_eq!(ask(&acme, "acme.echo").await.as_deref(), Some("echo x"));
    assert_eq!(ask(&operator, "beta.echo").await.as_deref(), Some("echo x"));
    assert_eq!(ask(&acme, "beta.echo").await, None, "not its subject");
    assert_eq!(ask(&acme, "free").await, None, "not its subject");

    // Nothing of what others send and get is seen: neither their subjects nor their inboxes.
    let mut seen = Vec::new();
    for pattern in [">", "beta.>", "acme.>", "_INBOX.>", "_INBOX.*.*", "$SYS.>"] {
        seen.push(acme.subscribe(pattern).await.unwrap());
    }
    seen.push(acme.queue_subscribe("acme.echo", "msgscript".into()).await.unwrap());
    acme.flush().await.unwrap();
    for _ in 0..20 {
        assert!(ask(&operator, "beta.echo").await.is_some() && ask(&operator, "acme.echo").await.is_some());
    }
    for subscription in &mut seen {
        let next = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
    // A reply is not sent to where the user itself may not publish.
    let mut listens = operator.subscribe("beta.canary").await.unwrap();
    operator.flush().await.unwrap();
    acme.publish_with_reply("acme.echo", "beta.canary", "x".into()).await.unwrap();
    acme.flush().await.unwrap();
    assert_eq!(ask(&acme, "acme.echo").await.as_deref(), Some("echo x"));
    assert!(tokio::time::timeout(Duration::from_millis(100), listens.next()).await.is_err());
    broker.wait_for_words(&["NATS permission refused", "beta.echo"]);
    broker.wait_for_words(&["NATS permission refused", "Publish with Reply of", "beta.canary"]);
}

#[test]
fn tenants_come_and_go_without_a_restart() {
    let broker = setup().start();
    assert_eq!(with_token(&broker, "/beta.echo", "beta-token").0, 200);
    let path = broker.folder().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();

    // Invalid: nothing changes, and it is told.
    std::fs::write(&path, text.replace("name = \"beta\"", "name = \"acme\"")).unwrap();
    broker.signal(Signal::SIGHUP);
    broker.wait_for_words(&["not reloaded", "two of this name"]);
    assert_eq!(with_token(&broker, "/beta.echo", "beta-token").0, 200);

    // beta is gone: its folder's scripts are nobody's but the operator's, without a token.
    let start = text.find("[[tenant]]\nname = \"beta\"").unwrap();
    let end = text.find("[secret.hook]").unwrap();
    std::fs::write(&path, [&text[..start], &text[end..]].concat()).unwrap();
    broker.signal(Signal::SIGHUP);
    wait_until("beta is gone", || broker.post("/beta.echo", "x").status == 200);
    assert_eq!(with_token(&broker, "/acme.echo", "acme-token").0, 200);
    assert_eq!(broker.post("/acme.echo", "x").status, 403);

    // And back, with another token.
    std::fs::write(&path, text.replace(&digest("beta-token"), &digest("other"))).unwrap();
    broker.signal(Signal::SIGHUP);
    wait_until("beta is back", || with_token(&broker, "/beta.echo", "other").0 == 200);
    assert_eq!(with_token(&broker, "/beta.echo", "beta-token").0, 403);
}

#[test]
fn a_named_tenant_may_publish_only_where_granted() {
    let script = "--* subject: beta.send\n--* name: n\nlocal nats = require('nats')\n\
        function OnMessage(_, to) local ok, err = nats.publish(to, 'x') return tostring(ok) .. ' ' .. tostring(err) end";
    let broker = setup().file("beta/send.lua", script).start();
    let send = |to: &str| {
        let response =
            broker.request("POST", "/beta.send", &[("authorization", "Bearer beta-token")], to.as_bytes());
        response.payload("n")
    };
    assert_eq!(send("beta.out.x"), "true nil");
    for subject in ["acme.echo", "free", "_INBOX.x", "$SYS.x", "beta.out"] {
        let answer = send(subject);
        assert!(answer.starts_with("false denied: beta has no grant to publish to"), "{answer}");
    }
    broker.wait_for_words(&["host call denied", "acme.echo", "\"tenant\":\"beta\""]);
}

/// A broker with one tenant, `acme`, that has these limits and isolation, and a neighbour, `free`.
fn limited(limits: &str, isolation: &str, script: &str) -> Setup {
    let config = format!(
        "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n\
         isolation = \"{isolation}\"\n[tenant.limits]\n{limits}\n"
    );
    Setup::new()
        .config(&config)
        .workers(2)
        .file("acme/s.lua", format!("--* subject: acme.s\n--* name: s\n{script}\n"))
        .file("acme/t.lua", format!("--* subject: acme.t\n--* name: t\n{ECHO}\n"))
        .lua("free", ECHO)
}

#[test]
fn cpu_time_is_limited_and_waiting_is_not_cpu_time() {
    let script = "local time = require('time')\nfunction OnMessage(_, what)\n\
        if what == 'spin' then while true do end end\ntime.sleep(0.6) return 'slept' end";
    let broker = limited("cpu = \"300ms\"\nwall = \"20s\"", "tenant", script).start();
    assert_eq!(broker.post("/acme.s", "sleep").payload("s"), "slept");
    let killed = broker.post("/acme.s", "spin");
    assert_eq!((killed.status, killed.reason()), (504, "cpu_time"));
    assert_eq!(killed.header("msgscript-limit"), Some("300ms"));
    assert_eq!(broker.post("/acme.s", "sleep").payload("s"), "slept", "the next one is served");
}

#[test]
fn a_tenant_has_its_rate_and_its_queue() {
    let broker = limited("rate = 3\nqueue = 1", "tenant", ECHO).start();
    let answers: Vec<u16> = (0..8).map(|_| broker.post("/acme.s", "x").status).collect();
    assert_eq!(&answers[..3], [200, 200, 200]);
    assert!(answers[3..].contains(&503), "{answers:?}");
    assert_eq!(broker.call("free", "x"), "echo x", "others have their own");
    wait_until("the rate allows more", || broker.post("/acme.s", "x").status == 200);
}

/// The process that answers, seen from outside: a worker's run is slow enough to be found busy.
fn serving_workers(broker: &Broker, subject: &str, times: usize) -> Vec<u32> {
    (0..times)
        .map(|_| {
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| broker.post(subject, "x"));
                let pid = broker.busy_worker();
                assert_eq!(asking.join().expect("an answer").status, 200);
                pid
            })
        })
        .collect()
}

#[test]
fn isolation_is_as_configured() {
    let slow = "function OnMessage() local s = os.clock() while os.clock() - s < 0.3 do end return 'x' end";
    let distinct = |isolation: &str| {
        let broker = limited("wall = \"20s\"", isolation, slow).start();
        let mut pids = serving_workers(&broker, "/acme.s", 3);
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(broker.call("free", "x"), "echo x");
        assert_eq!(broker.post("/acme.t", "x").status, 200);
        pids.len()
    };
    assert_eq!(distinct("invocation"), 3, "each run has a process of its own");
    assert!(distinct("script") <= 2);
}

#[test]
fn a_neighbours_endless_loops_do_not_keep_anyone_waiting() {
    let broker = limited("wall = \"30s\"", "tenant", "function OnMessage() while true do end end").start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| broker.post("/acme.s?_timeout=1ms", ""));
        }
        // Both of the two workers are taken for half a minute.
        let _ = broker.busy_workers(2);
        for _ in 0..20 {
            let answer = broker.post("/free?_timeout=5s", "x");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    });
}

#[test]
fn a_tenant_whose_runs_kill_workers_gets_them_more_slowly() {
    let script = "function OnMessage(_, what) while what == 'die' do end return what end";
    let broker = limited("wall = \"400ms\"\ncpu = \"10ms\"", "tenant", script).start();
    assert_eq!(broker.call("free", "x"), "echo x");
    let (began, mut deaths) = (Instant::now(), 0);
    let told = std::iter::repeat_with(|| broker.post("/acme.s", "die")).take(40).find(|answer| {
        assert_eq!(broker.call("free", "x"), "echo x", "its neighbour is served as ever");
        deaths += u64::from(answer.reason() == "cpu_time");
        answer.reason() != "cpu_time"
    });
    let told = told.expect("there is an end to killing workers");
    assert_eq!((told.status, told.reason()), (504, "wait"), "{}", told.text());
    assert!(told.text().contains("keep killing their workers"), "{}", told.text());
    // Five at once, then one a second.
    assert!(deaths >= 5 && deaths <= 6 + began.elapsed().as_secs(), "{deaths}");
    let event = broker.wait_for_words(&["runs keep killing their workers", "acme"]);
    assert_eq!(event["level"], "WARN", "{event}");

    // A worker that dies now and then, after good runs, is replaced at once.
    broker.post_until("/acme.s", "fine", |answer| answer.status == 200);
    for _ in 0..6 {
        for _ in 0..25 {
            assert_eq!(broker.post("/acme.s", "fine").payload("s"), "fine");
        }
        let answer = broker.post("/acme.s", "die");
        assert_eq!(answer.reason(), "cpu_time", "{}", answer.text());
    }
}

#[test]
fn who_is_alone_may_have_as_many_workers_as_its_runs_kill() {
    let script = "function OnMessage(_, what) while what == 'die' do end return what end";
    let config = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n\
        [tenant.limits]\nwall = \"400ms\"\ncpu = \"10ms\"\n";
    let file = format!("--* subject: acme.s\n--* name: s\n{script}\n");
    let broker = Setup::new().config(config).workers(2).file("acme/s.lua", file).start();
    for _ in 0..30 {
        let answer = broker.post("/acme.s", "die");
        assert_eq!(answer.reason(), "cpu_time", "{}", answer.text());
    }
}
