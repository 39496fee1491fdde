//! What a worker serves for the rest of its life: fixed by its first job. Pure.

use super::job::Job;
use crate::config::value::Isolation;
use crate::invocation::Tenant;

/// What a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    tenant: Tenant,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All scripts of the tenant.
    Tenant,
    /// One version of one script.
    Script(u64),
    /// One run, which it has had.
    Once,
}

impl Binding {
    /// What a worker is bound to by this job.
    #[must_use]
    pub fn by(job: &Job) -> Binding {
        let scope = match job.terms.isolation {
            _ if job.plugin => Scope::Once,
            Isolation::Tenant => Scope::Tenant,
            Isolation::Script => Scope::Script(job.script().id),
            Isolation::Invocation => Scope::Once,
        };
        Binding { tenant: job.tenant().clone(), scope }
    }

    /// Whether it may serve this job, too.
    #[must_use]
    pub fn serves(&self, job: &Job) -> bool {
        self.tenant == *job.tenant()
            && match self.scope {
                Scope::Tenant => job.terms.isolation == Isolation::Tenant,
                Scope::Script(id) => job.terms.isolation != Isolation::Invocation && id == job.script().id,
                Scope::Once => false,
            }
    }

    /// Whose worker it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Whether it serves nothing more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.scope == Scope::Once
    }
}
