//! The pieces of a text that stand for the parts of a layout. Pure; reads any bytes.

use super::super::layout::OffsetForm;
use super::Wrong;

/// What is left of the text.
pub(super) struct Scan<'a>(pub(super) &'a [u8]);

impl<'a> Scan<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Wrong::Bad)?;
        self.0 = rest;
        Ok(head)
    }

    /// Whether there is a digit at that place.
    pub(super) fn digit(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(u8::is_ascii_digit)
    }

    /// Takes this if it is next.
    pub(super) fn take_if(&mut self, wanted: &[u8]) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Takes a space if one is next.
    pub(super) fn blank(&mut self) {
        self.take_if(b" ");
    }

    /// Takes what a layout says literally. Spaces match any number of them.
    pub(super) fn skip(&mut self, mut literal: &[u8]) -> bool {
        while let Some(first) = literal.first() {
            if *first == b' ' {
                if self.0.first().is_some_and(|byte| *byte != b' ') {
                    return false;
                }
                (literal, self.0) = (without_spaces(literal), without_spaces(self.0));
                continue;
            }
            if !self.take_if(&[*first]) {
                return false;
            }
            literal = &literal[1..];
        }
        true
    }

    /// A number of one or two digits, of two if `fixed`.
    pub(super) fn number(&mut self, fixed: bool) -> Result<u8, Wrong> {
        let count = match (self.digit(0), self.digit(1)) {
            (true, true) => 2,
            (true, false) if !fixed => 1,
            _ => return Err(Wrong::Bad),
        };
        Ok(self.take(count)?.iter().fold(0, |number, digit| number * 10 + (digit - b'0')))
    }

    /// A number of up to three digits, of three if `fixed`.
    pub(super) fn number3(&mut self, fixed: bool) -> Result<u16, Wrong> {
        let count = self.0.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 || fixed && count != 3 {
            return Err(Wrong::Bad);
        }
        Ok(self.take(count)?.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
    }

    /// A year of that many bytes.
    pub(super) fn year(&mut self, bytes: usize) -> Result<i64, Wrong> {
        let text = std::str::from_utf8(self.take(bytes)?).map_err(|_| Wrong::Bad)?;
        text.parse().map_err(|_| Wrong::Bad)
    }

    /// The index of the name that is next, in any case of letters; of its first `cut` letters.
    pub(super) fn name(&mut self, names: &[&str], cut: Option<usize>) -> Result<u8, Wrong> {
        for (index, name) in (0..).zip(names) {
            let name = &name.as_bytes()[..cut.unwrap_or(name.len())];
            if self.0.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) {
                self.take(name.len())?;
                return Ok(index);
            }
        }
        Err(Wrong::Bad)
    }

    /// Whether the first of the two is next; one must be.
    pub(super) fn either(&mut self, yes: &[u8], no: &[u8]) -> Result<bool, Wrong> {
        let first = self.take_if(yes);
        if first || self.take_if(no) { Ok(first) } else { Err(Wrong::Bad) }
    }

    /// Whether a fraction of a second is next.
    pub(super) fn has_fraction(&self) -> bool {
        matches!(self.0.first(), Some(b'.' | b',')) && self.digit(1)
    }

    /// A fraction of that many digits, else of all there are, in nanoseconds.
    pub(super) fn fraction(&mut self, digits: Option<usize>) -> Result<u32, Wrong> {
        if !matches!(self.0.first(), Some(b'.' | b',')) {
            return Err(Wrong::Bad);
        }
        let all = || self.0[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let count = digits.unwrap_or_else(all);
        let text = &self.take(count.checked_add(1).ok_or(Wrong::Bad)?)?[1..];
        let digit =
            |byte: &u8| if byte.is_ascii_digit() { Ok(u32::from(byte - b'0')) } else { Err(Wrong::Bad) };
        let mut nanos = 0;
        for at in 0..9 {
            nanos = nanos * 10 + text.get(at).map_or(Ok(0), digit)?;
        }
        Ok(nanos)
    }

    /// Sign, hours, minutes and seconds of an offset.
    pub(super) fn offset(&mut self, form: OffsetForm) -> Result<[u8; 4], Wrong> {
        let sign = self.take(1)?[0];
        let hours = self.number(true)?;
        let colon = matches!(form, OffsetForm::ColonMinutes | OffsetForm::ColonSeconds);
        let further = match form {
            OffsetForm::Hours => 0,
            OffsetForm::Minutes | OffsetForm::ColonMinutes => 1,
            OffsetForm::Seconds | OffsetForm::ColonSeconds => 2,
        };
        let mut found = [sign, hours, 0, 0];
        for value in &mut found[2..2 + further] {
            if colon && !self.take_if(b":") {
                return Err(Wrong::Bad);
            }
            *value = self.number(true)?;
        }
        Ok(found)
    }

    /// An abbreviation of a zone: capital letters, or what looks like an offset.
    pub(super) fn zone_name(&mut self) -> Option<&'a [u8]> {
        let text = self.0;
        let capitals = text.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
        let length = match text {
            [b'C', b'h', b'S', b'T', ..] | [b'M', b'e', b'S', b'T', ..] => 4,
            [b'G', b'M', b'T', rest @ ..] => 3 + signed_offset(rest),
            [b'+' | b'-', _, _, ..] => signed_offset(text),
            _ => match capitals {
                5 if text[4] == b'T' => 5,
                4 if text[3] == b'T' || text.starts_with(b"WITA") => 4,
                3 => 3,
                _ => 0,
            },
        };
        if length == 0 { None } else { self.take(length).ok() }
    }
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    &text[spaces..]
}

/// How long the sign and hours (up to 23) at the start of a text are; 0 if there are none.
fn signed_offset(text: &[u8]) -> usize {
    let Some((b'+' | b'-', rest)) = text.split_first() else { return 0 };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let hours = rest[..digits]
        .iter()
        .fold(0_u32, |hours, digit| hours.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    if digits == 0 || hours > 23 { 0 } else { 1 + digits }
}

/// A text as Go's `time` quotes it.
pub(super) fn quote(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.iter().copied() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=0x7f => quoted.push(char::from(byte)),
            _ => quoted += &format!("\\x{byte:02x}"),
        }
    }
    quoted.push('"');
    quoted
}
