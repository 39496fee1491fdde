//! Control groups around workers: a leaf for each, limits that kill, nothing left behind. On a machine where the
//! broker may make none it says so once, and serves.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use msgscript_tests::harness::{Broker, Setup, wait_until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const ECHO: &str = "function OnMessage(_, p) return p end";

/// Whether this machine gives the broker control groups. Says what it logs in either case.
fn has_groups(broker: &Broker) -> bool {
    let has = broker.count_events("each worker has a control group");
    let lacks = broker.count_events("workers have no control groups");
    assert_eq!(has + lacks, 1, "{}", broker.log());
    has == 1
}

/// The folders of a process's groups that are a broker's.
fn folders(pid: u32, broker: u32) -> Vec<PathBuf> {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mut found = Vec::new();
    for line in own.lines().filter(|line| line.contains(&format!("msgscript-{broker}-"))) {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let mount = mounts.lines().find(|mount| {
            let (_, back) = mount.split_once(" - ").expect("a mount");
            match fields[1] {
                "" => back.starts_with("cgroup2 "),
                controllers => {
                    let first = controllers.split(',').next().expect("one");
                    back.starts_with("cgroup ") && back.rsplit([' ', ',']).any(|option| option == first)
                }
            }
        });
        let front: Vec<&str> = mount.expect("it is mounted").split(' ').collect();
        let below = fields[2].strip_prefix(front[3].trim_end_matches('/')).expect("beneath");
        found.push(PathBuf::from(format!("{}{below}", front[4])));
    }
    found
}

#[test]
fn each_worker_has_a_leaf_that_goes_with_the_broker() {
    let broker = Setup::new().lua("echo", ECHO).start();
    assert_eq!(broker.call("echo", "x"), "x");
    if !has_groups(&broker) {
        return;
    }
    let all: Vec<Vec<PathBuf>> =
        broker.workers().into_iter().map(|worker| folders(worker, broker.pid())).collect();
    assert!(all.len() >= 2 && all.iter().all(|folders| !folders.is_empty()), "{all:?}");
    let mut distinct: Vec<&PathBuf> = all.iter().flatten().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), all.iter().map(Vec::len).sum::<usize>(), "one each: {all:?}");
    let parent = distinct[0].parent().expect("a parent").to_owned();
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.wait().code(), Some(0));
    assert!(!parent.exists(), "{} is left", parent.display());
}

#[test]
fn what_a_killed_broker_left_goes_with_the_next_start() {
    let broker = Setup::new().lua("echo", ECHO).start();
    if !has_groups(&broker) {
        return;
    }
    let workers = broker.workers();
    let parents: Vec<PathBuf> = folders(workers[0], broker.pid())
        .iter()
        .map(|folder| folder.parent().expect("a parent").to_owned())
        .collect();
    assert!(!parents.is_empty());
    broker.signal(Signal::SIGKILL);
    broker.wait();
    wait_until("the workers are gone", || {
        !workers.iter().any(|pid| msgscript_tests::harness::is_alive(*pid))
    });
    assert!(parents.iter().all(|parent| parent.exists()), "nobody could remove them: {parents:?}");
    let next = Setup::new().lua("echo", ECHO).start();
    assert_eq!(next.call("echo", "x"), "x");
    assert!(parents.iter().all(|parent| !parent.exists()), "{parents:?}");
}

/// A C module that takes memory outside of all that the engine counts.
const EATER: &str = r#"
#include <stdlib.h>
#include <string.h>
typedef struct lua_State lua_State;
extern void lua_pushcclosure(lua_State *L, int (*f)(lua_State *), int n);
static int eat(lua_State *L) {
  for (int i = 0; i < 64; i++) { char *p = malloc(16 << 20); if (p) memset(p, i + 1, 16 << 20); }
  return 0;
}
int luaopen_eater(lua_State *L) { lua_pushcclosure(L, eat, 0); return 1; }
"#;

#[test]
fn a_kill_for_want_of_memory_is_told_as_such() {
    let folder = TempDir::new().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("readable");
    let source = folder.path().join("eater.c");
    std::fs::write(&source, EATER).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("eater.so")).arg(&source);
    assert!(cc.status().expect("a compiler").success());
    // Without the limits that come first, as if they had a hole.
    let broker = Setup::new()
        .args(&["--plugin", folder.path().to_str().expect("UTF-8"), "--memory", "16MiB"])
        .args(&["--sandbox-without", "rlimits"])
        .lua("eat", "function OnMessage(_, how) local eat = require('eater') if how == '' then eat() end return how end")
        .start();
    if !has_groups(&broker) {
        return;
    }
    for _ in 0..2 {
        let response = broker.post("/eat", "");
        assert_eq!(
            (response.status, response.reason()),
            (500, "memory"),
            "{}\n{}",
            response.text(),
            broker.log()
        );
        assert_eq!(response.header("msgscript-limit"), Some("16MiB"), "{response:?}");
        assert_eq!(broker.call("eat", "fine"), "fine");
    }
}
