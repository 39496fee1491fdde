//! Looks at a worker from outside, after its greeting and before it is trusted with anything.
//!
//! Takes what the kernel says of the process, gives whether its jail is closed. What the worker says of
//! itself is believed only where the kernel hides it from us, and only because no tenant's byte has
//! reached the worker yet.

use std::fs;
use std::io::{self, Read};
use std::sync::LazyLock;

use msgscript_proto::VERSION;
use msgscript_proto::message::Setup;
use msgscript_proto::sandbox::{Layer, Report};

/// `nobody`: what a worker becomes where its own user cannot be mapped.
const NOBODY: u32 = 65534;

/// The capability to empty the bounding set.
const CAP_SETPCAP: u32 = 8;

/// How much could be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Status and descriptors.
    All,
    /// The status; descriptors of a process that may not be traced are shown to root only.
    Status,
}

/// Why a worker is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is of another build than the broker.
    #[error("the worker speaks version {0}, not {VERSION}: install broker and worker of one build")]
    Version(u32),
    /// A layer is open.
    #[error("the layer {} of worker {pid} is not closed: {what}", layer.name())]
    Open {
        /// The layer.
        layer: Layer,
        /// The process.
        pid: u32,
        /// What was seen.
        what: String,
    },
    /// `/proc` is mounted so that it hides processes that may not be traced (`proc(5)`, `hidepid`), and a worker
    /// is one.
    #[error(
        "/proc hides worker {0}, so its jail cannot be checked: mount /proc without `hidepid` for the broker \
         (in a unit of systemd: no `ProtectProc=`)"
    )]
    Hidden(u32),
    /// The kernel does not say.
    #[error("cannot look at worker {pid}: {source}")]
    Unseen {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Checks a worker that has greeted with this version and report. The process must be alive or unreaped.
///
/// # Errors
/// When a layer that the set-up asks for is open, or cannot be seen though it should.
pub fn verify(pid: u32, setup: &Setup, version: u32, report: &Report) -> Result<Seen, VerifyError> {
    if version != VERSION {
        return Err(VerifyError::Version(version));
    }
    let check = Check { pid, setup };
    check.report(report)?;
    let status = match status_of(&pid.to_string()) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(VerifyError::Hidden(pid)),
        Err(source) => return Err(VerifyError::Unseen { pid, source }),
    };
    check.status(&status)?;
    check.descriptors()
}

struct Check<'a> {
    pid: u32,
    setup: &'a Setup,
}

impl Check<'_> {
    fn has(&self, layer: Layer) -> bool {
        !self.setup.without.contains(&layer)
    }

    /// An error unless the condition holds or the layer is left out.
    fn require(&self, layer: Layer, holds: bool, what: impl FnOnce() -> String) -> Result<(), VerifyError> {
        if holds || !self.has(layer) {
            return Ok(());
        }
        Err(VerifyError::Open { layer, pid: self.pid, what: what() })
    }

    fn report(&self, report: &Report) -> Result<(), VerifyError> {
        for layer in Layer::ALL {
            self.require(layer, report.layers.contains(&layer), || "it says so itself".to_owned())?;
        }
        self.require(Layer::Landlock, report.landlock_abi > 0, || "it names no version".to_owned())
    }

    fn status(&self, status: &str) -> Result<(), VerifyError> {
        let line = |name: &str| field(status, name).unwrap_or("missing").to_owned();
        let is = |layer, name: &str, wanted: &str| {
            let found = line(name);
            self.require(layer, found == wanted, || format!("{name} is {found}, not {wanted}"))
        };
        is(Layer::Seccomp, "Seccomp", "2")?;
        is(Layer::NoNewPrivs, "NoNewPrivs", "1")?;
        is(Layer::Landlock, "Threads", "1")?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            is(Layer::Uid, set, NO_CAPABILITY)?;
        }
        if may_empty_bounding_set() {
            is(Layer::Uid, "CapBnd", NO_CAPABILITY)?;
        }
        if let Some(uid) = self.setup.uid {
            for name in ["Uid", "Gid"] {
                let found = line(name);
                let own = found.split_whitespace().all(|id| id == uid.to_string());
                let nobody = found.split_whitespace().all(|id| id == NOBODY.to_string());
                self.require(Layer::Uid, own || nobody, || format!("{name} is {found}, not {uid}"))?;
            }
            is(Layer::Uid, "Groups", "")?;
        }
        Ok(())
    }

    fn descriptors(&self) -> Result<Seen, VerifyError> {
        let folder = match fs::read_dir(format!("/proc/{}/fd", self.pid)) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Seen::Status),
            Err(source) => return Err(VerifyError::Unseen { pid: self.pid, source }),
        };
        let mut open: Vec<String> =
            folder.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        open.sort();
        self.require(Layer::Rlimits, open == ["0", "1", "2"], || format!("descriptors {open:?} are open"))?;
        Ok(Seen::All)
    }
}

/// An empty set, as `/proc` writes it.
const NO_CAPABILITY: &str = "0000000000000000";

/// What `/proc/PID/status` says of this, trimmed.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What `/proc` says of a process, asked for in one piece: a file without a size is read by many small reads else.
fn status_of(process: &str) -> io::Result<String> {
    let mut status = String::with_capacity(4096);
    fs::File::open(format!("/proc/{process}/status"))?.read_to_string(&mut status)?;
    Ok(status)
}

/// Whether a worker that this process starts can empty its bounding set. It never gains or loses that right.
fn may_empty_bounding_set() -> bool {
    static MAY: LazyLock<bool> = LazyLock::new(|| {
        field(&status_of("self").unwrap_or_default(), "CapEff")
            .and_then(|set| u64::from_str_radix(set, 16).ok())
            .is_some_and(|set| set >> CAP_SETPCAP & 1 == 1)
    });
    *MAY
}

#[cfg(test)]
mod tests {
    use super::*;
    use msgscript_proto::message::Engine;

    const CLOSED: &str = "Name:\tmsgscript-worke\nUid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nGroups:\t \nThreads:\t1\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t1\n";

    fn setup(without: Vec<Layer>) -> Setup {
        Setup {
            version: VERSION,
            engine: Engine::Lua,
            memory: 0,
            without,
            landlock_abi: None,
            uid: Some(7),
            paths: Vec::new(),
            plugins: Vec::new(),
        }
    }

    fn open_layer(status: &str, without: Vec<Layer>) -> Option<Layer> {
        match (Check { pid: 1, setup: &setup(without) }).status(status) {
            Ok(()) => None,
            Err(VerifyError::Open { layer, .. }) => Some(layer),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_closed_worker_passes() {
        assert_eq!(open_layer(CLOSED, vec![]), None);
    }

    #[test]
    fn each_open_layer_is_named_unless_left_out() {
        for (from, to, layer) in [
            ("Seccomp:\t2", "Seccomp:\t0", Layer::Seccomp),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", Layer::NoNewPrivs),
            ("Threads:\t1", "Threads:\t2", Layer::Landlock),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000000400", Layer::Uid),
            ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7", Layer::Uid),
            ("Groups:\t ", "Groups:\t0 ", Layer::Uid),
            ("Seccomp:\t2\n", "", Layer::Seccomp),
        ] {
            let status = CLOSED.replace(from, to);
            assert_ne!(status, CLOSED);
            assert_eq!(open_layer(&status, vec![]), Some(layer), "{to}");
            assert_eq!(open_layer(&status, vec![layer]), None, "{to}");
        }
    }
}
