//! Three brokers, three NATS servers and three members of etcd, of which one after the other dies, stands still or is
//! cut off while clients ask. `scripts/chaos` runs the same for as long as wanted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_tests::cluster::faults::Fault;
use msgscript_tests::cluster::load::{self, Book};
use msgscript_tests::cluster::{Cluster, PATIENCE, SIZE};
use msgscript_tests::harness::Setup;

const ECHO: &str = "function OnMessage(_, p) require('time').sleep(0.002) return p end";

/// Gives out the next number: reads, takes its time, and writes. Two at a time would give out the same.
const COUNT: &str = r#"--* lock: counter
local etcd, time = require("etcd"), require("time")
function OnMessage()
  local found, problem = etcd.get("test/count", false)
  if problem then error(problem) end
  local number = tonumber(found and found[1] and found[1]:getValue() or "0") + 1
  time.sleep(0.01)
  problem = etcd.put("test/count", tostring(number))
  if problem then error(problem) end
  return tostring(number)
end"#;

/// Notes that an order was seen to.
const ORDER: &str = r#"--* stream: ORDERS
--* retries: 100
--* backoff: 200ms
--* ack-wait: 5s
local etcd = require("etcd")
function OnMessage(_, number)
  local problem = etcd.put("test/done/" .. number, "x")
  if problem then error(problem) end
  return "done"
end"#;

/// How long each fault lasts: longer than a lock's lease.
const LENGTH: Duration = Duration::from_secs(7);

/// Has the clients ask while `act` is done; what they saw of it.
fn with_load(act: impl FnOnce(&Cluster, &Book) + Send) {
    let scripts = [("echo", ECHO), ("count", COUNT), ("orders.new", ORDER)];
    // A thread of its own: it goes to the clients' machine for good.
    std::thread::scope(|scope| {
        let all = scope.spawn(move || {
            let cluster = Cluster::start(&scripts, Setup::new);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let client = runtime.block_on(cluster.client());
            runtime.block_on(cluster.stream(&client, "ORDERS", "orders.*"));
            cluster.wait_until_well();
            let book = Arc::new(Book::default());
            let mut clients = Vec::new();
            for name in 0..4 {
                clients.push(runtime.spawn(load::echo(book.clone(), client.clone(), name)));
            }
            for _ in 0..2 {
                clients.push(runtime.spawn(load::count(book.clone(), client.clone())));
            }
            clients.push(runtime.spawn(load::order(book.clone(), client.clone())));
            let doors: Vec<String> = (0..SIZE).map(|at| cluster.http(at)).collect();
            let asked = book.clone();
            let over_http = std::thread::spawn(move || load::echo_over_http(&asked, &doors));
            act(&cluster, &book);
            book.close();
            for client in clients {
                runtime.block_on(client).expect("a client");
            }
            over_http.join().expect("a client");
            println!("{}", book.summary());
            book.check_requests();
            let orders: BTreeSet<String> = book.orders().iter().map(u64::to_string).collect();
            assert!(!orders.is_empty(), "no order was taken");
            cluster
                .wait_for("all orders are seen to", |cluster| orders.is_subset(&cluster.keys("test/done/")));
            book.check_counts(cluster.value("test/count").parse().expect("a number"));
        });
        if let Err(panic) = all.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Waits until so many more requests were answered.
fn answered(book: &Book, more: u64) {
    let (until, deadline) = (book.answered() + more, Instant::now() + PATIENCE);
    while book.answered() < until {
        assert!(Instant::now() < deadline, "requests are not answered any more");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn suffer(cluster: &Cluster, book: &Book, fault: Fault) {
    let began = Instant::now();
    book.trouble(|| cluster.suffer(fault, LENGTH));
    println!("{fault}: all is well {:.1} s after it was mended", (began.elapsed() - LENGTH).as_secs_f64());
    answered(book, 50);
}

#[test]
fn nothing_is_lost_whatever_dies() {
    with_load(|cluster, book| {
        answered(book, 100);
        let faults = [
            Fault::KillBroker(0),
            Fault::PauseBroker(1),
            Fault::KillNats(2),
            Fault::KillEtcd(0),
            Fault::Cut(1),
        ];
        for fault in faults {
            suffer(cluster, book, fault);
        }
    });
}

/// By hand, for as long as `MSGSCRIPT_CHAOS_MINUTES` says; the same faults again with the `MSGSCRIPT_CHAOS_SEED` that
/// it printed.
#[test]
#[ignore = "as long as wanted: scripts/chaos"]
fn faults_at_random() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = variable("MSGSCRIPT_CHAOS_MINUTES").unwrap_or(10);
    let seed = variable("MSGSCRIPT_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("MSGSCRIPT_CHAOS_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    with_load(|cluster, book| {
        let mut state = seed;
        while Instant::now() < end {
            suffer(cluster, book, Fault::by_number(random(&mut state)));
        }
    });
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % 21
}
