//! `vault`: secrets of a Vault server's key-value store, version 2.
//!
//! All in Lua, over the requests of `http` and the texts of `json`.

use super::{http, json};
use crate::lua::value::Module;

/// The module.
pub const MODULE: Module = Module {
    name: "vault",
    functions: &[
        ("vault.fetch", http::fetch),
        ("vault.encode", json::encode),
        ("vault.decode", json::decode),
    ],
    lua: Some(include_str!("vault.lua")),
};
