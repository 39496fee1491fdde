//! The `template` module: mustache as the Go server's scripts know it (cbroglie/mustache 1.0.1).
//!
//! Takes templates, contexts and partials that a hostile script chose, gives text or `nil, error`. Partials
//! are files of the scratch folder. Must never recurse on what a template nests: templates are flat lists of
//! steps, and what is open is kept in lists.
//!
//! Where the engine differs from the mustache specification, scripts may depend on it: `{}` and 0 are true,
//! inside a section on a scalar or an inverted one the root comes first again, a broken partial inside a
//! section is left out. Whole numbers print in full digits (the contract).

mod data;
mod parse;
mod render;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};
use data::Data;
use parse::Parsed;
use render::Failure;

/// The module.
pub const MODULE: Module =
    Module { name: "template", functions: FUNCTIONS, lua: Some(include_str!("template.lua")) };

/// `choose` is in `template.lua`.
const FUNCTIONS: &[(&str, HostFn)] =
    &[("template.choose", check), ("template.render", render), ("template.render_file", render_file)];

/// Nothing, or why there is no such engine.
fn check(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let engine = args.string(1)?;
    if *engine != *b"mustache" {
        ret.str([b"unknown template engine: ", &*engine].concat());
    }
    Ok(())
}

/// `engine:render(template, context)`: the text, or `nil, error`.
fn render(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    this(args)?;
    let template = args.string(2)?;
    args.table(3)?;
    give(ctx, args, &template, ret)
}

/// `engine:render_file(path, context)`: the text, or `nil, error`.
fn render_file(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    this(args)?;
    let path = args.string(2)?;
    args.table(3)?;
    let template = match ctx.scratch.read_file(&path) {
        Ok(content) => content.to_vec(),
        Err(error) => return error.give(ret),
    };
    give(ctx, args, &template, ret)
}

/// That the method was called on an engine.
fn this(args: &Args<'_>) -> Result<(), Fail> {
    match args.get(1) {
        Arg::Table(_) => Ok(()),
        _ => Err(args.expected(1, "userdata")),
    }
}

fn give(ctx: &mut Ctx, args: &Args<'_>, template: &[u8], ret: &mut Ret) -> Result<(), Fail> {
    let Some(data) = Data::new(args.table(3)?) else {
        ret.nil_err("arguments #1 must be a table, but got an array");
        return Ok(());
    };
    let rendered = Parsed::new(template.into())
        .map_err(Failure::Error)
        .and_then(|parsed| render::template(parsed, &data, &mut ctx.scratch, ctx.memory_limit));
    match rendered {
        Ok(text) => ret.str(text),
        Err(Failure::Error(error)) => ret.nil_err(error),
        Err(Failure::Memory) => return Err(Fail::Memory),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
