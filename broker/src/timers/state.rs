//! What is kept of a schedule: the last due time that was taken, and whether a run for one goes on. Pure; what is
//! read may be anything.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::trigger::token;
use crate::catalog::{SCHEDULES, Script};

/// Whose schedule it is: the script, and what it says. Another schedule of the same script has nothing to do with
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    tenant: String,
    subject: String,
    name: String,
    schedule: String,
}

/// What is encoded in keys of etcd.
const NOT_IN_KEYS: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'/').add(b'%');

impl Key {
    /// A script's, if it has a schedule.
    #[must_use]
    pub fn of(script: &Script) -> Option<Key> {
        let timer = script.timer.as_ref()?;
        Some(Key {
            tenant: script.tenant.to_string(),
            subject: script.subject.to_string(),
            name: script.name.to_string(),
            schedule: format!("{} {}", timer.text, timer.zone()),
        })
    }

    fn parts(&self) -> [&str; 4] {
        [&self.tenant, &self.subject, &self.name, &self.schedule]
    }

    /// The key in etcd.
    #[must_use]
    pub fn in_etcd(&self) -> String {
        let encode = |part| percent_encoding::utf8_percent_encode(part, NOT_IN_KEYS).to_string();
        format!("{SCHEDULES}{}", self.parts().map(encode).join("/"))
    }

    /// The key in a bucket: who looks there sees whose it is.
    #[must_use]
    pub fn in_bucket(&self) -> String {
        let [tenant, subject, name, _] = self.parts().map(token);
        let hash = self.digest();
        format!("{tenant}.{subject}.{name}.{}", hash.get(..16).unwrap_or(&hash))
    }

    /// The same for the same key, in 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for part in self.parts() {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.parts().join(" "))
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The last due time that was taken; at first, when the schedule was first seen.
    pub due: Timestamp,
    /// Who took it.
    pub by: String,
    /// The run that goes on, if one does.
    pub busy: Option<Busy>,
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Whose it is: that of the due time's taker.
    pub by: String,
    /// When it has ended in any case, even if its broker has died.
    pub until: Timestamp,
}

/// As it is written. The first field is for people.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default)]
    schedule: String,
    due: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    busy_by: Option<String>,
    #[serde(default)]
    busy_until: Option<String>,
}

impl State {
    /// No due time was taken until then.
    #[must_use]
    pub fn since(now: Timestamp) -> State {
        State { due: now, by: String::new(), busy: None }
    }

    /// Reads it. `None`: it makes no sense.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<State> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let busy = written.busy_by.zip(written.busy_until);
        let busy = busy.and_then(|(by, until)| Some(Busy { by, until: until.parse().ok()? }));
        Some(State { due: written.due.parse().ok()?, by: written.by, busy })
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self, key: &Key) -> Vec<u8> {
        let busy = self.busy.as_ref();
        let written = Written {
            schedule: key.to_string(),
            due: self.due.to_string(),
            by: self.by.clone(),
            busy_by: busy.map(|busy| busy.by.clone()),
            busy_until: busy.map(|busy| busy.until.to_string()),
        };
        // Texts: nothing that cannot be written.
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::timer::{Lines, schedule};

    fn key(subject: &str, cron: &str) -> Key {
        let mut script = Script::for_test(subject, "a b");
        assert_eq!(Key::of(&script), None);
        let lines = Lines { schedule: Some(schedule(cron).unwrap()), ..Lines::default() };
        script.timer = lines.timer();
        Key::of(&script).unwrap()
    }

    #[test]
    fn keys_are_plain_and_tell_schedules_apart() {
        let one = key("jobs/x.*", "*/5  3 * * *");
        assert_eq!(one.in_etcd(), "msgscript/schedules/default/jobs%2Fx.*/a b/*%2F5 3 * * * UTC");
        assert!(one.in_bucket().starts_with("default.jobs_x__.a_b."), "{}", one.in_bucket());
        let other = key("jobs/x.*", "*/6 3 * * *");
        assert_ne!(one.in_bucket(), other.in_bucket());
        assert_eq!(one.digest(), key("jobs/x.*", "*/5 3 * * *").digest());
    }

    #[test]
    fn a_state_comes_back() {
        let key = key("s", "@daily");
        let now: Timestamp = "2026-11-23T03:00:00Z".parse().unwrap();
        let mut state = State::since(now);
        assert_eq!(State::read(&state.write(&key)), Some(state.clone()));
        state = State { by: "x".into(), busy: Some(Busy { by: "y".into(), until: now }), ..state };
        assert_eq!(State::read(&state.write(&key)), Some(state));
        for bytes in ["", "{}", "[]", r#"{"due":1}"#, r#"{"due":"soon"}"#, r#"{"due":"2026-11-23"}"#] {
            assert_eq!(State::read(bytes.as_bytes()), None, "{bytes}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = State::read(&bytes);
        }
    }
}
