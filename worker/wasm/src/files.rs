//! The folders that a run has: the scratch folder, in memory and gone with the run, and granted folders of the host,
//! by host calls. The same tree, limits and policy as Lua's.
//!
//! [`crate::preview1`] and [`crate::preview2`] are two ways to ask for the same things here. Nothing here touches a
//! file system.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::Limits;
use msgscript_worker::lua::Outside;
use msgscript_worker::scratch::{Calls, NodeKind, Scratch, Stat};
use msgscript_worker::serve::Broker;

/// The way to the broker.
#[derive(Debug, Clone)]
pub struct Way(Arc<Mutex<Broker>>);

impl Calls for Way {
    fn call(&self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        // One thread: nobody can have died with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).call(request, reply);
    }
}

/// The folders of one run. Copies share them.
#[derive(Debug, Clone)]
pub struct Files(Arc<Mutex<Scratch<Way>>>);

impl Files {
    /// An empty scratch folder, and what is granted.
    pub fn new(limits: &Limits, outside: Arc<Mutex<Broker>>) -> Files {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut scratch = Scratch::new(size(limits.memory));
        scratch.set_limits(size(limits.memory), size(limits.scratch), limits.scratch_files as usize);
        Files(Arc::new(Mutex::new(if limits.folders { scratch.with_way(Way(outside)) } else { scratch })))
    }

    /// The tree, to act on. To be let go at once.
    pub fn tree(&self) -> MutexGuard<'_, Scratch<Way>> {
        // One thread: nobody can have died with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of what holds a file or folder: the scratch folder is one device, the host another.
pub fn device(stat: &Stat) -> u64 {
    u64::from(stat.host) + 1
}

/// Nanoseconds since 1970, as far as a double has them.
pub fn nanos(seconds: f64) -> u64 {
    let whole = seconds.max(0.0).trunc();
    // Both saturate.
    (whole as u64).saturating_mul(1_000_000_000).saturating_add(((seconds - whole).max(0.0) * 1e9) as u64)
}

/// Seconds since 1970.
pub fn seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9
}

/// Whether it is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    stat.kind == NodeKind::Directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_size() {
        for (time, expected) in [(0.0, 0), (1.5, 1_500_000_000), (-1.0, 0), (f64::NAN, 0), (1e300, u64::MAX)]
        {
            assert_eq!(nanos(time), expected, "{time}");
        }
        assert_eq!(nanos(seconds(1_700_000_000_000_000_000)), 1_700_000_000_000_000_000);
    }
}
