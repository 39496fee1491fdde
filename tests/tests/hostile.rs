//! Hostile and unlucky scripts, dying workers, overload and shutdown: each costs one invocation, and its
//! caller is told why.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use msgscript_tests::harness::{
    Broker, PATIENCE, Setup, is_alive, is_each_run_alone, kill_process, request, wait_until,
};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

const ECHO: &str = "function OnMessage(_, payload) return payload end";
const LOOP: &str = "function OnMessage() while true do end end";
/// Works for as many seconds as the payload says.
const BUSY: &str =
    "function OnMessage(_, s) local t = os.clock() while os.clock() - t < tonumber(s) do end return s end";

/// One at a time: these take all the machine has, and would make each other's deadlines pass.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a hostile script is sent, with the reasons that may come of it.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// Runs each case as a script of its own; each must fail for one of its reasons, with limit and measured
/// value where there is a limit, and leave the next request alone.
fn assert_contained(mut setup: Setup, cases: &[Case]) {
    setup = setup.lua("echo", ECHO);
    for (name, lua, _) in cases {
        setup = setup.lua(name, lua);
    }
    let broker = setup.start();
    let mut wrong = Vec::new();
    for (name, _, reasons) in cases {
        let response = broker.post(&format!("/{name}"), "");
        let reason = response.reason();
        let limit = response.header("msgscript-limit");
        let expected = match reason {
            "wall_time" => (504, Some("1s")),
            "memory" => (500, Some("32MiB")),
            _ => (500, None),
        };
        let measured = response.header("msgscript-measured").is_some();
        if !reasons.contains(&reason) || (response.status, limit) != expected || measured != limit.is_some() {
            wrong.push(format!("{name}: {} {reason} {limit:?}: {}", response.status, response.text()));
        }
        let next = broker.post("/echo", name);
        if next.status != 200 || next.only_payload() != *name {
            wrong.push(format!("after {name}: {}", next.text()));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), broker.log());
}

fn limited() -> Setup {
    Setup::new().workers(2).args(&["--timeout", "1s", "--memory", "32MiB"])
}

const TIME: &[&str] = &["wall_time"];
const MEMORY: &[&str] = &["memory"];
/// Some give up with an error of their own before the limit is reached.
const MEMORY_OR_ERROR: &[&str] = &["memory", "script_error"];
const STACK: &[&str] = &["script_error", "memory"];
/// Nested C calls may end in the C stack's guard page: where its hard limit is low, or with a Lua stack for
/// each of them. Taking apart thousands may take longer than these runs have.
const C_STACK: &[&str] = &["script_error", "memory", "crashed", "wall_time"];

#[test]
fn endless_runs_end() {
    let _turn = TURN.blocking_lock();
    assert_contained(
        limited(),
        &[
            ("while", LOOP, TIME),
            ("goto", "function OnMessage() ::a:: goto a end", TIME),
            ("tail", "local function f() return f() end\nfunction OnMessage() return f() end", TIME),
            (
                "caught",
                "function OnMessage() while true do pcall(function() while true do end end) end end",
                TIME,
            ),
            ("handler", "function OnMessage() xpcall(error, function() while true do end end) end", TIME),
            (
                "coroutine",
                "function OnMessage() coroutine.wrap(function() while true do end end)() end",
                TIME,
            ),
            (
                "index",
                "local t = setmetatable({}, { __index = function() while true do end end })\nfunction OnMessage() return t.x end",
                TIME,
            ),
            ("top", "while true do end\nfunction OnMessage() return 'x' end", &["wall_time", "script_error"]),
            (
                "tostring",
                "function OnMessage() error(setmetatable({}, { __tostring = function() while true do end end })) end",
                // The text of an error value that is a table need not be asked for.
                &["wall_time", "script_error"],
            ),
            (
                "find",
                "function OnMessage() return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b') end",
                &["wall_time", "script_error"],
            ),
            (
                "find2",
                "function OnMessage() return ('x'):rep(10000):find(('.-'):rep(30) .. 'b') end",
                &["wall_time", "script_error"],
            ),
            (
                "gsub",
                "function OnMessage() return (('x'):rep(3000):gsub(('x*'):rep(20) .. 'y', '')) end",
                &["wall_time", "script_error"],
            ),
            (
                "sort",
                "function OnMessage() local t = {} for i = 1, 2e5 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end end",
                TIME,
            ),
            ("gc", "function OnMessage() while true do collectgarbage() end end", TIME),
            (
                "publish",
                "local nats = require('nats')\nfunction OnMessage() while true do nats.publish('x', 'y') end end",
                &["wall_time", "script_error"],
            ),
        ],
    );
}

