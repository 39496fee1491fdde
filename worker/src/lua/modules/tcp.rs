//! `tcp`: plain connections, held by the broker for as long as the run lasts.
//!
//! The Lua part has the objects and their buffers; here each act is one host call. Times are in seconds.

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::net::TcpCall;

use crate::lua::Ctx;
use crate::lua::value::{Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "tcp", functions: FUNCTIONS, lua: Some(include_str!("tcp.lua")) };

const FUNCTIONS: &[(&str, HostFn)] =
    &[("tcp.open", open), ("tcp.write", write), ("tcp.read", read), ("tcp.close", close)];

/// `open(address, seconds)`: the connection's number, or nil and an error.
fn open(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (address, timeout) = (args.string(1)?, nanos(args.number(2)?));
    act(ctx, TcpCall::Open { address: &address, timeout }, ret);
    Ok(())
}

/// `write(connection, text, seconds)`: true, or nil and an error.
fn write(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (connection, data, timeout) = (number(args)?, args.string(2)?, nanos(args.number(3)?));
    act(ctx, TcpCall::Write { connection, data: &data, timeout }, ret);
    Ok(())
}

/// `read(connection, most, seconds)`: bytes, none at the end; or nil and an error.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as wanted")]
fn read(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (connection, most, timeout) = (number(args)?, args.number(2)? as u32, nanos(args.number(3)?));
    act(ctx, TcpCall::Read { connection, most, timeout }, ret);
    Ok(())
}

/// `close(connection)`: true, or nil and an error.
fn close(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let connection = number(args)?;
    act(ctx, TcpCall::Close { connection }, ret);
    Ok(())
}

fn act(ctx: &mut Ctx, call: TcpCall<'_>, ret: &mut Ret) {
    ctx.outside.call(&HostCall::Tcp(call), &mut |reply| match reply {
        HostReply::Done => ret.bool(true),
        HostReply::Bytes(bytes) => ret.str(bytes),
        HostReply::Opened(connection) => ret.num(f64::from(connection)),
        HostReply::Failed(text) | HostReply::Denied(text) => ret.nil_err(text),
        _ => ret.nil_err("unexpected reply"),
    });
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates: no such connection")]
fn number(args: &Args<'_>) -> Result<u32, Fail> {
    Ok(args.number(1)? as u32)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as wanted")]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
