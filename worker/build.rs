//! What is done while the worker is built: the prelude's bytecode, and what the linker is to do beyond the usual.
//!
//! A worker that starts would have to compile the prelude each time, which is a fifth of its start: it finds
//! bytecode in itself, made here by the LuaJIT that it is linked with (of the same version, `Cargo.lock` says;
//! the format is the same on every machine that we build for). No other bytecode is ever loaded.
//!
//! The linker sends LuaJIT's own calls of three of its functions to `src/vm/text.rs`: how numbers print and which
//! place an error names cannot be changed from inside the VM. And the program offers Lua's C API to the
//! shared objects that it loads (`src/vm/plugins.rs`), unless it is linked statically and can load none.

use std::path::Path;
use std::{env, fs};

/// The base environment of `src/lua/prelude.rs`.
const PRELUDE: [&str; 5] = ["base", "strings", "tables", "files", "code"];

/// How a chunk of our own is named (`src/vm/places.rs`): its places are not shown to authors.
const INTERNAL: char = '\u{2}';

fn main() {
    prelude();
    linker();
}

/// Compiles the prelude, with its lines: errors that it raises name the place of its caller.
fn prelude() {
    let out = env::var("OUT_DIR").expect("cargo names the folder");
    let lua = mlua::Lua::new();
    for name in PRELUDE {
        let path = format!("src/lua/prelude/{name}.lua");
        println!("cargo:rerun-if-changed={path}");
        let source = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let function = lua.load(source).set_name(format!("={INTERNAL}{name}")).into_function();
        let bytecode = function.unwrap_or_else(|error| panic!("{path}: {error}")).dump(false);
        fs::write(Path::new(&out).join(name).with_extension("luac"), bytecode)
            .expect("cargo's folder is ours");
    }
}

fn linker() {
    for symbol in ["lj_strfmt_num", "lj_strfmt_putfnum", "lj_debug_addloc"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={symbol}");
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "crt-static") {
        for symbols in ["lua_*", "luaL_*"] {
            println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}