#[test]
fn compiled_loops_end() {
    let _turn = TURN.blocking_lock();
    let jit = |body: &str| format!("--* jit: true\n{body}");
    let setup = limited()
        .lua("echo", ECHO)
        .lua("hot", &jit("function OnMessage() local x = 0 while true do x = x + 1 end end"))
        .lua("caught", &jit("function OnMessage() while true do pcall(function() local x = 0 while true do x = x + 1 end end) end end"))
        .lua("eats", &jit("function OnMessage() local t = {} for i = 1, 1e12 do t[i] = { i } end end"))
        .lua("fine", &jit("function OnMessage(_, n) local x = 0 for i = 1, tonumber(n) do x = x + i end return tostring(x) end"));
    let broker = setup.start();
    assert_eq!(broker.call("fine", "1000000"), "500000500000");
    for (name, status, reason) in
        [("hot", 504, "wall_time"), ("caught", 504, "wall_time"), ("eats", 500, "memory")]
    {
        let response = broker.post(&format!("/{name}"), "");
        assert_eq!((response.status, response.reason()), (status, reason), "{name}: {response:?}");
        assert!(response.header("msgscript-limit").is_some(), "{response:?}");
        assert_eq!(broker.call("echo", "x"), "x");
        let fine = broker.post("/fine", "10");
        assert_eq!(fine.status, 200, "after {name}: {}\n{}", fine.text(), broker.log());
    }
}

#[test]
fn memory_bombs_are_defused() {
    let _turn = TURN.blocking_lock();
    assert_contained(
        limited(),
        &[
            ("tables", "function OnMessage() local t = {} while true do t[#t + 1] = {} end end", MEMORY),
            ("strings", "function OnMessage() local s = 'x' while true do s = s .. s end end", MEMORY),
            (
                "unique",
                "function OnMessage() local t = {} for i = 1, 1e9 do t[i] = 'key' .. i .. ('x'):rep(100) end end",
                MEMORY,
            ),
            (
                "caught",
                "function OnMessage() while true do pcall(function() local t = {} while true do t[#t + 1] = {} end end) end end",
                &["memory", "wall_time"],
            ),
            (
                "once",
                "function OnMessage() pcall(function() local t = {} while true do t[#t + 1] = {} end end) return 'went on' end",
                MEMORY,
            ),
            (
                "coroutines",
                "function OnMessage() local t = {} while true do local c = coroutine.create(function() coroutine.yield() end) coroutine.resume(c) t[#t + 1] = c end end",
                MEMORY,
            ),
            (
                "incoroutine",
                "function OnMessage() coroutine.wrap(function() local t = {} while true do t[#t + 1] = {} end end)() end",
                MEMORY,
            ),
            (
                "closures",
                "function OnMessage() local t = {} while true do t[#t + 1] = function() return t end end end",
                MEMORY,
            ),
            ("rep", "function OnMessage() return #('x'):rep(2 ^ 31) .. '' end", MEMORY),
            ("rep2", "function OnMessage() return #('x'):rep(64 * 1024 * 1024) .. '' end", MEMORY),
            (
                "reps",
                "function OnMessage() while true do pcall(string.rep, 'x', 2 ^ 30) end end",
                &["memory", "wall_time"],
            ),
            (
                "concat",
                "function OnMessage() local t = {} for i = 1, 1000 do t[i] = ('x'):rep(100000) end return #table.concat(t) .. '' end",
                MEMORY_OR_ERROR,
            ),
            (
                "gsub",
                "function OnMessage() return #(('x'):rep(1e6):gsub('x', ('y'):rep(1000))) .. '' end",
                MEMORY_OR_ERROR,
            ),
            (
                "format",
                "function OnMessage() local s = ('x'):rep(8e6) return #string.format('%s%s%s%s%s%s', s, s, s, s, s, s) .. '' end",
                MEMORY_OR_ERROR,
            ),
            (
                "unpack",
                "function OnMessage() return select('#', unpack({}, 1, 1e8)) .. '' end",
                MEMORY_OR_ERROR,
            ),
            (
                "file",
                "function OnMessage() local f = io.open('f', 'w') while true do assert(f:write(('x'):rep(1e6))) end end",
                MEMORY_OR_ERROR,
            ),
            (
                "json",
                "function OnMessage() return #require('json').encode({ ('\\1'):rep(16e6) }) .. '' end",
                MEMORY_OR_ERROR,
            ),
            (
                "load",
                "function OnMessage() local n = 0 return #tostring(load(function() n = n + 1 return 'x = 1 ' end)) end",
                &["memory", "script_error", "wall_time"],
            ),
            (
                "global",
                "local t = {}\nfor i = 1, 1e9 do t[i] = {} end\nfunction OnMessage() return 'x' end",
                MEMORY_OR_ERROR,
            ),
            (
                "tostring",
                "function OnMessage() error(setmetatable({}, { __tostring = function() local t = {} while true do t[#t + 1] = {} end end })) end",
                MEMORY_OR_ERROR,
            ),
        ],
    );
}

