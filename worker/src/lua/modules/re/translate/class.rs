//! Character classes in brackets. What means sets of sets on the other side (`[`, `&&`, `--`, `~~`) are
//! characters in Go.

use super::{Error, Item, Translator, escape, push_char};

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

impl Translator<'_> {
    pub(super) fn class(&mut self) -> Result<(), Error> {
        let start = self.scan.at;
        self.scan.bump();
        self.out.push('[');
        if self.scan.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || self.scan.peek() != Some(']') {
            first = false;
            let nested = self.scan.rest().starts_with('\\') && escape::class(&mut self.scan, &mut self.out)?;
            if !nested && !self.posix()? {
                self.range(start)?;
            }
        }
        self.scan.bump();
        self.out.push(']');
        self.item = Item::Something;
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]`; false, and nothing read, if it is something else.
    fn posix(&mut self) -> Result<bool, Error> {
        let start = self.scan.at;
        if !self.scan.take("[:") {
            return Ok(false);
        }
        let Some(name) = self.scan.until(":]") else {
            self.scan.at = start;
            return Ok(false);
        };
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(Error::new("invalid character class range", self.scan.since(start)));
        }
        self.out.push_str(self.scan.since(start));
        Ok(true)
    }

    /// A character, or two with a dash between.
    fn range(&mut self, class: usize) -> Result<(), Error> {
        let start = self.scan.at;
        let low = self.class_char(class)?;
        push_char(low, &mut self.out);
        let rest = self.scan.rest();
        if rest.len() < 2 || !rest.starts_with('-') || rest.starts_with("-]") {
            return Ok(());
        }
        self.scan.bump();
        let high = self.class_char(class)?;
        if high < low {
            return Err(Error::new("invalid character class range", self.scan.since(start)));
        }
        self.out.push('-');
        push_char(high, &mut self.out);
        Ok(())
    }

    fn class_char(&mut self, class: usize) -> Result<char, Error> {
        match self.scan.peek() {
            None => Err(Error::new("missing closing ]", &self.scan.text[class..])),
            Some('\\') => escape::letter(&mut self.scan),
            Some(letter) => {
                self.scan.bump();
                Ok(letter)
            }
        }
    }
}
