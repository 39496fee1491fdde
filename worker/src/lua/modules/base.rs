//! What the base environment needs besides files: `print`, letters beyond ASCII, the memory limit.
//!
//! Takes strings of any bytes. Must never fail where the native function would not.

use msgscript_proto::message::Level;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Ret};

/// Known to the prelude by these names.
pub const FUNCTIONS: &[(&str, HostFn)] = &[
    ("base.print", print),
    ("base.memory_limit", memory_limit),
    ("base.no_memory", no_memory),
    ("string.upper", upper),
    ("string.lower", lower),
];

/// The message of an allocation that is refused.
pub const NO_MEMORY: &str = "not enough memory";

/// Logs one line.
fn print(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    ctx.log(Level::Info, &args.string(1)?);
    Ok(())
}

/// The memory limit in bytes.
#[allow(clippy::cast_precision_loss, reason = "limits are below 2^53")]
fn memory_limit(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.num(ctx.memory_limit as f64);
    Ok(())
}

/// Raises "not enough memory" for a result of that many bytes, which would pass the limit. If nobody catches
/// it, the run ends for its memory.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as wanted")]
fn no_memory(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    ctx.refused_memory = Some(args.number(1)? as u64);
    Err(Fail::here(NO_MEMORY))
}

fn upper(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(map(&args.string(1)?, simple_upper));
    Ok(())
}

fn lower(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(map(&args.string(1)?, simple_lower));
    Ok(())
}

/// Maps each character; each byte that is not UTF-8 becomes U+FFFD, as in Go.
fn map(bytes: &[u8], change: fn(char) -> char) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().map(change));
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// One character for one, as Go maps them: what grows (`ß` to `SS`) stays as it is, but for the Greek
/// letters that have a title case of one character.
fn simple_upper(letter: char) -> char {
    let title = match letter as u32 {
        code @ 0x1f80..=0x1faf if code & 8 == 0 => Some(code + 8),
        code @ (0x1fb3 | 0x1fc3 | 0x1ff3) => Some(code + 9),
        _ => None,
    };
    title.and_then(char::from_u32).unwrap_or_else(|| single(letter, letter.to_uppercase()))
}

fn simple_lower(letter: char) -> char {
    if letter == '\u{130}' { 'i' } else { single(letter, letter.to_lowercase()) }
}

fn single(letter: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(letter) } else { letter }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call, text};
    use super::{Ctx, lower, print, upper};

    #[test]
    fn letters_change_one_for_one() {
        let mut ctx = Ctx::default();
        for (from, to) in
            [("aé ß ñ", "AÉ ß Ñ"), ("\u{1f80}\u{1fb3}\u{1ff3}", "\u{1f88}\u{1fbc}\u{1ffc}"), ("ŉ", "ŉ")]
        {
            assert_eq!(text(&call(upper, &mut ctx, &[from.into()]).unwrap()), to);
        }
        assert_eq!(text(&call(lower, &mut ctx, &["ÀÉİΣ".into()]).unwrap()), "àéiσ");
        let broken = call(upper, &mut ctx, &[Value::from(&b"a\xff\xe2\x80"[..])]).unwrap();
        assert_eq!(text(&broken), "A\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn print_logs_a_line() {
        let mut ctx = Ctx::default();
        call(print, &mut ctx, &["a\tb".into()]).unwrap();
        assert_eq!(ctx.log_sink, [(msgscript_proto::message::Level::Info, b"a\tb".to_vec())]);
    }
}
