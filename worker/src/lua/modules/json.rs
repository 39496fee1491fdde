//! The `json` module: `encode` and `decode` as the Go server's scripts know them.
//!
//! Takes values and texts that a hostile script chose, gives the other form or `nil, error` with the
//! texts of Go's encoding/json. Must never recurse on what a text nests, nor build a tree: one pass
//! each way.

mod decode;
mod encode;
mod escape;
mod number;
mod scan;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "json", functions: FUNCTIONS, lua: None };

const FUNCTIONS: &[(&str, HostFn)] = &[("encode", encode), ("decode", decode)];

pub use decode::MAX_NESTING;

/// `json.encode(value)`: the text, or `nil, error`.
pub fn encode(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    if args.is_empty() {
        return Err(args.bad(1, "value expected"));
    }
    // The text is about as long as the tokens are: a string's six bytes more are its quotes, colon and comma.
    let room = if let Arg::Table(tokens) = args.get(1) { tokens.remaining() } else { 0 };
    let mut out = Vec::with_capacity(room.min(ctx.memory_limit));
    match encode::value(args.get(1), ctx.memory_limit, &mut out) {
        Ok(()) => ret.str(&out),
        Err(encode::Error::TooLarge) => return Err(Fail::Memory),
        Err(error) => ret.nil_err(error.to_string()),
    }
    Ok(())
}

/// `json.decode(text)`: the value, or `nil, error`.
pub fn decode(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    let start = ret.position();
    if let Err(error) = decode::text(&text, ret) {
        ret.truncate(start);
        ret.nil_err(error);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
