//! Has the linker send LuaJIT's own calls of three of its functions to `src/vm/text.rs`: how numbers print
//! and which place an error names cannot be changed from inside the VM.

fn main() {
    for symbol in ["lj_strfmt_num", "lj_strfmt_putfnum", "lj_debug_addloc"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={symbol}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
