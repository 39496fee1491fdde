//! Lua values to JSON text.
//!
//! Takes flattened values, gives text. A table is written as it streams in and put into order (keys
//! sorted, items by index) where its end is met. Must never nest deeper than values may cross.

use std::io::Write;
use std::ops::Range;

use super::super::super::value::{Arg, MAX_DEPTH, Token, Tokens};
use super::escape;

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
    let mut encoder = Encoder { out, limit, depth: 0 };
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

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    limit: usize,
    depth: usize,
}

impl Encoder<'_> {
    fn fault(&self, what: impl Into<String>) -> Error {
        Error::Value { depth: self.depth, what: what.into() }
    }

    fn token<'a>(&mut self, token: Token<'a>, rest: &mut Tokens<'a>) -> Result<(), Error> {
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

    /// Go's float64: plain digits between 1e-6 and 1e21, else the shortest exponent form.
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
        let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
        let written = if !plain && value.abs() >= 1e21 {
            write!(self.out, "{}", format!("{value:e}").replace('e', "e+"))
        } else if !plain {
            write!(self.out, "{value:e}")
        } else {
            write!(self.out, "{value}")
        };
        written.map_err(|_| Error::TooLarge)
    }

    /// A table whose begin was taken from `tokens`.
    fn table(&mut self, tokens: &mut Tokens<'_>) -> Result<(), Error> {
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

    fn array(&mut self, first: f64, tokens: &mut Tokens<'_>) -> Result<(), Error> {
        let start = self.out.len();
        self.out.push(b'[');
        let mut items: Vec<(u64, Range<usize>)> = Vec::new();
        let mut index = first;
        let mut in_order = true;
        loop {
            let item = self.index(index)?;
            in_order &= item == items.len() as u64 + 1;
            items.push((item, self.member(tokens)?));
            match tokens.next() {
                Some(Token::Num(next)) => index = next,
                None | Some(Token::End) => break,
                Some(_) => return Err(self.invalid_keys()),
            }
        }
        if !in_order {
            items.sort_unstable_by_key(|(index, _)| *index);
            if !items.iter().zip(1..).all(|((index, _), wanted)| *index == wanted) {
                return Err(self.fault("cannot encode sparse array"));
            }
            self.reorder(start + 1, items.iter().map(|(_, range)| range.clone()));
        }
        self.close(start + 1, b']');
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    fn index(&self, number: f64) -> Result<u64, Error> {
        if (1.0..4e9).contains(&number) && number.fract() == 0.0 {
            return Ok(number as u64);
        }
        Err(self.fault("cannot encode sparse array"))
    }

    fn object<'a>(&mut self, first: &'a [u8], tokens: &mut Tokens<'a>) -> Result<(), Error> {
        let start = self.out.len();
        self.out.push(b'{');
        let mut members: Vec<(&[u8], Range<usize>)> = Vec::new();
        let mut key = first;
        loop {
            let from = self.out.len();
            escape::string(key, self.out);
            self.out.push(b':');
            let to = self.member(tokens)?.end;
            members.push((key, from..to));
            match tokens.next() {
                Some(Token::Str(next)) => key = next,
                None | Some(Token::End) => break,
                Some(_) => return Err(self.invalid_keys()),
            }
        }
        if !members.is_sorted_by_key(|(key, _)| *key) {
            members.sort_unstable_by_key(|(key, _)| *key);
            self.reorder(start + 1, members.iter().map(|(_, range)| range.clone()));
        }
        self.close(start + 1, b'}');
        Ok(())
    }

    /// Writes one value and a comma; gives where it stands.
    fn member(&mut self, tokens: &mut Tokens<'_>) -> Result<Range<usize>, Error> {
        let from = self.out.len();
        self.depth += 1;
        let token = tokens.next().unwrap_or(Token::Nil);
        self.token(token, tokens)?;
        self.depth -= 1;
        self.out.push(b',');
        Ok(from..self.out.len())
    }

    /// Puts what was written from `start` on into this order.
    fn reorder(&mut self, start: usize, ranges: impl Iterator<Item = Range<usize>>) {
        let mut sorted = Vec::with_capacity(self.out.len() - start);
        for range in ranges {
            sorted.extend_from_slice(&self.out[range]);
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
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
