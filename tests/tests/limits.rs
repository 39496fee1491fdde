//! Every limit of a tenant: what its caller is told over either door (reason, limit, measured value), and that
//! the next call is served. And what nobody is told: places of the host, addresses, other tenants.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use msgscript_tests::harness::{Broker, Setup};
use tempfile::TempDir;

/// What a caller learns of a failed call, whichever door it came by.
#[derive(Debug)]
struct Told {
    status: String,
    reason: String,
    limit: String,
    measured: String,
    error: String,
}

fn over_http(broker: &Broker, subject: &str, payload: &[u8]) -> Told {
    let response = broker.post(&format!("/{subject}"), payload);
    let header = |name| response.header(name).unwrap_or("").to_owned();
    let body = response.only();
    assert_eq!(body["http_code"], response.status, "{body}");
    assert_eq!(body["reason"].as_str(), Some(response.reason()), "the body says it, too: {body}");
    assert!(response.header("msgscript-invocation").is_some(), "{response:?}");
    Told {
        status: response.status.to_string(),
        reason: header("msgscript-reason"),
        limit: header("msgscript-limit"),
        measured: header("msgscript-measured"),
        error: body["error"].as_str().unwrap_or("").to_owned(),
    }
}

async fn over_nats(client: &async_nats::Client, subject: &str, payload: &[u8]) -> Told {
    let asked = client.request(subject.to_owned(), payload.to_vec().into());
    let reply =
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("in time").expect("a reply");
    assert!(reply.payload.is_empty(), "{reply:?}");
    let headers = reply.headers.expect("headers");
    let get = |name| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
    assert!(!get("Msgscript-Invocation").is_empty(), "{headers:?}");
    Told {
        status: get("Nats-Service-Error-Code"),
        reason: get("Msgscript-Reason"),
        limit: get("Msgscript-Limit"),
        measured: get("Msgscript-Measured"),
        error: get("Nats-Service-Error"),
    }
}

const CONFIG: &str = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\nISOLATION\n\
    [tenant.limits]\nwall = \"1s\"\ncpu = \"300ms\"\nmemory = \"16MiB\"\noutput = \"4KiB\"\npayload = \"8KiB\"\n\
    host_calls = 3\nhost_bytes_out = \"1KiB\"\nhost_bytes_in = \"2KiB\"\nscratch = \"64KiB\"\nscratch_files = 5\n\
    [tenant.grants]\nnats = [\"acme.>\"]\n";

/// Limit, script, payload, status, reason, the limit as told, and how the measured value begins.
type Case = (&'static str, &'static str, usize, &'static str, &'static str, &'static str, &'static str);

const CASES: [Case; 10] = [
    ("wall", "require('time').sleep(5)", 0, "504", "wall_time", "1s", "1"),
    ("cpu", "while true do end", 0, "504", "cpu_time", "300ms", "3"),
    ("memory", "local t = {} while true do t[#t + 1] = {} end", 0, "500", "memory", "16MiB", ""),
    ("output", "return ('x'):rep(5000)", 0, "500", "output", "4KiB", "5000B"),
    ("payload", "return 'x'", 9000, "413", "too_large", "8KiB", "9000B"),
    (
        "calls",
        "for i = 1, 9 do assert(require('nats').publish('acme.out', 'x')) end",
        0,
        "500",
        "script_error",
        "3",
        "4",
    ),
    (
        "bytesout",
        "assert(require('nats').publish('acme.out', ('x'):rep(2000)))",
        0,
        "500",
        "script_error",
        "1KiB",
        "2008B",
    ),
    ("bytesin", "assert(require('nats').request('acme.big', ''))", 0, "500", "script_error", "2KiB", "3000B"),
    (
        "scratch",
        "local f = assert(io.open('f', 'w')) assert(f:write(('x'):rep(100000)))",
        0,
        "500",
        "script_error",
        "64KiB",
        "",
    ),
    (
        "files",
        "for i = 1, 9 do assert(io.open('f' .. i, 'w')):close() end",
        0,
        "500",
        "script_error",
        "5",
        "6",
    ),
];

fn with_cases(isolation: &str) -> Setup {
    let config = CONFIG.replace("ISOLATION", &format!("isolation = \"{isolation}\""));
    let mut setup = Setup::new().config(&config).file(
        "acme/big.lua",
        "--* subject: acme.big\n--* name: big\nfunction OnMessage() return ('x'):rep(3000) end\n",
    );
    for (name, lua, ..) in CASES {
        // With `fine` as its payload each is within its limits.
        let text = format!(
            "--* subject: acme.{name}\n--* name: {name}\n\
             function OnMessage(_, how) if how == 'fine' then return 'fine' end {lua} end\n"
        );
        setup = setup.file(&format!("acme/{name}.lua"), text);
    }
    setup
}

