use super::find::{Controller, Found, controllers, is_alive};
use super::*;

const V1: &str = "9:name=systemd:/\n8:pids:/\n4:memory:/process/43e1\n2:cpuacct,cpu:/\n0::/\n";
const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
    39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

fn found(own: &str, mounts: &str) -> Vec<(Controller, String)> {
    let one = |found: Found| (found.controller, found.folder.display().to_string());
    controllers(own, mounts).into_iter().map(one).collect()
}

#[test]
fn each_controller_is_found_where_it_is() {
    assert_eq!(
        found(V1, HYBRID),
        [
            (Controller::MemoryV1, "/sys/fs/cgroup/memory/process/43e1".to_owned()),
            (Controller::PidsV1, "/sys/fs/cgroup/pids".to_owned()),
        ]
    );
    let unit = "0::/system.slice/msgscript.service\n";
    assert_eq!(
        found(unit, V2),
        [(Controller::V2, "/sys/fs/cgroup/system.slice/msgscript.service".to_owned())]
    );
    // As in a container: a part of the hierarchy is mounted as if it were all.
    let part = V2.replace(" / /sys", " /docker/abc /sys");
    assert_eq!(found("0::/docker/abc/x\n", &part), [(Controller::V2, "/sys/fs/cgroup/x".to_owned())]);
    assert_eq!(found("0::/elsewhere\n", &part), []);
    assert_eq!(found("0::/../../x\n", V2), []);
    for (own, mounts) in [("", ""), ("nonsense", "x - y"), (V1, "1 2 3"), ("0:memory:", HYBRID)] {
        let _ = found(own, mounts);
    }
}

/// A folder that looks like a hierarchy of version 1.
fn pretend() -> (tempfile::TempDir, Vec<Found>) {
    let folder = tempfile::tempdir().unwrap();
    let found = |name: &str, controller| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        Found { controller, folder: folder.path().join(name) }
    };
    let all = vec![found("memory", Controller::MemoryV1), found("pids", Controller::PidsV1)];
    (folder, all)
}

#[test]
fn leaves_serve_again_and_tell_kills() {
    let (folder, found) = pretend();
    let mut groups = Groups::open_among(found).unwrap();
    let limits = Limits { memory: 1 << 20, processes: 2 };
    let leaf = groups.leaf(limits).unwrap();
    let other = groups.leaf(limits).unwrap();
    assert_ne!(leaf.number, other.number);
    leaf.enter(4242).unwrap();
    let own = folder.path().join("memory").join(format!("{PREFIX}{}", own_name())).join("worker-1");
    let read = |file: &str| std::fs::read_to_string(own.join(file)).unwrap();
    assert_eq!((read("memory.limit_in_bytes"), read("cgroup.procs")), ("1048576".into(), "4242".into()));
    assert!(!leaf.ran_out_of_memory());
    std::fs::write(own.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
    assert!(leaf.ran_out_of_memory() && !other.ran_out_of_memory());
    drop(leaf);
    let again = groups.leaf(Limits { memory: 2 << 20, processes: 2 }).unwrap();
    assert_eq!(again.number, 1);
    assert!(!again.ran_out_of_memory(), "that was another's");
    assert_eq!(read("memory.limit_in_bytes"), "2097152");
}

#[test]
fn nothing_to_write_to_is_an_error() {
    assert!(matches!(Groups::open_among(Vec::new()), Err(GroupError::NoController)));
    let nowhere = Found { controller: Controller::MemoryV1, folder: "/nonexistent".into() };
    assert!(matches!(Groups::open_among(vec![nowhere]), Err(GroupError::NotOurs { .. })));
}

#[test]
fn only_groups_of_dead_brokers_are_swept() {
    let (folder, found) = pretend();
    let memory = folder.path().join("memory");
    let own = own_name();
    let alive = format!("{PREFIX}{own}");
    let pid_again = format!("{PREFIX}{}-1", std::process::id());
    let dead = format!("{PREFIX}999999999-5");
    for name in ["other", "msgscript-", "msgscript-x-y", &alive, &pid_again, &dead] {
        std::fs::create_dir_all(memory.join(name)).unwrap();
    }
    std::fs::create_dir(memory.join(&dead).join("worker-1")).unwrap();
    sweep(&found[0].folder);
    let left = |name: &str| memory.join(name).exists();
    assert!(left("other") && left("msgscript-") && left("msgscript-x-y") && left(&alive));
    assert!(!left(&dead) && !left(&pid_again));
    assert!(is_alive(&own) && !is_alive("999999999-5"));
}
