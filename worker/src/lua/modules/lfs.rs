//! `lfs`: what is in the scratch folder.
//!
//! Takes paths that a hostile script chose. Must reach files by `ctx.scratch` only.

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};
use super::strings::array;
use crate::scratch::{FsError, NodeKind, Stat, now};

/// The module.
pub const MODULE: Module = Module { name: "lfs", functions: FUNCTIONS, lua: Some(include_str!("lfs.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("lfs.attributes", attributes),
    ("lfs.symlinkattributes", symlinkattributes),
    ("lfs.list", list),
    ("lfs.mkdir", mkdir),
    ("lfs.rmdir", rmdir),
    ("lfs.chdir", chdir),
    ("lfs.currentdir", currentdir),
    ("lfs.link", link),
    ("lfs.touch", touch),
    ("lfs.lock", unimplemented),
    ("lfs.unlock", unimplemented),
    ("lfs.lock_dir", unimplemented),
    ("lfs.setmode", unimplemented),
];

/// What a block is, in bytes.
const BLOCK: usize = 512;

fn attributes(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    fields(ctx, args, true, ret)
}

fn symlinkattributes(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    fields(ctx, args, false, ret)
}

/// A table of all fields, one field, or `nil, error`.
fn fields(ctx: &mut Ctx, args: &Args<'_>, follow: bool, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    let wanted = if args.len() > 1 { Some(args.string(2)?) } else { None };
    let stat = match ctx.scratch.stat(&path, follow) {
        Ok(stat) => stat,
        Err(error) => return error.give(ret),
    };
    let target = if stat.kind == NodeKind::Link { ctx.scratch.real_path(&path).ok() } else { None };
    let mode = kind(stat.kind);
    let numbers = numbers(&stat);
    match wanted.as_deref() {
        Some(b"mode") => ret.str(mode),
        Some(b"target") if target.is_some() => ret.str(target.unwrap_or_default()),
        Some(name) => match numbers.iter().find(|(known, _)| known.as_bytes() == name) {
            Some((_, value)) => ret.num(*value),
            None => ret.nil(),
        },
        None => {
            ret.begin_table();
            ret.str("mode");
            ret.str(mode);
            for (name, value) in numbers {
                ret.str(name);
                ret.num(value);
            }
            if let Some(target) = target {
                ret.str("target");
                ret.str(target);
            }
            ret.end_table();
        }
    }
    Ok(())
}

fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Link => "link",
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn numbers(stat: &Stat) -> [(&'static str, f64); 12] {
    [
        ("dev", 1.0),
        ("ino", f64::from(stat.inode)),
        ("nlink", f64::from(stat.links)),
        ("uid", 0.0),
        ("gid", 0.0),
        ("rdev", 0.0),
        ("access", stat.accessed.floor()),
        ("modification", stat.modified.floor()),
        ("change", stat.changed.floor()),
        ("size", stat.size as f64),
        ("blocks", stat.size.div_ceil(BLOCK) as f64),
        ("blksize", 4096.0),
    ]
}

/// `list(path)`: the names in a directory; raises if it is none.
fn list(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    array(ctx.scratch.list(&args.string(1)?)?, ret);
    Ok(())
}

/// `true`, or `nil, error`.
fn done(outcome: Result<(), FsError>, ret: &mut Ret) -> Result<(), Fail> {
    match outcome {
        Ok(()) => ret.bool(true),
        Err(error) => error.give(ret)?,
    }
    Ok(())
}

fn mkdir(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let made = ctx.scratch.mkdir(&args.string(1)?);
    done(made, ret)
}

fn rmdir(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    match ctx.scratch.stat(&path, true) {
        Ok(stat) if stat.kind != NodeKind::Directory => {
            ret.nil_err("not a directory");
            Ok(())
        }
        Ok(_) => done(ctx.scratch.remove(&path), ret),
        Err(error) => error.give(ret),
    }
}

fn chdir(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let changed = ctx.scratch.chdir(&args.string(1)?);
    done(changed, ret)
}

fn currentdir(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(ctx.scratch.cwd());
    Ok(())
}

fn link(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (old, new) = (args.string(1)?, args.string(2)?);
    let made = match args.get(3) {
        Arg::Nil | Arg::Bool(false) => ctx.scratch.link(&old, &new),
        Arg::Bool(true) => ctx.scratch.symlink(&old, &new),
        _ => return Err(args.expected(3, "boolean")),
    };
    done(made, ret)
}

/// `lfs.touch(path [, atime [, mtime]])`: seconds since 1970.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "seconds of this age")]
fn touch(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    let accessed = args.int_or(2, now() as i64)?;
    let modified = args.int_or(3, accessed)?;
    let touched = ctx.scratch.touch(&path, accessed as f64, modified as f64);
    done(touched, ret)
}

fn unimplemented(_: &mut Ctx, _: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    Err(Fail::here("unimplemented function"))
}

#[cfg(test)]
mod tests;
