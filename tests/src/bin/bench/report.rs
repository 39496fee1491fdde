//! What a load came to: one JSON object.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// What a load came to.
pub struct Report {
    began: Instant,
    /// Latency of each request, in tenths of a microsecond.
    tenths: Vec<u32>,
}

impl Report {
    /// Starts the clock.
    pub fn begin() -> Report {
        Report::since(Instant::now())
    }

    /// As one that began then.
    pub fn since(began: Instant) -> Report {
        Report { began, tenths: Vec::with_capacity(1 << 16) }
    }

    /// Since when.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// One request was answered.
    pub fn add(&mut self, latency: Duration) {
        self.tenths.push(u32::try_from(latency.as_nanos() / 100).unwrap_or(u32::MAX));
    }

    /// Takes over what another one has seen.
    pub fn join(&mut self, other: Report) {
        self.tenths.extend(other.tenths);
    }

    /// Prints the rate and the quantiles of latency in microseconds, as JSON.
    ///
    /// # Errors
    /// When nothing was answered.
    pub fn print(mut self) -> anyhow::Result<()> {
        ensure!(!self.tenths.is_empty(), "no request was answered");
        let seconds = self.elapsed().as_secs_f64();
        self.tenths.sort_unstable();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list of measurements"
        )]
        let at = |share: f64| {
            let index = (self.tenths.len() as f64 * share) as usize;
            f64::from(self.tenths[index.min(self.tenths.len() - 1)]) / 10.0
        };
        #[allow(clippy::cast_precision_loss, reason = "a count for a report")]
        let rate = self.tenths.len() as f64 / seconds;
        println!(
            "{{\"rate\":{rate:.1},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"requests\":{}}}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            self.tenths.len()
        );
        Ok(())
    }
}
