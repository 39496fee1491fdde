//! A pattern and how far it was read.

pub(super) struct Scan<'p> {
    pub(super) text: &'p str,
    /// The offset of the next character.
    pub(super) at: usize,
}

impl<'p> Scan<'p> {
    pub(super) fn new(text: &'p str) -> Self {
        Scan { text, at: 0 }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'p str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What was read since that offset.
    pub(super) fn since(&self, start: usize) -> &'p str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next character, not read yet.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads a character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Reads this, if it comes next.
    pub(super) fn take(&mut self, wanted: &str) -> bool {
        let there = self.rest().starts_with(wanted);
        if there {
            self.at += wanted.len();
        }
        there
    }

    /// Reads up to `end` and `end` itself; gives what is before it.
    pub(super) fn until(&mut self, end: &str) -> Option<&'p str> {
        let rest = self.rest();
        let size = rest.find(end)?;
        self.at += size + end.len();
        rest.get(..size)
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`; nothing if it is none of these.
    pub(super) fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let inner = self.rest().strip_prefix('{')?;
        // No count has more digits than a whole pattern may; so this stays linear for many braces.
        let end = inner.bytes().take(64).position(|byte| byte == b'}')?;
        let inner = inner.get(..end)?;
        let counts = match inner.split_once(',') {
            None => (count(inner)?, Some(count(inner)?)),
            Some((min, "")) => (count(min)?, None),
            Some((min, max)) => (count(min)?, Some(count(max)?)),
        };
        self.at += inner.len() + 2;
        Some(counts)
    }
}

/// A count; one that is too large for the type is too large anyway.
fn count(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // As in Go, 007 is not a number.
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
}
