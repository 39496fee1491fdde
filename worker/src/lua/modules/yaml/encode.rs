//! Lua values to YAML text.
//!
//! Takes flattened values, gives text. Depth is bounded by that of tokens.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::super::number;
use super::super::super::value::{Arg, Token, Tokens};
use super::emit::{Emitter, Role, Scalar};

/// Why a value has no YAML.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What scripts read.
    #[error("{0}")]
    Value(String),
    /// The text outgrows the memory limit.
    #[error("not enough memory")]
    TooLarge,
}

/// The text of a value, of at most about `limit` bytes, as a document; not the first of its stream if
/// `further`.
pub(super) fn document(arg: Arg<'_>, further: bool, limit: usize) -> Result<Vec<u8>, Error> {
    let value = match arg {
        Arg::Nil => Value::Nil,
        Arg::Bool(value) => Value::Bool(value),
        Arg::Num(value) => Value::Num(value),
        Arg::Str(text) => Value::Str(text),
        Arg::Table(mut tokens) => table(&mut tokens)?,
        Arg::Handle(_) => return Err(unfit("userdata")),
        Arg::Other(name) => return Err(unfit(name)),
    };
    let mut emitter = Emitter::new(further);
    node(&mut emitter, &value, Role::Root, limit)?;
    Ok(emitter.finish())
}

fn unfit(name: &str) -> Error {
    Error::Value(format!("cannot encode values with {name} in them"))
}

/// A value whose tables are in order. Its depth is that of the tokens it was made of.
enum Value<'a> {
    Nil,
    Bool(bool),
    Num(f64),
    Str(&'a [u8]),
    List(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
}

fn value<'a>(token: Token<'a>, tokens: &mut Tokens<'a>) -> Result<Value<'a>, Error> {
    Ok(match token {
        Token::Nil | Token::End => Value::Nil,
        Token::Bool(value) => Value::Bool(value),
        Token::Num(value) => Value::Num(value),
        Token::Str(text) => Value::Str(text),
        Token::Table => table(tokens)?,
        Token::Seen(_) => return Err(Error::Value("nested table table: 0x00000000".into())),
        Token::Handle(_) => return Err(unfit("userdata")),
        Token::Other(name) => return Err(unfit(name)),
    })
}

/// A table whose begin was taken: a list if its keys are 1 to n.
fn table<'a>(tokens: &mut Tokens<'a>) -> Result<Value<'a>, Error> {
    let mut members = Vec::new();
    while let Some(key) = tokens.next().filter(|key| !matches!(key, Token::End)) {
        let key = value(key, tokens)?;
        if matches!(key, Value::List(_) | Value::Map(_)) {
            return Err(Error::Value("cannot encode values with table keys in them".into()));
        }
        let held = tokens.next().unwrap_or(Token::Nil);
        members.push((key, value(held, tokens)?));
    }
    let members = sorted(members);
    #[allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "small whole numbers are exact")]
    let is_list = members
        .iter()
        .zip(1_u32..)
        .all(|((key, _), index)| matches!(key, Value::Num(number) if *number == f64::from(index)));
    if is_list {
        return Ok(Value::List(members.into_iter().map(|(_, value)| value).collect()));
    }
    Ok(Value::Map(members))
}

fn node(emitter: &mut Emitter, value: &Value<'_>, role: Role, limit: usize) -> Result<(), Error> {
    if emitter.out.len() > limit {
        return Err(Error::TooLarge);
    }
    match value {
        Value::List(items) if items.is_empty() => emitter.empty_list(),
        Value::List(items) => {
            emitter.begin_list(role);
            for item in items {
                emitter.item();
                node(emitter, item, Role::Item, limit)?;
            }
            emitter.end();
        }
        Value::Map(members) => {
            emitter.begin_map();
            for (key, value) in members {
                let key = scalar(key);
                let simple = key.is_simple_key();
                emitter.key(simple);
                emitter.scalar(&key, Role::Key { simple });
                emitter.between(simple);
                node(emitter, value, Role::Value, limit)?;
            }
            emitter.end();
        }
        _ => emitter.scalar(&scalar(value), role),
    }
    Ok(())
}

