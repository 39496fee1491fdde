//! The jail, tried from inside: every row of the escape table, under each version of Landlock that we
//! promise to run on, and the proof that each layer is what holds some of its rows.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_broker::doctor::prisoner::{Prisoner, PrisonerError, Seen};
use msgscript_broker::doctor::row::{GUARD, Ground, Row, RowResult, run_row};
use msgscript_broker::doctor::{Options, doctor, escapes};
use msgscript_broker::pool::spawn::{self, SpawnPlan, Spawner};
use msgscript_broker::pool::verify::{Seen as Visible, verify};
use msgscript_proto::VERSION;
use msgscript_proto::message::{Engine, Setup};
use msgscript_proto::sandbox::{Layer, Probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// The worker of this build, beside the test's own program.
fn worker_binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let worker = folder.join("msgscript-worker");
    assert!(worker.exists(), "{} is missing: run `cargo build --workspace` first", worker.display());
    worker
}

fn ground(landlock_abi: Option<u8>, without: &[Layer]) -> Ground {
    Ground {
        spawner: Spawner::start().expect("a thread"),
        engine: Engine::Probe,
        worker_binary: worker_binary(),
        landlock_abi,
        without: without.to_vec(),
        longest: GUARD,
    }
}

/// A worker that lacks these layers.
async fn prisoner(ground: &Ground, without: &[Layer]) -> Prisoner {
    Prisoner::start(&ground.spawner, ground.plan(without)).await.expect("a jailed worker")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Runs rows under this version of Landlock at most, and requires that all are held.
fn assert_held(landlock_abi: Option<u8>, rows: &[Row]) -> usize {
    let results: Vec<RowResult> = block_on(async {
        let ground = ground(landlock_abi, &[]);
        let in_force = prisoner(&ground, &[]).await.report.landlock_abi;
        assert_eq!(landlock_abi.unwrap_or(in_force), in_force);
        let mut results = Vec::new();
        for row in rows {
            results.push(run_row(&ground, in_force, row).await);
        }
        results
    });
    let through: Vec<String> = results
        .iter()
        .flat_map(|row| {
            row.failures.iter().map(move |failure| format!("{} {}: {failure}", row.id, row.title))
        })
        .collect();
    assert!(through.is_empty(), "{} acts got through:\n{}", through.len(), through.join("\n"));
    results.iter().map(|row| row.tried).sum()
}

#[test]
fn nothing_gets_through() {
    let tried = assert_held(None, &escapes::table(std::process::id()));
    let least = if cfg!(target_arch = "x86_64") { 1000 } else { 600 };
    assert!(tried > least, "only {tried} acts were tried");
}

/// What gets through of the whole table behind an engine's filter.
fn through(engine: Engine) -> BTreeSet<String> {
    block_on(async {
        let ground = Ground { engine, ..ground(None, &[]) };
        let landlock = prisoner(&ground, &[]).await.report.landlock_abi;
        let mut through = BTreeSet::new();
        for row in escapes::table(std::process::id()) {
            let result = run_row(&ground, landlock, &row).await;
            through.extend(result.failures.iter().map(|failure| format!("{} {}", row.id, failure.case)));
        }
        through
    })
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A worker with LuaJIT's compiler may do one thing more: what was written becomes executable, and no longer
/// writable by the same call.
#[test]
fn what_the_compiler_may_do_is_known() {
    assert_eq!(through(Engine::ProbeJit), set(&["R16 mprotect r-x"]));
}

/// The filters of WebAssembly workers, and all that they let through beside the others: what an instance's
/// memory needs for ever, and what binding needs until the second filter.
#[test]
fn what_webassembly_workers_may_do_is_known() {
    assert_eq!(through(Engine::ProbeWasmCompile), set(&[]));
    // Memory at a forced place, never executable.
    let always = ["R16 fixed"];
    assert_eq!(through(Engine::ProbeWasmBound), set(&always));
    // Descriptors for images of data (call 0x13f is memfd_create), code that becomes executable, the
    // limit of descriptors, and one setting that goes with a filter. Behind this filter only what the broker has signed is looked at.
    let binding = [
        "A04 dup",
        "A04 in place of a closed one",
        "A04 memfd_create",
        "A04 open",
        "A04 socket",
        "R01 call 0x13f",
        "R10 write to a third descriptor",
        "R14 limits of its own",
        "R16 mprotect r-x",
        "R18 memfd_create",
        "R18 memfd_create executable",
        "R21 no_new_privs",
    ];
    let unbound = set(&[&always[..], &binding[..]].concat());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(through(Engine::ProbeWasm), unbound);
}

#[test]
fn nothing_gets_through_under_the_first_landlock() {
    assert_held(Some(1), &escapes::named(std::process::id()));
}

#[test]
fn nothing_gets_through_under_the_landlock_of_debian_12() {
    assert_held(Some(2), &escapes::named(std::process::id()));
}

/// A layer that no row would miss is not tested.
#[test]
fn each_layer_is_what_holds_some_row() {
    for layer in Layer::ALL {
        if layer == Layer::Uid && !is_root() {
            continue; // Workers keep the user of the broker: there is nothing to take away.
        }
        let open = block_on(async {
            // Acts that get through may wait for ever.
            let ground = Ground { longest: Duration::from_secs(1), ..ground(None, &[layer]) };
            let mut open = Vec::new();
            for row in escapes::named(std::process::id()) {
                // Without Landlock, its rows are to be run too: that is the point.
                if !run_row(&ground, u8::MAX, &row).await.held() {
                    open.push(row.id);
                }
            }
            open
        });
        let own = match layer {
            Layer::Landlock => "A01",
            Layer::Seccomp => "R03",
            Layer::NoNewPrivs => "A08",
            Layer::Rlimits => "A04",
            Layer::Uid => "A06",
        };
        assert!(open.contains(&own), "without {}, only {open:?} are open, not {own}", layer.name());
    }
}

#[test]
fn a_worker_is_verified_from_outside() {
    block_on(async {
        let ground = ground(None, &[]);
        let closed = prisoner(&ground, &[]).await;
        let setup = &ground.plan(&[]).setup;
        let seen = verify(closed.pid(), setup, VERSION, &closed.report).expect("it is closed");
        assert!(!is_root() || seen == Visible::All);
        // As where /proc hides it: there is no such process.
        let hidden = verify(i32::MAX.cast_unsigned(), setup, VERSION, &closed.report);
        assert!(hidden.is_err_and(|error| error.to_string().contains("hidepid")));
        // A worker without a layer does not pass for one that has it, even if it says so.
        for layer in [Layer::Seccomp, Layer::Uid] {
            if layer == Layer::Uid && !is_root() {
                continue;
            }
            let open = prisoner(&ground, &[layer]).await;
            let error = verify(open.pid(), setup, VERSION, &closed.report).expect_err("it is open");
            assert!(error.to_string().contains(layer.name()), "{error}");
        }
        for layer in Layer::ALL {
            let open = prisoner(&ground, &[layer]).await;
            let error = verify(open.pid(), setup, VERSION, &open.report).expect_err("it is open");
            assert!(error.to_string().contains(layer.name()), "{error}");
        }
        assert!(verify(closed.pid(), setup, VERSION + 1, &closed.report).is_err());
    });
}

#[test]
fn a_worker_is_given_nothing() {
    block_on(async {
        let ground = ground(None, &[]);
        let prisoner = prisoner(&ground, &[]).await;
        let proc = PathBuf::from(format!("/proc/{}", prisoner.pid()));
        assert_eq!(fs::read(proc.join("cmdline")).expect("arguments"), b"msgscript-worker\0");
        if !is_root() {
            return; // The rest of a hidden process is shown to root only.
        }
        assert_eq!(fs::read(proc.join("environ")).expect("environment"), b"");
        assert_eq!(fs::read_link(proc.join("cwd")).expect("folder"), PathBuf::from("/"));
        let target = |fd: &str| {
            let link = fs::read_link(proc.join("fd").join(fd)).expect("descriptor");
            link.to_string_lossy().into_owned()
        };
        assert_eq!(fs::read_dir(proc.join("fd")).expect("descriptors").count(), 3);
        assert!(target("0").starts_with("socket:"));
        assert!(target("1").starts_with("pipe:"));
        assert_eq!(target("1"), target("2"));
    });
}

#[test]
fn two_workers_are_two_users() {
    if !is_root() {
        return; // Both are the broker's.
    }
    block_on(async {
        let ground = ground(None, &[]);
        let (one, two) = (prisoner(&ground, &[]).await, prisoner(&ground, &[]).await);
        let user = |pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
            status.lines().find(|line| line.starts_with("Uid:")).expect("a user").to_owned()
        };
        assert_ne!(user(one.pid()), user(two.pid()));
    });
}

/// A layer that does not close is named, and ends the worker with status 78.
#[test]
fn a_missing_layer_is_named() {
    block_on(async {
        // There is no version 0: as on a kernel without Landlock.
        let ground = ground(Some(0), &[]);
        match Prisoner::start(&ground.spawner, ground.plan(&[])).await {
            Err(PrisonerError::NotJailed { layer: Layer::Landlock, .. }) => {}
            other => panic!("{other:?}"),
        }
        let mut spawned = ground.spawner.spawn(ground.plan(&[])).await.expect("a process");
        assert_eq!(spawned.child.wait().expect("a status").code(), Some(78));
    });
}

#[test]
fn a_worker_ends_with_its_socket() {
    block_on(async {
        let ground = ground(None, &[]);
        let mut spawned = ground.spawner.spawn(ground.plan(&[])).await.expect("a process");
        drop(spawned.socket);
        let code = spawned.child.wait().expect("a status").code();
        // It may notice before its jail is closed, or after.
        assert!(matches!(code, Some(0 | 78)), "{code:?}");
    });
}

#[test]
fn a_jailed_worker_ends_with_the_thread_that_started_it() {
    block_on(async {
        let ground = ground(None, &[]);
        let mut prisoner = prisoner(&ground, &[]).await;
        drop(ground);
        let seen = prisoner.act(&Probe::Spin, GUARD).await.expect("an end");
        assert_eq!(seen, Seen::Killed(Signal::SIGKILL as i32));
    });
}

/// The program that the next test kills: it starts a worker, names it, and waits to die.
#[test]
#[ignore = "run by the next test, in a process of its own"]
fn broker_that_is_killed() {
    block_on(async {
        let ground = ground(None, &[]);
        let prisoner = prisoner(&ground, &[]).await;
        println!("\nworker {}", prisoner.pid());
        std::thread::sleep(GUARD);
    });
}

#[test]
fn a_worker_ends_with_the_broker() {
    let mut broker = Command::new(std::env::current_exe().expect("the test's own path"))
        .args(["broker_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a broker");
    let worker = BufReader::new(broker.stdout.take().expect("its output"))
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("worker ")?.parse().ok())
        .map(Pid::from_raw)
        .expect("the worker's number");
    assert!(kill(worker, None).is_ok(), "it lives before");
    broker.kill().expect("it lives");
    broker.wait().expect("a status");
    let guard = Instant::now() + GUARD;
    while runs(worker) {
        assert!(Instant::now() < guard, "the worker outlives the broker");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs. One that nobody has reaped does not.
fn runs(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).map(str::trim);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

#[test]
fn another_version_is_refused() {
    let ground = ground(None, &[]);
    let setup = Setup { version: VERSION + 1, ..ground.plan(&[]).setup.clone() };
    let plan = SpawnPlan { setup, worker_binary: worker_binary() };
    let mut spawned = spawn::spawn(&plan).expect("a process");
    assert_eq!(spawned.child.wait().expect("a status").code(), Some(76));
}

#[test]
fn a_worker_that_is_not_there_is_an_error() {
    block_on(async {
        let ground = ground(None, &[]);
        for path in ["/nonexistent/msgscript-worker", "msgscript-worker"] {
            let setup = ground.plan(&[]).setup.clone();
            let plan = SpawnPlan { worker_binary: path.into(), setup };
            let error = ground.spawner.spawn(Arc::new(plan)).await.expect_err("nothing there");
            assert!(error.to_string().contains(path), "{error}");
        }
    });
}

#[test]
fn doctor_tells_what_an_operator_left_open() {
    let podman = msgscript_broker::podman::socket::Socket::from_env(&|_| None);
    let options = Options { worker_binary: worker_binary(), without: vec![Layer::NoNewPrivs], podman };
    let report = block_on(doctor(options)).expect("a report");
    let text = report.lines.join("\n");
    assert!(!report.held, "{text}");
    assert!(text.contains("layer no-new-privs: left out"), "{text}");
    assert!(text.contains("A08 no_new_privs alone: OPEN"), "{text}");
    assert!(text.contains("R01 every system call that is not on the list: held"), "{text}");
}
