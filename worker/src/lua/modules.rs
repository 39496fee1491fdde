//! The built-in modules by name.

use super::value::Module;

/// Every module that `require` finds without asking the broker.
pub const ALL: &[Module] = &[];

/// Functions of the base environment, for the prelude.
pub const BASE: &[(&str, super::value::HostFn)] = &[];
