//! `loglevel`: a logger for each level. All of it is Lua.

use super::super::value::Module;

/// The module.
pub const MODULE: Module =
    Module { name: "loglevel", functions: &[], lua: Some(include_str!("loglevel.lua")) };
