//! A template's text as a flat list of steps.
//!
//! Takes hostile bytes, gives steps or the Go engine's error with its line. One pass; what is open is kept
//! in a list. The rules on standalone lines and lines in errors are those of cbroglie/mustache.

use std::borrow::Cow;
use std::ops::Range;

/// A piece of the text.
pub(super) type Piece = Range<usize>;

/// One step. Pieces are of [`Parsed::text`].
#[derive(Debug)]
pub(super) enum Step {
    /// Text as it is.
    Text(Piece),
    /// A variable's text, escaped unless `raw`.
    Variable { name: Piece, raw: bool },
    /// A section begins; its [`Step::Close`] is step `end`.
    Open { name: Piece, inverted: bool, end: usize },
    /// The section that began last ends.
    Close,
    /// A partial, each of its lines behind `indent`.
    Partial { name: Piece, indent: Piece },
}

/// A template.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// Its text.
    pub(super) text: Cow<'a, [u8]>,
    /// Its steps.
    pub(super) steps: Vec<Step>,
}

impl<'a> Parsed<'a> {
    /// Parses a text.
    ///
    /// # Errors
    /// The message for the script: `line N: what`.
    pub(super) fn new(text: Cow<'a, [u8]>) -> Result<Parsed<'a>, Vec<u8>> {
        let mut parser = Parser {
            data: &text,
            at: 0,
            line: 1,
            open_tag: b"{{".to_vec(),
            close_tag: b"}}".to_vec(),
            steps: Vec::new(),
            sections: Vec::new(),
        };
        parser.template()?;
        let steps = parser.steps;
        Ok(Parsed { text, steps })
    }
}

/// A section that is not closed yet.
struct Section {
    name: Piece,
    /// Its step.
    step: usize,
    /// The line behind its tag.
    line: usize,
}

struct Parser<'d> {
    data: &'d [u8],
    at: usize,
    line: usize,
    open_tag: Vec<u8>,
    close_tag: Vec<u8>,
    steps: Vec<Step>,
    sections: Vec<Section>,
}

/// The tags that may have a line for themselves.
const STANDALONE: &[u8] = b"#^/<>=!";

