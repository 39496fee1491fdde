//! `io.popen`: commands as files. One that is read has ended before the first read; one that is written
//! starts when it is closed, at the latest with the script.

use std::borrow::Cow;

use super::super::super::Ctx;
use super::super::super::value::{Arg, Args, Fail, Ret};
use super::super::cmd::{self, NO_TIMEOUT, Refusal};
use super::streams::Stream;
use super::{FIRST, fail, handle};
use crate::scratch::Mode;

/// A command behind a file.
#[derive(Debug)]
pub(super) enum Process {
    /// It has ended with this status.
    Ended(i32),
    /// It is to be run with what was written.
    Waits(Vec<u8>),
}

/// `io.popen(command [, "r" or "w"])`: a file, or `nil, error`.
pub(super) fn popen(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let line = args.string(1)?;
    let mode = if matches!(args.get(2), Arg::Nil) { Cow::Borrowed(&b"r"[..]) } else { args.string(2)? };
    let writes = match &*mode {
        b"r" => false,
        b"w" => true,
        _ => return Err(args.bad(2, "invalid option: must be one of r w")),
    };
    // What is to be run later is asked about now, by an empty line: nobody would see a refusal then.
    let first: &[u8] = if writes { b"" } else { &line };
    let ended = match cmd::run(ctx, first, b"", NO_TIMEOUT) {
        Ok(ended) => ended,
        Err(Refusal::Denied(_)) => {
            ret.nil_err("popen: not permitted");
            return Ok(());
        }
        Err(Refusal::Failed(text)) => {
            ret.nil_err(text);
            return Ok(());
        }
    };
    let (content, mode, process) = if writes {
        (Vec::new(), Mode::WRITE, Process::Waits(line.into_owned()))
    } else {
        (ended.stdout, Mode::READ, Process::Ended(ended.status))
    };
    match ctx.scratch.open_filled(&content, mode) {
        Ok(file) => {
            ctx.streams.processes.insert(file + FIRST, process);
            ret.handle(handle(file + FIRST));
        }
        Err(error) => fail(&error, ret)?,
    }
    Ok(())
}

/// Closes the file of a command; gives its exit status, -1 if it did not run to its end. `None` if it is
/// no such file.
pub(super) fn close(ctx: &mut Ctx, index: u32) -> Result<Option<i32>, Fail> {
    let Some(process) = ctx.streams.processes.remove(&index) else { return Ok(None) };
    let file = index - FIRST;
    let status = match process {
        Process::Ended(status) => status,
        Process::Waits(line) => {
            ctx.scratch.seek(file, super::Whence::Start, 0)?;
            let input = ctx.scratch.rest(file)?.to_vec();
            run_and_log(ctx, &line, &input)
        }
    };
    ctx.scratch.close(file)?;
    Ok(Some(status))
}

/// Runs a command whose output is for the log; gives its status, -1 if it did not run to its end.
pub(in super::super) fn run_and_log(ctx: &mut Ctx, line: &[u8], input: &[u8]) -> i32 {
    let Ok(ended) = cmd::run(ctx, line, input, NO_TIMEOUT) else { return -1 };
    ctx.write_line(Stream::Out, &ended.stdout);
    ctx.write_line(Stream::Err, &ended.stderr);
    ended.status
}

impl Ctx {
    /// Runs the commands that were written to and not closed. To be called when the script has ended.
    pub fn finish_processes(&mut self) {
        let open: Vec<u32> = self.streams.processes.keys().copied().collect();
        for index in open {
            // There is nobody left to tell.
            let _ = close(self, index);
        }
    }
}
