//! YAML text, written as libyaml's emitter (of which Go's yaml.v2 is a translation) lays it out.
//!
//! Takes collections' beginnings and ends and scalars in order, gives text. Lines fold past column 80.

use super::scalar::{Meaning, meaning};

const INDENT: isize = 2;
const WIDTH: isize = 80;
/// A key longer than this stands behind a `?`.
const MAX_SIMPLE_KEY: usize = 128;

/// What a node is to the one around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    Item,
    /// The key of a member; `simple`: on one line with its value.
    Key {
        simple: bool,
    },
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Text that is being written.
#[derive(Debug)]
pub(super) struct Emitter {
    /// The text.
    pub(super) out: Vec<u8>,
    column: isize,
    /// Whether the last character was white space, and whether only indentation is on the line.
    whitespace: bool,
    indention: bool,
    indent: isize,
    indents: Vec<isize>,
}

/// A scalar to be written.
pub(super) struct Scalar {
    letters: Vec<char>,
    binary: bool,
    style: Style,
    /// What an analysis of the letters found.
    shape: Shape,
}

/// Which styles a text allows.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "libyaml's own facts")]
struct Shape {
    multiline: bool,
    plain: bool,
    single: bool,
    block: bool,
}

impl Scalar {
    /// What is written as it is: numbers, words.
    pub(super) fn word(text: &str) -> Scalar {
        Scalar::new(text, false, Style::Plain)
    }

    /// A string: quoted where it would mean something else.
    pub(super) fn string(text: &str) -> Scalar {
        let style = if text.contains('\n') {
            Style::Literal
        } else if meaning(text) == Meaning::Text && !is_base_60(text) {
            Style::Plain
        } else {
            Style::Double
        };
        Scalar::new(text, false, style)
    }

    /// Base64 of a string that is not UTF-8.
    pub(super) fn binary(base64: &str) -> Scalar {
        let style = if base64.contains('\n') { Style::Literal } else { Style::Plain };
        Scalar::new(base64, true, style)
    }

    fn new(text: &str, binary: bool, style: Style) -> Scalar {
        let letters: Vec<char> = text.chars().collect();
        let shape = Shape::of(&letters);
        Scalar { letters, binary, style, shape }
    }

    /// Whether it may be a key in front of its value.
    pub(super) fn is_simple_key(&self) -> bool {
        let tag = if self.binary { "!!binary".len() } else { 0 };
        let size: usize = self.letters.iter().map(|letter| letter.len_utf8()).sum();
        !self.shape.multiline && size + tag <= MAX_SIMPLE_KEY
    }

    fn style(&self, simple_key: bool) -> Style {
        let mut style = self.style;
        if simple_key && self.shape.multiline {
            style = Style::Double;
        }
        if style == Style::Plain && (!self.shape.plain || self.letters.is_empty() && simple_key) {
            style = Style::Single;
        }
        if style == Style::Single && !self.shape.single
            || style == Style::Literal && (!self.shape.block || simple_key)
        {
            style = Style::Double;
        }
        style
    }
}

