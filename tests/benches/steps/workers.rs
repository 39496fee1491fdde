//! 4 to 6 together: the pool with a real worker in its jail, from admission to the ending.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use msgscript_broker::catalog::Script;
use msgscript_broker::config::value::Isolation;
use msgscript_broker::invocation::{Invocation, Reason};
use msgscript_broker::pool::spawn::{SpawnPlan, Spawner};
use msgscript_broker::pool::terms::Terms;
use msgscript_broker::pool::{Pool, Settings};
use msgscript_proto::message::{Engine, Setup};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::sample;

const TERMS: Terms =
    Terms { isolation: Isolation::Tenant, concurrency: usize::MAX, queue: 1000, cpu: None, jit: false };

/// Longer than any run here.
const WALL: Duration = Duration::from_secs(60);

fn plan() -> SpawnPlan {
    // Beside `target/release/deps`, where this program is.
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default();
    let worker_binary = folder.join("msgscript-worker");
    assert!(worker_binary.exists(), "build first: cargo build --release --workspace");
    let setup = Setup {
        version: msgscript_proto::VERSION,
        engine: Engine::Lua,
        memory: sample::LIMITS.memory,
        without: Vec::new(),
        landlock_abi: None,
        uid: None,
        paths: Vec::new(),
        plugins: Vec::new(),
    };
    SpawnPlan { worker_binary, setup }
}

async fn run_all(pool: &Rc<Pool>, script: &Rc<Script>, count: usize) {
    let start = |_| {
        let message = sample::message();
        let (id, deadline) = (pool.next_id(), message.arrived + WALL);
        let script = script.clone();
        let run = Invocation { id, script, message, wall: WALL, deadline, trace: None, held: None };
        pool.run(Rc::new(run), None, sample::LIMITS, TERMS)
    };
    let runs: Vec<_> = (0..count).map(start).collect();
    for run in runs {
        assert_eq!(run.await.map(|ending| ending.reason).ok(), Some(Reason::Ok));
    }
}

pub fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime: Runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let local = LocalSet::new();
    let script = sample::script(1, "bench.hello", sample::HELLO);
    let pool = local.block_on(&runtime, async {
        let settings = Settings { workers: 1, queue: 1000, plan: plan(), wasm: None };
        let pool = Pool::start(settings, None).unwrap_or_else(|error| panic!("{error}"));
        pool.ready().await.unwrap_or_else(|error| panic!("{error}"));
        run_all(&pool, &script, 100).await;
        pool
    });
    let mut group = criterion.benchmark_group("4-6 a worker");
    for together in [1, 32] {
        group.throughput(criterion::Throughput::Elements(together as u64));
        group.bench_function(format!("{together} at a time"), |bencher| {
            bencher.iter_custom(|rounds| {
                local.block_on(&runtime, async {
                    let began = Instant::now();
                    for _ in 0..rounds {
                        run_all(&pool, &script, together).await;
                    }
                    began.elapsed()
                })
            });
        });
    }
    local.block_on(&runtime, pool.end());
    let spawner = Spawner::start().unwrap_or_else(|error| panic!("{error}"));
    let plan = Arc::new(plan());
    group.throughput(criterion::Throughput::Elements(1));
    group.bench_function("started, up to its greeting", |bencher| {
        bencher.iter(|| {
            let mut spawned =
                runtime.block_on(spawner.spawn(plan.clone())).unwrap_or_else(|error| panic!("{error}"));
            // Its first word is the greeting.
            let mut look = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(&spawned.socket),
                nix::poll::PollFlags::POLLIN,
            )];
            assert_eq!(nix::poll::poll(&mut look, 5000_u16), Ok(1), "no greeting");
            let _ = spawned.child.kill();
            let _ = spawned.child.wait();
        });
    });
    group.finish();
}
