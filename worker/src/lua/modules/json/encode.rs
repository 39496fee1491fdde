//! Lua values to JSON text.
//!
//! Takes flattened values, gives text. A table is written as it streams in and put into order (keys
//! sorted, items by index) where its end is met. Must never nest deeper than values may cross.

use std::ops::Range;

use super::super::super::value::{Arg, MAX_DEPTH, Token, Tokens};
use super::{escape, number};

/// Why a value has no JSON.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What scripts read.
    #[error("{}{what}", "json: error calling MarshalJSON for type json.jsonValue: ".repeat(depth + 1))]
    Value {
        /// How deep the culprit is nested.
        depth: usize,
        /// The culprit's fault.
        what: String,
    },
    /// The text outgrows the memory limit.
    #[error("not enough memory")]
    TooLarge,
}

/// Appends a value's text, of at most `limit` bytes.
pub(super) fn value(arg: Arg<'_>, limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut encoder =
        Encoder { out, limit, depth: 0, items: Vec::new(), members: Vec::new(), sorted: Vec::new() };
    match arg {
        Arg::Nil => encoder.token(Token::Nil, &mut Tokens::new(&[], 0)),
        Arg::Bool(value) => encoder.token(Token::Bool(value), &mut Tokens::new(&[], 0)),
        Arg::Num(value) => encoder.number(value),
        Arg::Str(bytes) => encoder.token(Token::Str(bytes), &mut Tokens::new(&[], 0)),
        Arg::Table(mut tokens) => encoder.table(&mut tokens),
        Arg::Handle(_) => Err(encoder.fault("cannot encode userdata to JSON")),
        Arg::Other(name) => Err(encoder.fault(format!("cannot encode {name} to JSON"))),
    }
}

struct Encoder<'o, 'a> {
    out: &'o mut Vec<u8>,
    limit: usize,
    depth: usize,
    /// What was written of the arrays that are open and not in order: an index and where its item stands.
    items: Vec<(u64, Range<usize>)>,
    /// What was written of the objects that are open.
    members: Vec<Member<'a>>,
    /// Where texts are put into order.
    sorted: Vec<u8>,
}

/// A member of an object and where it stands.
struct Member<'a> {
    /// The first bytes of the key, for a quick comparison.
    start: u64,
    key: &'a [u8],
    range: Range<usize>,
}

impl<'a> Member<'a> {
    fn new(key: &'a [u8], range: Range<usize>) -> Member<'a> {
        let mut start = [0; 8];
        let length = key.len().min(8);
        start[..length].copy_from_slice(&key[..length]);
        Member { start: u64::from_be_bytes(start), key, range }
    }

    fn order(&self) -> (u64, &'a [u8]) {
        (self.start, self.key)
    }
}

impl<'a> Encoder<'_, 'a> {
    fn fault(&self, what: impl Into<String>) -> Error {
        Error::Value { depth: self.depth, what: what.into() }
    }

    #[inline]
    fn token(&mut self, token: Token<'a>, rest: &mut Tokens<'a>) -> Result<(), Error> {
        if self.out.len() > self.limit {
            return Err(Error::TooLarge);
        }
        match token {
            Token::Nil | Token::End => self.out.extend_from_slice(b"null"),
            Token::Bool(true) => self.out.extend_from_slice(b"true"),
            Token::Bool(false) => self.out.extend_from_slice(b"false"),
            Token::Num(value) => self.number(value)?,
            Token::Str(bytes) => escape::string(bytes, self.out),
            Token::Table => self.table(rest)?,
            Token::Seen(_) => return Err(self.fault("cannot encode recursively nested tables to JSON")),
            Token::Handle(_) => return Err(self.fault("cannot encode userdata to JSON")),
            Token::Other(name) => return Err(self.fault(format!("cannot encode {name} to JSON"))),
        }
        Ok(())
    }

    fn number(&mut self, value: f64) -> Result<(), Error> {
        if !value.is_finite() {
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            return Err(self.fault(format!("json: unsupported value: {name}")));
        }
        number::write(value, self.out);
        Ok(())
    }

