//! The powers of a tenant, one field each. Pure.

use super::grant::{EnvName, FileScope, Grant, HostPath, Origin};
use crate::config::tenant::TenantGrants;

/// What a tenant's scripts may do. The default value is nothing at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// HTTP requests.
    pub http: Egress,
    /// Subjects to publish to and request from.
    pub nats: Subjects,
    /// Keys of etcd.
    pub etcd: Keys,
    /// SQL servers.
    pub sql: Databases,
    /// Environment variables to read.
    pub env: Vec<EnvName>,
    /// Folders and files of the host.
    pub files: Vec<FileScope>,
    /// Commands of the host.
    pub cmd: bool,
    /// Secrets, each of which is configured.
    pub secrets: Secrets,
    /// Containers.
    pub containers: Containers,
}

/// Where connections may go.
#[derive(Debug, Clone, PartialEq)]
pub enum Egress {
    /// Any address but link-local ones, metadata services and the broker's own listeners.
    Open,
    /// These only, and never private, loopback or link-local addresses unless listed as addresses.
    Listed(Vec<Origin>),
}

impl Default for Egress {
    fn default() -> Self {
        Egress::Listed(Vec::new())
    }
}

/// Which subjects may be published to.
#[derive(Debug, Clone, PartialEq)]
pub enum Subjects {
    /// Any but `$…` and `_INBOX.…`.
    Unreserved,
    /// Those that match one of these patterns, of the unreserved ones.
    Listed(Vec<String>),
}

impl Default for Subjects {
    fn default() -> Self {
        Subjects::Listed(Vec::new())
    }
}

/// Which keys of etcd may be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// Any but msgscript's own.
    Unreserved,
    /// All (grant `catalog`).
    All,
    /// Those that begin with one of these prefixes, of the unreserved ones.
    Listed(Vec<String>),
}

impl Default for Keys {
    fn default() -> Self {
        Keys::Listed(Vec::new())
    }
}

/// Which SQL servers may be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Databases {
    /// Any at an address that [`Egress::Open`] admits, by its URL; and all configured ones, by name.
    Open,
    /// Configured ones, by name.
    Named(Vec<String>),
}

impl Default for Databases {
    fn default() -> Self {
        Databases::Named(Vec::new())
    }
}

/// Which secrets may be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Secrets {
    /// All that are configured: they are bound to their hosts.
    All,
    /// These.
    Named(Vec<String>),
}

impl Default for Secrets {
    fn default() -> Self {
        Secrets::Named(Vec::new())
    }
}

/// Which containers may run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Containers {
    /// Images.
    pub images: Images,
    /// Whether they may have a network.
    pub network: bool,
    /// What they may mount: these paths and what is below them.
    pub mounts: Vec<HostPath>,
    /// Whether they may be privileged.
    pub privileged: bool,
}

/// Which images may run.
#[derive(Debug, Clone, PartialEq)]
pub enum Images {
    /// Those that are there.
    Local,
    /// Those whose name or digest matches one of these patterns (`*` is any text).
    Listed(Vec<String>),
}

impl Default for Images {
    fn default() -> Self {
        Images::Listed(Vec::new())
    }
}

impl Grants {
    /// Those of the tenant `default`: the contract's table, and what `--allow` adds.
    #[must_use]
    pub fn of_default(allow: &[Grant]) -> Grants {
        let mut grants = Grants {
            http: Egress::Open,
            nats: Subjects::Unreserved,
            etcd: Keys::Unreserved,
            sql: Databases::Open,
            secrets: Secrets::All,
            containers: Containers { images: Images::Local, ..Containers::default() },
            ..Grants::default()
        };
        for grant in allow {
            match grant {
                Grant::Env(name) => grants.env.push(name.clone()),
                Grant::Files(scope) => grants.files.push(scope.clone()),
                Grant::Cmd => grants.cmd = true,
                Grant::PodmanNetwork => grants.containers.network = true,
                Grant::PodmanMount(path) => grants.containers.mounts.push(path.clone()),
                Grant::PodmanPrivileged => grants.containers.privileged = true,
                Grant::Catalog => grants.etcd = Keys::All,
            }
        }
        grants
    }

    /// Those of a named tenant: what its table lists.
    #[must_use]
    pub fn of_named(listed: &TenantGrants) -> Grants {
        Grants {
            http: Egress::Listed(listed.http.clone()),
            nats: Subjects::Listed(listed.nats.clone()),
            etcd: Keys::Listed(listed.etcd.clone()),
            sql: Databases::Named(listed.sql.clone()),
            env: listed.env.clone(),
            files: listed.files.clone(),
            cmd: false,
            secrets: Secrets::Named(listed.secrets.clone()),
            containers: Containers { images: Images::Listed(listed.images.clone()), ..Containers::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_tenant_has_nothing_unless_listed() {
        assert_eq!(Grants::of_named(&TenantGrants::default()), Grants::default());
    }

    #[test]
    fn the_default_tenant_has_no_host_powers_unless_allowed() {
        let plain = Grants::of_default(&[]);
        assert!(plain.env.is_empty() && plain.files.is_empty() && !plain.cmd);
        assert!(!plain.containers.network && !plain.containers.privileged);
        assert_eq!(plain.etcd, Keys::Unreserved);
        let allow = ["env:A", "files:/srv:ro", "cmd", "podman-network", "catalog"];
        let allow: Vec<Grant> = allow.iter().map(|text| text.parse().unwrap()).collect();
        let allowed = Grants::of_default(&allow);
        assert_eq!((allowed.env.len(), allowed.files.len(), allowed.cmd), (1, 1, true));
        assert!(allowed.containers.network && !allowed.containers.privileged);
        assert_eq!(allowed.etcd, Keys::All);
    }
}
