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

/// Workers that a tenant's runs may kill before it is slowed down.
const DEATHS: f64 = 10.0;

/// Deaths a second that are forgotten: of a tenant whose runs do nothing else, and of one with good runs between.
const FORGOTTEN: (f64, f64) = (1.0, 5.0);

/// Good runs between two deaths that make the difference.
const GOOD: u32 = 20;

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

    /// A run of this tenant has taken its worker along. Says whether the tenant is slowed down from here on, and was
    /// not before.
    pub(super) fn died(&mut self, tenant: &Tenant, now: Instant) -> bool {
        if self.conduct.len() >= MOST_COSTS {
            self.conduct.clear();
        }
        let conduct = self.conduct.entry(tenant.clone()).or_insert_with(|| Conduct::new(now));
        conduct.died(now)
    }

    /// A run of this tenant has left its worker whole.
    pub(super) fn ended_well(&mut self, tenant: &Tenant, now: Instant) {
        if !self.conduct.is_empty()
            && let Some(conduct) = self.conduct.get_mut(tenant)
        {
            conduct.ended_well(now);
        }
    }

    /// Whether this tenant is to wait with fresh workers, because of what became of the last ones.
    pub(super) fn is_slowed(&mut self, tenant: &Tenant, now: Instant) -> bool {
        let Some(conduct) = self.conduct.get_mut(tenant) else { return false };
        conduct.forget(now);
        if conduct.left >= DEATHS {
            self.conduct.remove(tenant);
            return false;
        }
        conduct.left < 1.0
    }
}

/// What a tenant's runs do to their workers.
#[derive(Debug, Clone, Copy)]
struct Conduct {
    /// Deaths that it has left, below 1 when it must wait.
    left: f64,
    at: Instant,
    /// Good runs since the last death, and before it.
    good: [u32; 2],
}

impl Conduct {
    fn new(now: Instant) -> Conduct {
        Conduct { left: DEATHS, at: now, good: [0, GOOD] }
    }

    fn forget(&mut self, now: Instant) {
        let rate = if self.good.iter().any(|good| *good >= GOOD) { FORGOTTEN.1 } else { FORGOTTEN.0 };
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate).min(DEATHS);
        self.at = now;
    }

    fn died(&mut self, now: Instant) -> bool {
        self.forget(now);
        let before = self.left;
        // However many workers it had at once, it is forgiven within seconds.
        self.left = (self.left - 1.0).max(-DEATHS);
        self.good = [0, self.good[0]];
        before >= 1.0 && self.left < 1.0
    }

    fn ended_well(&mut self, now: Instant) {
        if self.good[0] < GOOD {
            // What has passed counts as it was.
            self.forget(now);
            self.good[0] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{DEATHS, GOOD, Rights};
    use crate::invocation::Tenant;

    /// Fresh workers that a tenant gets in ten seconds, asking each millisecond, where each one dies at once after
    /// so many good runs.
    fn taken(good: u32, once: bool, alone: bool) -> usize {
        let (tenant, start): (Tenant, _) = ("b".into(), Instant::now());
        let mut rights = Rights::default();
        let mut count = 0;
        for at in 0..10_000 {
            let now = start + Duration::from_millis(at);
            if rights.take(&tenant, once, alone, now) {
                count += 1;
                (0..good).for_each(|_| rights.ended_well(&tenant, now));
                rights.died(&tenant, now);
            }
        }
        count
    }

    #[test]
    fn who_kills_workers_gets_them_more_slowly() {
        assert!((15..=21).contains(&taken(0, false, false)), "{}", taken(0, false, false));
        assert!((50..=61).contains(&taken(GOOD, false, false)), "{}", taken(GOOD, false, false));
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
        let deaths = DEATHS as usize;
        let told: Vec<bool> = (0..deaths * 2).map(|_| rights.died(&tenant, start)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert!(told[deaths - 1], "{told:?}");
        assert!(rights.is_slowed(&tenant, start) && !rights.is_slowed(&other, start));
        assert!(rights.take(&other, false, false, start), "another tenant pays for nothing");
        // In debt by ten, and one more gives a worker.
        assert!(!rights.take(&tenant, false, false, start + Duration::from_secs(10)));
        assert!(rights.take(&tenant, false, false, start + Duration::from_secs(12)));
        assert!(!rights.is_slowed(&tenant, start + Duration::from_secs(60)));
        assert!(rights.conduct.is_empty(), "what is forgotten takes no room");
    }
}
