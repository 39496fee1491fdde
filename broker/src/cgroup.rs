//! Control groups: a limit of memory and processes around each worker, behind its own resource limits.
//!
//! Takes what the kernel says of the broker's own groups, gives each worker a leaf of its own where the broker
//! may make some; version 2, or the controllers of version 1 wherever each is mounted. A layer on top:
//! where there is none, workers are held as well by their other limits, and it is told once. Must never
//! touch a group that is not named as ours.

mod find;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use find::{Controller, Found};

/// What the names of our groups begin with; the broker's process and the time of its start follow.
const PREFIX: &str = "msgscript-";

/// Leaves that may be on their way back.
const RETURNING: usize = 4096;

/// Why workers get no control groups.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The kernel's lists cannot be read.
    #[error("the kernel does not say which control groups there are: {0}")]
    Unknown(#[source] io::Error),
    /// Neither memory nor processes can be limited.
    #[error("no controller of memory or processes is mounted for this process")]
    NoController,
    /// The groups belong to somebody else.
    #[error("{} is not ours to divide: {source}", path.display())]
    NotOurs {
        /// The broker's own group.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a leaf holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes: all that the processes touch, and what the kernel keeps for them.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// One controller's part of our groups.
#[derive(Debug, Clone)]
struct Part {
    controller: Controller,
    /// The broker's own folder in it.
    folder: PathBuf,
}

/// The broker's groups. One thread hands out leaves.
#[derive(Debug)]
pub struct Groups {
    parts: Vec<Part>,
    /// Leaves that were made and are free.
    free: Vec<usize>,
    made: usize,
    back: Receiver<usize>,
    give_back: SyncSender<usize>,
}

impl Groups {
    /// Makes the broker's own group in each hierarchy that it may write to; removes those of brokers that are gone.
    ///
    /// # Errors
    /// When none can be had.
    pub fn open() -> Result<Groups, GroupError> {
        let read = |path: &str| fs::read_to_string(path).map_err(GroupError::Unknown);
        let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
        Groups::open_among(find::controllers(&own, &mounts))
    }

    fn open_among(found: Vec<Found>) -> Result<Groups, GroupError> {
        let name = format!("{PREFIX}{}", own_name());
        let (mut parts, mut refused) = (Vec::new(), None);
        for Found { controller, folder } in found {
            sweep(&folder);
            match make(controller, &folder, &name) {
                Ok(folder) => parts.push(Part { controller, folder }),
                Err(source) => refused = Some(GroupError::NotOurs { path: folder, source }),
            }
        }
        if parts.is_empty() {
            return Err(refused.unwrap_or(GroupError::NoController));
        }
        let (give_back, back) = sync_channel(RETURNING);
        Ok(Groups { parts, free: Vec::new(), made: 0, back, give_back })
    }

    /// What is limited by them, for people: `memory (v1), pids (v1)`.
    #[must_use]
    pub fn told(&self) -> String {
        let one = |part: &Part| part.controller.told().to_owned();
        self.parts.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// What removes our groups at the end, when no process is left in them.
    #[must_use]
    pub fn remover(&self) -> Remover {
        Remover(self.parts.iter().map(|part| part.folder.clone()).collect())
    }

    /// A leaf with these limits. One that was used before serves again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn leaf(&mut self, limits: Limits) -> io::Result<Leaf> {
        self.free.extend(self.back.try_iter());
        let number = self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made
        });
        let parts = self.parts.iter().map(|part| part.leaf(number)).collect();
        let mut leaf = Leaf { parts, number, kills: 0, give_back: self.give_back.clone() };
        for part in &leaf.parts {
            fs::create_dir(&part.folder).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })?;
            part.limit(limits)?;
        }
        leaf.kills = leaf.count_kills();
        Ok(leaf)
    }
}

