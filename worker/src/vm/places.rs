//! Where in the author's files a line of a chunk is.
//!
//! Libraries and script run as one chunk, and LuaJIT cuts long chunk names. So a chunk is named by a mark
//! and its number, and every text that leaves the VM has `mark number:LINE` replaced by what the author
//! wrote. Pure.

use msgscript_proto::message::Part;

/// First byte of the short name of a script's or library's chunk; its number follows.
pub const SCRIPT: u8 = 1;
/// First byte of the short name of our own Lua code: never a place that an author should see.
pub const INTERNAL: u8 = 2;

/// How LuaJIT names a function of ours in a traceback, before its address.
const NATIVE: &[u8] = b"[C]: at 0x";

#[derive(Debug)]
struct Piece {
    first_line: usize,
    name: String,
}

/// The chunks of one state, numbered.
#[derive(Debug, Default)]
pub struct Places {
    chunks: Vec<Vec<Piece>>,
}

impl Places {
    /// Forgets all chunks from that number on.
    pub fn truncate(&mut self, chunks: usize) {
        self.chunks.truncate(chunks);
    }

    /// Notes a chunk that consists of these parts and appends its text to `source`; gives its name for
    /// LuaJIT. A part that does not end its last line is given a line end.
    pub fn add(&mut self, parts: &[Part<'_>], source: &mut Vec<u8>) -> String {
        let mut line = 1;
        let mut pieces = Vec::with_capacity(parts.len());
        for part in parts {
            pieces.push(Piece { first_line: line, name: part.name.to_owned() });
            source.extend_from_slice(part.text);
            line += part.text.iter().filter(|byte| **byte == b'\n').count();
            if part.text.last().is_some_and(|byte| *byte != b'\n') {
                source.push(b'\n');
                line += 1;
            }
        }
        let number = self.chunks.len();
        self.chunks.push(pieces);
        format!("={}{number}", SCRIPT as char)
    }

    /// The author's place of a line.
    fn find(&self, chunk: usize, line: usize) -> Option<(&str, usize)> {
        let pieces = self.chunks.get(chunk)?;
        let piece = pieces.iter().rev().find(|piece| piece.first_line <= line)?;
        Some((&piece.name, line + 1 - piece.first_line))
    }

    /// Appends `text` with all places as the author knows them, and without the addresses that tracebacks
    /// name our own functions by.
    pub fn rewrite(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = rest.windows(NATIVE.len()).position(|window| window == NATIVE) {
            self.rewrite_marks(&rest[..at], out);
            out.extend_from_slice(b"[C]: in ?");
            let after = &rest[at + NATIVE.len()..];
            let digits = after.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            rest = &after[digits..];
        }
        self.rewrite_marks(rest, out);
    }

    fn rewrite_marks(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| *byte == SCRIPT) {
            out.extend_from_slice(&rest[..at]);
            let (mark, after) = read_mark(&rest[at..]);
            match mark.and_then(|(chunk, line)| Some((chunk, line?))) {
                Some((chunk, line)) if self.find(chunk, line).is_some() => {
                    let (name, line) = self.find(chunk, line).unwrap_or(("?", line));
                    out.extend_from_slice(format!("{name}:{line}").as_bytes());
                }
                _ => match mark.and_then(|(chunk, _)| self.chunks.get(chunk)?.last()) {
                    Some(piece) => out.extend_from_slice(piece.name.as_bytes()),
                    None => out.extend_from_slice(&rest[at..rest.len() - after.len()]),
                },
            }
            rest = after;
        }
        out.extend_from_slice(rest);
    }
}

/// Reads `mark number[:line]` at the start of a text: chunk and line, and what follows.
fn read_mark(text: &[u8]) -> (Option<(usize, Option<usize>)>, &[u8]) {
    let (chunk, rest) = read_number(&text[1..]);
    let Some(chunk) = chunk else { return (None, &text[1..]) };
    if let Some((b':', after)) = rest.split_first() {
        let (line, after) = read_number(after);
        if let Some(line) = line {
            return (Some((chunk, Some(line))), after);
        }
    }
    (Some((chunk, None)), rest)
}

fn read_number(text: &[u8]) -> (Option<usize>, &[u8]) {
    let digits = text.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok().and_then(|digits| digits.parse().ok());
    (number, &text[digits..])
}

#[cfg(test)]
mod tests {
    use super::Places;
    use msgscript_proto::message::Part;
    use proptest::prelude::*;

    fn rewritten(places: &Places, text: &[u8]) -> String {
        let mut out = Vec::new();
        places.rewrite(text, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_are_the_authors() {
        let mut places = Places::default();
        let mut source = Vec::new();
        let parts = [Part { name: "web.lua", text: b"a\nb" }, Part { name: "x/y.lua", text: b"c\nd\n" }];
        let name = places.add(&parts, &mut source);
        assert_eq!(source, b"a\nb\nc\nd\n");
        assert_eq!(name, "=\u{1}0");
        assert_eq!(rewritten(&places, b"\x010:2: x"), "web.lua:2: x");
        assert_eq!(rewritten(&places, b"e \x010:3: \x010:4"), "e x/y.lua:1: x/y.lua:2");
        assert_eq!(rewritten(&places, b"\x010 at EOF"), "x/y.lua at EOF");
        assert_eq!(rewritten(&places, b"\x017:1:"), "\u{1}7:1:");
        assert_eq!(rewritten(&places, b"a\n\t[C]: at 0x55f0ab\n\x010:2"), "a\n\t[C]: in ?\nweb.lua:2");
    }

    proptest! {
        #[test]
        fn any_text_can_be_rewritten(text in prop::collection::vec(0u8..70, 0..100)) {
            let mut places = Places::default();
            places.add(&[Part { name: "a", text: b"1\n2\n" }], &mut Vec::new());
            rewritten(&places, &text);
        }
    }
}
