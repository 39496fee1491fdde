//! `runtime`: which system this is, in Go's names.

use std::env::consts::{ARCH, OS};

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "runtime", functions: FUNCTIONS, lua: None };

const FUNCTIONS: &[(&str, HostFn)] = &[("runtime.goos", goos), ("runtime.goarch", goarch)];

fn goos(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(if OS == "macos" { "darwin" } else { OS });
    Ok(())
}

fn goarch(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(go_name(ARCH));
    Ok(())
}

fn go_name(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call, text};
    use super::{Ctx, go_name, goarch, goos};

    #[test]
    fn names_are_those_of_go() {
        let mut ctx = Ctx::default();
        assert_eq!(text(&call(goos, &mut ctx, &[]).unwrap()), "linux");
        assert!(["amd64", "arm64"].contains(&text(&call(goarch, &mut ctx, &[]).unwrap()).as_str()));
        assert_eq!(["x86_64", "aarch64", "riscv64"].map(go_name), ["amd64", "arm64", "riscv64"]);
    }
}
