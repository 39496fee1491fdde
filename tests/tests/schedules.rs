//! Schedules: real brokers, real etcd, real nats-server. A minute is the shortest time between two due times, so
//! most tests begin with what brokers keep of a schedule, as if they had been away.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use futures_util::{StreamExt, TryStreamExt};
use msgscript_tests::harness::{Broker, NatsServer, Setup, program, wait_until};
use msgscript_tests::servers::Etcd;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Bounds each wait; nothing is said of speed. Two due times come within it.
const PATIENCE: Duration = Duration::from_secs(150);

/// For what must not come.
const QUIET: Duration = Duration::from_secs(3);

/// Tells its name and due time.
const TELL: &str = "function OnMessage(subject, payload, headers) \
    require('nats').publish('seen', subject .. ' ' .. headers['Msgscript-Schedule'] .. ' ' .. #payload) end";

/// The last due time is the first moment of a year: it was missed whenever this runs.
const YEARLY: &str = "0 0 1 1 *";

/// Where brokers keep states.
enum Kept {
    Etcd(Etcd),
    /// A bucket of the NATS server's.
    Bucket,
    /// A folder of the one broker's.
    Folder(TempDir),
    Memory,
}

struct Ground {
    kept: Kept,
    server: NatsServer,
    client: async_nats::Client,
    scripts: Vec<(String, String)>,
    _store: TempDir,
}

impl Ground {
    async fn new(kept: Kept) -> Ground {
        let store = TempDir::new().unwrap();
        let server = match kept {
            Kept::Bucket => NatsServer::start(&["-js", "-sd", store.path().to_str().unwrap()]),
            _ => NatsServer::start(&[]),
        };
        let client = async_nats::connect(server.url()).await.unwrap();
        Ground { kept, server, client, scripts: Vec::new(), _store: store }
    }

