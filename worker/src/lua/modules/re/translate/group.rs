//! What follows an opening parenthesis: names and flags.

use super::{Error, Item, Translator};

impl Translator<'_> {
    pub(super) fn open(&mut self) -> Result<(), Error> {
        let start = self.scan.at;
        if self.scan.take("(?P<") || self.scan.take("(?<") {
            let name = self.name(start)?;
            self.begin_group(Some(name));
        } else if self.scan.take("(?") {
            self.flags(start)?;
        } else {
            self.scan.bump();
            self.begin_group(None);
        }
        Ok(())
    }

    /// Names are kept here: Go allows some that the other side does not.
    fn begin_group(&mut self, name: Option<String>) {
        self.names.push(name);
        self.begin("(");
    }

    fn begin(&mut self, text: &str) {
        self.depth += 1;
        self.out.push_str(text);
        self.item = Item::None;
    }

    fn name(&mut self, start: usize) -> Result<String, Error> {
        let Some(name) = self.scan.until(">") else {
            return Err(Error::new("invalid named capture", &self.scan.text[start..]));
        };
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let known = self.names.iter().flatten().any(|known| known == name);
        if !valid || known {
            return Err(Error::new("invalid named capture", self.scan.since(start)));
        }
        Ok(name.to_string())
    }

    /// `(?i)`, `(?i-s:`; `start` is where the parenthesis is.
    fn flags(&mut self, start: usize) -> Result<(), Error> {
        let from = self.scan.at;
        let (mut negative, mut flag) = (false, false);
        loop {
            match self.scan.bump() {
                Some('i' | 'm' | 's' | 'U') => flag = true,
                Some('-') if !negative => (negative, flag) = (true, false),
                Some(end @ (':' | ')')) if flag || !negative => {
                    self.end_flags(self.scan.since(from), end);
                    return Ok(());
                }
                Some(_) => {
                    return Err(Error::new("invalid or unsupported Perl syntax", self.scan.since(start)));
                }
                None => return Err(Error::new("missing closing )", self.scan.text)),
            }
        }
    }

    fn end_flags(&mut self, flags: &str, end: char) {
        let text = unique(flags);
        if end == ':' {
            self.begin(&format!("(?{text}:"));
            return;
        }
        if !text.is_empty() {
            self.out.push_str(&format!("(?{text})"));
        }
        self.item = Item::None;
    }
}

/// Each flag once (the other side refuses repetitions), and off if it is both on and off.
fn unique(flags: &str) -> String {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let all = ['i', 'm', 's', 'U'];
    let mut text: String =
        all.into_iter().filter(|flag| on.contains(*flag) && !off.contains(*flag)).collect();
    let off: String = all.into_iter().filter(|flag| off.contains(*flag)).collect();
    if !off.is_empty() {
        text.push('-');
        text.push_str(&off);
    }
    text
}
