//! `inspect`: tables as people read them. All of it is Lua.

use super::super::value::Module;

/// The module.
pub const MODULE: Module = Module { name: "inspect", functions: &[], lua: Some(include_str!("inspect.lua")) };
