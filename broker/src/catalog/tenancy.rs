//! Whose a script is: by its folder (file store) or its subject (etcd).
//!
//! Takes the tenants of the configuration, gives owners. Pure. A tenant's script has subjects of its
//! tenant only, and no other script has any of these.

use std::rc::Rc;

use crate::config::tenant;
use crate::invocation::{DEFAULT_TENANT, Tenant};
use crate::route::{covers, overlap};

/// The claims of all named tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenancy {
    default: Tenant,
    claims: Vec<Claim>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    tenant: Tenant,
    /// With a slash at its end.
    folder: String,
    subjects: Vec<String>,
}

/// Why a script may not have its subject. The text names no other tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It is not among its tenant's.
    #[error("the subject `{subject}` is not among this folder's: {own}")]
    Foreign {
        /// The script's.
        subject: Rc<str>,
        /// The tenant's.
        own: String,
    },
    /// It is another tenant's, or overlaps one of its.
    #[error("the subject `{0}` belongs to a folder of its own")]
    Taken(Rc<str>),
}

impl Default for Tenancy {
    fn default() -> Self {
        Tenancy::new(&[])
    }
}

impl Tenancy {
    /// The claims that a configuration makes.
    #[must_use]
    pub fn new(tenants: &[tenant::Tenant]) -> Tenancy {
        let claim = |tenant: &tenant::Tenant| Claim {
            tenant: tenant.name.as_str().into(),
            folder: format!("{}/", tenant.scripts.display()),
            subjects: tenant.subjects.clone(),
        };
        Tenancy { default: DEFAULT_TENANT.into(), claims: tenants.iter().map(claim).collect() }
    }

    /// The owner of a file, by its path below the folder of scripts.
    #[must_use]
    pub fn of_file(&self, path: &str) -> &Tenant {
        let claim = self.claims.iter().find(|claim| path.starts_with(&claim.folder));
        claim.map_or(&self.default, |claim| &claim.tenant)
    }

    /// The owner of a literal subject.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> &Tenant {
        let claim = self.claims.iter().find(|claim| claim.covers(subject));
        claim.map_or(&self.default, |claim| &claim.tenant)
    }

    /// The folders of named tenants, each with a slash at its end.
    pub fn folders(&self) -> impl Iterator<Item = (&Tenant, &str)> {
        self.claims.iter().map(|claim| (&claim.tenant, claim.folder.as_str()))
    }

    /// Whether a tenant's script may have this subject.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, tenant: &str, subject: &Rc<str>) -> Result<(), ClaimError> {
        match self.claims.iter().find(|claim| &*claim.tenant == tenant) {
            Some(own) if own.covers(subject) => Ok(()),
            Some(own) => Err(ClaimError::Foreign { subject: subject.clone(), own: own.subjects.join(", ") }),
            None => {
                let mut taken = self.claims.iter().flat_map(|claim| &claim.subjects);
                let taken = taken.any(|pattern| overlap(pattern, subject));
                if taken { Err(ClaimError::Taken(subject.clone())) } else { Ok(()) }
            }
        }
    }
}

impl Claim {
    fn covers(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| covers(pattern, subject))
    }
}

#[cfg(test)]
impl Tenancy {
    /// Claims as name, folder, subjects.
    pub(crate) fn for_test(claims: &[(&str, &str, &[&str])]) -> Tenancy {
        let claims = claims.iter().map(|(name, folder, subjects)| Claim {
            tenant: (*name).into(),
            folder: format!("{folder}/"),
            subjects: subjects.iter().map(ToString::to_string).collect(),
        });
        Tenancy { default: DEFAULT_TENANT.into(), claims: claims.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_subjects_have_one_owner() {
        let tenancy = Tenancy::for_test(&[("a", "acme", &["acme.>", "hook"]), ("b", "acme2", &["b.*"])]);
        for (path, owner) in [
            ("acme/x.lua", "a"),
            ("acme/deep/x.lua", "a"),
            ("acme2/x.lua", "b"),
            ("acme.lua", "default"),
            ("x/acme/y.lua", "default"),
        ] {
            assert_eq!(&**tenancy.of_file(path), owner, "{path}");
        }
        for (subject, owner) in [("acme.x", "a"), ("hook", "a"), ("b.x", "b"), ("b.x.y", "default")] {
            assert_eq!(&**tenancy.of_subject(subject), owner, "{subject}");
        }
    }

    #[test]
    fn subjects_stay_with_their_tenant() {
        let tenancy = Tenancy::for_test(&[("a", "acme", &["acme.>", "hook"]), ("b", "b", &["b.*"])]);
        let check = |tenant: &str, subject: &str| tenancy.check(tenant, &subject.into()).is_ok();
        for subject in ["acme.x", "acme.*.y", "acme.>", "hook"] {
            assert!(check("a", subject), "{subject}");
            assert!(!check("b", subject) && !check("default", subject), "{subject}");
        }
        for subject in [">", "*", "*.x", "acme", "b.>"] {
            assert!(!check("a", subject) && !check("b", subject), "{subject}");
        }
        assert!(!check("default", ">") && !check("default", "*.x") && !check("default", "*"));
        assert!(check("default", "acme") && check("default", "b.x.y"));
    }
}