#[test]
fn deep_recursion_is_an_error() {
    let _turn = TURN.blocking_lock();
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!(
            "function OnMessage() local x = {}{inner}{} return 'x' end",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    let parentheses: &'static str = nested("(", "1", ")", 100_000).leak();
    let tables: &'static str = nested("{", "", "}", 100_000).leak();
    assert_contained(
        limited(),
        &[
            ("lua", "local function f() return 1 + f() end\nfunction OnMessage() return f() end", STACK),
            (
                "caught",
                "local function f() pcall(f) return 1 + f() end\nfunction OnMessage() return f() end",
                &["script_error", "memory", "wall_time"],
            ),
            (
                "gsub",
                "local function f() return (('x'):gsub('x', f)) end\nfunction OnMessage() return f() end",
                C_STACK,
            ),
            (
                "wrap",
                "local function f() return coroutine.wrap(f)() end\nfunction OnMessage() return f() end",
                STACK,
            ),
            (
                "mixed",
                "local function f() return (('x'):gsub('x', coroutine.wrap(f))) end\nfunction OnMessage() return f() end",
                C_STACK,
            ),
            (
                "index",
                "local t = {} for i = 1, 1e5 do t = setmetatable({}, { __index = t }) end\nfunction OnMessage() return t.x .. '' end",
                STACK,
            ),
            (
                "tostring",
                "local t = setmetatable({}, { __tostring = function(t) return (tostring(t)) end })\nfunction OnMessage() return tostring(t) end",
                STACK,
            ),
            (
                "gsubtable",
                "local t t = setmetatable({}, { __index = function() return (('x'):gsub('x', t)) end })\nfunction OnMessage() return t.x end",
                C_STACK,
            ),
            (
                "sort",
                "local function f() table.sort({ 1, 2, 3 }, f) return false end\nfunction OnMessage() return f() end",
                C_STACK,
            ),
            (
                "format",
                "local t = setmetatable({}, { __tostring = function(t) return (string.format('%s', t)) end })\nfunction OnMessage() return tostring(t) end",
                C_STACK,
            ),
            (
                "handler",
                "local function h() error('again') end\nfunction OnMessage() xpcall(error, h) error('end') end",
                STACK,
            ),
            (
                "load",
                "local function f() return loadstring('return ...')(f()) end\nfunction OnMessage() return f() end",
                STACK,
            ),
            (
                "pattern",
                "function OnMessage() return ('x'):rep(3e5):match(('(x'):rep(30) .. (')'):rep(30) .. '.-.-.-y') .. '' end",
                &["script_error", "wall_time"],
            ),
            (
                "json",
                "function OnMessage() local t = {} for i = 1, 1e5 do t = { t } end return assert(require('json').encode(t)) end",
                STACK,
            ),
            (
                "decode",
                "function OnMessage() return assert(require('json').decode(('['):rep(1e5))) end",
                STACK,
            ),
            ("parentheses", parentheses, STACK),
            ("tables", tables, STACK),
        ],
    );
}

#[test]
fn output_and_logs_are_bounded() {
    let _turn = TURN.blocking_lock();
    let broker = limited()
        .args(&["--max-output", "64KiB"])
        .lua("echo", ECHO)
        .lua("flood", "function OnMessage() for i = 1, 2e4 do print(('x'):rep(1000)) end return 'done' end")
        .lua("line", "function OnMessage() print(('x'):rep(8e6)) return 'done' end")
        .lua("forged", r#"function OnMessage() print('{"level":"ERROR","message":"forged"}\n{"level":"ERROR"}\27[2J') return 'done' end"#)
        .lua("error", "function OnMessage() error(('x'):rep(8e6)) end")
        .lua("large", "function OnMessage(_, n) return ('x'):rep(tonumber(n)) end")
        .http_script("headers", "headers", "function GET() local h = {} for i = 1, 2e4 do h['X-' .. i] = 'value' end return 'x', 200, h end")
        .start();
    for name in ["flood", "line", "forged"] {
        assert_eq!(broker.call(name, ""), "done", "{name}");
    }
    let response = broker.post("/error", "");
    assert_eq!((response.status, response.reason()), (500, "script_error"));
    assert!(response.body.len() < 1 << 20, "an error text of {} bytes", response.body.len());
    assert_eq!(broker.call("large", "65536").len(), 65536);
    let response = broker.post("/large", "65537");
    assert_eq!((response.status, response.reason()), (500, "output"), "{response:?}");
    assert_eq!(response.header("msgscript-limit"), Some("64KiB"));
    assert!(response.header("msgscript-measured").is_some());
    assert_eq!(broker.get("/headers").status, 500);
    assert_eq!(broker.call("echo", "x"), "x");
    let log = broker.log();
    assert!(log.len() < 4 << 20, "a log of {} bytes", log.len());
    assert!(!broker.events().iter().any(|event| event["message"] == "forged"), "{log}");
    assert!(!log.contains('\u{1b}'));
}

#[test]
fn a_slow_script_blocks_nobody() {
    let _turn = TURN.blocking_lock();
    let broker = Setup::new().workers(2).lua("echo", ECHO).lua("busy", BUSY).start();
    let slow_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(broker.call("busy", "2"), "2");
            slow_done.store(true, SeqCst);
        });
        let _ = broker.busy_worker();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let broker = &broker;
                scope.spawn(move || {
                    (0..25).all(|n| broker.call("echo", &format!("{thread}.{n}")) == format!("{thread}.{n}"))
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().expect("no panic")));
        assert!(!slow_done.load(SeqCst), "short requests waited for a slow one");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_at_once() {
    let _turn = TURN.lock().await;
    let broker = Setup::new()
        .workers(1)
        .args(&["--queue", "4", "--timeout", "1s"])
        .lua("loops", LOOP)
        .lua("echo", ECHO)
        .start();
    let client = broker.nats().await;
    let replies = (0..40).map(|_| client.request("loops", "".into()));
    let https: Vec<_> = (0..20)
        .map(|_| {
            let to = broker.http();
            tokio::task::spawn_blocking(move || request(to, "POST", "/loops", &[], b""))
        })
        .collect();
    let replies = futures_util::future::join_all(replies).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for reply in replies {
        let headers = reply.expect("each has its reply").headers.expect("a failure");
        let get = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        let reason = get("Msgscript-Reason");
        let code = get("Nats-Service-Error-Code");
        assert_eq!(code, if reason == "overloaded" { "503" } else { "504" }, "{headers:?}");
        *counts.entry(reason).or_default() += 1;
    }
    for https in https {
        let response = https.await.expect("no panic");
        if response.reason() == "overloaded" {
            assert_eq!(response.status, 503);
            let after: u32 =
                response.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
            assert!(after > 0);
        } else {
            assert_eq!(response.status, 504, "{response:?}");
        }
        *counts.entry(response.reason().to_owned()).or_default() += 1;
    }
    assert!(counts["overloaded"] >= 40, "{counts:?}");
    assert!(counts.get("wall_time").is_some_and(|ran| *ran >= 1), "{counts:?}");
    // It is over when the queue is empty.
    broker.post_until("/echo", "x", |response| response.status == 200);
    assert_eq!(broker.call("echo", "x"), "x");
}

#[test]
fn a_worker_that_dies_costs_its_own_run() {
    let _turn = TURN.blocking_lock();
    let broker = Setup::new().workers(1).lua("loops", LOOP).lua("echo", ECHO).start();
    for signal in [Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGTERM] {
        std::thread::scope(|scope| {
            let failed = scope.spawn(|| broker.post("/loops", ""));
            kill_process(broker.busy_worker(), signal);
            let response = failed.join().expect("no panic");
            assert_eq!((response.status, response.reason()), (500, "crashed"), "{signal}: {response:?}");
            let error = response.only()["error"].as_str().unwrap_or("").to_owned();
            assert!(!error.is_empty() && !error.contains("msgscript-worker"), "{error}");
        });
        assert_eq!(broker.call("echo", "next"), "next");
    }
    // Idle ones may die, too.
    let killed = broker.workers();
    for worker in &killed {
        kill_process(*worker, Signal::SIGKILL);
    }
    // One that is about to die may still take a request with it.
    wait_until("they are dead", || !killed.iter().copied().any(is_alive));
    wait_until("a worker again", || !broker.workers().is_empty());
    assert_eq!(broker.call("echo", "next"), "next");
    // All that died was reaped.
    wait_until("no zombies", || broker.workers().into_iter().all(is_alive));
}

/// Kills a worker every few milliseconds until told to stop; gives how many.
fn kill_workers(broker: &Broker, stop: &AtomicBool) -> usize {
    let mut killed = 0;
    while !stop.load(SeqCst) {
        let workers = broker.workers();
        if let Some(worker) = workers.get(killed % workers.len().max(1)) {
            kill_process(*worker, Signal::SIGKILL);
            killed += 1;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    killed
}

#[test]
fn workers_killed_under_load_over_http() {
    let _turn = TURN.blocking_lock();
    let broker = Setup::new().workers(2).lua("work", &BUSY.replace("tonumber(s)", "0.002")).start();
    let (stop, failures, answers) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_workers(&broker, &stop));
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (broker, failures, answers) = (&broker, &failures, &answers);
                scope.spawn(move || {
                    for number in 0..150 {
                        let body = format!("{client}.{number}");
                        let response = broker.post("/work", &body);
                        answers.fetch_add(1, SeqCst);
                        if response.status == 200 {
                            assert_eq!(response.only_payload(), body);
                        } else {
                            assert_eq!(response.reason(), "crashed", "{response:?}");
                            failures.fetch_add(1, SeqCst);
                        }
                    }
                })
            })
            .collect();
        let ends: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, SeqCst);
        let killed = killer.join().expect("no panic");
        assert!(ends.iter().all(Result::is_ok), "a client failed\n{}", broker.log());
        killed
    });
    let failures = failures.load(SeqCst);
    assert_eq!(answers.load(SeqCst), 900);
    assert!(failures <= killed, "{failures} runs lost with {killed} workers");
    assert!(killed > 3, "only {killed} workers were killed: the test shows nothing");
    assert_eq!(broker.call("work", "after"), "after");
}

