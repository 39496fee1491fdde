//! `http`: requests that the broker makes.
//!
//! The Lua part reads the options and makes the responses; here a batch becomes one host call.

mod duration;

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::net::{HttpRequest, HttpResult};

use crate::lua::Ctx;
use crate::lua::value::{Arg, Args, Fail, HostFn, Module, Ret, Token, Tokens};

/// The module.
pub const MODULE: Module = Module { name: "http", functions: FUNCTIONS, lua: Some(include_str!("http.lua")) };

const FUNCTIONS: &[(&str, HostFn)] =
    &[("http.fetch", fetch), ("http.duration", duration), ("http.base64", base64)];

/// Arguments of `fetch` for each request.
const EACH: usize = 5;

/// `fetch(method, url, fields, body, nanoseconds, method, …)`: one result for each request, a table with
/// `status`, `url`, `fields` and `body`, or the text of an error. `fields` are names and values in turn.
pub fn fetch(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let mut requests = Vec::new();
    for request in args.list.chunks(EACH) {
        let [Arg::Str(method), Arg::Str(url), Arg::Table(fields), body, timeout] = *request else {
            return Err(args.bad(1, "not a request"));
        };
        requests.push(HttpRequest {
            method,
            url,
            headers: pairs(fields),
            body: if let Arg::Str(body) = body { Some(body) } else { None },
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, as wanted"
            )]
            timeout: if let Arg::Num(nanos) = timeout { Some(nanos as u64) } else { None },
        });
    }
    let count = requests.len();
    ctx.outside.call(&HostCall::Http(requests), &mut |reply| match reply {
        HostReply::Http(results) => results.iter().for_each(|result| give(result, ret)),
        HostReply::Failed(text) | HostReply::Denied(text) => (0..count).for_each(|_| ret.str(text)),
        _ => (0..count).for_each(|_| ret.str("unexpected reply")),
    });
    Ok(())
}

/// The strings of an array, two by two. Lua need not keep an array's parts in their order.
fn pairs(mut tokens: Tokens<'_>) -> Vec<(&[u8], &[u8])> {
    let mut strings = Vec::new();
    while let (Some(Token::Num(index)), Some(Token::Str(text))) = (tokens.next(), tokens.next()) {
        strings.push((index, text));
    }
    strings.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    strings.chunks_exact(2).map(|pair| (pair[0].1, pair[1].1)).collect()
}

fn give(result: &HttpResult<'_>, ret: &mut Ret) {
    let response = match result {
        HttpResult::Failed(text) | HttpResult::Denied(text) => return ret.str(text),
        HttpResult::Response(response) => response,
    };
    ret.begin_table();
    ret.str("status");
    ret.num(f64::from(response.status));
    ret.str("url");
    ret.str(response.url);
    ret.str("body");
    ret.str(response.body);
    ret.str("fields");
    ret.begin_table();
    let mut index = 0_u32;
    for text in response.headers.iter().flat_map(|(name, value)| [name.as_bytes(), *value]) {
        index += 1;
        ret.num(f64::from(index));
        ret.str(text);
    }
    ret.end_table();
    ret.end_table();
}

/// `duration(text)`: nanoseconds of a Go duration, or nil and what is wrong with it.
fn duration(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.string(1)?;
    match duration::parse(&String::from_utf8_lossy(&text)) {
        Ok(nanos) => ret.num(nanos),
        Err(error) => ret.nil_err(error),
    }
    Ok(())
}

/// `base64(text)`: standard, padded.
fn base64(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = args.string(1)?;
    let mut encoded = Vec::with_capacity(text.len().div_ceil(3) * 4);
    for three in text.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            encoded.push(if at <= three.len() { letter } else { b'=' });
        }
    }
    ret.str(encoded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{array, call, text};
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:pä?", "dXNlcjpww6Q/")]
        {
            assert_eq!(text(&call(base64, &mut Ctx::default(), &[plain.into()]).unwrap()), encoded);
        }
    }

    #[test]
    fn a_batch_without_an_answer_fails_each() {
        let request =
            ["GET".into(), "http://a/".into(), array(["A".into(), "1".into()]), true.into(), 5.0.into()];
        let two: Vec<_> = request.iter().chain(&request).cloned().collect();
        let results = call(fetch, &mut Ctx::default(), &two).unwrap();
        assert_eq!(results, ["unexpected reply".into(), "unexpected reply".into()]);
        assert!(call(fetch, &mut Ctx::default(), &["GET".into()]).is_err());
    }
}
