//! What `read` understands: `*l`, `*L`, `*a`, `*n` and a number of bytes.

use super::super::super::Ctx;
use super::super::super::number;
use super::super::super::value::{Arg, Args, Fail, Ret};
use super::{FIRST, wrong_direction};

/// No number that means anything is longer, in bytes.
const LONGEST_NUMBER: usize = 200;

/// One thing to read.
enum Format {
    /// A line, with its end if true.
    Line(bool),
    All,
    Number,
    Bytes(usize),
}

/// Reads what the arguments from `first` on ask for, a line if there are none; ends with nil at the
/// first that cannot be had.
pub(super) fn formats(
    ctx: &mut Ctx,
    index: u32,
    args: &Args<'_>,
    first: usize,
    ret: &mut Ret,
) -> Result<(), Fail> {
    if let Some(file) = index.checked_sub(FIRST).and_then(|file| ctx.scratch.file(file))
        && !file.mode.read
    {
        return wrong_direction(&file.path, "writing", ret);
    }
    if args.len() < first {
        one(ctx, index, &Format::Line(false), ret)?;
        return Ok(());
    }
    for n in first..=args.len() {
        if !one(ctx, index, &format(args, n)?, ret)? {
            break;
        }
    }
    Ok(())
}

fn format(args: &Args<'_>, n: usize) -> Result<Format, Fail> {
    if let Arg::Num(_) = args.get(n) {
        return Ok(Format::Bytes(usize::try_from(args.int_or(n, 0)?).unwrap_or(0)));
    }
    let text = args.string(n)?;
    match text.strip_prefix(b"*").unwrap_or(&text).first() {
        Some(b'l') => Ok(Format::Line(false)),
        Some(b'L') => Ok(Format::Line(true)),
        Some(b'a') => Ok(Format::All),
        Some(b'n') => Ok(Format::Number),
        _ => Err(args.bad(n, &format!("invalid options:{}", String::from_utf8_lossy(&text)))),
    }
}

/// Reads one thing; false, and nil, if there is none.
fn one(ctx: &mut Ctx, index: u32, format: &Format, ret: &mut Ret) -> Result<bool, Fail> {
    let file = index.wrapping_sub(FIRST);
    // Standard input is empty, and so are the other two when read.
    let rest = if index < FIRST { &[] } else { enough(ctx, file, format)? };
    let used = match format {
        Format::All => {
            ret.str(rest);
            rest.len()
        }
        Format::Bytes(0) if !rest.is_empty() => {
            ret.str("");
            0
        }
        _ if rest.is_empty() => {
            ret.nil();
            return Ok(false);
        }
        Format::Bytes(count) => {
            let bytes = &rest[..rest.len().min(*count)];
            ret.str(bytes);
            bytes.len()
        }
        Format::Line(whole) => {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.map_or(rest.len(), |end| end + 1)];
            ret.str(if *whole { line } else { without_end(line) });
            line.len()
        }
        Format::Number => {
            let (used, number) = number_in(rest);
            match number {
                Some(number) => ret.num(number),
                None => ret.nil(),
            }
            ctx.scratch.advance(file, used);
            return Ok(number.is_some());
        }
    };
    ctx.scratch.advance(file, used);
    Ok(true)
}

/// What lies ahead in a file: enough of it for the format, or all.
fn enough<'a>(ctx: &'a mut Ctx, file: u32, format: &Format) -> Result<&'a [u8], Fail> {
    let mut least = match format {
        Format::All => usize::MAX,
        Format::Bytes(count) => (*count).max(1),
        Format::Number => LONGEST_NUMBER,
        Format::Line(_) => 1,
    };
    loop {
        let ahead = ctx.scratch.ahead(file, least)?;
        let done = match format {
            Format::Line(_) => ahead.contains(&b'\n'),
            // White space in front may be of any length.
            Format::Number => ahead.len() - ahead.trim_ascii_start().len() + LONGEST_NUMBER <= ahead.len(),
            Format::All | Format::Bytes(_) => true,
        };
        if done || ahead.len() < least {
            return Ok(ctx.scratch.ahead(file, least)?);
        }
        least = ahead.len() + 1;
    }
}

/// A line without its `\n`, or `\r\n`.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The number that a text begins with, behind white space, and how many bytes were looked at.
fn number_in(text: &[u8]) -> (usize, Option<f64>) {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
    let word = &text[start..text.len().min(start + LONGEST_NUMBER)];
    let count = |from: usize, wanted: fn(&u8) -> bool| {
        word[from.min(word.len())..].iter().take_while(|b| wanted(b)).count()
    };
    let mut end = usize::from(matches!(word.first(), Some(b'+' | b'-')));
    if matches!(word.get(end..end + 2), Some(b"0x" | b"0X")) {
        end += 2;
        end += count(end, u8::is_ascii_hexdigit);
    } else {
        end += count(end, u8::is_ascii_digit);
        if word.get(end) == Some(&b'.') {
            end += 1 + count(end + 1, u8::is_ascii_digit);
        }
        if matches!(word.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(word.get(end + 1), Some(b'+' | b'-')));
            let digits = count(end + 1 + sign, u8::is_ascii_digit);
            end += if digits > 0 { 1 + sign + digits } else { 0 };
        }
    }
    (start + end, number::parse(&word[..end]))
}