/// One worker's group. Free for the next when it is dropped: not before the process has ended.
#[derive(Debug)]
pub struct Leaf {
    parts: Vec<Part>,
    number: usize,
    /// Processes that the kernel had killed in it for want of memory before.
    kills: u64,
    give_back: SyncSender<usize>,
}

impl Leaf {
    /// Puts a process in.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn enter(&self, pid: u32) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| fs::write(part.folder.join("cgroup.procs"), pid.to_string()))
    }

    /// Whether the kernel killed its process for want of memory.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        self.count_kills() > self.kills
    }

    fn count_kills(&self) -> u64 {
        self.parts.iter().filter_map(Part::kills).max().unwrap_or(0)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Nobody takes it any more at the end; one that finds no room is removed with all others.
        let _ = self.give_back.try_send(self.number);
    }
}

impl Part {
    fn leaf(&self, number: usize) -> Part {
        Part { controller: self.controller, folder: self.folder.join(format!("worker-{number}")) }
    }

    fn limit(&self, limits: Limits) -> io::Result<()> {
        let write = |file: &str, value: u64| fs::write(self.folder.join(file), value.to_string());
        let Limits { memory, processes } = limits;
        match self.controller {
            Controller::MemoryV1 => {
                write("memory.limit_in_bytes", memory)?;
                // Not every kernel counts swap.
                let _ = write("memory.memsw.limit_in_bytes", memory);
                Ok(())
            }
            Controller::PidsV1 => write("pids.max", processes),
            Controller::V2 => {
                write("memory.max", memory)?;
                let _ = write("memory.swap.max", 0);
                // What is killed is killed whole: a command may be several processes.
                let _ = write("memory.oom.group", 1);
                write("pids.max", processes)
            }
        }
    }

    /// Kills for want of memory so far.
    fn kills(&self) -> Option<u64> {
        let file = match self.controller {
            Controller::MemoryV1 => "memory.oom_control",
            Controller::V2 => "memory.events",
            Controller::PidsV1 => return None,
        };
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }
}

/// Removes our groups.
#[derive(Debug, Clone)]
pub struct Remover(Vec<PathBuf>);

impl Remover {
    /// Removes what has no process any more; the rest is the next start's to remove.
    pub fn remove(&self) {
        self.0.iter().for_each(|folder| remove_tree(folder));
    }
}

/// Removes a group and those below it, as far as they are empty.
fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // The kernel refuses where a process is left.
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Makes the broker's own folder beneath its group.
fn make(controller: Controller, folder: &Path, name: &str) -> io::Result<PathBuf> {
    if controller == Controller::V2 {
        open_v2(folder)?;
    }
    let own = folder.join(name);
    fs::create_dir(&own)?;
    if controller == Controller::V2
        && let Err(error) = fs::write(own.join("cgroup.subtree_control"), ENABLE)
    {
        let _ = fs::remove_dir(&own);
        return Err(error);
    }
    Ok(own)
}

const ENABLE: &str = "+memory +pids";

/// Where the broker goes in version 2: a group with processes cannot be divided.
const ASIDE: &str = "broker";

/// Has a group of version 2 divided. A group that holds the broker only is left by it first, for one below.
fn open_v2(folder: &Path) -> io::Result<()> {
    let enable = || fs::write(folder.join("cgroup.subtree_control"), ENABLE);
    match enable() {
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
        other => return other,
    }
    let own = std::process::id().to_string();
    let inside = fs::read_to_string(folder.join("cgroup.procs"))?;
    if inside.split_whitespace().any(|pid| pid != own) {
        return Err(io::Error::other("other processes are in it"));
    }
    let aside = folder.join(ASIDE);
    fs::create_dir(&aside).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    fs::write(aside.join("cgroup.procs"), own)?;
    enable()
}

/// Removes the groups of brokers that are gone.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(whose) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !find::is_alive(whose) {
            remove_tree(&entry.path());
        }
    }
}

/// This process and the time of its start: numbers of processes come again.
fn own_name() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", find::started(pid).unwrap_or(0))
}

#[cfg(test)]
mod tests;
