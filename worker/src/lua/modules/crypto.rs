//! `crypto`: digests as hexadecimal text. `md5` and `sha256` are the Go server's; `sha1`, `sha512`, `hmac`
//! and `equal` are ours, for scripts that check signatures.
//!
//! Takes any bytes. Must never tell by its timing where two texts that `equal` compares differ.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::super::Ctx;
use super::super::value::{Args, Fail, HostFn, Module, Ret};

/// The module.
pub const MODULE: Module = Module { name: "crypto", functions: FUNCTIONS, lua: None };

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("crypto.md5", digest::<Md5>),
    ("crypto.sha1", digest::<Sha1>),
    ("crypto.sha256", digest::<Sha256>),
    ("crypto.sha512", digest::<Sha512>),
    ("crypto.hmac", hmac),
    ("crypto.equal", equal),
];

fn digest<D: Digest>(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.str(hex(&D::digest(args.string(1)?)));
    Ok(())
}

/// `crypto.hmac(algorithm, key, data)`: the code, or `nil, error` for an algorithm that is none of the four.
fn hmac(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (name, key, data) = (args.string(1)?, args.string(2)?, args.string(3)?);
    let code = match &*name {
        b"md5" => code::<Hmac<Md5>>(&key, &data),
        b"sha1" => code::<Hmac<Sha1>>(&key, &data),
        b"sha256" => code::<Hmac<Sha256>>(&key, &data),
        b"sha512" => code::<Hmac<Sha512>>(&key, &data),
        _ => None,
    };
    match code {
        Some(code) => ret.str(code),
        None => ret.nil_err([b"unknown algorithm: ", &*name].concat()),
    }
    Ok(())
}

/// A key of any length will do.
fn code<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<String> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(hex(&mac.finalize().into_bytes()))
}

/// `crypto.equal(a, b)`: whether they are the same, in a time that tells nothing but their lengths.
fn equal(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    ret.bool(args.string(1)?.ct_eq(&args.string(2)?).into());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Value, call, message, text};
    use super::*;

    #[test]
    fn digests_are_those_of_their_standards() {
        let mut ctx = Ctx::default();
        let cases: [(HostFn, &str); 4] = [
            (digest::<Md5>, "900150983cd24fb0d6963f7d28e17f72"),
            (digest::<Sha1>, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (digest::<Sha256>, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                digest::<Sha512>,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ];
        for (function, expected) in cases {
            assert_eq!(text(&call(function, &mut ctx, &["abc".into()]).unwrap()), expected);
        }
        let of_number = call(digest::<Md5>, &mut ctx, &[5.0.into()]).unwrap();
        assert_eq!(of_number, call(digest::<Md5>, &mut ctx, &["5".into()]).unwrap());
        let failed = message(call(digest::<Md5>, &mut ctx, &[]));
        assert_eq!(failed, "bad argument #1 to f (string expected, got nil)");
    }

    #[test]
    fn codes_are_those_of_rfc_2202_and_4231() {
        let mut ctx = Ctx::default();
        let data = "what do ya want for nothing?";
        for (name, expected) in [
            ("md5", "750c783e6ab0b503eaa86e310a5db738"),
            ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ] {
            let code = call(hmac, &mut ctx, &[name.into(), "Jefe".into(), data.into()]).unwrap();
            assert_eq!(text(&code), expected);
        }
        let failed = call(hmac, &mut ctx, &["sha3".into(), "".into(), "".into()]).unwrap();
        assert_eq!(failed, [Value::Nil, "unknown algorithm: sha3".into()]);
    }

    #[test]
    fn equal_compares_strings_only() {
        let mut ctx = Ctx::default();
        for (a, b, same) in [("a", "a", true), ("a", "b", false), ("a", "ab", false), ("", "", true)] {
            assert_eq!(call(equal, &mut ctx, &[a.into(), b.into()]).unwrap(), [same.into()]);
        }
        assert!(message(call(equal, &mut ctx, &["a".into(), Value::Nil])).starts_with("bad argument #2"));
    }
}
