//! WebAssembly functions through both doors: what modules are given and answer, which files and modules are
//! accepted, what is kept over a restart, components, files, and hostile
//! modules.

#[path = "wasm/commands.rs"]
mod commands;
#[path = "wasm/components.rs"]
mod components;
#[path = "wasm/folders.rs"]
mod folders;
#[path = "wasm/hostile.rs"]
mod hostile;
#[path = "wasm/modules.rs"]
mod modules;

use std::sync::OnceLock;

use msgscript_tests::harness::Setup;
use msgscript_tests::wasm;

/// The command of `tool.c`.
fn tool() -> &'static [u8] {
    static TOOL: OnceLock<Vec<u8>> = OnceLock::new();
    TOOL.get_or_init(|| wasm::c(include_str!("wasm/tool.c")))
}

/// Adds a function of this module; subject and name are the same.
fn with(setup: Setup, name: &str, module: &[u8]) -> Setup {
    setup
        .file(&format!("{name}.lua"), script(name, &format!("{name}.wasm")))
        .file(&format!("{name}.wasm"), module)
}

/// The text of a script that names this module.
fn script(name: &str, path: &str) -> String {
    format!("--* subject: {name}\n--* name: {name}\n--* executor: wasm\n-- what it is\n{path}\n")
}

/// A command of these WAT lines beside its memory; `$write` writes so many bytes from a place in memory to
/// standard output.
fn command(lines: &str) -> Vec<u8> {
    wasm::text(&format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func $write (param i32 i32)
          (i32.store (i32.const 0) (local.get 0))
          (i32.store (i32.const 4) (local.get 1))
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        {lines})"#
    ))
}