/// Sends so many requests to `work`, 128 at a time, while workers are killed. Each has an answer: its own number, or
/// that its worker crashed, and no more of these than workers were killed. Gives how many there were of them.
async fn requests_among_kills(
    broker: &std::sync::Arc<Broker>,
    client: &async_nats::Client,
    count: usize,
) -> usize {
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let killer = {
        let (broker, stop) = (broker.clone(), stop.clone());
        tokio::task::spawn_blocking(move || kill_workers(&broker, &stop))
    };
    let requests = futures_util::stream::iter(0..count).map(|number: usize| {
        let client = client.clone();
        async move { (number, client.request("work", number.to_string().into()).await.expect("a reply")) }
    });
    let replies: Vec<_> = requests.buffer_unordered(128).collect().await;
    stop.store(true, SeqCst);
    let killed = killer.await.expect("no panic");
    let mut failed = 0;
    for (number, reply) in &replies {
        let reason = reply.headers.as_ref().and_then(|headers| headers.get("Msgscript-Reason"));
        match reason {
            None => assert_eq!(&reply.payload[..], number.to_string().as_bytes()),
            Some(reason) => {
                assert_eq!(reason.as_str(), "crashed");
                failed += 1;
            }
        }
    }
    assert_eq!(replies.len(), count);
    assert!(failed <= killed, "{failed} runs lost with {killed} workers");
    assert!(killed > 3, "only {killed} workers were killed: the test shows nothing");
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_under_load_over_nats() {
    let _turn = TURN.lock().await;
    let script = r#"function OnMessage(_, id)
      require("nats").publish("ran", id)
      local t = os.clock()
      while os.clock() - t < 0.001 do end
      return id
    end"#;
    let broker = std::sync::Arc::new(Setup::new().workers(2).lua("work", script).start());
    let client = broker.nats().await;
    let mut ran = client.subscribe("ran").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let failed = requests_among_kills(&broker, &client, 2000).await;
    // What has started is never run twice; what was answered ran.
    let mut runs: HashMap<usize, usize> = HashMap::new();
    while runs.len() < 2000 - failed {
        let message = tokio::time::timeout(PATIENCE, ran.next()).await.expect("each ran").expect("a message");
        let number = String::from_utf8_lossy(&message.payload).parse().expect("a number");
        *runs.entry(number).or_default() += 1;
    }
    assert!(runs.values().all(|count| *count == 1), "something ran twice");
}

/// Short runs are answered several at once: what a worker had finished and not sent is not lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_among_short_runs() {
    let _turn = TURN.lock().await;
    let script = "function OnMessage(_, id) for n = 1, 100 do id = id .. '' end return id end";
    let broker = std::sync::Arc::new(Setup::new().workers(2).lua("work", script).start());
    let client = broker.nats().await;
    requests_among_kills(&broker, &client, 60_000).await;
}

