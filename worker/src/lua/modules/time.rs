//! `time`: the clock, Go's layouts, and sleep, which the broker does.
//!
//! Takes numbers, layouts, texts and names of zones that a hostile script chose. Must never open a file:
//! zones are bundled, and the server's own is in `Ctx`.

pub mod civil;
pub mod format;
pub mod layout;
mod names;
pub mod parse;
pub mod zone;

use std::time::{Duration, SystemTime};

use msgscript_proto::host::{HostCall, HostReply};

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};
use format::Moment;
use parse::Zone;

/// The module.
pub const MODULE: Module = Module { name: "time", functions: FUNCTIONS, lua: None };

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("time.unix", unix),
    ("time.unix_nano", unix_nano),
    ("time.sleep", sleep),
    ("time.parse", parse_text),
    ("time.format", format_number),
];

/// The layout that `time.format` uses when it is given none.
const LAYOUT: &[u8] = b"Mon Jan 2 15:04:05 -0700 MST 2006";

/// The time since 1970.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// `time.unix()`: seconds since 1970, with a fraction.
fn unix(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.num(now().as_secs_f64());
    Ok(())
}

/// `time.unix_nano()`: nanoseconds since 1970, as near as a double comes.
#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn unix_nano(_: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.num(now().as_nanos() as f64);
    Ok(())
}

/// `time.sleep(seconds)`: nothing, after that time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; saturates, as wanted")]
fn sleep(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    let seconds = args.number(1)?;
    if seconds <= 0.0 || seconds.is_nan() {
        return Ok(());
    }
    let call = HostCall::Sleep { millis: (seconds * 1000.0).ceil() as u64 };
    let mut result = Ok(());
    ctx.outside.call(&call, &mut |reply| match reply {
        HostReply::Done => {}
        HostReply::Failed(text) | HostReply::Denied(text) => result = Err(Fail::here(text)),
        _ => result = Err(Fail::here("unexpected reply")),
    });
    result
}

/// `time.parse(value, layout [, location])`: seconds since 1970, or `nil, error`.
#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn parse_text(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (value, layout) = (args.string(1)?, args.string(2)?);
    let mut location = None;
    if args.len() > 2 {
        let name = args.string(3)?;
        let Some(zone) = zone::named(&name, &ctx.local_zone) else {
            ret.nil_err(unknown(&name));
            return Ok(());
        };
        location = Some(zone);
    }
    match parse::parse(&layout, &value) {
        Ok(parsed) => {
            let shown = parsed.shown;
            let named = |name: &[u8]| {
                let zone = location.as_ref().unwrap_or(&ctx.local_zone);
                shown.saturating_sub(zone::abbreviated(zone, name, shown).unwrap_or(0))
            };
            let seconds = match parsed.zone {
                Zone::Offset(offset) => shown.saturating_sub(offset),
                Zone::Name(name) => named(&name),
                Zone::None => location.as_ref().map_or(shown, |zone| zone::instant(zone, shown)),
            };
            ret.num(seconds as f64 + f64::from(parsed.nanos) / 1e9);
        }
        Err(error) => ret.nil_err(error),
    }
    Ok(())
}

/// `time.format(seconds [, layout [, location]])`: the text, or `nil, error`.
fn format_number(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let number = args.number(1)?;
    let layout = if args.len() > 1 { args.string(2)? } else { LAYOUT.into() };
    let mut zone = ctx.local_zone.clone();
    if args.len() > 2 {
        let name = args.string(3)?;
        match zone::named(&name, &ctx.local_zone) {
            Some(found) => zone = found,
            None => {
                ret.nil_err(unknown(&name));
                return Ok(());
            }
        }
    }
    let (seconds, nanos) = split(number);
    let (offset, name) = zone::at(&zone, seconds);
    ret.str(format::format(&Moment { seconds, nanos, offset, zone: &name }, &layout));
    Ok(())
}

/// Whole seconds, rounded down, and nanoseconds, cut off as Go does.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates, as wanted; the fraction is below 1"
)]
fn split(number: f64) -> (i64, u32) {
    let seconds = number as i64;
    let nanos = ((number - seconds as f64) * 1e9) as i64;
    match nanos {
        1_000_000_000.. | ..=-1_000_000_000 => (seconds, 0),
        0.. => (seconds, nanos as u32),
        _ => (seconds.saturating_sub(1), (nanos + 1_000_000_000) as u32),
    }
}

fn unknown(name: &[u8]) -> Vec<u8> {
    [b"unknown time zone ", name].concat()
}

#[cfg(test)]
mod tests;
