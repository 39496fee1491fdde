//! `io` and the methods of files, on the scratch folder; standard output and error are the log.
//!
//! Takes handles and strings that a hostile script chose. A handle's index below [`FIRST`] is a standard
//! stream, others are files of the scratch folder. Must never reach a real file or a process but by asking
//! the broker.

mod process;
mod read;
mod streams;

use std::borrow::Cow;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, Handle, HostFn, Kind, Ret};
use crate::scratch::{FsError, Mode, Whence};

pub(super) use process::run_and_log;
pub use streams::Streams;

/// Known to the prelude by these names.
pub const FUNCTIONS: &[(&str, HostFn)] = &[
    ("io.open", open),
    ("io.close", close_default),
    ("io.read", read_default),
    ("io.write", write_default),
    ("io.flush", flush_default),
    ("io.input", input),
    ("io.output", output),
    ("io.std", standard),
    ("io.type", kind),
    ("io.tmpfile", tmpfile),
    ("io.popen", process::popen),
    ("io.slurp", slurp),
    ("file.close", close),
    ("file.read", read),
    ("file.line", line),
    ("file.write", write),
    ("file.seek", seek),
    ("file.flush", flush),
    ("file.setvbuf", flush),
    ("file.tostring", tostring),
];

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// The handle of the scratch folder's file 0.
const FIRST: u32 = 3;

const MODES: &str = "invalid option: {} (must be one of r rb w wb a ab r+ rb+ w+ wb+ a+ ab+)";

fn handle(index: u32) -> Handle {
    Handle { kind: Kind::File, index }
}

/// `io.open(path [, mode])`: a file, or `nil, error, 1`.
fn open(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let path = args.string(1)?;
    let text = if matches!(args.get(2), Arg::Nil) { Cow::Borrowed(&b"r"[..]) } else { args.string(2)? };
    let Some(mode) = Mode::parse(&text) else {
        return Err(args.bad(2, &MODES.replace("{}", &String::from_utf8_lossy(&text))));
    };
    match ctx.scratch.open(&path, mode) {
        Ok(file) => ret.handle(handle(file + FIRST)),
        Err(error) => fail(&error, ret)?,
    }
    Ok(())
}

/// `nil, error, 1`.
fn fail(error: &FsError, ret: &mut Ret) -> Result<(), Fail> {
    error.give(ret)?;
    ret.num(1.0);
    Ok(())
}

fn tmpfile(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match ctx.scratch.open_unnamed() {
        Ok(file) => ret.handle(handle(file + FIRST)),
        Err(error) => fail(&error, ret)?,
    }
    Ok(())
}

/// The text of a file, for `loadfile` and `require`.
fn slurp(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match ctx.scratch.read_file(&args.string(1)?) {
        Ok(content) => ret.str(content),
        Err(error) => error.give(ret)?,
    }
    Ok(())
}

/// A standard stream by number.
fn standard(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.handle(handle(u32::try_from(args.int_or(1, 0)?.clamp(0, 2)).unwrap_or(STDIN)));
    Ok(())
}

fn kind(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match args.get(1) {
        Arg::Handle(Handle { kind: Kind::File, index }) if is_open(ctx, index) => ret.str("file"),
        Arg::Handle(Handle { kind: Kind::File, .. }) => ret.str("closed file"),
        _ => ret.nil(),
    }
    Ok(())
}

fn tostring(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = args.handle(1, Kind::File, "file")?;
    ret.str(match is_open(ctx, index) {
        true if ctx.streams.processes.contains_key(&index) => "process",
        true => "file",
        false => "file (closed)",
    });
    Ok(())
}

fn is_open(ctx: &Ctx, index: u32) -> bool {
    index < FIRST || ctx.scratch.file(index - FIRST).is_some()
}

/// The open file of a method call.
fn this(ctx: &Ctx, args: &Args<'_>) -> Result<u32, Fail> {
    let index = args.handle(1, Kind::File, "file")?;
    if is_open(ctx, index) { Ok(index) } else { Err(Fail::here("file is closed")) }
}

fn close(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = args.handle(1, Kind::File, "file")?;
    close_index(ctx, index, ret)
}

fn close_default(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    if args.is_empty() { close_index(ctx, ctx.streams.output, ret) } else { close(ctx, args, ret) }
}

