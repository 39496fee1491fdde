//! Who may take a fresh worker, and how often: each costs a process, which the other tenants pay for as well.
//!
//! Takes what became of workers, gives yes or no. Pure; no clock, no process. Must never slow a tenant down that
//! harms nobody else: where it is alone, nothing is held against it.

use std::collections::HashMap;
use std::time::Instant;

use super::MOST_COSTS;
use crate::invocation::Tenant;
use crate::schedule::Bucket;

/// Fresh workers that a tenant may take: a second, and at once.
const FRESH: (f64, f64) = (50.0, 100.0);

/// The same where each run has a worker to itself.
const FRESH_ONCE: (f64, f64) = (2000.0, 500.0);

/// Workers that a tenant's runs may kill: a second, and at once.
const DEATHS: (f64, f64) = (1.0, 5.0);

/// What one costs that had served well, to this many good runs or more: a tenant whose runs fail now and then is
/// let be.
const GOOD: (u64, f64) = (20, 0.2);

/// The text of a message that ended for want of a worker, with why that is if its tenant is slowed down.
pub(super) fn reason(what: &str, slowed: bool) -> String {
    let why = ": its tenant's runs keep killing their workers, so fresh ones come more slowly";
    format!("{what}{}", if slowed { why } else { "" })
}

/// What tenants may take.
#[derive(Debug, Default)]
pub(super) struct Rights {
    fresh: HashMap<Tenant, Bucket>,
    /// Of tenants whose runs have killed workers lately: of few or none.
    conduct: HashMap<Tenant, Conduct>,
}

impl Rights {
    /// Takes the right to a fresh worker. `once`: each run has one to itself, so that a death costs no more than
    /// a run. `alone`: no other tenant is served.
    pub(super) fn take(&mut self, tenant: &Tenant, once: bool, alone: bool, now: Instant) -> bool {
        if !once && !alone && self.is_slowed(tenant, now) {
            return false;
        }
        let (rate, most) = if once { FRESH_ONCE } else { FRESH };
        if self.fresh.len() >= MOST_COSTS {
            self.fresh.clear();
        }
        let bucket = self.fresh.entry(tenant.clone()).or_insert_with(|| Bucket::new(now, most));
        bucket.take(now, rate, most)
    }

    /// A run of this tenant has taken its worker along, which had served so many. Says whether the tenant is slowed
    /// down from here on, and was not before.
    pub(super) fn died(&mut self, tenant: &Tenant, served: u64, now: Instant) -> bool {
        if self.conduct.len() >= MOST_COSTS {
            self.conduct.clear();
        }
        let conduct = self.conduct.entry(tenant.clone()).or_insert(Conduct { left: DEATHS.1, at: now });
        conduct.forget(now);
        let before = conduct.left;
        // However many workers it had at once, it is forgiven within seconds.
        conduct.left = (before - if served < GOOD.0 { 1.0 } else { GOOD.1 }).max(-DEATHS.1);
        before >= 1.0 && conduct.left < 1.0
    }

    /// Whether this tenant is to wait with fresh workers, because of what became of the last ones.
    pub(super) fn is_slowed(&mut self, tenant: &Tenant, now: Instant) -> bool {
        let Some(conduct) = self.conduct.get_mut(tenant) else { return false };
        conduct.forget(now);
        if conduct.left >= DEATHS.1 {
            self.conduct.remove(tenant);
            return false;
        }
        conduct.left < 1.0
    }
}

/// What a tenant's runs have done to their workers.
#[derive(Debug, Clone, Copy)]
struct Conduct {
    /// Deaths that it has left, below 1 when it must wait.
    left: f64,
    at: Instant,
}

impl Conduct {
    fn forget(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * DEATHS.0).min(DEATHS.1);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{GOOD, Rights};
    use crate::invocation::Tenant;

    /// Fresh workers that a tenant gets in ten seconds, asking each millisecond, where each one dies at once after
    /// so many good runs.
    fn taken(good: u64, once: bool, alone: bool) -> usize {
        let (tenant, start): (Tenant, _) = ("b".into(), Instant::now());
        let mut rights = Rights::default();
        let mut count = 0;
        for at in 0..10_000 {
            let now = start + Duration::from_millis(at);
            if rights.take(&tenant, once, alone, now) {
                count += 1;
                rights.died(&tenant, good, now);
            }
        }
        count
    }

    #[test]
    fn who_kills_workers_gets_them_more_slowly() {
        assert!((13..=15).contains(&taken(0, false, false)), "{}", taken(0, false, false));
        assert!((65..=75).contains(&taken(GOOD.0, false, false)), "{}", taken(GOOD.0, false, false));
    }

    #[test]
    fn nothing_is_held_against_who_is_alone_or_pays_with_each_run() {
        assert!(taken(0, false, true) > 500);
        assert!(taken(0, true, false) > 5000);
    }

    #[test]
    fn slowing_down_is_told_once_and_passes() {
        let (tenant, other, start): (Tenant, Tenant, _) = ("b".into(), "a".into(), Instant::now());
        let mut rights = Rights::default();
        let told = (0..20).map(|_| rights.died(&tenant, 0, start)).enumerate().filter(|(_, told)| *told);
        assert_eq!(told.map(|(at, _)| at).collect::<Vec<_>>(), [4]);
        assert!(rights.is_slowed(&tenant, start) && !rights.is_slowed(&other, start));
        assert!(rights.take(&other, false, false, start), "another tenant pays for nothing");
        // In debt by five, and one more gives a worker.
        assert!(!rights.take(&tenant, false, false, start + Duration::from_millis(5900)));
        assert!(rights.take(&tenant, false, false, start + Duration::from_millis(6100)));
        assert!(!rights.is_slowed(&tenant, start + Duration::from_secs(60)));
        assert!(rights.conduct.is_empty(), "what is forgotten takes no room");
    }
}
