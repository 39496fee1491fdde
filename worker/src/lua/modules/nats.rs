//! `nats`: messages to other subjects, sent by the broker.

use msgscript_proto::host::{HostCall, HostReply};

use crate::lua::Ctx;
use crate::lua::value::{Args, Fail, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "nats", functions: &[("nats.publish", publish)], lua: None };

/// `publish(subject, message)` → true, nil; or false, error.
fn publish(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (subject, payload) = (args.loose_string(1), args.loose_string(2));
    let mut result = Ok(());
    let call = HostCall::NatsPublish { subject: &subject, payload: &payload };
    ctx.outside.call(&call, &mut |reply| match reply {
        HostReply::Done => {}
        HostReply::Failed(text) | HostReply::Denied(text) => result = Err(text.to_owned()),
        _ => result = Err("unexpected reply".to_owned()),
    });
    match result {
        Ok(()) => {
            ret.bool(true);
            ret.nil();
        }
        Err(text) => {
            ret.bool(false);
            ret.str(text);
        }
    }
    Ok(())
}
