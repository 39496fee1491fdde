//! `ioutil`: whole files, and copies from readers to writers. The copies are Lua (`ioutil.lua`).

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};
use crate::scratch::Reason;

/// The module.
pub const MODULE: Module =
    Module { name: "ioutil", functions: FUNCTIONS, lua: Some(include_str!("ioutil.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[("ioutil.read_file", read_file), ("ioutil.write_file", write_file)];

/// `ioutil.read_file(path)`: the content, or `nil, error`.
fn read_file(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match ctx.scratch.read_file(&args.string(1)?) {
        Ok(content) => ret.str(content),
        Err(error) => error.give(ret)?,
    }
    Ok(())
}

/// `ioutil.write_file(path, data)`: nothing, or the error.
fn write_file(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match ctx.scratch.write_file(&args.string(1)?, &args.string(2)?) {
        Err(error) if error.reason == Reason::Memory => Err(Fail::Memory),
        Err(error) => {
            ret.str(error.text());
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call, message};
    use super::*;

    #[test]
    fn files_are_read_and_written_whole() {
        let mut ctx = Ctx::default();
        assert_eq!(call(write_file, &mut ctx, &["a".into(), "one".into()]).unwrap(), []);
        assert_eq!(call(write_file, &mut ctx, &["a".into(), 2.0.into()]).unwrap(), []);
        assert_eq!(call(read_file, &mut ctx, &["a".into()]).unwrap(), ["2".into()]);
    }

    #[test]
    fn failures_name_the_operation_and_the_path() {
        let mut ctx = Ctx::default();
        ctx.scratch.mkdir(b"d").unwrap();
        let failed = call(read_file, &mut ctx, &["x".into()]).unwrap();
        assert_eq!(failed, [Value::Nil, "open x: no such file or directory".into()]);
        let failed = call(read_file, &mut ctx, &["d".into()]).unwrap();
        assert_eq!(failed, [Value::Nil, "read d: is a directory".into()]);
        let failed = call(write_file, &mut ctx, &["x/y".into(), "".into()]).unwrap();
        assert_eq!(failed, ["open x/y: no such file or directory".into()]);
        let failed = message(call(write_file, &mut ctx, &["x".into()]));
        assert_eq!(failed, "bad argument #2 to f (string expected, got nil)");
    }

    #[test]
    fn a_file_past_the_memory_limit_ends_the_run() {
        let mut ctx = Ctx::default();
        ctx.scratch.set_limits(1000, 1000, 10);
        let large = Value::Str(vec![0; 2000]);
        assert!(matches!(call(write_file, &mut ctx, &["x".into(), large]), Err(Fail::Memory)));
    }
}