impl Parser<'_> {
    fn template(&mut self) -> Result<(), Vec<u8>> {
        loop {
            let start = self.at;
            let Some(text) = self.read_to(false) else {
                if let Some(section) = self.sections.last() {
                    let name = &self.data[section.name.clone()];
                    return Err(error(section.line, &[b"Section ", name, b" has no closing tag"]));
                }
                self.text(start..self.data.len());
                return Ok(());
            };
            // Blanks in front of the tag, if nothing else is on its line so far.
            let blanks = self.data[text.clone()].iter().rev().take_while(|byte| is_blank(**byte)).count();
            let padding = text.end - blanks..text.end;
            let alone = padding.start == 0 || self.data[padding.start - 1] == b'\n';
            let padding = if alone { padding } else { text.end..text.end };
            self.text(text.start..padding.start);
            let tag = self.tag()?;
            if !(alone && self.take_line_end(&tag)) {
                self.text(padding.clone());
            }
            self.step(tag, padding)?;
        }
    }

    fn text(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.steps.push(Step::Text(piece));
        }
    }

    fn fail<T>(&self, what: &[&[u8]]) -> Result<T, Vec<u8>> {
        Err(error(self.line, what))
    }

    /// Goes behind the next delimiter (that of an end if `closing`), counting lines; gives what is in front
    /// of it.
    fn read_to(&mut self, closing: bool) -> Option<Piece> {
        let triple;
        let wanted = if !closing {
            &self.open_tag
        } else if self.data.get(self.at) == Some(&b'{') {
            triple = [b"}", &*self.close_tag].concat();
            &triple
        } else {
            &self.close_tag
        };
        let start = self.at;
        let found = self.data[start..].windows(wanted.len()).position(|bytes| bytes == wanted.as_slice())?;
        let end = start + found;
        // A delimiter that begins with a newline counts as one.
        self.line += self.data[start..=end].iter().filter(|byte| **byte == b'\n').count();
        self.at = end + wanted.len();
        Some(start..self.at - if closing { self.close_tag.len() } else { wanted.len() })
    }

    /// The tag whose opening delimiter was read, without the white space around it.
    fn tag(&mut self) -> Result<Piece, Vec<u8>> {
        let Some(tag) = self.read_to(true) else { return self.fail(&[b"unmatched open tag"]) };
        let tag = trim(self.data, tag);
        if tag.is_empty() { self.fail(&[b"empty tag"]) } else { Ok(tag) }
    }

    /// Goes behind the end of the line, if nothing but the tag is on it and the tag is of that kind.
    fn take_line_end(&mut self, tag: &Piece) -> bool {
        if !STANDALONE.contains(&self.data[tag.start]) {
            return false;
        }
        let rest = &self.data[self.at..];
        if rest.is_empty() {
            return true;
        }
        let Some(blanks) = rest.iter().position(|byte| !is_blank(*byte)) else { return false };
        let end = match &rest[blanks..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return false,
        };
        self.at += blanks + end;
        self.line += 1;
        true
    }

    fn step(&mut self, tag: Piece, indent: Piece) -> Result<(), Vec<u8>> {
        let name = trim(self.data, tag.start + 1..tag.end);
        let (first, last) = (self.data[tag.start], self.data[tag.end - 1]);
        match first {
            b'!' => {}
            b'#' | b'^' => {
                let step = self.steps.len();
                self.sections.push(Section { name: name.clone(), step, line: self.line });
                self.steps.push(Step::Open { name, inverted: first == b'^', end: step });
            }
            b'/' => return self.close(name),
            b'>' => self.steps.push(Step::Partial { name, indent }),
            b'=' if last != b'=' || tag.len() < 2 => return self.fail(&[b"Invalid meta tag"]),
            b'=' => self.delimiters(trim(self.data, tag.start + 1..tag.end - 1)),
            b'{' if last == b'}' && tag.len() > 1 => {
                let name = trim(self.data, tag.start + 1..tag.end - 1);
                self.steps.push(Step::Variable { name, raw: true });
            }
            b'{' => {}
            b'&' => self.steps.push(Step::Variable { name, raw: true }),
            _ => self.steps.push(Step::Variable { name: tag, raw: false }),
        }
        Ok(())
    }

    fn close(&mut self, name: Piece) -> Result<(), Vec<u8>> {
        let Some(section) = self.sections.pop() else { return self.fail(&[b"unmatched close tag"]) };
        let name = &self.data[name];
        if *name != self.data[section.name] {
            return self.fail(&[b"interleaved closing tag: ", name]);
        }
        let close = self.steps.len();
        if let Some(Step::Open { end, .. }) = self.steps.get_mut(section.step) {
            *end = close;
        }
        self.steps.push(Step::Close);
        Ok(())
    }

    /// New delimiters: two words; anything else changes nothing.
    fn delimiters(&mut self, words: Piece) {
        let words = &self.data[words];
        let Some(space) = words.iter().position(|byte| *byte == b' ') else { return };
        let second = trim(words, space..words.len());
        if !second.is_empty() {
            self.open_tag = words[..space].to_vec();
            self.close_tag = words[second].to_vec();
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn error(line: usize, what: &[&[u8]]) -> Vec<u8> {
    [format!("line {line}: ").as_bytes(), &what.concat()].concat()
}

/// A piece without the white space around it.
pub(super) fn trim(data: &[u8], piece: Piece) -> Piece {
    let bytes = &data[piece.clone()];
    let (front, back) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.len() - text.trim_start().len(), text.len() - text.trim_end().len()),
        Err(_) => (bytes.len() - bytes.trim_ascii_start().len(), bytes.len() - bytes.trim_ascii_end().len()),
    };
    if front == bytes.len() { piece.start..piece.start } else { piece.start + front..piece.end - back }
}
