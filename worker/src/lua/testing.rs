//! Calls host functions from tests, with plain values in and out.

use super::Ctx;
use super::value::{Arg, Args, Fail, Handle, HostFn, Ret, Token, Tokens};

/// A value as tests write it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Num(f64),
    Str(Vec<u8>),
    Table(Vec<(Value, Value)>),
    Handle(Handle),
    Other(&'static str),
    /// A table that appeared before.
    Seen,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<&[u8]> for Value {
    fn from(text: &[u8]) -> Self {
        Value::Str(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Num(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

/// An array.
pub(crate) fn array(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Table((1..).zip(items).map(|(index, item)| (f64::from(index).into(), item)).collect())
}

/// Appends a value as the glue does.
pub(crate) fn write(value: &Value, ret: &mut Ret) {
    match value {
        Value::Nil => ret.nil(),
        Value::Bool(value) => ret.bool(*value),
        Value::Num(value) => ret.num(*value),
        Value::Str(bytes) => ret.str(bytes),
        Value::Handle(handle) => ret.handle(*handle),
        Value::Other(name) => ret.other(name),
        Value::Seen => ret.seen(0),
        Value::Table(entries) => {
            ret.begin_table();
            for (key, value) in entries {
                write(key, ret);
                write(value, ret);
            }
            ret.end_table();
        }
    }
}

/// Reads a value back.
pub(crate) fn read(token: Token<'_>, rest: &mut Tokens<'_>) -> Value {
    match token {
        Token::Nil => Value::Nil,
        Token::Bool(value) => Value::Bool(value),
        Token::Num(value) => Value::Num(value),
        Token::Str(bytes) => Value::Str(bytes.to_vec()),
        Token::Handle(handle) => Value::Handle(handle),
        Token::Other(name) => Value::Other(name),
        Token::Seen(_) => Value::Seen,
        Token::End => panic!("a table ends that did not begin"),
        Token::Table => {
            let mut entries = Vec::new();
            loop {
                let key = rest.next().expect("a table must end");
                if matches!(key, Token::End) {
                    return Value::Table(entries);
                }
                let key = read(key, rest);
                let value = rest.next().expect("a key needs a value");
                entries.push((key, read(value, rest)));
            }
        }
    }
}

/// Calls a host function as the glue does.
pub(crate) fn call(function: HostFn, ctx: &mut Ctx, values: &[Value]) -> Result<Vec<Value>, Fail> {
    let flat: Vec<Ret> = values
        .iter()
        .map(|value| {
            let mut ret = Ret::default();
            write(value, &mut ret);
            ret
        })
        .collect();
    let list: Vec<Arg<'_>> = values
        .iter()
        .zip(&flat)
        .map(|(value, flat)| match value {
            Value::Nil => Arg::Nil,
            Value::Bool(value) => Arg::Bool(*value),
            Value::Num(value) => Arg::Num(*value),
            Value::Str(bytes) => Arg::Str(bytes),
            Value::Handle(handle) => Arg::Handle(*handle),
            Value::Other(name) => Arg::Other(name),
            Value::Table(_) | Value::Seen => {
                let mut tokens = flat.tokens();
                tokens.next();
                Arg::Table(tokens)
            }
        })
        .collect();
    let mut ret = Ret::default();
    function(ctx, &Args { function: "f", list: &list }, &mut ret)?;
    let mut tokens = ret.tokens();
    let mut results = Vec::new();
    while let Some(token) = tokens.next() {
        results.push(read(token, &mut tokens));
    }
    Ok(results)
}

/// The first result as text; fails for anything else.
pub(crate) fn text(results: &[Value]) -> String {
    match results.first() {
        Some(Value::Str(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("wanted a string, got {other:?}"),
    }
}

/// The message of an error.
pub(crate) fn message(result: Result<Vec<Value>, Fail>) -> String {
    match result.expect_err("wanted an error") {
        Fail::Here(text) | Fail::Plain(text) => text,
        other => format!("{other:?}"),
    }
}

/// A way out that leads nowhere.
pub(crate) struct Nowhere;

impl super::Outside for Nowhere {
    fn log(&mut self, _: msgscript_proto::message::Level, _: &[u8]) {}

    fn call(
        &mut self,
        _: &msgscript_proto::host::HostCall<'_>,
        reply: &mut dyn FnMut(msgscript_proto::host::HostReply<'_>),
    ) {
        reply(msgscript_proto::host::HostReply::NotFound);
    }

    fn start(&mut self, _: &msgscript_proto::message::Invoke<'_>) {}
}