impl Shape {
    fn of(letters: &[char]) -> Shape {
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else {
            return Shape { multiline: false, plain: true, single: true, block: false };
        };
        let mut indicators = letters.starts_with(&['-'; 3]) || letters.starts_with(&['.'; 3]);
        let (mut breaks, mut special, mut space_break, mut break_space) = (false, false, false, false);
        let mut before = None;
        for (at, letter) in letters.iter().enumerate() {
            let followed = letters.get(at + 1).is_none_or(|next| is_blank(*next));
            indicators |= match letter {
                '#' if at > 0 => {
                    before.is_some_and(|before| is_blank(before) || is_break(before) || before == '\0')
                }
                ':' => followed,
                '?' | '-' if at == 0 => followed,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`' => at == 0,
                _ => false,
            };
            special |= !is_printable(*letter);
            breaks |= is_break(*letter);
            break_space |= *letter == ' ' && before.is_some_and(is_break);
            space_break |= is_break(*letter) && before == Some(' ');
            before = Some(*letter);
        }
        let at_ends = |what: fn(char) -> bool| what(*first) || what(*last);
        let edges = at_ends(|letter| letter == ' ') || at_ends(is_break);
        let hard = space_break || special;
        Shape {
            multiline: breaks,
            plain: !(edges || break_space || hard || breaks || indicators),
            single: !(break_space || hard),
            block: !(hard || *last == ' '),
        }
    }
}

impl Emitter {
    /// Begins a document, which is not the first of its stream if `further`.
    pub(super) fn new(further: bool) -> Emitter {
        let mut emitter = Emitter {
            out: Vec::new(),
            column: 0,
            whitespace: true,
            indention: true,
            indent: -1,
            indents: Vec::new(),
        };
        if further {
            emitter.indicator("---", true, false, false);
        }
        emitter
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.write_indent();
        self.out
    }

    /// Writes a list without items.
    pub(super) fn empty_list(&mut self) {
        self.indicator("[", true, true, false);
        self.indicator("]", false, false, false);
    }

    /// Begins a list that has items.
    pub(super) fn begin_list(&mut self, role: Role) {
        let within = matches!(role, Role::Key { .. } | Role::Value) && !self.indention;
        self.increase(false, within);
    }

    /// Begins a map.
    pub(super) fn begin_map(&mut self) {
        self.increase(false, false);
    }

    /// Ends a list or map.
    pub(super) fn end(&mut self) {
        self.indent = self.indents.pop().unwrap_or(-1);
    }

    /// What stands before an item.
    pub(super) fn item(&mut self) {
        self.write_indent();
        self.indicator("-", true, false, true);
    }

    /// What stands before a key.
    pub(super) fn key(&mut self, simple: bool) {
        self.write_indent();
        if !simple {
            self.indicator("?", true, false, true);
        }
    }

    /// What stands between a key and its value.
    pub(super) fn between(&mut self, simple: bool) {
        if simple {
            self.indicator(":", false, false, false);
        } else {
            self.write_indent();
            self.indicator(":", true, false, true);
        }
    }

    /// Writes a scalar.
    pub(super) fn scalar(&mut self, scalar: &Scalar, role: Role) {
        let simple = role == Role::Key { simple: true };
        if scalar.binary {
            self.indicator("!!binary", true, false, false);
        }
        self.increase(true, false);
        match scalar.style(simple) {
            Style::Plain => self.plain(&scalar.letters, !simple),
            Style::Single => self.single(&scalar.letters, !simple),
            Style::Double => self.double(&scalar.letters, !simple),
            Style::Literal => self.literal(&scalar.letters),
        }
        self.end();
    }

    fn increase(&mut self, flow: bool, within: bool) {
        self.indents.push(self.indent);
        if self.indent < 0 {
            self.indent = if flow { INDENT } else { 0 };
        } else if !within {
            self.indent += INDENT;
        }
    }

    fn put(&mut self, letter: char) {
        self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        self.column = if is_break(letter) { 0 } else { self.column + 1 };
    }

    fn write_indent(&mut self) {
        let indent = self.indent.max(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        (self.whitespace, self.indention) = (true, true);
    }

    fn indicator(&mut self, text: &str, need_space: bool, is_space: bool, is_indention: bool) {
        if need_space && !self.whitespace {
            self.put(' ');
        }
        text.chars().for_each(|letter| self.put(letter));
        self.whitespace = is_space;
        self.indention &= is_indention;
    }

    fn plain(&mut self, letters: &[char], fold: bool) {
        if !self.whitespace {
            self.put(' ');
        }
        self.folded(letters, fold, None);
        (self.whitespace, self.indention) = (false, false);
    }

    fn single(&mut self, letters: &[char], fold: bool) {
        self.indicator("'", true, false, false);
        self.folded(letters, fold, Some('\''));
        self.indicator("'", false, false, false);
        (self.whitespace, self.indention) = (false, false);
    }

    /// Letters of a plain or (with its quote, which is doubled) a quoted scalar.
    fn folded(&mut self, letters: &[char], fold: bool, quote: Option<char>) {
        let (mut spaces, mut breaks) = (false, false);
        for (at, letter) in letters.iter().copied().enumerate() {
            if letter == ' ' {
                let inside = quote.is_none() || (at > 0 && at + 1 < letters.len());
                if fold && !spaces && self.column > WIDTH && inside && letters.get(at + 1) != Some(&' ') {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else if is_break(letter) {
                if !breaks && letter == '\n' {
                    self.put('\n');
                }
                self.put(letter);
                (self.indention, breaks) = (true, true);
            } else {
                if breaks {
                    self.write_indent();
                }
                if quote == Some(letter) {
                    self.put(letter);
                }
                self.put(letter);
                (self.indention, spaces, breaks) = (false, false, false);
            }
        }
    }

    fn double(&mut self, letters: &[char], fold: bool) {
        self.indicator("\"", true, false, false);
        let mut spaces = false;
        for (at, letter) in letters.iter().copied().enumerate() {
            if !is_printable(letter) || is_break(letter) || matches!(letter, '"' | '\\') {
                self.escape(letter);
                spaces = false;
            } else if letter == ' ' {
                if fold && !spaces && self.column > WIDTH && at > 0 && at + 1 < letters.len() {
                    self.write_indent();
                    if letters[at + 1] == ' ' {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                self.put(letter);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
        (self.whitespace, self.indention) = (false, false);
    }

    fn escape(&mut self, letter: char) {
        let code = u32::from(letter);
        let text = match letter {
            '\0' => "\\0".into(),
            '\u{7}' => "\\a".into(),
            '\u{8}' => "\\b".into(),
            '\t' => "\\t".into(),
            '\n' => "\\n".into(),
            '\u{b}' => "\\v".into(),
            '\u{c}' => "\\f".into(),
            '\r' => "\\r".into(),
            '\u{1b}' => "\\e".into(),
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\u{85}' => "\\N".into(),
            '\u{a0}' => "\\_".into(),
            '\u{2028}' => "\\L".into(),
            '\u{2029}' => "\\P".into(),
            _ if code <= 0xff => format!("\\x{code:02X}"),
            _ if code <= 0xffff => format!("\\u{code:04X}"),
            _ => format!("\\U{code:08X}"),
        };
        text.chars().for_each(|letter| self.put(letter));
    }

    fn literal(&mut self, letters: &[char]) {
        self.indicator("|", true, false, false);
        if letters.first().is_some_and(|first| *first == ' ' || is_break(*first)) {
            self.indicator("2", false, false, false);
        }
        let ending: Vec<char> = letters.iter().rev().take(2).copied().collect();
        match ending.as_slice() {
            [last, ..] if !is_break(*last) => self.indicator("-", false, false, false),
            [_] => self.indicator("+", false, false, false),
            [_, before] if is_break(*before) => self.indicator("+", false, false, false),
            _ => {}
        }
        self.put('\n');
        (self.whitespace, self.indention) = (true, true);
        let mut breaks = true;
        for letter in letters.iter().copied() {
            if is_break(letter) {
                self.put(letter);
                (self.indention, breaks) = (true, true);
            } else {
                if breaks {
                    self.write_indent();
                }
                self.put(letter);
                (self.indention, breaks) = (false, false);
            }
        }
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && letter != '\u{feff}'
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: other readers take it for a number.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = unsigned.split_once('.').map_or(unsigned, |(whole, _)| whole);
    let fraction = unsigned.strip_prefix(whole).unwrap_or("").trim_start_matches('.');
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or("");
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut more = false;
    first.starts_with(|letter: char| letter.is_ascii_digit())
        && digits(first)
        && parts.all(|part| {
            more = true;
            matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
        })
        && more
        && digits(fraction)
        && unsigned.matches('.').count() <= 1
}
