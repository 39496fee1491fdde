//! `nats`: messages to other subjects, sent by the broker, and replies to them.

use msgscript_proto::host::{HostCall, HostReply};

use crate::lua::Ctx;
use crate::lua::value::{Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "nats", functions: FUNCTIONS, lua: None };

const FUNCTIONS: &[(&str, HostFn)] = &[("nats.publish", publish), ("nats.request", request)];

/// How long a request waits unless it says, in seconds.
const PATIENCE: f64 = 5.0;

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

/// `request(subject, message, [seconds=5])` → the reply, nil; or nil, error.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as wanted")]
fn request(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (subject, payload) = (args.loose_string(1), args.loose_string(2));
    let timeout = (args.number_or(3, PATIENCE)? * 1e9) as u64;
    let call = HostCall::NatsRequest { subject: &subject, payload: &payload, timeout };
    ctx.outside.call(&call, &mut |reply| match reply {
        HostReply::Bytes(reply) => {
            ret.str(reply);
            ret.nil();
        }
        HostReply::Failed(text) | HostReply::Denied(text) => ret.nil_err(text),
        _ => ret.nil_err("unexpected reply"),
    });
    Ok(())
}
