//! WebAssembly modules and components from the sources beside the tests.

use std::process::Command;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, UnresolvedPackageGroup};

/// A module from its text form.
///
/// # Panics
/// When the text is no module.
#[must_use]
pub fn text(source: &str) -> Vec<u8> {
    wat::parse_str(source).unwrap_or_else(|error| panic!("{error}"))
}

/// A WASI command from C.
///
/// # Panics
/// When Debian's clang, lld, wasi-libc and libclang-rt-dev-wasm32 are not there, or refuse it.
#[must_use]
pub fn c(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("a.c"), folder.path().join("a.wasm"));
    std::fs::write(&from, source).expect("written");
    let built = Command::new("clang")
        .args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-o"])
        .args([&to, &from])
        .output()
        .expect("clang runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(to).expect("a module")
}

/// A program of Rust for one of its targets, `wasm32-wasip1` (a command) or `wasm32-wasip2` (a component).
///
/// # Panics
/// When rustc or that target's library is not there (`rustup target add`), or refuses it.
#[must_use]
pub fn rust(source: &str, target: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("a.rs"), folder.path().join("a.wasm"));
    std::fs::write(&from, source).expect("written");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let built = Command::new(rustc)
        .args(["--edition=2024", "-O", "--target", target, "-o"])
        .args([&to, &from])
        .output()
        .expect("rustc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(to).expect("a module")
}

/// A component of the world `wasi:cli/command` from a WASI command.
///
/// # Panics
/// When the module is none.
#[must_use]
pub fn component(command: &[u8]) -> Vec<u8> {
    use wasi_preview1_component_adapter_provider as adapter;
    let encoder = ComponentEncoder::default().module(command).expect("a module");
    let encoder = encoder.adapter("wasi_snapshot_preview1", adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER);
    encoder.expect("an adapter").encode().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A component from the text of its core module and the interfaces (WIT) of its world.
///
/// # Panics
/// When these do not fit.
#[must_use]
pub fn component_of(module: &str, world: &str, interfaces: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let parsed = UnresolvedPackageGroup::parse("test.wit", interfaces);
    let parsed = parsed.unwrap_or_else(|(map, error)| panic!("{}", error.render(&map)));
    let package = resolve.push_group(parsed).unwrap_or_else(|error| panic!("{error:#}"));
    let world = resolve.select_world(&[package], Some(world)).unwrap_or_else(|error| panic!("{error:#}"));
    let mut module = text(module);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let mut encoder = ComponentEncoder::default().module(&module).unwrap_or_else(|error| panic!("{error:#}"));
    encoder.encode().unwrap_or_else(|error| panic!("{error:#}"))
}
