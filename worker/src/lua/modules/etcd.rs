//! `etcd`: keys and values that outlive a run, kept by the broker's etcd under the tenant's grants.

use msgscript_proto::host::{HostCall, HostReply};

use crate::lua::Ctx;
use crate::lua::value::{Arg, Args, Fail, Handle, Kind, Module, Ret};

/// The module.
pub const MODULE: Module = Module {
    name: "etcd",
    functions: &[
        ("etcd.get", get),
        ("etcd.put", put),
        ("etcd.delete", delete),
        ("EtcdKV.new", new),
        ("EtcdKV.getKey", key),
        ("EtcdKV.getValue", value),
    ],
    lua: Some(include_str!("etcd.lua")),
};

/// Keys and values by the index of their handles.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// `get(key, prefix)` → a table of pairs, nil; nil, nil if there is none; or nil, error.
fn get(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let key = args.string(1)?;
    let Arg::Bool(prefix) = args.get(2) else { return Err(args.expected(2, "boolean")) };
    let Ctx { outside, pairs, .. } = ctx;
    outside.call(&HostCall::EtcdGet { key: &key, prefix }, &mut |reply| match reply {
        HostReply::Pairs(found) if found.is_empty() => {
            ret.nil();
            ret.nil();
        }
        HostReply::Pairs(found) => {
            ret.begin_table();
            for (number, (key, value)) in (1_u32..).zip(found) {
                ret.num(number.into());
                ret.handle(hold(pairs, key, value));
            }
            ret.end_table();
            ret.nil();
        }
        HostReply::Failed(text) | HostReply::Denied(text) => ret.nil_err(text),
        _ => ret.nil_err("unexpected reply"),
    });
    Ok(())
}

fn hold(pairs: &mut Pairs, key: &[u8], value: &[u8]) -> Handle {
    let index = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
    pairs.push((key.to_vec(), value.to_vec()));
    Handle { kind: Kind::EtcdKv, index }
}

/// `put(key, value)` → nil, or an error.
fn put(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (key, value) = (args.string(1)?, args.string(2)?);
    write(ctx, &HostCall::EtcdPut { key: &key, value: &value }, ret);
    Ok(())
}

/// `delete(key)` → nil, or an error.
fn delete(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let key = args.string(1)?;
    write(ctx, &HostCall::EtcdDelete { key: &key }, ret);
    Ok(())
}

fn write(ctx: &mut Ctx, call: &HostCall<'_>, ret: &mut Ret) {
    ctx.outside.call(call, &mut |reply| match reply {
        HostReply::Done => ret.nil(),
        HostReply::Failed(text) | HostReply::Denied(text) => ret.str(text),
        _ => ret.str("unexpected reply"),
    });
}

/// `EtcdKV.new(key, value)`.
fn new(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.handle(hold(&mut ctx.pairs, &args.string(1)?, &args.string(2)?));
    Ok(())
}

fn key(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(&this(ctx, args)?.0);
    Ok(())
}

fn value(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(&this(ctx, args)?.1);
    Ok(())
}

fn this<'a>(ctx: &'a Ctx, args: &Args<'_>) -> Result<&'a (Vec<u8>, Vec<u8>), Fail> {
    let wrong = || args.bad(1, "EtcdKV expected");
    let index = args.handle(1, Kind::EtcdKv, "EtcdKV").map_err(|_| wrong())?;
    ctx.pairs.get(index as usize).ok_or_else(wrong)
}
