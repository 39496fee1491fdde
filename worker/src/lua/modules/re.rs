//! The `re` module: Go's RE2 syntax on the `regex` crate, which matches in linear time.
//!
//! Takes patterns and texts of any bytes, gives positions and pieces. Loops that call Lua functions are
//! in `re.lua`. Must never compile or keep more than [`Patterns`] allows.

mod cache;
mod expand;
mod translate;

use regex::bytes::CaptureLocations;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};
use cache::Compiled;
pub use cache::Patterns;

/// The module.
pub const MODULE: Module = Module { name: "re", functions: FUNCTIONS, lua: Some(include_str!("re.lua")) };

const FUNCTIONS: &[(&str, HostFn)] =
    &[("match", match_), ("find", find), ("gsub", gsub), ("quote", quote), ("step", step), ("check", check)];

/// `re.match(s, pattern [, init])`: the captures, or the whole match, or nil.
fn match_(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, pattern) = (args.string(1)?, args.string(2)?);
    let compiled = ctx.patterns.get(&pattern)?;
    let Some(start) = start(args, text.len())? else {
        ret.nil();
        return Ok(());
    };
    let mut found = compiled.regex.capture_locations();
    if compiled.regex.captures_read(&mut found, &text[start..]).is_none() {
        ret.nil();
        return Ok(());
    }
    captures(&found, &text[start..], None, ret);
    Ok(())
}

/// `re.find(s, pattern [, init [, plain]])`: start, end and captures, or nil. With groups the two are
/// the match's start and the last group's end.
fn find(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, pattern) = (args.string(1)?, args.string(2)?);
    let Some(start) = start(args, text.len())? else {
        ret.nil();
        return Ok(());
    };
    let rest = &text[start..];
    if !matches!(args.get(4), Arg::Nil | Arg::Bool(false)) {
        match position(rest, &pattern) {
            Some(at) => bounds(start + at, start + at + pattern.len(), ret),
            None => ret.nil(),
        }
        return Ok(());
    }
    let compiled = ctx.patterns.get(&pattern)?;
    let mut found = compiled.regex.capture_locations();
    let Some(whole) = compiled.regex.captures_read(&mut found, rest) else {
        ret.nil();
        return Ok(());
    };
    let groups = found.len();
    if groups == 1 {
        bounds(start + whole.start(), start + whole.end(), ret);
        return Ok(());
    }
    if found.get(1).is_none() {
        ret.nil();
        return Ok(());
    }
    let last = (1..groups).rev().find_map(|group| found.get(group)).map_or(whole.end(), |(_, end)| end);
    bounds(start + whole.start(), start + last, ret);
    captures(&found, rest, None, ret);
    Ok(())
}

/// `re.gsub(s, pattern, template [, n])`: the new text and the number of replacements.
#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn gsub(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, pattern) = (args.string(1)?, args.string(2)?);
    let Arg::Str(template) = args.get(3) else {
        return Err(args.expected(3, "string or table or function"));
    };
    let limit = args.int_or(4, -1)?;
    let compiled = ctx.patterns.get(&pattern)?;
    let mut matches = Matches::new(&compiled);
    let (mut out, mut copied, mut count) = (Vec::new(), 0, 0);
    while count != limit && matches.next(&text) {
        let (from, to) = matches.whole();
        out.extend_from_slice(&text[copied..from]);
        expand::template(template, &matches.found, &compiled.names, &text, &mut out);
        if out.len() > ctx.memory_limit {
            return Err(Fail::Memory);
        }
        (copied, count) = (to, count + 1);
    }
    out.extend_from_slice(&text[copied..]);
    ret.str(&out);
    ret.num(count as f64);
    Ok(())
}

/// `re.quote(s)`: a pattern that matches just `s`.
fn quote(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    let mut quoted = Vec::with_capacity(text.len() + 8);
    for byte in text.iter().copied() {
        if br"\.+*?()|[]{}^$".contains(&byte) {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    ret.str(quoted);
    Ok(())
}

/// One match of a loop: `step(s, pattern, at, last)` gives where to go on, the match's start and end,
/// and what it captured (what did not take part is empty); nil at the end.
#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn step(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, pattern) = (args.string(1)?, args.string(2)?);
    let compiled = ctx.patterns.get(&pattern)?;
    let mut matches = Matches::new(&compiled);
    matches.at = usize::try_from(args.int_or(3, 0)?).unwrap_or(0);
    matches.last = usize::try_from(args.int_or(4, -1)?).ok();
    if !matches.next(&text) {
        ret.nil();
        return Ok(());
    }
    let (from, to) = matches.whole();
    ret.num(matches.at as f64);
    bounds(from, to, ret);
    captures(&matches.found, &text, Some(b""), ret);
    Ok(())
}

/// Raises the errors that a loop's first step would.
fn check(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    args.string(1)?;
    ctx.patterns.get(&args.string(2)?)?;
    Ok(())
}

/// Where to begin, from argument 3; nothing if that is past the end.
fn start(args: &Args<'_>, size: usize) -> Result<Option<usize>, Fail> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let init = args.int_or(3, 1)?;
    let start = if init < 0 { size.saturating_add(init).max(0) } else { (init - 1).max(0) };
    Ok(if start > size { None } else { usize::try_from(start).ok() })
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    // The crate's literal search, which is linear.
    regex::bytes::RegexBuilder::new(&translate::literal(wanted)?)
        .unicode(false)
        .build()
        .ok()?
        .find(text)
        .map(|found| found.start())
}

#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn bounds(from: usize, to: usize, ret: &mut Ret) {
    ret.num((from + 1) as f64);
    ret.num(to as f64);
}

/// Adds the groups, or the whole match if there are none.
fn captures(found: &CaptureLocations, text: &[u8], missing: Option<&[u8]>, ret: &mut Ret) {
    for group in 1.min(found.len() - 1)..found.len() {
        match (found.get(group), missing) {
            (Some((from, to)), _) => ret.str(&text[from..to]),
            (None, Some(instead)) => ret.str(instead),
            (None, None) => ret.nil(),
        }
    }
}

/// Match after match, as Go counts them: none that is empty right behind the one before.
struct Matches<'c> {
    compiled: &'c Compiled,
    found: CaptureLocations,
    /// Where to search on.
    at: usize,
    /// Where the last match ended.
    last: Option<usize>,
}

impl<'c> Matches<'c> {
    fn new(compiled: &'c Compiled) -> Self {
        Matches { compiled, found: compiled.regex.capture_locations(), at: 0, last: None }
    }

    fn next(&mut self, text: &[u8]) -> bool {
        while self.at <= text.len() {
            let Some(found) = self.compiled.regex.captures_read_at(&mut self.found, text, self.at) else {
                return false;
            };
            let again = found.is_empty() && Some(found.start()) == self.last;
            self.at = if found.end() == self.at { self.at + width(&text[self.at..]) } else { found.end() };
            self.last = Some(found.end());
            if !again {
                return true;
            }
        }
        false
    }

    fn whole(&self) -> (usize, usize) {
        self.found.get(0).unwrap_or_default()
    }
}

/// How many bytes the first character takes (1 if it is broken, or nothing is left).
fn width(text: &[u8]) -> usize {
    let head = &text[..text.len().min(4)];
    head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests;