async fn each_limit_is_told(isolation: &str) {
    let broker = with_cases(isolation).start();
    let client = broker.nats().await;
    for (name, _, size, status, reason, limit, measured) in CASES {
        let (subject, payload) = (format!("acme.{name}"), vec![b'x'; size]);
        for told in [over_http(&broker, &subject, &payload), over_nats(&client, &subject, &payload).await] {
            assert_eq!(
                (&*told.status, &*told.reason, &*told.limit),
                (status, reason, limit),
                "{name}: {told:?}"
            );
            assert!(!told.measured.is_empty() && told.measured.starts_with(measured), "{name}: {told:?}");
            assert!(!told.error.is_empty(), "{name}: {told:?}");
            assert_eq!(broker.call(&subject, "fine"), "fine", "the next call after {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_a_run_is_told() {
    each_limit_is_told("tenant").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_a_run_is_told_where_each_run_has_its_worker() {
    each_limit_is_told("invocation").await;
}

/// Files of the scratch folder are the script's to remove: it may go on after either limit.
#[test]
fn a_full_folder_is_an_error_that_scripts_may_live_with() {
    let script = "function OnMessage()\n\
        local f = io.open('f', 'w')\n\
        local ok, why = f:write(('x'):rep(100000))\n\
        f:close() os.remove('f')\n\
        for round = 1, 20 do local g = assert(io.open('g', 'w')) assert(g:write(('x'):rep(40000))) g:close()\n\
        assert(os.remove('g')) end\n\
        return tostring(ok) .. ' ' .. tostring(why) end";
    let broker = with_cases("tenant")
        .file("acme/lives.lua", format!("--* subject: acme.lives\n--* name: lives\n{script}\n"))
        .start();
    let answer = broker.call("acme.lives", "");
    assert!(answer.starts_with("nil ") && answer.contains("no space left on device"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_concurrency_and_rate_are_told() {
    let config = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n[tenant.limits]\n\
        wall = \"1s\"\nconcurrency = 1\nqueue = 1\n\
        [[tenant]]\nname = \"slow\"\nsubjects = [\"slow.>\"]\nscripts = \"slow\"\n[tenant.limits]\nrate = 2\n";
    let text = |subject: &str| {
        format!(
            "--* subject: {subject}\n--* name: n\nfunction OnMessage(_, how) while how ~= 'fine' do end return how end\n"
        )
    };
    let broker = Setup::new()
        .config(config)
        .workers(3)
        .file("acme/n.lua", text("acme.n"))
        .file("slow/n.lua", text("slow.n"))
        .start();
    let client = broker.nats().await;
    let asked = (0..5).map(|_| over_nats(&client, "acme.n", b""));
    let mut by_reason: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for told in futures_util::future::join_all(asked).await {
        by_reason.entry(told.reason.clone()).or_default().push(told);
    }
    // One ran though there are three workers, one waited, the others found no place to wait.
    assert_eq!(by_reason["wall_time"].len(), 1, "{by_reason:?}");
    let waited = &by_reason["wait"][0];
    assert_eq!((&*waited.status, &*waited.limit), ("504", "1s"), "{waited:?}");
    assert!(!waited.measured.is_empty(), "{waited:?}");
    assert_eq!(by_reason["overloaded"].len(), 3, "{by_reason:?}");
    let refused = &by_reason["overloaded"][0];
    assert_eq!((&*refused.status, &*refused.limit, &*refused.measured), ("503", "1", "1"), "{refused:?}");
    assert_eq!(broker.call("acme.n", "fine"), "fine");

    assert_eq!(
        (broker.call("slow.n", "fine"), broker.call("slow.n", "fine")),
        ("fine".into(), "fine".into())
    );
    let told = over_http(&broker, "slow.n", b"fine");
    assert_eq!((&*told.status, &*told.reason), ("503", "overloaded"), "{told:?}");
    assert_eq!((&*told.limit, &*told.measured), ("2/s", "over 2/s"), "{told:?}");
    broker.post_until("/slow.n", "fine", |response| response.status == 200);
}

#[test]
fn a_client_over_its_rate_is_slowed_down() {
    let config = "[[tenant]]\nname = \"acme\"\nsubjects = [\"acme.>\"]\nscripts = \"acme\"\n[tenant.limits]\nrate = 1\n";
    let script = "--* subject: acme.n\n--* name: n\nfunction OnMessage() return 'x' end\n";
    let broker = Setup::new().config(config).file("acme/n.lua", script).start();
    let began = Instant::now();
    let refused = (0..20).filter(|_| broker.post("/acme.n", "").reason() == "overloaded").count();
    // At most one of them a second was not refused. A pause is never shorter than it is.
    let pauses = Duration::from_millis(25) * u32::try_from(refused).unwrap();
    assert!(refused >= 10 && began.elapsed() >= pauses, "{refused} in {:?}", began.elapsed());
}

/// A C module that does what nothing in a worker may.
const HOSTILE_MODULE: &str = r"
#include <unistd.h>
#include <sys/syscall.h>
typedef struct lua_State lua_State;
extern const char *lua_tolstring(lua_State *L, int i, unsigned long *n);
extern void lua_pushcclosure(lua_State *L, int (*f)(lua_State *), int n);
static int act(lua_State *L) {
  const char *what = lua_tolstring(L, 1, 0);
  if (what[0] == 's') syscall(SYS_socket, 2, 1, 0);
  if (what[0] == 'o') syscall(SYS_openat, -100, what, 0, 0);
  if (what[0] == '9') syscall(9999);
  return 0;
}
int luaopen_hostile(lua_State *L) { lua_pushcclosure(L, act, 0); return 1; }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_system_call_is_named() {
    let folder = TempDir::new().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("readable");
    let source = folder.path().join("hostile.c");
    std::fs::write(&source, HOSTILE_MODULE).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("hostile.so")).arg(&source);
    assert!(cc.status().expect("a compiler").success());
    let broker = Setup::new()
        .args(&["--plugin", folder.path().to_str().expect("UTF-8")])
        .lua("act", "function OnMessage(_, what) require('hostile')(what) return 'fine' end")
        .start();
    let client = broker.nats().await;
    for (what, name) in [("socket", "(socket)"), ("openat", "(openat)"), ("9", "(number 0x270f)")] {
        for told in
            [over_http(&broker, "act", what.as_bytes()), over_nats(&client, "act", what.as_bytes()).await]
        {
            assert_eq!((&*told.status, &*told.reason), ("500", "killed_syscall"), "{told:?}");
            assert!(told.error.ends_with(name), "{told:?}");
        }
        assert_eq!(broker.call("act", "x"), "fine");
    }
    let event = broker
        .wait_for_event("audited", |event| event["target"] == "audit" && event["reason"] == "killed_syscall");
    assert!(event["text"].as_str().is_some_and(|text| text.contains("(socket)")), "{event}");
}

/// What no stranger may read in an answer.
fn assert_says_nothing(what: &str, text: &str, broker: &Broker) {
    let own = broker.folder().to_string_lossy().into_owned();
    let places =
        ["/tmp/", "/proc", "/target/", "/home/", "/usr/", "/root", "msgscript-worker", "rival", ".rs:"];
    for place in places.iter().copied().chain([&*own]) {
        assert!(!text.contains(place), "{what} tells of {place}: {text}");
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let address = words.find(|word| {
        // Tables and functions print as numbers of ours, far below where memory is mapped.
        let digits = word.strip_prefix("0x").unwrap_or("").trim_start_matches('0');
        digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    assert!(address.is_none(), "{what} tells of an address, {address:?}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing_of_the_host_or_of_other_tenants() {
    let failing: [(&str, &str); 24] = [
        ("e1", "error('no')"),
        ("e2", "error({})"),
        ("e3", "error(print)"),
        (
            "e4",
            "error(tostring({}) .. tostring(print) .. tostring(coroutine.create(print)) .. tostring(io.stdout))",
        ),
        ("e5", "local x = nil + 1"),
        ("e6", "require('missing.module')"),
        ("e7", "assert(io.open('/etc/passwd'))"),
        ("e8", "assert(io.open('none'))"),
        ("e9", "assert(loadstring('syntax ('))()"),
        ("e10", "assert(require('nats').publish('rival' .. '.x', 'x'), 'denied')"),
        ("e11", "local ok, why = require('nats').request('$SYS.x', '', 1) error(tostring(why))"),
        ("e12", "local _, why = require('etcd').get('x') error(tostring(why))"),
        ("e13", "local _, why = require('http').get('http://10.1.2.3/') error(tostring(why))"),
        ("e14", "error(string.format('%p %s', {}, print))"),
        ("e15", "local function f() return f() + 1 end f()"),
        ("e16", "local t = {} while true do t[#t + 1] = {} end"),
        ("e17", "while true do end"),
        ("e18", "return ('x'):rep(1e6)"),
        ("e19", "error(debug and debug.traceback and debug.traceback() or 'none')"),
        ("e20", "assert(os.execute('id') == 0, 'no')"),
        ("e21", "error(select(2, pcall(require, 'ffi')))"),
        ("e22", "error(tostring(os.getenv('PATH')))"),
        ("e23", "local _, why = require('sqlite3').open('/etc/x.db') error(tostring(why))"),
        ("e24", "error(tostring(require('lfs').currentdir and 'x'))"),
    ];
    let tenant = |name: &str, more: &str| {
        format!("[[tenant]]\nname = \"{name}\"\nsubjects = [\"{name}.>\"]\nscripts = \"{name}\"\n{more}\n")
    };
    let limits =
        "[tenant.limits]\nwall = \"500ms\"\nmemory = \"16MiB\"\noutput = \"4KiB\"\npayload = \"8KiB\"";
    let closed = "[tenant.http]\ntokens = [\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]";
    let mut setup = Setup::new()
        .config(&(tenant("acme", limits) + &tenant("rival", closed)))
        .file("rival/n.lua", "--* subject: rival.n\n--* name: n\nfunction OnMessage() return 'x' end\n")
        .file(
            "acme/thief.lua",
            "--* subject: rival.n\n--* name: thief\nfunction OnMessage() return 'x' end\n",
        )
        .file("acme/broken.lua", "--* subject: acme.broken\n--* name: broken\nfunction OnMessage(\n")
        .file("acme/wasm.lua", "--* subject: acme.wasm\n--* name: wasm\n--* executor: wasm\nmissing.wasm\n")
        .file(
            "acme/outside.lua",
            "--* subject: acme.outside\n--* name: outside\n--* executor: wasm\n/etc/passwd\n",
        )
        .file(
            "acme/image.lua",
            "--* subject: acme.image\n--* name: image\n--* executor: podman\n{\"image\":\"x\"}\n",
        )
        .file(
            "acme/web.lua",
            "--* subject: acme.web\n--* name: web\n--* http: true\nfunction GET() error(print) end\n",
        );
    for (name, lua) in failing {
        let text = format!("--* subject: acme.{name}\n--* name: {name}\nfunction OnMessage()\n{lua} end\n");
        setup = setup.file(&format!("acme/{name}.lua"), text);
    }
    let broker = setup.start();
    let client = broker.nats().await;
    let mut failed = 0;
    let others = ["broken", "wasm", "outside", "image", "web", "none"];
    for name in failing.iter().map(|(name, _)| *name).chain(others) {
        let subject = format!("acme.{name}");
        for method in ["POST", "GET", "BREW"] {
            let response = broker.request(method, &format!("/{subject}"), &[], b"");
            failed += usize::from(response.status >= 400);
            assert_says_nothing(&subject, &format!("{:?} {}", response.headers, response.text()), &broker);
        }
        if let Ok(reply) = client.request(subject.clone(), "".into()).await {
            let text = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.payload));
            assert_says_nothing(&subject, &text, &broker);
        }
        let envelope = r#"{"payload":"","subject":"rival.n"}"#.replace("rival", "other");
        if let Ok(reply) = client.request(subject.clone(), envelope.into()).await {
            assert_says_nothing(&subject, &String::from_utf8_lossy(&reply.payload), &broker);
        }
    }
    assert!(failed > 60, "only {failed} calls failed: this shows nothing");
    for path in ["/", "/a/../b", "/%00", "/%2e%2e/x", "//", "/_/list", "/_/none", "/acme.%3E", "/rival.x"] {
        let response = broker.request("GET", path, &[("host", "evil.example")], b"");
        let text = format!("{:?} {}", response.headers, response.text()).replace("rival.x", "");
        assert_says_nothing(path, &text, &broker);
    }
    // One answer to all that is not theirs, whether it is there or not.
    let (there, not_there) = (broker.post("/rival.n", ""), broker.post("/rival.none", ""));
    assert_eq!((there.status, there.text()), (not_there.status, not_there.text()));
    assert_eq!(broker.post("/acme.e1", vec![b'x'; 9000]).status, 413);
}
