//! `strings`: Go's functions on strings of any bytes. Its readers and builders are in `strings.lua`.
//!
//! Takes bytes that a hostile script chose. Every search is linear.

mod chars;

use memchr::memmem;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};
pub(super) use chars::first;
use chars::last;

/// The module.
pub const MODULE: Module =
    Module { name: "strings", functions: FUNCTIONS, lua: Some(include_str!("strings.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("strings.split", split),
    ("strings.fields", fields),
    ("strings.has_prefix", has_prefix),
    ("strings.has_suffix", has_suffix),
    ("strings.contains", contains),
    ("strings.trim", trim),
    ("strings.trim_space", trim_space),
    ("strings.trim_prefix", trim_prefix),
    ("strings.trim_suffix", trim_suffix),
];

/// Adds an array of strings.
pub(super) fn array<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, ret: &mut Ret) {
    ret.begin_table();
    let mut index = 1.0;
    for piece in pieces {
        ret.num(index);
        ret.str(piece);
        index += 1.0;
    }
    ret.end_table();
}

/// `strings.split(s [, separator])`: the pieces, empty ones too; characters if the separator is empty.
fn split(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    let separator = if args.len() > 1 { args.string(2)? } else { b"".into() };
    let mut rest = Some(&*text);
    if separator.is_empty() {
        let characters = std::iter::from_fn(|| {
            let (now, later) = rest?.split_at_checked(first(rest?)?.1)?;
            rest = Some(later);
            Some(now)
        });
        array(characters, ret);
        return Ok(());
    }
    let finder = memmem::Finder::new(&separator);
    let pieces = std::iter::from_fn(|| {
        let now = rest?;
        let at = finder.find(now);
        rest = at.map(|at| &now[at + separator.len()..]);
        Some(&now[..at.unwrap_or(now.len())])
    });
    array(pieces, ret);
    Ok(())
}

/// `strings.fields(s)`: what white space separates.
fn fields(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    let mut rest = trim_start(&text, char::is_whitespace);
    let fields = std::iter::from_fn(|| {
        let end = trim_start(rest, |letter| !letter.is_whitespace());
        let field = &rest[..rest.len() - end.len()];
        rest = trim_start(end, char::is_whitespace);
        (!field.is_empty()).then_some(field)
    });
    array(fields, ret);
    Ok(())
}

fn has_prefix(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.bool(args.string(1)?.starts_with(&args.string(2)?));
    Ok(())
}

fn has_suffix(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.bool(args.string(1)?.ends_with(&args.string(2)?));
    Ok(())
}

fn contains(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.bool(memmem::find(&args.string(1)?, &args.string(2)?).is_some());
    Ok(())
}

/// `strings.trim(s, cutset)`: without the characters of the set at both ends.
fn trim(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, mut set) = (args.string(1)?, &*args.string(2)?);
    let mut letters = Vec::new();
    while let Some((letter, size)) = first(set) {
        letters.push(letter);
        set = &set[size..];
    }
    letters.sort_unstable();
    let cut = |letter: char| letters.binary_search(&letter).is_ok();
    ret.str(trim_end(trim_start(&text, cut), cut));
    Ok(())
}

fn trim_space(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(trim_end(trim_start(&args.string(1)?, char::is_whitespace), char::is_whitespace));
    Ok(())
}

fn trim_prefix(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, prefix) = (args.string(1)?, args.string(2)?);
    ret.str(text.strip_prefix(&*prefix).unwrap_or(&text));
    Ok(())
}

fn trim_suffix(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (text, suffix) = (args.string(1)?, args.string(2)?);
    ret.str(text.strip_suffix(&*suffix).unwrap_or(&text));
    Ok(())
}

fn trim_start(mut text: &[u8], cut: impl Fn(char) -> bool) -> &[u8] {
    while let Some((letter, size)) = first(text) {
        if !cut(letter) {
            break;
        }
        text = &text[size..];
    }
    text
}

fn trim_end(mut text: &[u8], cut: impl Fn(char) -> bool) -> &[u8] {
    while let Some((letter, size)) = last(text) {
        if !cut(letter) {
            break;
        }
        text = &text[..text.len() - size];
    }
    text
}

#[cfg(test)]
mod tests;
