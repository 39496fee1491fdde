//! `hello`: the Go server's sample plugin.

use msgscript_proto::message::Level;

use super::super::Ctx;
use super::super::value::{Args, Fail, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "hello", functions: &[("hello.print", print)], lua: None };

const GREETING: &str = "Hello from a Go plugin!";

/// `hello.print()`: logs the greeting and returns it.
fn print(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ctx.log(Level::Info, GREETING.as_bytes());
    ret.str(GREETING);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call, text};
    use super::{Ctx, GREETING, print};

    #[test]
    fn the_greeting_is_printed_and_returned() {
        let mut ctx = Ctx::default();
        assert_eq!(text(&call(print, &mut ctx, &[]).unwrap()), GREETING);
        assert_eq!(ctx.log_sink.len(), 1);
    }
}
