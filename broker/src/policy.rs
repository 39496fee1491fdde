//! What a script may ask for: the one place that says yes or no. Pure.
//!
//! A tenant's [`Policy`] is made from the configuration; one file for each power judges requests by it. A
//! "yes" is a [`Permitted`] value, which only this module can make and which the functions of `host/`
//! demand.

pub mod command;
pub mod container;
pub mod egress;
pub mod env;
pub mod file;
pub mod grant;
pub mod grants;
pub mod key;
pub mod nats;
pub mod secrets;
pub mod sql;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::access::HttpAccess;
use crate::catalog::Script;
use crate::config::Config;
use crate::config::tenant::TenantLimits;
use crate::config::value::Isolation;
use crate::invocation::{DEFAULT_TENANT, Message, Reason, Tenant};
use crate::units::print_size;
use grants::Grants;

/// Something that policy allowed.
#[must_use]
#[derive(Debug)]
pub struct Permitted<T>(T);

impl<T> Permitted<T> {
    /// What was allowed.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What was allowed.
    pub fn get(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
impl<T> Permitted<T> {
    /// Allowed by a test.
    pub(crate) fn for_test(value: T) -> Permitted<T> {
        Permitted(value)
    }
}

/// A refusal: the text names what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl Denied {
    /// The usual text: `denied: TENANT has no grant to DO WHAT (GRANT)`.
    #[must_use]
    pub fn new(tenant: &str, what: &str, grant: &str) -> Denied {
        Denied(format!("denied: {tenant} has no grant to {what} ({grant})"))
    }
}

/// What one tenant may do, and how much.
#[derive(Debug)]
pub struct Policy {
    /// Whose it is.
    pub tenant: Tenant,
    /// What its scripts may do.
    pub grants: Grants,
    /// What its scripts may use.
    pub limits: TenantLimits,
    /// What one worker may serve.
    pub isolation: Isolation,
    /// Whether its scripts may ask for LuaJIT's compiler.
    pub jit: bool,
    /// Who may call its functions over HTTP.
    pub http: Rc<HttpAccess>,
    /// Whether its messages go by a NATS account of its own.
    pub account: bool,
}

impl Policy {
    /// The longest that a script may take, waiting included.
    #[must_use]
    pub fn wall(&self, script: &Script) -> Duration {
        let most = self.limits.run.wall;
        script.timeout.map_or(most, |own| own.min(most))
    }

    /// The memory of a script's run, in bytes.
    #[must_use]
    pub fn memory(&self, script: &Script) -> u64 {
        let most = self.limits.run.memory;
        script.memory.map_or(most, |own| own.min(most))
    }
}

/// The policies of all tenants.
#[derive(Debug)]
pub struct Policies {
    by_tenant: HashMap<Tenant, Rc<Policy>>,
    /// For a tenant that is no longer configured: its last runs may do nothing.
    nothing: Rc<Policy>,
    open: bool,
    accounts: bool,
}

impl Policies {
    /// The policies that a configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Policies {
        let own = |tenant: &str, grants| Policy {
            tenant: tenant.into(),
            grants,
            limits: TenantLimits::of_broker(&config.limits, config.queue),
            isolation: config.isolation,
            jit: true,
            http: Rc::default(),
            account: false,
        };
        let nothing = Rc::new(own("", Grants::default()));
        let default = Rc::new(own(DEFAULT_TENANT, Grants::of_default(&config.allow)));
        let named = config.tables.tenants.iter().map(|tenant| {
            Rc::new(Policy {
                tenant: tenant.name.as_str().into(),
                grants: Grants::of_named(&tenant.grants),
                limits: tenant.limits.clone(),
                isolation: tenant.isolation,
                jit: tenant.jit,
                http: Rc::new(tenant.http.clone()),
                account: tenant.nats.is_some(),
            })
        });
        let all = std::iter::once(default).chain(named);
        let by_tenant: HashMap<Tenant, Rc<Policy>> =
            all.map(|policy| (policy.tenant.clone(), policy)).collect();
        let open = by_tenant.values().all(|policy| policy.http.is_open());
        let accounts = by_tenant.values().any(|policy| policy.account);
        Policies { by_tenant, nothing, open, accounts }
    }

    /// Whether anyone may call every tenant's functions over HTTP.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.open
    }

    /// Whether a tenant has a NATS account of its own.
    #[must_use]
    pub fn have_account(&self, tenant: &str) -> bool {
        self.accounts && self.by_tenant.get(tenant).is_some_and(|policy| policy.account)
    }

    /// A tenant's policy; one that allows nothing if there is no such tenant.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Rc<Policy> {
        self.by_tenant.get(tenant).unwrap_or(&self.nothing).clone()
    }
}

/// Why a message may not run a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The text for the caller.
    pub text: String,
    /// The limit, if one was passed.
    pub limit: String,
    /// What was measured.
    pub measured: String,
}

impl Refusal {
    fn new(reason: Reason, text: String) -> Refusal {
        Refusal { reason, text, limit: String::new(), measured: String::new() }
    }
}

/// Whether a message may run a script: its tenant must be within its rate, the script sound, the payload no
/// larger than allowed.
///
/// # Errors
/// The refusal.
pub fn admit(policy: &Policy, script: &Script, message: &Message, within_rate: bool) -> Result<(), Refusal> {
    if !within_rate {
        let refusal = Refusal::new(Reason::Overloaded, "too many calls a second".to_owned());
        let limit = policy.limits.rate.map(|rate| format!("{rate}/s")).unwrap_or_default();
        let measured = format!("over {limit}");
        return Err(Refusal { limit, measured, ..refusal });
    }
    if let Some(broken) = &script.broken {
        return Err(Refusal::new(Reason::ScriptError, broken.clone()));
    }
    let (size, limit) = (message.payload.len() as u64, policy.limits.run.payload);
    if size > limit {
        let refusal = Refusal::new(Reason::TooLarge, "the payload is too large".to_owned());
        return Err(Refusal { limit: print_size(limit), measured: print_size(size), ..refusal });
    }
    Ok(())
}