    /// A table whose begin was taken from `tokens`.
    fn table(&mut self, tokens: &mut Tokens<'a>) -> Result<(), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fault("exceeded max depth"));
        }
        let Some(first) = tokens.next().filter(|token| !matches!(token, Token::End)) else {
            self.out.extend_from_slice(b"[]");
            return Ok(());
        };
        match first {
            Token::Num(index) => self.array(index, tokens),
            Token::Str(key) => self.object(key, tokens),
            _ => Err(self.invalid_keys()),
        }
    }

    fn array(&mut self, first: f64, tokens: &mut Tokens<'a>) -> Result<(), Error> {
        let start = self.out.len();
        self.out.push(b'[');
        let base = self.items.len();
        let mut index = first;
        let mut in_order = true;
        loop {
            let item = self.index(index)?;
            in_order &= item == (self.items.len() - base) as u64 + 1;
            let range = self.member(tokens)?;
            self.items.push((item, range));
            match tokens.next() {
                Some(Token::Num(next)) => index = next,
                None | Some(Token::End) => break,
                Some(_) => return Err(self.invalid_keys()),
            }
        }
        if !in_order {
            let items = &mut self.items[base..];
            items.sort_unstable_by_key(|(index, _)| *index);
            if !items.iter().zip(1..).all(|((index, _), wanted)| *index == wanted) {
                return Err(self.fault("cannot encode sparse array"));
            }
            let ranges = self.items[base..].iter().map(|(_, range)| range.clone());
            reorder(self.out, &mut self.sorted, start + 1, ranges);
        }
        self.items.truncate(base);
        self.close(start + 1, b']');
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    #[allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "exact below 2^53")]
    fn index(&self, number: f64) -> Result<u64, Error> {
        if (1.0..4e9).contains(&number) && (number as u64) as f64 == number {
            return Ok(number as u64);
        }
        Err(self.fault("cannot encode sparse array"))
    }

    fn object(&mut self, first: &'a [u8], tokens: &mut Tokens<'a>) -> Result<(), Error> {
        let start = self.out.len();
        self.out.push(b'{');
        let base = self.members.len();
        let mut key = first;
        loop {
            let from = self.out.len();
            escape::string(key, self.out);
            self.out.push(b':');
            let to = self.member(tokens)?.end;
            self.members.push(Member::new(key, from..to));
            match tokens.next() {
                Some(Token::Str(next)) => key = next,
                None | Some(Token::End) => break,
                Some(_) => return Err(self.invalid_keys()),
            }
        }
        let members = &mut self.members[base..];
        if !members.is_sorted_by_key(Member::order) {
            members.sort_unstable_by_key(Member::order);
            let ranges = members.iter().map(|member| member.range.clone());
            reorder(self.out, &mut self.sorted, start + 1, ranges);
        }
        self.members.truncate(base);
        self.close(start + 1, b'}');
        Ok(())
    }

    /// Writes one value and a comma; gives where it stands.
    fn member(&mut self, tokens: &mut Tokens<'a>) -> Result<Range<usize>, Error> {
        let from = self.out.len();
        self.depth += 1;
        let token = tokens.next().unwrap_or(Token::Nil);
        self.token(token, tokens)?;
        self.depth -= 1;
        self.out.push(b',');
        Ok(from..self.out.len())
    }

    /// Turns the last comma into the closing bracket.
    fn close(&mut self, from: usize, bracket: u8) {
        if self.out.len() > from {
            self.out.pop();
        }
        self.out.push(bracket);
    }

    fn invalid_keys(&self) -> Error {
        self.fault("cannot encode mixed or invalid key types")
    }
}

/// Puts what was written from `start` on into this order.
fn reorder(
    out: &mut Vec<u8>,
    sorted: &mut Vec<u8>,
    start: usize,
    ranges: impl Iterator<Item = Range<usize>>,
) {
    sorted.clear();
    for range in ranges {
        sorted.extend_from_slice(&out[range]);
    }
    out.truncate(start);
    out.extend_from_slice(sorted);
}
