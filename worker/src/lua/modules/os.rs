//! The half of `os` that touches more than the clock, on the scratch folder and the invocation's own
//! environment.
//!
//! Must never reach the process: its environment, its files, its end. Granted names and commands are asked of
//! the broker.

use msgscript_proto::host::{HostCall, HostReply};

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Ret};
use crate::scratch::FsError;

/// Known to the prelude by these names.
pub const FUNCTIONS: &[(&str, HostFn)] = &[
    ("os.remove", remove),
    ("os.rename", rename),
    ("os.tmpname", tmpname),
    ("os.getenv", getenv),
    ("os.setenv", setenv),
    ("os.execute", execute),
    ("os.exit", exit),
];

/// The most that the names and values of one invocation's environment may take, in bytes.
const MAX_ENV: usize = 1 << 20;

/// The longest name that the broker is asked for, in bytes.
const MAX_NAME: usize = 255;

fn remove(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let removed = ctx.scratch.remove(&args.string(1)?);
    done(removed, ret)
}

fn rename(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let renamed = ctx.scratch.rename(&args.string(1)?, &args.string(2)?);
    done(renamed, ret)
}

/// `true`, or `nil, error`.
fn done(outcome: Result<(), FsError>, ret: &mut Ret) -> Result<(), Fail> {
    match outcome {
        Ok(()) => ret.bool(true),
        Err(error) => error.give(ret)?,
    }
    Ok(())
}

fn tmpname(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(ctx.scratch.unused_name());
    Ok(())
}

/// What the script set, else what is granted. An empty value is no value, as in Go.
fn getenv(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let name = args.string(1)?;
    if !ctx.env.contains_key(&*name) && could_be_granted(&name) {
        let value = ask(ctx, &name);
        ctx.env.insert(name.to_vec(), value);
    }
    match ctx.env.get(&*name) {
        Some(value) if !value.is_empty() => ret.str(value),
        _ => ret.nil(),
    }
    Ok(())
}

/// Grants name nothing else.
fn could_be_granted(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// The granted value; empty if there is none.
fn ask(ctx: &Ctx, name: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    ctx.outside.call(&HostCall::Env { name }, &mut |reply| {
        if let HostReply::Bytes(bytes) = reply {
            value = bytes.to_vec();
        }
    });
    value
}

fn setenv(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (name, value) = (args.string(1)?, args.string(2)?);
    if name.is_empty() || name.iter().chain(&*value).any(|byte| *byte == 0) || name.contains(&b'=') {
        ret.nil_err("setenv: invalid argument");
        return Ok(());
    }
    let used: usize = ctx.env.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
    if used + name.len() + value.len() > MAX_ENV {
        return Err(Fail::Memory);
    }
    ctx.env.insert(name.into_owned(), value.into_owned());
    ret.bool(true);
    Ok(())
}

/// 0 if the command ended well; 1 for anything else, a missing grant included.
fn execute(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let status = super::io::run_and_log(ctx, &args.string(1)?, b"");
    ret.num(if status == 0 { 0.0 } else { 1.0 });
    Ok(())
}

/// Ends the script, not the worker.
fn exit(_: &mut Ctx, _: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    Err(Fail::Exit)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call, message, text};
    use super::*;

    #[test]
    fn files_are_removed_and_renamed() {
        let mut ctx = Ctx::default();
        ctx.scratch.write_file(b"a", b"x").unwrap();
        assert_eq!(call(rename, &mut ctx, &["a".into(), "b".into()]).unwrap(), [true.into()]);
        assert_eq!(ctx.scratch.read_file(b"b").unwrap(), b"x");
        let failed = call(rename, &mut ctx, &["a".into(), "c".into()]).unwrap();
        assert_eq!(failed, [Value::Nil, "rename a c: no such file or directory".into()]);
        assert_eq!(call(remove, &mut ctx, &["b".into()]).unwrap(), [true.into()]);
        let failed = call(remove, &mut ctx, &["b".into()]).unwrap();
        assert_eq!(failed, [Value::Nil, "remove b: no such file or directory".into()]);
    }

    #[test]
    fn names_for_temporary_files_are_unused() {
        let mut ctx = Ctx::default();
        let one = text(&call(tmpname, &mut ctx, &[]).unwrap());
        ctx.scratch.write_file(one.as_bytes(), b"").unwrap();
        assert_ne!(text(&call(tmpname, &mut ctx, &[]).unwrap()), one);
    }

    #[test]
    fn the_environment_holds_what_was_granted_or_set() {
        let mut ctx = Ctx::default();
        ctx.env.insert(b"GRANTED".into(), b"yes".into());
        ctx.env.insert(b"EMPTY".into(), b"".into());
        assert_eq!(call(getenv, &mut ctx, &["GRANTED".into()]).unwrap(), ["yes".into()]);
        for name in ["PATH", "HOME", "EMPTY"] {
            assert_eq!(call(getenv, &mut ctx, &[name.into()]).unwrap(), [Value::Nil]);
        }
        assert_eq!(call(setenv, &mut ctx, &["A".into(), 5.0.into()]).unwrap(), [true.into()]);
        assert_eq!(call(getenv, &mut ctx, &["A".into()]).unwrap(), ["5".into()]);
        assert_eq!(call(setenv, &mut ctx, &["A=".into(), "".into()]).unwrap()[0], Value::Nil);
        let huge = Value::Str(vec![b'x'; MAX_ENV]);
        assert!(matches!(call(setenv, &mut ctx, &["B".into(), huge]), Err(Fail::Memory)));
    }

    #[test]
    fn commands_fail_and_exit_ends_the_script() {
        let mut ctx = Ctx::default();
        assert_eq!(call(execute, &mut ctx, &["true".into()]).unwrap(), [1.0.into()]);
        assert_eq!(message(call(execute, &mut ctx, &[])), "bad argument #1 to f (string expected, got nil)");
        assert!(matches!(call(exit, &mut ctx, &[]), Err(Fail::Exit)));
    }
}
