//! What a tenant may do.

pub mod grant;
