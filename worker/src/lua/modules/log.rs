//! `log`: loggers that write to the log or to files of the scratch folder. They are Lua (`log.lua`).

use msgscript_proto::message::Level;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};
use super::time::format::{Moment, format};
use super::time::{now, zone};

/// The module.
pub const MODULE: Module = Module { name: "log", functions: FUNCTIONS, lua: Some(include_str!("log.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[("log.emit", emit), ("log.stamp", stamp)];

/// `emit(level, text)`: logs one line.
fn emit(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    let level = match &*args.string(1)? {
        b"DEBUG" => Level::Debug,
        b"WARN" => Level::Warn,
        b"ERROR" => Level::Error,
        _ => Level::Info,
    };
    ctx.log(level, &args.string(2)?);
    Ok(())
}

/// `stamp(layout, utc)`: the time now.
fn stamp(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let now = now();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let utc = matches!(args.get(2), super::super::value::Arg::Bool(true));
    let (offset, zone) = if utc { (0, String::new()) } else { zone::at(&ctx.local_zone, seconds) };
    let moment = Moment { seconds, nanos: now.subsec_nanos(), offset, zone: &zone };
    ret.str(format(&moment, &args.string(1)?));
    Ok(())
}

#[cfg(test)]
mod tests;