/// Closing a standard stream changes nothing.
fn close_index(ctx: &mut Ctx, index: u32, ret: &mut Ret) -> Result<(), Fail> {
    if let Some(status) = process::close(ctx, index)? {
        ret.num(f64::from(status));
        return Ok(());
    }
    if index >= FIRST {
        ctx.scratch.close(index - FIRST)?;
    }
    ret.bool(true);
    Ok(())
}

fn read(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    read::formats(ctx, index, args, 2, ret)
}

fn read_default(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = current(ctx, ctx.streams.input)?;
    read::formats(ctx, index, args, 1, ret)
}

/// The next line without its end, or nil: one step of `lines`.
fn line(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    let none = Args { function: args.function, list: &[] };
    read::formats(ctx, index, &none, 1, ret)
}

fn current(ctx: &Ctx, index: u32) -> Result<u32, Fail> {
    if is_open(ctx, index) { Ok(index) } else { Err(Fail::here("file is closed")) }
}

fn write(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    write_all(ctx, index, args, 2, ret)
}

fn write_default(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = current(ctx, ctx.streams.output)?;
    write_all(ctx, index, args, 1, ret)
}

/// Writes the arguments from `first` on; gives `true`, or `nil, error, 1`.
fn write_all(ctx: &mut Ctx, index: u32, args: &Args<'_>, first: usize, ret: &mut Ret) -> Result<(), Fail> {
    for n in first..=args.len() {
        let bytes = args.string(n).map_err(|_| args.expected(n, "number or string"))?;
        if let Some(stream) = streams::of(index) {
            ctx.write_line(stream, &bytes);
            continue;
        }
        let Some(file) = index.checked_sub(FIRST).and_then(|file| Some((file, ctx.scratch.file(file)?)))
        else {
            ret.nil_err("file <stdin> is opened for only reading.");
            ret.num(1.0);
            return Ok(());
        };
        if !file.1.mode.write {
            return wrong_direction(&file.1.path, "reading", ret);
        }
        if let Err(error) = ctx.scratch.write(file.0, &bytes) {
            return fail(&error, ret);
        }
    }
    ret.bool(true);
    Ok(())
}

fn wrong_direction(path: &[u8], only: &str, ret: &mut Ret) -> Result<(), Fail> {
    ret.nil_err([b"file ", path, b" is opened for only ", only.as_bytes(), b"."].concat());
    ret.num(1.0);
    Ok(())
}

/// `file:seek([whence [, offset]])`: the position, or `nil, error, 1`.
fn seek(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    let whence = if matches!(args.get(2), Arg::Nil) { Cow::Borrowed(&b"cur"[..]) } else { args.string(2)? };
    let whence = match &*whence {
        b"set" => Whence::Start,
        b"cur" => Whence::Current,
        b"end" => Whence::End,
        _ => return Err(args.bad(2, "invalid option: must be one of set cur end")),
    };
    let offset = args.int_or(3, 0)?;
    let Some(file) = index.checked_sub(FIRST) else {
        ret.nil_err("seek: illegal seek");
        ret.num(1.0);
        return Ok(());
    };
    match ctx.scratch.seek(file, whence, offset) {
        #[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
        Ok(position) => ret.num(position as f64),
        Err(error) => fail(&error, ret)?,
    }
    Ok(())
}

/// Nothing is buffered.
fn flush(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    this(ctx, args)?;
    ret.bool(true);
    Ok(())
}

fn flush_default(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    current(ctx, ctx.streams.output)?;
    ret.bool(true);
    Ok(())
}

fn input(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ctx.streams.input = choose(ctx, args, ctx.streams.input, Mode::READ)?;
    ret.handle(handle(ctx.streams.input));
    Ok(())
}

fn output(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ctx.streams.output = choose(ctx, args, ctx.streams.output, Mode::WRITE)?;
    ret.handle(handle(ctx.streams.output));
    Ok(())
}

/// The file that `io.input` or `io.output` is to use: that handle, that path, or what it was.
fn choose(ctx: &mut Ctx, args: &Args<'_>, now: u32, mode: Mode) -> Result<u32, Fail> {
    match args.get(1) {
        Arg::Nil => Ok(now),
        Arg::Handle(_) => this(ctx, args),
        _ => Ok(ctx.scratch.open(&args.string(1)?, mode)? + FIRST),
    }
}

#[cfg(test)]
mod tests;
