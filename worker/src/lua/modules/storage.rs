//! `storage`: values by key in a file, with a time to live. It is Lua (`storage.lua`) on `json` and `ioutil`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module =
    Module { name: "storage", functions: FUNCTIONS, lua: Some(include_str!("storage.lua")) };

const FUNCTIONS: &[(&str, HostFn)] = &[("storage.pack", pack), ("storage.unpack", unpack)];

/// `pack(bytes)`: as base64.
fn pack(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(STANDARD.encode(args.string(1)?));
    Ok(())
}

/// `unpack(text)`: the bytes, or nil for what is no base64.
fn unpack(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    match STANDARD.decode(args.string(1)?) {
        Ok(bytes) => ret.str(bytes),
        Err(_) => ret.nil(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call};
    use super::{Ctx, pack, unpack};

    #[test]
    fn bytes_come_back() {
        let mut ctx = Ctx::default();
        assert_eq!(call(pack, &mut ctx, &["{}".into()]).unwrap(), ["e30=".into()]);
        assert_eq!(call(unpack, &mut ctx, &["e30=".into()]).unwrap(), ["{}".into()]);
        assert_eq!(call(unpack, &mut ctx, &["?".into()]).unwrap(), [Value::Nil]);
    }
}
