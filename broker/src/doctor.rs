//! `doctor`: what this machine offers to hold workers, and whether they are held.
//!
//! Takes the worker's program, gives lines to print and whether any act got through. It tries every act
//! of the escape table in real workers: nothing it says is read off a version number.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use msgscript_proto::message::Engine;
use msgscript_proto::sandbox::Layer;
use nix::unistd::Uid;

use crate::cgroup::Groups;
use crate::podman::client::Client;
use crate::podman::socket::Socket;
use crate::pool::spawn::{SpawnError, Spawner};

pub mod escapes;
pub mod prisoner;
pub mod row;

use prisoner::{Prisoner, PrisonerError};
use row::{Ground, RowResult, run_row};

/// How long Podman may take to tell its version.
const PODMAN: Duration = Duration::from_secs(5);

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's program, an absolute path.
    pub worker_binary: PathBuf,
    /// Layers that the operator does without. Rows that need them are told as open.
    pub without: Vec<Layer>,
    /// Where Podman listens.
    pub podman: Socket,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// For people, one line each.
    pub lines: Vec<String>,
    /// Whether every layer closes and every act was held.
    pub held: bool,
}

/// Looks at the machine and runs the whole escape table.
///
/// # Errors
/// When no thread can be had to start workers from.
pub async fn doctor(options: Options) -> Result<Report, SpawnError> {
    let spawner = Spawner::start()?;
    let Options { worker_binary, without, podman } = options;
    let (engine, longest) = (Engine::Probe, row::GUARD);
    let ground = Ground { spawner, engine, worker_binary, landlock_abi: None, without, longest };
    let mut report = Report { lines: machine(), held: true };
    report.lines.push(containers(podman).await);
    for layer in Layer::ALL {
        report.note(layer_alone(&ground, layer).await);
    }
    let landlock_abi = match Prisoner::start(&ground.spawner, ground.plan(&[])).await {
        Ok(prisoner) => prisoner.report.landlock_abi,
        Err(error) => {
            report.note(Err(format!("no worker can be jailed: {error}")));
            return Ok(report);
        }
    };
    for row in escapes::table(std::process::id()) {
        report.note_row(&run_row(&ground, landlock_abi, &row).await);
    }
    report.lines.push(if report.held { "All held." } else { "NOT HELD: see above." }.to_owned());
    Ok(report)
}

impl Report {
    /// Adds a line; an error is one that does not hold.
    fn note(&mut self, line: Result<String, String>) {
        self.held &= line.is_ok();
        self.lines.push(line.unwrap_or_else(|line| line));
    }

    fn note_row(&mut self, row: &RowResult) {
        let line = format!("{} {}", row.id, row.title);
        self.note(match (row.tried, row.failures.len()) {
            (0, _) => Ok(format!("{line}: not offered by this kernel's Landlock")),
            (tried, 0) => Ok(format!("{line}: held ({tried} tried)")),
            (tried, through) => Err(format!("{line}: OPEN ({through} of {tried})")),
        });
        self.lines.extend(row.failures.iter().map(|failure| format!("    {failure}")));
    }
}

/// Whether a layer closes by itself.
async fn layer_alone(ground: &Ground, layer: Layer) -> Result<String, String> {
    let name = layer.name();
    if ground.without.contains(&layer) {
        return Err(format!("layer {name}: left out by --sandbox-without"));
    }
    let others: Vec<Layer> = Layer::ALL.into_iter().filter(|other| *other != layer).collect();
    match Prisoner::start(&ground.spawner, ground.plan(&others)).await {
        Ok(prisoner) if layer == Layer::Landlock => {
            Ok(format!("layer {name}: closes, version {} of its interface", prisoner.report.landlock_abi))
        }
        Ok(_) => Ok(format!("layer {name}: closes")),
        Err(PrisonerError::NotJailed { layer, error }) => {
            Err(format!("layer {name}: does NOT close ({}: {error})", layer.name()))
        }
        Err(error) => Err(format!("layer {name}: cannot be tried: {error}")),
    }
}

/// Whether there is a Podman for functions in containers. Nothing of the sandbox depends on it.
async fn containers(socket: Socket) -> String {
    match tokio::time::timeout(PODMAN, Client::new(socket).version()).await {
        Ok(Ok(version)) => format!("podman: {version}"),
        Ok(Err(error)) => format!("podman: not usable; functions in containers will fail: {error}"),
        Err(_) => "podman: no answer; functions in containers will fail".to_owned(),
    }
}

/// What the kernel says of itself. Notes only: what counts is tried.
fn machine() -> Vec<String> {
    let root = Uid::effective().is_root();
    let user =
        if root { "root: each worker becomes a user of its own" } else { "not root: workers share it" };
    vec![
        format!("kernel: {}", read("/proc/sys/kernel/osrelease")),
        format!("seccomp actions: {}", read("/proc/sys/kernel/seccomp/actions_avail")),
        format!("user: {} ({user})", Uid::effective()),
        format!("users mapped: {}", read("/proc/self/uid_map")),
        format!("control groups: {}", read("/proc/self/cgroup")),
        format!("control groups for workers: {}", groups()),
        format!("core dumps go to: {} (workers make none)", read("/proc/sys/kernel/core_pattern")),
        format!("yama ptrace scope: {}", read("/proc/sys/kernel/yama/ptrace_scope")),
        format!("speculation: {}", speculation()),
    ]
}

/// Whether workers get control groups here. They are held without, too.
fn groups() -> String {
    match Groups::open() {
        Ok(groups) => {
            groups.remover().remove();
            groups.told()
        }
        Err(error) => format!("none ({error}); the resource limits hold workers as well"),
    }
}

/// A small file on one line.
fn read(path: &str) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(", "),
        Err(error) => format!("unknown ({error})"),
    }
}

fn speculation() -> String {
    let status = read("/proc/self/status");
    let lines: Vec<&str> = status.split(", ").filter(|line| line.starts_with("Speculation")).collect();
    if lines.is_empty() { "unknown".to_owned() } else { lines.join(", ") }
}
