//! Which environment variables a script may read. Pure.

use super::{Denied, Permitted, Policy};

/// A variable to read.
#[derive(Debug)]
pub struct EnvRead(pub String);

impl Policy {
    /// Whether this variable may be read: only granted ones.
    ///
    /// # Errors
    /// The refusal.
    pub fn env(&self, name: String) -> Result<Permitted<EnvRead>, Denied> {
        if self.grants.env.iter().any(|granted| granted.as_str() == name) {
            return Ok(Permitted(EnvRead(name)));
        }
        let what = format!("read the environment variable {}", name.escape_debug());
        Err(Denied::new(&self.tenant, &what, &format!("env:{}", name.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::allowed as policy;

    #[test]
    fn only_granted_names_are_read() {
        let policy = policy(&["env:GREETING"]);
        assert_eq!(policy.env("GREETING".into()).unwrap().into_inner().0, "GREETING");
        for name in ["", "greeting", "GREETING2", "PATH", "GREETING\0"] {
            assert!(policy.env(name.into()).is_err(), "{name:?}");
        }
        let denied = policy.env("PATH".into()).unwrap_err().to_string();
        assert_eq!(denied, "denied: default has no grant to read the environment variable PATH (env:PATH)");
    }
}
