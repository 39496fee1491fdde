//! Whose a container is: labels that tell whether its broker still lives.
//!
//! Takes labels and a view of the processes, gives a judgement. Several brokers on one machine share one
//! Podman; none removes what another still uses.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The label that names the broker: `BOOT:NAMESPACE:PID:START`.
pub const OWNER: &str = "msgscript.broker";

/// The label that names the time after which nobody uses the container, in seconds since 1970.
pub const UNTIL: &str = "msgscript.until";

/// How long after its run a container may still be in use: for its removal.
const GRACE: Duration = Duration::from_secs(60);

/// A process among all that ever were, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// This process.
    #[must_use]
    pub fn this() -> Owner {
        let pid = std::process::id();
        Owner(format!("{}:{pid}:{}", ground(), start(pid).unwrap_or_default()))
    }

    /// Labels for a container of this process whose run takes at most so long.
    #[must_use]
    pub fn labels(&self, wall: Duration) -> BTreeMap<String, String> {
        let until = (since_1970() + wall + GRACE).as_secs().to_string();
        BTreeMap::from([(OWNER.to_owned(), self.0.clone()), (UNTIL.to_owned(), until)])
    }
}

/// Whether a container with these labels is nobody's any more.
#[must_use]
pub fn is_abandoned(labels: &HashMap<String, String>) -> bool {
    abandoned(labels, &ground(), since_1970(), start)
}

fn abandoned(
    labels: &HashMap<String, String>,
    ground: &str,
    now: Duration,
    start: impl Fn(u32) -> Option<u64>,
) -> bool {
    let until = labels.get(UNTIL).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    // Long over, whoever it was: also for brokers whose processes we cannot see.
    if until.is_some_and(|until| until < now) {
        return true;
    }
    let owner = labels.get(OWNER).and_then(|owner| owner.strip_prefix(ground)?.strip_prefix(':'));
    let Some((pid, began)) = owner.and_then(|owner| owner.split_once(':')) else { return false };
    match (pid.parse(), began.parse::<u64>()) {
        (Ok(pid), Ok(began)) => start(pid) != Some(began),
        _ => false,
    }
}

/// Where process ids mean the same: this boot, this namespace.
fn ground() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("{}:{digits}", boot.trim())
}

/// When a process started, in clock ticks since boot; `None` if there is none.
fn start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have anything in it: state is the first field, start the twentieth.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(owner: &str, until: u64) -> HashMap<String, String> {
        HashMap::from([(OWNER.to_owned(), owner.to_owned()), (UNTIL.to_owned(), until.to_string())])
    }

    #[test]
    fn only_what_nobody_uses_is_abandoned() {
        let judge = |owner: &str, until| {
            abandoned(&labels(owner, until), "boot:1", Duration::from_secs(100), |pid| {
                (pid == 7).then_some(70)
            })
        };
        assert!(!judge("boot:1:7:70", 200), "it lives");
        assert!(judge("boot:1:7:71", 200), "another process of that number");
        assert!(judge("boot:1:8:70", 200), "gone");
        assert!(!judge("boot:2:8:70", 200), "elsewhere: who knows");
        assert!(!judge("other:1:8:70", 200));
        assert!(judge("boot:2:8:70", 99), "over");
        assert!(!judge("nonsense", 200));
        assert!(!abandoned(&HashMap::new(), "boot:1", Duration::ZERO, |_| None));
    }

    #[test]
    fn this_process_lives() {
        let own = Owner::this().labels(Duration::from_secs(1));
        assert!(!is_abandoned(&own.into_iter().collect()));
        assert!(start(std::process::id()).is_some_and(|ticks| ticks > 0));
    }
}
