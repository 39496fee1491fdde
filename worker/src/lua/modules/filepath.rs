//! `filepath`: Go's functions on Unix paths, and what asks the scratch folder.
//!
//! Takes paths and patterns of any bytes. Must reach files by `ctx.scratch` only.

mod glob;
mod links;
mod lexical;
mod pattern;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};
use super::strings::array;
use pattern::BadPattern;

/// The module.
pub const MODULE: Module =
    Module { name: "filepath", functions: FUNCTIONS, lua: Some(include_str!("filepath.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("filepath.basename", basename),
    ("filepath.dir", dir),
    ("filepath.ext", ext),
    ("filepath.clean", clean),
    ("filepath.join", join),
    ("filepath.abs", abs),
    ("filepath.rel", rel),
    ("filepath.eval_symlinks", eval_symlinks),
    ("filepath.is_abs", is_abs),
    ("filepath.match", match_),
    ("filepath.glob", glob),
    ("filepath.split", split),
    ("filepath.split_list", split_list),
    ("filepath.separator", separator),
    ("filepath.list_separator", list_separator),
    ("filepath.to_slash", same),
    ("filepath.from_slash", same),
    ("filepath.volume_name", volume_name),
];

fn basename(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(lexical::base(&args.string(1)?));
    Ok(())
}

fn dir(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(lexical::clean(lexical::split(&args.string(1)?).0));
    Ok(())
}

fn ext(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(lexical::ext(&args.string(1)?));
    Ok(())
}

fn clean(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(lexical::clean(&args.string(1)?));
    Ok(())
}

/// `filepath.join(...)`; the Lua part has made strings of what is none.
fn join(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let parts = (1..=args.len()).map(|n| args.string(n)).collect::<Result<Vec<_>, _>>()?;
    ret.str(lexical::join(parts.iter().map(|part| &**part)));
    Ok(())
}

fn abs(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    let home = if path.starts_with(b"/") { Vec::new() } else { ctx.scratch.cwd() };
    ret.str(lexical::join([&home[..], &path]));
    Ok(())
}

/// `filepath.rel(base, target)`: the path, or an empty one and the error.
fn rel(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (base, target) = (args.string(1)?, args.string(2)?);
    match lexical::rel(&base, &target) {
        Some(path) => ret.str(path),
        None => {
            ret.str("");
            ret.str([b"Rel: can't make ", &*target, b" relative to ", &*base].concat());
        }
    }
    Ok(())
}

/// `filepath.eval_symlinks(path)`: the path, or an empty one and the error.
fn eval_symlinks(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match links::eval(&mut ctx.scratch, &args.string(1)?) {
        Ok(path) => ret.str(path),
        Err(text) => {
            ret.str("");
            ret.str(text);
        }
    }
    Ok(())
}

fn is_abs(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.bool(args.string(1)?.starts_with(b"/"));
    Ok(())
}

/// `filepath.match(pattern, name)`: whether it matches; with the error if the pattern is none.
fn match_(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (pattern, name) = (args.string(1)?, args.string(2)?);
    match pattern::matches(&pattern, &name) {
        Ok(matched) => ret.bool(matched),
        Err(BadPattern) => {
            ret.bool(false);
            ret.str(BadPattern::TEXT);
        }
    }
    Ok(())
}

/// `filepath.glob(pattern)`: the paths that match, or `nil, error`.
fn glob(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match glob::glob(&mut ctx.scratch, &args.string(1)?) {
        Ok(paths) => array(paths.iter().map(Vec::as_slice), ret),
        Err(BadPattern) => ret.nil_err(BadPattern::TEXT),
    }
    Ok(())
}

fn split(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    let (dir, file) = lexical::split(&path);
    ret.str(dir);
    ret.str(file);
    Ok(())
}

fn split_list(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let list = args.string(1)?;
    let paths = list.split(|byte| *byte == b':').filter(|_| !list.is_empty());
    array(paths, ret);
    Ok(())
}

fn separator(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str("/");
    Ok(())
}

fn list_separator(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(":");
    Ok(())
}

fn same(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(args.string(1)?);
    Ok(())
}

fn volume_name(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    args.string(1)?;
    ret.str("");
    Ok(())
}

#[cfg(test)]
mod tests;
