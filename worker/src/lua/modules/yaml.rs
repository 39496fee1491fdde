//! The `yaml` module: YAML 1.1 as Go's yaml.v2 reads and writes it.
//!
//! Takes values and texts that a hostile script chose, gives the other form or `nil, error`. Readers and
//! writers are called by `yaml.lua`. Nesting and what aliases add are bounded.

mod decode;
mod emit;
mod encode;
mod scalar;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "yaml", functions: FUNCTIONS, lua: Some(include_str!("yaml.lua")) };

const FUNCTIONS: &[(&str, HostFn)] =
    &[("yaml.decode", decode), ("yaml.encode", encode), ("yaml.step", step), ("yaml.another", another)];

/// `yaml.decode(text)`: the first document's value, or `nil, error`.
fn decode(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    if let Some(problem) = decode::document(&text, 0, false, ret).problem {
        ret.str(problem);
    }
    Ok(())
}

/// `yaml.encode(value)`: the text, or `nil, error`.
fn encode(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    if args.is_empty() {
        return Err(args.bad(1, "value expected"));
    }
    give(ctx, args.get(1), false, ret)
}

/// `another(value, further)`: as `encode`, for a document that may not be the first of its stream.
fn another(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    give(ctx, args.get(1), matches!(args.get(2), Arg::Bool(true)), ret)
}

fn give(ctx: &Ctx, value: Arg<'_>, further: bool, ret: &mut Ret) -> Result<(), Fail> {
    match encode::document(value, further, ctx.memory_limit) {
        Ok(text) => ret.str(text),
        Err(encode::Error::TooLarge) => return Err(Fail::Memory),
        Err(error) => ret.nil_err(error.to_string()),
    }
    Ok(())
}

/// `step(text, offset, lines, strict)`: the value of the document there or nil, nil or an error, where the
/// next document begins, and how many lines are in front of that.
#[allow(clippy::cast_precision_loss, reason = "offsets are below 2^53")]
fn step(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    let offset = usize::try_from(args.int_or(2, 0)?).unwrap_or(0).min(text.len());
    let lines = usize::try_from(args.int_or(3, 0)?).unwrap_or(0);
    let strict = matches!(args.get(4), Arg::Bool(true));
    let document = decode::document(&text[offset..], lines, strict, ret);
    match document.problem {
        Some(problem) => ret.str(problem),
        None if !document.found => ret.str("EOF"),
        None => ret.nil(),
    }
    ret.num((offset + document.next) as f64);
    ret.num(document.lines as f64);
    Ok(())
}

#[cfg(test)]
mod tests;
