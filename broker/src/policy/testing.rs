//! Policies for tests.

use super::Policy;
use super::grant::Grant;
use super::grants::Grants;
use crate::config::Limits;
use crate::config::tenant::{TenantGrants, TenantLimits};
use crate::config::value::Isolation;

fn with(tenant: &str, grants: Grants) -> Policy {
    let run =
        Limits { wall: std::time::Duration::from_secs(2), memory: 1 << 20, output: 1024, payload: 1024 };
    Policy {
        tenant: tenant.into(),
        grants,
        limits: TenantLimits::of_broker(&run, 8),
        isolation: Isolation::Tenant,
        jit: false,
        http: std::rc::Rc::default(),
        account: false,
    }
}

/// That of the tenant `default` with these powers.
pub(crate) fn allowed(allow: &[&str]) -> Policy {
    let allow: Vec<Grant> = allow.iter().map(|text| text.parse().unwrap()).collect();
    with("default", Grants::of_default(&allow))
}

/// That of the tenant `default`.
pub(crate) fn open() -> Policy {
    with("default", Grants::of_default(&[]))
}

/// That of a tenant `acme` which has been granted nothing.
pub(crate) fn named() -> Policy {
    with("acme", Grants::of_named(&TenantGrants::default()))
}