fn scalar(value: &Value<'_>) -> Scalar {
    match value {
        Value::Bool(value) => Scalar::word(if *value { "true" } else { "false" }),
        Value::Num(value) => Scalar::word(&number_text(*value)),
        Value::Str(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Scalar::string(text),
            Err(_) => Scalar::binary(&base64_lines(bytes)),
        },
        Value::Nil | Value::List(_) | Value::Map(_) => Scalar::word("null"),
    }
}

fn number_text(value: f64) -> String {
    match number::whole(value) {
        Some(whole) => whole.to_string(),
        None if value.is_nan() => ".nan".into(),
        None if value.is_infinite() => if value < 0.0 { "-.inf" } else { ".inf" }.into(),
        None => number::to_go_string(value),
    }
}

/// Base64 in lines of 70, if it takes more than one.
fn base64_lines(bytes: &[u8]) -> String {
    const LINE: usize = 70;
    let text = STANDARD.encode(bytes);
    if text.len() < LINE {
        return text;
    }
    let mut lines = String::with_capacity(text.len() + text.len() / LINE + 1);
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    lines.push('\n');
    lines
}

// === the order of keys ===

/// Sorts by merging: yaml.v2's order of strings is none in the strict sense, which the library's sorts may
/// answer with a panic.
fn sorted<'a>(mut members: Vec<(Value<'a>, Value<'a>)>) -> Vec<(Value<'a>, Value<'a>)> {
    let mut width = 1;
    while width < members.len() {
        let mut merged = Vec::with_capacity(members.len());
        let mut rest = members.into_iter().peekable();
        while rest.peek().is_some() {
            let left: Vec<_> = rest.by_ref().take(width).collect();
            let right: Vec<_> = rest.by_ref().take(width).collect();
            let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
            while let (Some(one), Some(two)) = (left.peek(), right.peek()) {
                let first = if is_less(&two.0, &one.0) { right.next() } else { left.next() };
                merged.extend(first);
            }
            merged.extend(left);
            merged.extend(right);
        }
        members = merged;
        width *= 2;
    }
    members
}

fn is_less(one: &Value<'_>, two: &Value<'_>) -> bool {
    match (rank(one), rank(two)) {
        ((_, Some(one_number)), (_, Some(two_number))) if one_number != two_number => one_number < two_number,
        ((one_kind, _), (two_kind, _)) if one_kind != two_kind => one_kind < two_kind,
        _ => match (one, two) {
            (Value::Str(one), Value::Str(two)) => {
                natural(&String::from_utf8_lossy(one), &String::from_utf8_lossy(two)) == Ordering::Less
            }
            _ => false,
        },
    }
}

/// The place of a key's kind in Go, and its number if it is a number or boolean.
fn rank(key: &Value<'_>) -> (u8, Option<f64>) {
    match key {
        Value::Bool(value) => (0, Some(f64::from(u8::from(*value)))),
        Value::Num(value) => (if number::whole(*value).is_some() { 1 } else { 2 }, Some(*value)),
        _ => (3, None),
    }
}

/// yaml.v2's order: letters behind all else, runs of digits as numbers.
fn natural(one: &str, two: &str) -> Ordering {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let Some(at) = one.iter().zip(&two).position(|(one, two)| one != two) else {
        return one.len().cmp(&two.len());
    };
    let (first, second) = (one[at], two[at]);
    match (first.is_alphabetic(), second.is_alphabetic()) {
        (true, true) => return first.cmp(&second),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros behind a number's other digits count.
    let behind_digits = (first == '0' || second == '0')
        && one[..at].iter().rev().take_while(|digit| digit.is_numeric()).any(|digit| *digit != '0');
    let (one_number, one_size) = run(&one[at..], behind_digits);
    let (two_number, two_size) = run(&two[at..], behind_digits);
    one_number.cmp(&two_number).then(one_size.cmp(&two_size)).then(first.cmp(&second))
}

/// The number that begins there, and how many digits it has.
fn run(letters: &[char], behind_digits: bool) -> (i64, usize) {
    let digits: Vec<u32> = letters.iter().map_while(|letter| letter.to_digit(10)).collect();
    let number = digits.iter().fold(i64::from(behind_digits), |number, digit| {
        number.wrapping_mul(10).wrapping_add(i64::from(*digit))
    });
    (number, digits.len())
}