/// Short runs are handed over and answered several at once; one that does not end, or takes its worker along,
/// does so among them.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_runs_has_its_own_fate() {
    const SCRIPT: &str = r#"local function f() return (("x"):gsub("x", coroutine.wrap(f))) end
    function OnMessage(_, payload)
      local fate = payload:match("%a+")
      if fate == "loops" then while true do end end
      if fate == "dies" then f() end
      if fate == "grows" then return ("x"):rep(1e9) end
      if fate == "errs" then error("on purpose") end
      return payload
    end"#;
    let _turn = TURN.lock().await;
    // Those that loop shall not take all workers at once.
    let broker = limited().workers(5).lua("work", SCRIPT).start();
    let client = broker.nats().await;
    // Its runs are known to be short by then.
    for number in 0..100 {
        client.request("work", format!("{number}").into()).await.expect("a reply");
    }
    let fate = |number: usize| match number % 389 {
        7 if number.is_multiple_of(3) => "loops",
        107 => "dies",
        207 => "grows",
        307 => "errs",
        _ => "",
    };
    let requests = futures_util::stream::iter(0..3000).map(|number: usize| {
        let client = client.clone();
        let payload = format!("{number}{}", fate(number));
        async move { (number, client.request("work", payload.into()).await.expect("a reply")) }
    });
    // None shall wait for so long that its time is over.
    let at_once = if is_each_run_alone() { 16 } else { 256 };
    let replies: Vec<_> = requests.buffer_unordered(at_once).collect().await;
    for (number, reply) in replies {
        let reason = reply.headers.as_ref().and_then(|headers| headers.get("Msgscript-Reason"));
        let reason = reason.map_or("", async_nats::HeaderValue::as_str);
        let expected = match fate(number) {
            "loops" => TIME,
            "dies" => C_STACK,
            "grows" => MEMORY_OR_ERROR,
            "errs" => &["script_error"],
            _ => &[""],
        };
        assert!(expected.contains(&reason), "{number}: {reason} {reply:?}\n{}", broker.log());
        if reason.is_empty() {
            assert_eq!(&reply.payload[..], number.to_string().as_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains() {
    let _turn = TURN.lock().await;
    let broker = Setup::new().workers(2).lua("busy", BUSY).start();
    let client = broker.nats().await;
    let to = broker.http();
    let over_http = tokio::task::spawn_blocking(move || request(to, "POST", "/busy", &[], b"1"));
    let over_nats = tokio::spawn(async move { client.request("busy", "1".into()).await });
    let _ = broker.busy_workers(2);
    broker.signal(Signal::SIGTERM);
    wait_until("no new connections", || TcpStream::connect(to).is_err());
    let response = over_http.await.expect("no panic");
    assert_eq!((response.status, response.payload("busy")), (200, "1".to_owned()));
    let reply = over_nats.await.expect("no panic").expect("a reply");
    assert_eq!(&reply.payload[..], b"1");
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
}

#[test]
fn a_drain_has_an_end() {
    let _turn = TURN.blocking_lock();
    let broker = Setup::new().workers(1).args(&["--drain-timeout", "300ms"]).lua("loops", LOOP).start();
    std::thread::scope(|scope| {
        let cut =
            scope.spawn(|| std::panic::catch_unwind(|| request(broker.http(), "POST", "/loops", &[], b"")));
        let workers = [broker.busy_worker()];
        let began = Instant::now();
        broker.signal(Signal::SIGTERM);
        assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
        assert!(began.elapsed() < Duration::from_secs(20), "it waited for the run's own limit");
        // The client is told, or at least let go.
        if let Ok(response) = cut.join().expect("ended") {
            assert_eq!(response.reason(), "cancelled", "{response:?}");
        }
        wait_until("no worker is left", || !workers.iter().copied().any(is_alive));
    });
}

#[test]
fn a_broker_that_is_killed_leaves_no_worker() {
    let _turn = TURN.blocking_lock();
    let broker = Setup::new().workers(2).lua("loops", LOOP).start();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ =
                std::panic::catch_unwind(|| request(broker.http(), "POST", "/loops?_timeout=20s", &[], b""));
        });
        let _ = broker.busy_worker();
        let workers = broker.workers();
        assert!(workers.len() >= 2, "{workers:?}");
        broker.signal(Signal::SIGKILL);
        broker.wait();
        wait_until("no worker is left", || !workers.iter().copied().any(is_alive));
    });
}

#[test]
fn a_small_queue_rejects_no_script() {
    let mut setup = Setup::new().workers(1).args(&["--queue", "1"]);
    for number in 0..40 {
        setup = setup.lua(&format!("s{number}"), ECHO);
    }
    let broker = setup.start();
    for number in 0..40 {
        assert_eq!(broker.call(&format!("s{number}"), "x"), "x");
    }
}
