//! What a script says of the JetStream stream that triggers it. Pure: header values in, settings out.

use std::rc::Rc;
use std::time::Duration;

use crate::units;

/// Deliveries after the first, unless the script says how many.
const RETRIES: u32 = 3;

/// The most retries that may be asked for.
const MAX_RETRIES: u32 = 1000;

/// Waits before the retries, unless the script says which.
const BACKOFF: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// The most waits in a list.
const MAX_WAITS: usize = 16;

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How long the server waits for a sign of life, unless the script says.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// The shortest such time: brokers send signs of life thrice as often.
const MIN_ACK_WAIT: Duration = Duration::from_millis(500);

/// A durable trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The stream. Has letters, digits, `-` and `_` only, so that it is one token of a subject.
    pub stream: Rc<str>,
    /// The consumer that all brokers share; the same letters.
    pub durable: Rc<str>,
    /// Deliveries after the first.
    pub retries: u32,
    /// Waits before the retries; the last one counts for all further ones. Never empty.
    pub backoff: Vec<Duration>,
    /// How long the server waits for a sign of life before it delivers again.
    pub ack_wait: Duration,
}

impl Trigger {
    /// The wait before the delivery after this one, which was the `attempt`th (from 1).
    #[must_use]
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.backoff.get(place).or(self.backoff.last());
        wait.copied().unwrap_or_default()
    }
}

/// The header lines of a trigger, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// `stream`.
    pub stream: Option<Rc<str>>,
    /// `durable`.
    pub durable: Option<Rc<str>>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `backoff`.
    pub backoff: Option<Vec<Duration>>,
    /// `ack-wait`.
    pub ack_wait: Option<Duration>,
}

impl Lines {
    /// The trigger of a script of that name, if there is one.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<Trigger> {
        let stream = self.stream.clone()?;
        let durable = self.durable.clone().unwrap_or_else(|| format!("msgscript-{}", token(name)).into());
        Some(Trigger {
            stream,
            durable,
            retries: self.retries.unwrap_or(RETRIES),
            backoff: self.backoff.clone().unwrap_or_else(|| BACKOFF.to_vec()),
            ack_wait: self.ack_wait.unwrap_or(ACK_WAIT),
        })
    }
}

/// A name as one token of a subject: what has no place there becomes `_`.
#[must_use]
pub fn token(name: &str) -> String {
    let plain = |c: char| if is_plain(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// The name of a stream or consumer.
///
/// # Errors
/// Why it is none.
pub fn server_name(value: &str) -> Result<Rc<str>, String> {
    match value {
        "" => Err("it is empty".to_owned()),
        _ if value.len() > 128 => Err("it is longer than 128 bytes".to_owned()),
        _ if !value.chars().all(is_plain) => {
            Err("write a name of letters, digits, `-` and `_` only".to_owned())
        }
        _ => Ok(value.into()),
    }
}

/// A number of retries.
///
/// # Errors
/// Why it is none.
pub fn retries(value: &str) -> Result<u32, String> {
    let retries = value.parse().ok().filter(|retries| *retries <= MAX_RETRIES);
    retries.ok_or_else(|| format!("write a whole number up to {MAX_RETRIES}"))
}

/// Waits, separated by commas.
///
/// # Errors
/// Why they are none.
pub fn backoff(value: &str) -> Result<Vec<Duration>, String> {
    let waits: Vec<&str> = value.split(',').map(str::trim).collect();
    if waits.len() > MAX_WAITS {
        return Err(format!("more than {MAX_WAITS} waits"));
    }
    let wait = |text: &str| match units::parse_duration(text) {
        Ok(wait) if wait <= MAX_WAIT => Ok(wait),
        Ok(_) => Err("a wait is longer than 24h".to_owned()),
        Err(error) => Err(format!("a wait is {error}; write for example `1s, 10s, 1m`")),
    };
    waits.into_iter().map(wait).collect()
}

/// How long the server is to wait for a sign of life.
///
/// # Errors
/// Why it is no such time.
pub fn ack_wait(value: &str) -> Result<Duration, String> {
    match units::parse_duration(value) {
        Ok(wait) if (MIN_ACK_WAIT..=MAX_WAIT).contains(&wait) => Ok(wait),
        Ok(_) => Err("it must be from 500ms to 24h".to_owned()),
        Err(error) => Err(format!("it is {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_tokens() {
        let lines = Lines { stream: Some("ORDERS".into()), ..Lines::default() };
        let trigger = lines.trigger("pay.now > *").unwrap();
        assert_eq!((&*trigger.durable, trigger.retries), ("msgscript-pay_now____", 3));
        assert_eq!(Lines::default().trigger("x"), None);
    }

    #[test]
    fn the_last_wait_counts_on() {
        let lines =
            Lines { stream: Some("S".into()), backoff: Some(backoff("1s, 1m").unwrap()), ..Lines::default() };
        let trigger = lines.trigger("n").unwrap();
        let waits = [1, 2, 3, 1000].map(|attempt| trigger.wait_after(attempt).as_secs());
        assert_eq!(waits, [1, 60, 60, 60]);
    }

    #[test]
    fn bad_values_are_refused() {
        for name in ["", "a.b", "a b", "*", ">", "$JS", &"x".repeat(129)] {
            assert!(server_name(name).is_err(), "{name}");
        }
        assert!(retries("-1").is_err() && retries("1001").is_err() && retries("0").is_ok());
        assert!(backoff("1s,,2s").is_err() && backoff("25h").is_err());
        assert!(ack_wait("100ms").is_err() && ack_wait("1s").is_ok());
    }
}
