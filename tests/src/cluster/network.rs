//! Machines of a test's own: network namespaces on a bridge.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use crate::harness::is_alive;

/// Where `ip netns add` puts them (ip-netns(8)).
const FOLDER: &str = "/run/netns";

/// The machines, and the one in the middle that has the bridge.
pub(super) struct Network {
    name: String,
    size: usize,
}

/// The address of a machine: the same in each test, as no test sees another's network.
pub(super) fn address(at: usize) -> String {
    format!("10.99.0.{}", at + 1)
}

impl Network {
    /// Makes them.
    ///
    /// # Panics
    /// When the kernel does not let us.
    pub(super) fn start(size: usize) -> Network {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        remove_left();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let network = Network { name: format!("msgscript-{}-{number}", std::process::id()), size };
        let hub = network.hub();
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "set", "lo", "up"]);
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"]);
        ip(&["-n", &hub, "addr", "add", "10.99.0.254/24", "dev", "hub"]);
        ip(&["-n", &hub, "link", "set", "hub", "up"]);
        for at in 0..size {
            let (machine, cable) = (network.machine(at), cable(at));
            ip(&["netns", "add", &machine]);
            ip(&[
                "-n", &hub, "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &machine,
            ]);
            ip(&["-n", &hub, "link", "set", &cable, "master", "hub", "up"]);
            ip(&["-n", &machine, "addr", "add", &format!("{}/24", address(at)), "dev", "eth0"]);
            ip(&["-n", &machine, "link", "set", "eth0", "up"]);
            ip(&["-n", &machine, "link", "set", "lo", "up"]);
        }
        network
    }

    /// Puts this thread, and those it starts from now on, on the machine in the middle.
    pub(super) fn enter(&self) {
        let namespace = File::open(format!("{FOLDER}/{}", self.hub())).expect("it was made a moment ago");
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
    }

    /// A command on a machine. It has the process id of what it starts.
    pub(super) fn command(&self, at: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={FOLDER}/{}", self.machine(at))).args(["--", program]);
        command
    }

    /// Pulls a machine's cable, or puts it back.
    pub(super) fn connect(&self, at: usize, connected: bool) {
        ip(&["-n", &self.hub(), "link", "set", &cable(at), if connected { "up" } else { "down" }]);
    }

    /// A machine's name.
    pub(super) fn machine(&self, at: usize) -> String {
        format!("{}-{at}", self.name)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let machines = (0..self.size).map(|at| self.machine(at)).chain([self.hub()]);
        for name in machines {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// Removes the machines of tests that were killed: their names say which process made them.
fn remove_left() {
    let names = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let maker = name.strip_prefix("msgscript-").and_then(|rest| rest.split('-').next());
        if maker.and_then(|pid| pid.parse().ok()).is_some_and(|pid| !is_alive(pid)) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

fn cable(at: usize) -> String {
    format!("cable{at}")
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip is installed (see scripts/test)");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error} (these tests need root)", args.join(" "));
}
