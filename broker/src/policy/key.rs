//! Which keys of etcd a script may use. Pure.
//!
//! Keys are bytes and are never normalised; one that another program could read as a path to somewhere else is
//! refused.

use super::grants::Keys;
use super::{Denied, Permitted, Policy};

/// What msgscript keeps itself: what begins so is for the grant `catalog`.
const RESERVED: [&[u8]; 4] =
    [b"msgscript/scripts/", b"msgscript/libs/", b"msgscript/locks/", b"msgscript/schedules/"];

/// Keys, and what is to be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key, or what keys begin with.
    pub key: Vec<u8>,
    /// Whether all keys that begin so are meant.
    pub prefix: bool,
    /// The act, for the refusal: `read`, `write`, `delete`.
    pub act: &'static str,
}

impl KeyUse {
    /// Whether any of its keys begins with `start`.
    fn reaches(&self, start: &[u8]) -> bool {
        self.key.starts_with(start) || self.prefix && start.starts_with(&self.key)
    }

    /// Whether a part of it, between slashes, is `.` or `..`.
    fn is_devious(&self) -> bool {
        self.key.split(|byte| *byte == b'/').any(|part| part == b"." || part == b"..")
    }
}

impl Policy {
    /// Whether these keys may be used.
    ///
    /// # Errors
    /// The refusal.
    pub fn key(&self, wanted: KeyUse) -> Result<Permitted<KeyUse>, Denied> {
        let text = String::from_utf8_lossy(&wanted.key).escape_debug().to_string();
        let star = if wanted.prefix { "*" } else { "" };
        let denied = |grant: &str| {
            Err(Denied::new(&self.tenant, &format!("{} the etcd key \"{text}\"{star}", wanted.act), grant))
        };
        if wanted.is_devious() {
            return denied("no key may have a part `.` or `..`");
        }
        let reserved = RESERVED.iter().any(|start| wanted.reaches(start));
        match &self.grants.etcd {
            Keys::All => Ok(Permitted(wanted)),
            Keys::Unreserved if reserved => denied("catalog"),
            Keys::Unreserved => Ok(Permitted(wanted)),
            Keys::Listed(_) if reserved => denied("msgscript's own keys are for the grant catalog"),
            Keys::Listed(prefixes)
                if prefixes.iter().any(|start| wanted.key.starts_with(start.as_bytes())) =>
            {
                Ok(Permitted(wanted))
            }
            Keys::Listed(_) => denied(&format!("etcd = [\"{text}\"]")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named, open};
    use super::*;

    fn allows(policy: &Policy, key: &str, prefix: bool) -> bool {
        policy.key(KeyUse { key: key.into(), prefix, act: "read" }).is_ok()
    }

    #[test]
    fn the_default_tenant_has_all_but_msgscripts_own() {
        let policy = open();
        for key in ["a", "/a/b", "msgscript/", "msgscript/counter", "msgscript/scriptsx", "..a/b..", "a//b"] {
            assert!(allows(&policy, key, false), "{key}");
        }
        for key in ["a", "/a", "msgscript/x", "msgscript/scripts-"] {
            assert!(allows(&policy, key, true), "{key}*");
        }
        for start in RESERVED.map(|start| std::str::from_utf8(start).unwrap()) {
            assert!(!allows(&policy, start, false) && !allows(&policy, &format!("{start}x"), false));
            for cut in 0..=start.len() {
                assert!(!allows(&policy, &start[..cut], true), "{}*", &start[..cut]);
            }
        }
        for key in ["..", "a/../msgscript/scripts/x", "a/./b", "../a", "a/.."] {
            assert!(!allows(&policy, key, false) && !allows(&policy, key, true), "{key}");
        }
    }

    #[test]
    fn the_grant_catalog_opens_all() {
        let mut policy = open();
        policy.grants.etcd = Keys::All;
        assert!(allows(&policy, "", true) && allows(&policy, "msgscript/scripts/a/b", false));
        assert!(!allows(&policy, "a/../b", false));
    }

    #[test]
    fn a_named_tenant_has_its_prefixes() {
        let mut policy = named();
        let refused =
            policy.key(KeyUse { key: b"acme/x".to_vec(), prefix: false, act: "write" }).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "denied: acme has no grant to write the etcd key \"acme/x\" (etcd = [\"acme/x\"])"
        );
        policy.grants.etcd = Keys::Listed(vec!["acme/".into(), "msgscript/".into()]);
        assert!(allows(&policy, "acme/x", false) && allows(&policy, "acme/", true));
        assert!(allows(&policy, "msgscript/acme", false));
        for key in ["acm", "", "other/x", "msgscript/"] {
            assert!(!allows(&policy, key, true), "{key}*");
        }
        for key in ["acme", "acme2/x", "acme/../other", "msgscript/locks/x"] {
            assert!(!allows(&policy, key, false), "{key}");
        }
    }
}
