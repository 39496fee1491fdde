//! Our own Lua sources.

/// Run in order when the base state is built.
pub const BASE: &[(&str, &str)] = &[];

/// Loaded when first needed.
pub const LAZY: &[(&str, &str)] = &[];