    /// With a script whose subject is its name.
    fn script(mut self, name: &str, headers: &str, lua: &str) -> Ground {
        let text = format!("--* subject: {name}\n--* name: {name}\n{headers}\n{lua}\n");
        if let Kept::Etcd(etcd) = &self.kept {
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("x.lua");
            std::fs::write(&file, &text).unwrap();
            let mut add = Command::new(program("msgscriptcli"));
            add.args(["-e", &etcd.endpoint(), "add"]).arg(file).env_remove("ETCD_ENDPOINTS");
            let output = add.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        self.scripts.push((name.to_owned(), text));
        self
    }

    fn setup(&self) -> Setup {
        let mut setup = Setup::new().nats(&self.server.url());
        if let Kept::Etcd(etcd) = &self.kept {
            return setup.args(&["-backend", "etcd", "-etcdurl", &etcd.endpoint()]);
        }
        for (name, text) in &self.scripts {
            setup = setup.file(&format!("{name}.lua"), text);
        }
        match &self.kept {
            Kept::Folder(folder) => setup.args(&["--state-dir", folder.path().to_str().unwrap()]),
            _ => setup,
        }
    }

    /// Several brokers that come up together.
    fn brokers(&self, count: usize) -> Vec<Broker> {
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..count).map(|_| scope.spawn(|| self.setup().start())).collect();
            started.into_iter().map(|broker| broker.join().unwrap()).collect()
        })
    }

    async fn seen(&self) -> async_nats::Subscriber {
        let seen = self.client.subscribe("seen").await.unwrap();
        self.client.flush().await.unwrap();
        seen
    }

    async fn bucket(&self) -> Option<kv::Store> {
        jetstream::new(self.client.clone()).get_key_value("msgscript_schedules").await.ok()
    }

    /// What is kept, by key.
    async fn states(&self) -> BTreeMap<String, serde_json::Value> {
        let json = |value: &[u8]| serde_json::from_slice(value).unwrap();
        match &self.kept {
            Kept::Etcd(etcd) => {
                let all = etcd.control(&["get", "--prefix", "msgscript/schedules/"]);
                let lines: Vec<&str> = all.lines().collect();
                lines.chunks(2).map(|pair| (pair[0].to_owned(), json(pair[1].as_bytes()))).collect()
            }
            Kept::Bucket => {
                let Some(bucket) = self.bucket().await else { return BTreeMap::new() };
                let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
                let mut states = BTreeMap::new();
                for key in keys {
                    if let Some(value) = bucket.get(&key).await.unwrap() {
                        states.insert(key, json(&value));
                    }
                }
                states
            }
            Kept::Folder(folder) => {
                let files =
                    std::fs::read_dir(folder.path().join("schedules")).into_iter().flatten().flatten();
                let json_files = files.filter(|file| file.path().extension().is_some_and(|it| it == "json"));
                let read = |path: &Path| json(&std::fs::read(path).unwrap());
                json_files.map(|file| (file.path().display().to_string(), read(&file.path()))).collect()
            }
            Kept::Memory => BTreeMap::new(),
        }
    }

    /// Waits until so many are kept.
    async fn kept(&self, count: usize) -> BTreeMap<String, serde_json::Value> {
        let all = async {
            loop {
                let states = self.states().await;
                if states.len() == count {
                    return states;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("schedules are known")
    }

    /// As if no broker had run for years. `more` are further fields.
    async fn long_ago(&self, more: serde_json::Value) {
        self.kept(self.scripts.len()).await;
        for (key, mut state) in self.states().await {
            state["due"] = "2020-06-01T00:00:00Z".into();
            for (name, value) in more.as_object().unwrap() {
                state[name] = value.clone();
            }
            match &self.kept {
                Kept::Etcd(etcd) => drop(etcd.control(&["put", &key, &state.to_string()])),
                Kept::Bucket => {
                    self.bucket().await.unwrap().put(&key, state.to_string().into()).await.unwrap();
                }
                Kept::Folder(_) => std::fs::write(&key, state.to_string()).unwrap(),
                Kept::Memory => {}
            }
        }
    }

    /// Starts a broker that learns of the schedules, and ends it; then it was long ago.
    async fn missed(&self, more: serde_json::Value) {
        let broker = self.setup().start();
        self.kept(self.scripts.len()).await;
        stop(&broker);
        self.long_ago(more).await;
    }
}

fn stop(broker: &Broker) {
    broker.signal(Signal::SIGTERM);
    assert!(broker.wait().success());
}

async fn next(seen: &mut async_nats::Subscriber) -> String {
    let message = tokio::time::timeout(PATIENCE, seen.next()).await.expect("a message").unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

async fn is_quiet(seen: &mut async_nats::Subscriber) {
    let more = tokio::time::timeout(QUIET, seen.next()).await;
    assert!(more.is_err(), "{more:?}");
}

/// Two minutes come; before the second one, a broker that ran something dies.
async fn minutes(kept: Kept) {
    let mut ground = Ground::new(kept).await;
    for name in ["a", "b", "c", "d"] {
        ground = ground.script(name, "--* schedule: * * * * *", TELL);
    }
    let mut seen = ground.seen().await;
    // All are to know of all schedules before the minute is over.
    let second = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() % 60;
    if second > 40 {
        tokio::time::sleep(Duration::from_secs(61 - second)).await;
    }
    let brokers = ground.brokers(3);
    ground.kept(4).await;
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(next(&mut seen).await);
    }
    is_quiet(&mut seen).await;
    let ended = |broker: &Broker| broker.count_events("a scheduled run ended");
    assert_eq!(brokers.iter().map(ended).sum::<usize>(), 4);
    let one = brokers.iter().find(|broker| ended(broker) > 0).unwrap();
    one.signal(Signal::SIGKILL);
    one.wait();
    // An etcd that is away for a moment is no loss either.
    ground.kept = match ground.kept {
        Kept::Etcd(mut etcd) => {
            etcd.stop();
            tokio::time::sleep(QUIET).await;
            Kept::Etcd(etcd.start_again())
        }
        kept => kept,
    };
    let mut second = Vec::new();
    for _ in 0..4 {
        second.push(next(&mut seen).await);
    }
    is_quiet(&mut seen).await;
    for runs in [&mut first, &mut second] {
        runs.sort();
        let names: Vec<&str> = runs.iter().filter_map(|run| run.split(' ').next()).collect();
        assert_eq!(names, ["a", "b", "c", "d"], "{runs:?}");
        assert!(runs.iter().all(|run| run.ends_with(":00Z 0")), "{runs:?}");
    }
    assert!(second.iter().all(|run| !first.contains(run)), "{first:?} {second:?}");
}

#[tokio::test]
async fn each_minute_runs_once() {
    // Together, since they wait for the same minutes.
    let etcd = minutes(Kept::Etcd(Etcd::start()));
    futures_util::future::join3(etcd, minutes(Kept::Bucket), alone()).await;
}

/// A broker that shares its schedule with none, and is asked about it.
async fn alone() {
    let ground = Ground::new(Kept::Memory).await.script("a", "--* schedule: * * * * *", TELL);
    let mut seen = ground.seen().await;
    let broker = ground.setup().start();
    broker.wait_for_words(&["in this broker alone"]);
    let mut status = Command::new(program("msgscriptcli"));
    status.args(["status", "--control"]).arg(broker.control());
    let text = String::from_utf8(status.output().unwrap().stdout).unwrap();
    assert!(text.contains("DUE") && text.contains(":00+00:00"), "{text}");
    let info = broker.get("/_/info/a/a").text();
    assert!(info.contains("* * * * * (UTC)") && info.contains("due next"), "{info}");
    next(&mut seen).await;
    broker.wait_for_words(&["a scheduled run ended", "\"reason\":\"ok\"", "\"script\":\"a\""]);
    let metrics = broker.get("/_/metrics").text();
    assert!(metrics.contains("msgscript_schedules_total{tenant=\"default\",outcome=\"ran\"} 1"), "{metrics}");
    let runs = "msgscript_invocations_total{tenant=\"default\",subject=\"a\",reason=\"ok\"} 1";
    assert!(metrics.contains(runs), "{metrics}");
    // It is called as before, too.
    assert_eq!(broker.post("/a", "").status, 500, "without a due time this one fails");
}

/// What was missed is run once by all brokers together, and by none a second time.
async fn after_years(kept: Kept, brokers: usize) {
    let headers = format!("--* schedule: {YEARLY}\n--* missed: run");
    let ground = Ground::new(kept).await.script("a", &headers, TELL).script("b", &headers, TELL);
    let mut seen = ground.seen().await;
    ground.missed(serde_json::json!({})).await;
    let running = ground.brokers(brokers);
    let mut runs = [next(&mut seen).await, next(&mut seen).await];
    runs.sort();
    assert!(runs[0].starts_with("a 20") && runs[0].ends_with("-01-01T00:00:00Z 0"), "{runs:?}");
    assert!(runs[1].starts_with("b 20"), "{runs:?}");
    is_quiet(&mut seen).await;
    for broker in &running {
        broker.signal(Signal::SIGKILL);
        broker.wait();
    }
    let _again = ground.brokers(brokers);
    is_quiet(&mut seen).await;
}

#[tokio::test]
async fn what_was_missed_is_run_once_by_etcd() {
    after_years(Kept::Etcd(Etcd::start()), 3).await;
}

#[tokio::test]
async fn what_was_missed_is_run_once_by_jetstream() {
    after_years(Kept::Bucket, 3).await;
}

#[tokio::test]
async fn what_was_missed_is_run_once_by_a_broker_with_a_folder() {
    after_years(Kept::Folder(TempDir::new().unwrap()), 1).await;
}

#[tokio::test]
async fn what_was_missed_may_be_skipped() {
    let headers = format!("--* schedule: {YEARLY}\n--* missed: skip");
    let ground = Ground::new(Kept::Bucket).await.script("a", &headers, TELL);
    let mut seen = ground.seen().await;
    ground.missed(serde_json::json!({})).await;
    let brokers = ground.brokers(2);
    is_quiet(&mut seen).await;
    let told: usize = brokers.iter().map(|broker| broker.count_events("no broker could run it")).sum();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_run_that_goes_on_keeps_the_next_from_beginning() {
    let headers = format!("--* schedule: {YEARLY}\n--* missed: run");
    let ground = Ground::new(Kept::Etcd(Etcd::start())).await.script("a", &headers, TELL);
    let mut seen = ground.seen().await;
    ground.missed(serde_json::json!({"busy_by": "another", "busy_until": "2900-01-01T00:00:00Z"})).await;
    let broker = ground.setup().start();
    broker.wait_for_words(&["its last run still goes on", "\"outcome\":\"overlapped\""]);
    is_quiet(&mut seen).await;
}

#[tokio::test]
async fn a_run_ends_before_its_broker_does() {
    let lua = "function OnMessage() local nats = require('nats') nats.publish('seen', 'begun') \
        require('time').sleep(2) nats.publish('seen', 'done') end";
    let headers = format!("--* schedule: {YEARLY}\n--* missed: run");
    let ground = Ground::new(Kept::Etcd(Etcd::start())).await.script("a", &headers, lua);
    let mut seen = ground.seen().await;
    ground.missed(serde_json::json!({})).await;
    let broker = ground.setup().start();
    assert_eq!(next(&mut seen).await, "begun");
    let busy = ground.states().await.into_values().next().unwrap();
    assert!(busy["busy_until"].is_string(), "{busy}");
    stop(&broker);
    assert_eq!(next(&mut seen).await, "done");
    let idle = ground.states().await.into_values().next().unwrap();
    assert!(idle["busy_until"].is_null(), "{idle}");
}

#[tokio::test]
async fn a_new_schedule_begins_from_now_and_an_old_one_is_forgotten() {
    let ground = Ground::new(Kept::Bucket).await;
    let mut seen = ground.seen().await;
    let broker = ground.setup().start();
    let script =
        |cron: &str| format!("--* subject: a\n--* name: a\n--* schedule: {cron}\n--* missed: run\n{TELL}\n");
    broker.write("a.lua", script(YEARLY));
    let first = ground.kept(1).await;
    broker.write("a.lua", script("0 0 2 1 *"));
    let changed = async {
        while ground.kept(1).await.keys().eq(first.keys()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the other schedule");
    std::fs::remove_file(broker.scripts().join("a.lua")).unwrap();
    ground.kept(0).await;
    broker.write("a.lua", script(YEARLY));
    ground.kept(1).await;
    is_quiet(&mut seen).await;
}

#[tokio::test]
async fn a_run_without_room_is_tried_again() {
    let mut ground = Ground::new(Kept::Folder(TempDir::new().unwrap())).await;
    let headers = format!("--* schedule: {YEARLY}\n--* missed: run");
    for name in ["t.a", "t.b", "t.c"] {
        ground = ground.script(name, &headers, TELL);
    }
    let mut seen = ground.seen().await;
    let toml = "[[tenant]]\nname = \"t\"\nsubjects = [\"t.>\"]\nscripts = \"t\"\n[tenant.limits]\nrate = 1\n\
        [tenant.grants]\nnats = [\"seen\"]\n";
    let start = || {
        let Kept::Folder(folder) = &ground.kept else { unreachable!() };
        let setup = Setup::new().nats(&ground.server.url()).config(toml);
        let setup = setup.args(&["--state-dir", folder.path().to_str().unwrap()]);
        let add = |setup: Setup, (name, text): &(String, String)| setup.file(&format!("t/{name}.lua"), text);
        ground.scripts.iter().fold(setup, add).start()
    };
    let broker = start();
    ground.kept(3).await;
    stop(&broker);
    ground.long_ago(serde_json::json!({})).await;
    let broker = start();
    let mut runs = [next(&mut seen).await, next(&mut seen).await, next(&mut seen).await];
    runs.sort();
    assert!(
        runs[0].starts_with("t.a ") && runs[1].starts_with("t.b ") && runs[2].starts_with("t.c "),
        "{runs:?}"
    );
    is_quiet(&mut seen).await;
    broker.wait_for_words(&["too many calls a second"]);
    let metrics = broker.get("/_/metrics").text();
    assert!(metrics.contains("msgscript_schedules_total{tenant=\"t\",outcome=\"ran\"} 3"), "{metrics}");
}

#[test]
fn what_is_wrong_is_told_and_disturbs_nobody() {
    let bad = |header: &str| format!("--* subject: bad\n--* name: bad\n{header}\n{TELL}\n");
    let broker = Setup::new()
        .file("bad.lua", bad("--* schedule: 0 25 * * *"))
        .file("zone.lua", bad("--* schedule: @daily\n--* timezone: Mars/Olympus"))
        .lua(
            "good",
            "--* schedule: @daily\n--* timezone: America/New_York\nfunction OnMessage() return 'x' end",
        )
        .start();
    assert_eq!(broker.call("good", ""), "x");
    broker.wait_for_words(&["bad.lua:3: bad `schedule`: the hour `25`: write 0-23"]);
    broker.wait_for_words(&["zone.lua:4: bad `timezone`: `Mars/Olympus` is no time zone"]);
    broker.write("bad.lua", bad("--* schedule: 0 0 0 30 2 *"));
    broker.wait_for_words(&["bad.lua:3: bad `schedule`: it has 6 fields (there are no seconds"]);
    broker.write("bad.lua", bad("--* schedule: 0 0 30 2 *"));
    broker.wait_for_words(&["bad.lua:3: bad `schedule`: no month that it names"]);
    wait_until("the good one stays", || broker.post("/good", "").status == 200);
    let mut check = Command::new(program("msgscriptcli"));
    let output =
        check.args(["check", "--no-compile"]).arg(broker.scripts().join("good.lua")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("T00:00:00-0") && text.contains("(America/New_York)"), "{text}");
    let mut check = Command::new(program("msgscriptcli"));
    let output =
        check.args(["check", "--no-compile"]).arg(broker.scripts().join("bad.lua")).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("bad `schedule`"));
}
