//! Policies for tests.

use super::Policy;
use super::grants::Grants;
use crate::config::Limits;
use crate::config::tenant::{TenantGrants, TenantLimits};

fn with(tenant: &str, grants: Grants) -> Policy {
    let run =
        Limits { wall: std::time::Duration::from_secs(2), memory: 1 << 20, output: 1024, payload: 1024 };
    Policy { tenant: tenant.into(), grants, limits: TenantLimits::of_broker(&run, 8) }
}

/// That of the tenant `default`.
pub(crate) fn open() -> Policy {
    with("default", Grants::of_default(&[]))
}

/// That of a tenant `acme` which has been granted nothing.
pub(crate) fn named() -> Policy {
    with("acme", Grants::of_named(&TenantGrants::default()))
}
