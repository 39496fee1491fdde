//! Go's regular expression syntax (RE2 with Perl's classes) to that of the `regex` crate.
//!
//! Takes hostile bytes, gives a pattern that means the same there, or Go's error. Every character that
//! is not syntax is written so that it cannot be syntax on the other side. Must never recurse.

mod class;
mod escape;
mod group;
mod scan;
#[cfg(test)]
mod tests;

use scan::Scan;

/// The longest pattern, in bytes: what it is parsed into is some hundred times larger.
const MAX_PATTERN: usize = 64 << 10;
/// The largest count in `{n,m}`, as in Go.
const MAX_REPEAT: u32 = 1000;

/// A pattern for the `regex` crate.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) regex: String,
    /// The names of its groups, the first for group 1.
    pub(super) names: Vec<Option<String>>,
}

/// What Go says of a bad pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}: `{fragment}`")]
pub(super) struct Error {
    message: &'static str,
    fragment: String,
}

impl Error {
    pub(super) fn new(message: &'static str, fragment: impl AsRef<[u8]>) -> Error {
        Error { message, fragment: String::from_utf8_lossy(fragment.as_ref()).into_owned() }
    }
}

/// A pattern for just these bytes, to be compiled without Unicode.
pub(super) fn literal(bytes: &[u8]) -> Option<String> {
    use std::fmt::Write;
    let mut regex = String::with_capacity(bytes.len() * 4 + 6);
    regex.push_str("(?s-u)");
    for byte in bytes {
        write!(regex, "\\x{byte:02x}").ok()?;
    }
    Some(regex)
}

/// Translates a pattern.
pub(super) fn pattern(bytes: &[u8]) -> Result<Translated, Error> {
    if bytes.len() > MAX_PATTERN {
        return Err(Error::new("expression too large", &bytes[..100]));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Error::new("invalid UTF-8", bytes));
    };
    let mut translator = Translator {
        scan: Scan::new(text),
        out: String::with_capacity(text.len() * 2),
        names: Vec::new(),
        depth: 0,
        item: Item::None,
    };
    translator.run()?;
    Ok(Translated { regex: translator.out, names: translator.names })
}

/// What a repetition would apply to.
#[derive(Debug, Clone, Copy)]
enum Item {
    None,
    Something,
    /// A repetition that began at this offset.
    Repeat(usize),
}

struct Translator<'p> {
    scan: Scan<'p>,
    out: String,
    names: Vec<Option<String>>,
    /// How many groups are open.
    depth: usize,
    item: Item,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(next) = self.scan.peek() {
            match next {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => self.syntax("|", Item::None),
                '^' => self.syntax("^", Item::Something),
                '$' => self.syntax("$", Item::Something),
                '.' => self.syntax(".", Item::Something),
                '[' => self.class()?,
                '*' | '+' | '?' => self.repeat_operator(next)?,
                '{' => self.repeat_count()?,
                '\\' => self.escape()?,
                other => {
                    self.scan.bump();
                    self.literal(other);
                }
            }
        }
        if self.depth > 0 {
            return Err(Error::new("missing closing )", self.scan.text));
        }
        Ok(())
    }

    /// A character that is the same syntax on both sides.
    fn syntax(&mut self, text: &str, item: Item) {
        self.scan.bump();
        self.out.push_str(text);
        self.item = item;
    }

    /// A character that stands for itself.
    fn literal(&mut self, letter: char) {
        push_char(letter, &mut self.out);
        self.item = Item::Something;
    }

    fn close(&mut self) -> Result<(), Error> {
        if self.depth == 0 {
            return Err(Error::new("unexpected )", self.scan.text));
        }
        self.depth -= 1;
        self.syntax(")", Item::Something);
        Ok(())
    }

    fn repeat_operator(&mut self, operator: char) -> Result<(), Error> {
        let start = self.scan.at;
        self.scan.bump();
        self.out.push(operator);
        self.end_repeat(start)
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else is a brace.
    fn repeat_count(&mut self) -> Result<(), Error> {
        let start = self.scan.at;
        let Some((min, max)) = self.scan.counts() else {
            self.scan.bump();
            self.literal('{');
            return Ok(());
        };
        let fragment = self.scan.since(start);
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            return Err(Error::new("invalid repeat count", fragment));
        }
        self.out.push_str(fragment);
        self.end_repeat(start)
    }

    /// Behind a repetition: a `?` that makes it lazy, and whether it had something to repeat.
    fn end_repeat(&mut self, start: usize) -> Result<(), Error> {
        let operator = self.scan.since(start);
        if self.scan.take("?") {
            self.out.push('?');
        }
        match self.item {
            Item::None => Err(Error::new("missing argument to repetition operator", operator)),
            Item::Repeat(before) => {
                Err(Error::new("invalid nested repetition operator", self.scan.since(before)))
            }
            Item::Something => {
                self.item = Item::Repeat(start);
                Ok(())
            }
        }
    }
}

/// Writes a character so that it is no syntax, in a class or outside.
fn push_char(letter: char, out: &mut String) {
    if letter.is_ascii_alphanumeric() || !letter.is_ascii() {
        out.push(letter);
    } else {
        let code = letter as u32;
        out.push_str("\\x");
        out.extend([code >> 4, code & 15].into_iter().filter_map(|digit| char::from_digit(digit, 16)));
    }
}
