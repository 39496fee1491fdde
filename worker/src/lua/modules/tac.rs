//! `tac`: the lines of a file, the last one first. All of it is Lua, on the functions of `io`.

use super::super::value::Module;

/// The module.
pub const MODULE: Module = Module { name: "tac", functions: &[], lua: Some(include_str!("tac.lua")) };
