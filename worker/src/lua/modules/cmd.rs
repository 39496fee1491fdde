//! Commands of the host: `cmd.exec`, and what `os.execute` and `io.popen` are made of.
//!
//! Takes command lines, gives how they ended. The broker decides whether one may run, and runs it in a
//! sandboxed process of its own.

use msgscript_proto::host::{HostCall, HostReply};

use crate::lua::Ctx;
use crate::lua::value::{Args, Fail, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "cmd", functions: &[("cmd.exec", exec)], lua: None };

/// Seconds that `cmd.exec` gives a command when nobody says.
const TIMEOUT: i64 = 10;

/// As long as the invocation lasts.
pub(super) const NO_TIMEOUT: u64 = u64::MAX;

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit status; -1 if a signal ended it.
    pub(super) status: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Why a command did not run or not end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not granted; the text names the grant.
    Denied(String),
    /// Anything else.
    Failed(String),
}

/// Runs a command line and waits for its end. `timeout` is in milliseconds.
pub(super) fn run(ctx: &mut Ctx, line: &[u8], input: &[u8], timeout: u64) -> Result<Ended, Refusal> {
    let mut result = Err(Refusal::Denied("unexpected reply".to_owned()));
    ctx.outside.call(&HostCall::Command { line, input, timeout }, &mut |reply| {
        result = match reply {
            HostReply::Command { status, stdout, stderr } => {
                Ok(Ended { status, stdout: stdout.to_vec(), stderr: stderr.to_vec() })
            }
            HostReply::Done => Ok(Ended { status: 0, stdout: Vec::new(), stderr: Vec::new() }),
            HostReply::Denied(text) => Err(Refusal::Denied(text.to_owned())),
            HostReply::Failed(text) => Err(Refusal::Failed(text.to_owned())),
            _ => return,
        };
    });
    result
}

/// `exec(command [, seconds])` → `{status, stdout, stderr}`; or nil, error.
fn exec(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let line = args.string(1)?;
    let seconds = u64::try_from(args.int_or(2, TIMEOUT)?).unwrap_or(0);
    if seconds == 0 {
        ret.nil_err("execute timeout");
        return Ok(());
    }
    match run(ctx, &line, b"", seconds.saturating_mul(1000)) {
        Ok(ended) => {
            ret.begin_table();
            ret.str("status");
            ret.num(f64::from(ended.status));
            ret.str("stdout");
            ret.str(ended.stdout);
            ret.str("stderr");
            ret.str(ended.stderr);
            ret.end_table();
        }
        Err(Refusal::Denied(text) | Refusal::Failed(text)) => ret.nil_err(text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call, message};
    use super::*;

    #[test]
    fn no_time_is_a_timeout_and_wrong_arguments_raise() {
        let mut ctx = Ctx::default();
        for seconds in [0.0, 0.9, -3.0] {
            let result = call(exec, &mut ctx, &["true".into(), seconds.into()]).unwrap();
            assert_eq!(result, [Value::Nil, "execute timeout".into()]);
        }
        assert_eq!(message(call(exec, &mut ctx, &[])), "bad argument #1 to f (string expected, got nil)");
        assert_eq!(
            message(call(exec, &mut ctx, &["true".into(), "3".into()])),
            "bad argument #2 to f (number expected, got string)"
        );
    }
}
