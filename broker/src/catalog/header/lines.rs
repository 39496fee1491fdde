//! A file's lines, with what matters of Lua's comments: where the block of header lines ends.
//!
//! Takes bytes, gives [`Line`]s numbered as Lua numbers them. Pure. Never panics.

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its number, from 1.
    pub(super) number: usize,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
    /// Whether it stands in the block: before the first line of code, and not within a long comment.
    pub(super) in_block: bool,
    /// Whether it is the first line of code.
    pub(super) first_code: bool,
}

/// The lines of a text.
pub(super) struct Lines<'a> {
    rest: Option<&'a [u8]>,
    number: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Block,
    /// In a long comment of this level (`--[==[` is 2) that began in the block.
    Comment(usize),
    Code,
}

impl<'a> Lines<'a> {
    /// The lines of this text.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Lines { rest: Some(text), number: 0, place: Place::Block }
    }

    /// Where this line leaves us.
    fn after(&self, line: &[u8]) -> Place {
        match self.place {
            Place::Code => Place::Code,
            Place::Comment(level) => close(line, level),
            Place::Block => {
                let line = line.trim_ascii();
                match line.strip_prefix(b"--") {
                    Some(comment) => match long_bracket(comment) {
                        Some(level) => close(comment.get(level + 2..).unwrap_or_default(), level),
                        None => Place::Block,
                    },
                    None if line.is_empty() => Place::Block,
                    None => Place::Code,
                }
            }
        }
    }
}

/// Where a line within a long comment leaves us.
fn close(line: &[u8], level: usize) -> Place {
    let end = memchr::memchr_iter(b']', line).find_map(|at| {
        let rest = line.get(at + 1..)?;
        let marks = rest.get(..level)?.iter().all(|byte| *byte == b'=');
        (marks && rest.get(level) == Some(&b']')).then_some(at + level + 2)
    });
    match end {
        None => Place::Comment(level),
        Some(end) => match line.get(end..).unwrap_or_default().trim_ascii() {
            rest if rest.is_empty() || rest.starts_with(b"--") => Place::Block,
            _ => Place::Code,
        },
    }
}

/// The level of the long bracket that the text begins with.
fn long_bracket(text: &[u8]) -> Option<usize> {
    let text = text.strip_prefix(b"[")?;
    let level = text.iter().take_while(|byte| **byte == b'=').count();
    (text.get(level) == Some(&b'[')).then_some(level)
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let text = self.rest?;
        let end = memchr::memchr2(b'\n', b'\r', text);
        let bytes = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        self.rest = end.and_then(|end| {
            let crlf = text.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n"));
            text.get(end + if crlf { 2 } else { 1 }..)
        });
        self.number += 1;
        let (before, after) = (self.place, self.after(bytes));
        self.place = after;
        Some(Line {
            number: self.number,
            bytes,
            in_block: before == Place::Block && after != Place::Code,
            first_code: before != Place::Code && after == Place::Code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Vec<usize> {
        Lines::new(text.as_bytes()).filter(|line| line.in_block).map(|line| line.number).collect()
    }

    #[test]
    fn the_block_ends_with_the_first_code() {
        assert_eq!(block("--* a: b\n\n  -- c\nlocal x\n--* d: e"), [1, 2, 3]);
        assert_eq!(block("--[[ license\nlocal x\n]]\n--* a: b\nx = 1"), [1, 4]);
        assert_eq!(block("--[==[ a ]] b\n]==] x = 1\n-- c"), [1]);
        assert_eq!(block("--[[ a ]] -- b\n-- c"), [1, 2]);
        assert_eq!(block("--[= a\n-- c"), [1, 2]);
        assert_eq!(block("--[[ a ]] x = 1\n-- c"), [] as [usize; 0]);
    }

    #[test]
    fn lines_end_as_in_lua() {
        let lines: Vec<_> = Lines::new(b"a\r\nb\rc\n\nd").map(|line| (line.number, line.bytes)).collect();
        let expected: [(usize, &[u8]); 5] = [(1, b"a"), (2, b"b"), (3, b"c"), (4, b""), (5, b"d")];
        assert_eq!(lines, expected);
    }
}
