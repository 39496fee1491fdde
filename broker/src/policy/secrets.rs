//! Which secrets a script may use, and where they may go. Pure.

use super::grants::Secrets;
use super::{Denied, Permitted, Policy};
use crate::config::tenant::Secret;

/// A secret that is to be sent to a host.
#[derive(Debug, Clone, Copy)]
pub struct SecretUse<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the configuration says of it; `None` if there is none of this name.
    pub secret: Option<&'a Secret>,
    /// The host that would get it: a lower-case name, or an address without brackets.
    pub host: &'a str,
}

impl Policy {
    /// Whether this secret may be used, and go to that host. One that is not there is refused as one that
    /// is not granted: scripts need not learn which there are.
    ///
    /// # Errors
    /// The refusal.
    pub fn use_secret<'a>(&self, wanted: SecretUse<'a>) -> Result<Permitted<&'a Secret>, Denied> {
        let SecretUse { name, secret, host } = wanted;
        let granted = match &self.grants.secrets {
            Secrets::All => true,
            Secrets::Named(names) => names.iter().any(|known| known == name),
        };
        let Some(secret) = secret.filter(|_| granted) else {
            let grant = format!("secrets = [\"{name}\"]");
            return Err(Denied::new(&self.tenant, &format!("use the secret {name}"), &grant));
        };
        if secret.hosts.iter().any(|bound| is_bound(bound, host)) {
            Ok(Permitted(secret))
        } else {
            Err(Denied(format!("denied: the secret {name} may not go to {host} ([secret.{name}] hosts)")))
        }
    }
}

/// Whether a host of the configuration is this one: a name, an address, or `*.` and what names end in.
fn is_bound(bound: &str, host: &str) -> bool {
    let bound = bound.trim_start_matches('[').trim_end_matches([']', '.']);
    match bound.strip_prefix("*.") {
        Some(parent) => host
            .len()
            .checked_sub(parent.len())
            .filter(|at| *at > 1 && host.is_char_boundary(*at))
            .is_some_and(|at| host[at..].eq_ignore_ascii_case(parent) && host[..at].ends_with('.')),
        None => bound.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tenant::Source;
    use crate::policy::testing::{named, open};

    fn bound_to(hosts: &[&str]) -> Secret {
        let source = Source::Text("x".to_owned());
        Secret { source, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }
    }

    fn text(policy: &Policy, secret: Option<&Secret>, host: &str) -> String {
        let wanted = SecretUse { name: "stripe", secret, host };
        policy.use_secret(wanted).map_or_else(|denied| denied.0, |_| "yes".to_owned())
    }

    #[test]
    fn a_secret_goes_to_its_hosts_only() {
        let secret = bound_to(&["api.stripe.com", "*.Example.org", "[::1]"]);
        for host in ["api.stripe.com", "a.example.org", "a.b.example.org", "::1"] {
            assert_eq!(text(&open(), Some(&secret), host), "yes", "{host}");
        }
        let elsewhere = [
            "stripe.com",
            "xapi.stripe.com",
            "api.stripe.com.evil.org",
            "example.org",
            "evilexample.org",
            ".example.org",
            "éexample.org",
            "",
        ];
        for host in elsewhere {
            let expected = format!("denied: the secret stripe may not go to {host} ([secret.stripe] hosts)");
            assert_eq!(text(&open(), Some(&secret), host), expected);
        }
    }

    #[test]
    fn a_named_tenant_needs_the_grant() {
        let secret = bound_to(&["a.b"]);
        let refused = "denied: acme has no grant to use the secret stripe (secrets = [\"stripe\"])";
        let mut policy = named();
        assert_eq!(text(&policy, Some(&secret), "a.b"), refused);
        policy.grants.secrets = Secrets::Named(vec!["stripe".to_owned()]);
        assert_eq!(text(&policy, Some(&secret), "a.b"), "yes");
        assert_eq!(text(&policy, None, "a.b"), refused, "one that is not there looks the same");
    }
}
