//! What the linker is to do beyond the usual.
//!
//! It sends LuaJIT's own calls of three of its functions to `src/vm/text.rs`: how numbers print and which
//! place an error names cannot be changed from inside the VM. And the program offers Lua's C API to the
//! shared objects that it loads (`src/vm/plugins.rs`), unless it is linked statically and can load none.

fn main() {
    for symbol in ["lj_strfmt_num", "lj_strfmt_putfnum", "lj_debug_addloc"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={symbol}");
    }
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "crt-static") {
        for symbols in ["lua_*", "luaL_*"] {
            println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}
