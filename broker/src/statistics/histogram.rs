//! A histogram of durations: four steps to each doubling, from 16 µs to two minutes. Pure.

use std::time::Duration;

/// Doublings that are told apart.
const DOUBLINGS: usize = 23;

/// Durations below 2^4 µs are all alike.
const FIRST: u32 = 4;

/// Steps within a doubling.
const STEPS: usize = 4;

/// Durations, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Below the first doubling, each step, beyond the last.
    counts: [u64; DOUBLINGS * STEPS + 2],
    sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; DOUBLINGS * STEPS + 2], sum: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        self.counts[place(took)] += 1;
        self.sum += took;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, more)| *mine += more);
        self.sum += other.sum;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// What this share of them (0 to 1) did not exceed, to within a quarter; `None` if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper(place));
            }
        }
        None
    }

    /// Cumulative counts: each doubling, and how many did not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        (0..=DOUBLINGS).scan((0, 0), |(seen, place), doubling| {
            while *place <= doubling * STEPS {
                *seen += self.counts[*place];
                *place += 1;
            }
            Some((upper(doubling * STEPS), *seen))
        })
    }
}

/// Where a duration is counted.
fn place(took: Duration) -> usize {
    // Rounded up, so that what is exactly at a bound is below it.
    let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).saturating_sub(1);
    let Some(doubling) = micros.checked_ilog2().and_then(|log| log.checked_sub(FIRST)) else { return 0 };
    let step = (micros >> (doubling + FIRST - 2)) & 3;
    let place = doubling as usize * STEPS + usize::try_from(step).unwrap_or(0) + 1;
    place.min(DOUBLINGS * STEPS + 1)
}

/// The longest duration that is counted there; of the last place, the shortest.
fn upper(place: usize) -> Duration {
    let place = place.min(DOUBLINGS * STEPS);
    let base = 1_u64 << (FIRST as usize + place / STEPS);
    Duration::from_micros(base + base / STEPS as u64 * (place % STEPS) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_doublings() {
        let mut histogram = Histogram::default();
        for micros in [1, 16, 17, 20, 32, 33, 134_217_728, 134_217_729] {
            histogram.add(Duration::from_micros(micros));
        }
        let all: Vec<_> = histogram.cumulative().collect();
        assert_eq!((all.len(), all[0]), (24, (Duration::from_micros(16), 2)));
        assert_eq!((all[1], all[2]), ((Duration::from_micros(32), 5), (Duration::from_micros(64), 6)));
        assert_eq!(all[23], (Duration::from_micros(134_217_728), 7));
        assert_eq!(histogram.count(), 8);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_near(mut nanos in proptest::collection::vec(16_000_u64..100_000_000_000, 1..200), share in 0.01..1.0_f64) {
            let mut histogram = Histogram::default();
            nanos.iter().for_each(|nanos| histogram.add(Duration::from_nanos(*nanos)));
            nanos.sort_unstable();
            let rank = ((nanos.len() as f64 * share).ceil() as usize).clamp(1, nanos.len());
            let exact = Duration::from_nanos(nanos[rank - 1]);
            let found = histogram.quantile(share).unwrap();
            prop_assert!(found >= exact && found <= exact.mul_f64(1.26), "{:?} {:?}", exact, found);
            let sum: u64 = nanos.iter().sum();
            prop_assert_eq!(histogram.sum(), Duration::from_nanos(sum));
        }

        #[test]
        fn any_duration_has_a_place(nanos: u64) {
            let took = Duration::from_nanos(nanos);
            let at = place(took);
            prop_assert!(at == DOUBLINGS * STEPS + 1 || took <= upper(at));
            prop_assert!(at == 0 || at > DOUBLINGS * STEPS || took > upper(at - 1));
        }
    }
}
