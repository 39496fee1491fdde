//! Which control groups the kernel says there are, and which process is which. Pure, but for reading `/proc`.

use std::path::{Path, PathBuf};

/// What limits, and by which files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    /// Memory and processes, version 2.
    V2,
    /// Memory, version 1.
    MemoryV1,
    /// Processes, version 1.
    PidsV1,
}

impl Controller {
    /// For people.
    pub(super) fn told(self) -> &'static str {
        match self {
            Controller::V2 => "memory and pids (version 2)",
            Controller::MemoryV1 => "memory (version 1)",
            Controller::PidsV1 => "pids (version 1)",
        }
    }
}

/// A controller and the broker's own group in its hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) controller: Controller,
    pub(super) folder: PathBuf,
}

/// The controllers and where the process is in each, of `/proc/self/cgroup` and `/proc/self/mountinfo`.
/// On hybrid machines a controller is in one hierarchy only: what version 1 has, version 2 lacks.
pub(super) fn controllers(own: &str, mounts: &str) -> Vec<Found> {
    let of_v1 = |name: &str, controller| {
        let place = place(own, |list| list.split(',').any(|known| known == name))?;
        let folder = mounts.lines().find_map(|line| {
            let mount = Mount::read(line)?;
            (mount.kind == "cgroup" && mount.options.split(',').any(|known| known == name))
                .then(|| mount.folder(place))?
        })?;
        Some(Found { controller, folder })
    };
    let v1: Vec<Found> = [("memory", Controller::MemoryV1), ("pids", Controller::PidsV1)]
        .into_iter()
        .filter_map(|(name, controller)| of_v1(name, controller))
        .collect();
    if !v1.is_empty() {
        return v1;
    }
    let place = place(own, str::is_empty);
    let v2 = mounts.lines().find_map(|line| {
        let mount = Mount::read(line)?;
        (mount.kind == "cgroup2").then(|| mount.folder(place?))?
    });
    v2.map(|folder| Found { controller: Controller::V2, folder }).into_iter().collect()
}

/// The path of the process in the hierarchy whose controllers pass the test (`NUMBER:CONTROLLERS:PATH`).
fn place(own: &str, test: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        test(controllers).then_some(path)
    })
}

/// A line of `mountinfo`: `ID PARENT DEVICE ROOT POINT OPTIONS [FIELD…] - KIND SOURCE OPTIONS`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn read(line: &str) -> Option<Mount<'_>> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        let (root, point) = (front.next()?, front.next()?);
        let (kind, options) = (back.next()?, back.nth(1)?);
        Some(Mount { root, point, kind, options })
    }

    /// The folder of a group, if it is beneath what is mounted. Points are plain paths but for escaped spaces,
    /// which no system has here.
    fn folder(&self, place: &str) -> Option<PathBuf> {
        let below = Path::new(place).strip_prefix(self.root).ok()?;
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        let is_plain = !self.point.contains('\\') && below.components().all(plain);
        is_plain.then(|| Path::new(self.point).components().chain(below.components()).collect())
    }
}

/// When a process started, in clock ticks since the machine did.
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the broker of a group named so (`PID-STARTED`) still runs. What is not named so is not ours, so it counts as
/// alive.
pub(super) fn is_alive(name: &str) -> bool {
    let Some((pid, start)) = name.split_once('-') else { return true };
    match (pid.parse(), start.parse()) {
        (Ok(pid), Ok(start)) => started(pid) == Some(start),
        _ => true,
    }
}
