//! JSON text to Lua values, straight into [`Ret`].
//!
//! Takes hostile bytes, gives the value's tokens, or the error text of Go's decoder. Must never recurse:
//! open brackets are kept in a list of bounded length.

use super::super::super::value::Ret;
use super::scan;

/// How deep arrays and objects may nest (Go: 10,000): every level costs the glue stack slots in Lua.
pub const MAX_NESTING: usize = 1000;

/// Appends the value of a text.
///
/// # Errors
/// With Go's message, for scripts to read; `ret` then holds a broken value.
pub(super) fn text(bytes: &[u8], ret: &mut Ret) -> Result<(), String> {
    let utf8 = std::str::from_utf8(bytes).is_ok();
    let mut decoder = Decoder { bytes, at: 0, utf8, ret, open: Vec::new(), scratch: Vec::new(), range: None };
    decoder.document()?;
    decoder.range.map_or(Ok(()), Err)
}

/// An open bracket, the table of which begins there in `ret`.
#[derive(Clone, Copy)]
enum Open {
    /// An array and the index of its next item.
    Array { table: usize, next: u32 },
    /// An object and how many members it has.
    Object { table: usize, members: u32 },
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether all of the text is valid UTF-8, so that strings need no second look.
    utf8: bool,
    ret: &'a mut Ret,
    open: Vec<Open>,
    /// A string without its escapes.
    scratch: Vec<u8>,
    /// The first number too large for a double. As in Go, a syntax error behind it comes first.
    range: Option<String>,
}

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

impl Decoder<'_> {
    fn document(&mut self) -> Result<(), String> {
        self.value(false)?;
        while let Some(open) = self.open.last().copied() {
            match open {
                Open::Array { .. } => self.after_item()?,
                Open::Object { .. } => self.after_member()?,
            }
        }
        match self.skip_space() {
            None => Ok(()),
            Some(_) => Err(self.invalid("after top-level value")),
        }
    }

    fn after_item(&mut self) -> Result<(), String> {
        match self.need()? {
            b',' => self.at += 1,
            b']' => {
                self.close();
                return Ok(());
            }
            _ => return Err(self.invalid("after array element")),
        }
        self.item()
    }

    /// One item; a null leaves its index to the next.
    fn item(&mut self) -> Result<(), String> {
        if self.need()? == b'n' {
            return self.literal(b"null");
        }
        if let Some(Open::Array { next, .. }) = self.open.last_mut() {
            self.ret.num(f64::from(*next));
            *next += 1;
        }
        self.value(true)
    }

    fn after_member(&mut self) -> Result<(), String> {
        match self.need()? {
            b',' => self.at += 1,
            b'}' => {
                self.close();
                return Ok(());
            }
            _ => return Err(self.invalid("after object key:value pair")),
        }
        self.member()
    }

    fn member(&mut self) -> Result<(), String> {
        if self.need()? != b'"' {
            return Err(self.invalid(KEY));
        }
        let undo = self.ret.position();
        self.string()?;
        if self.need()? != b':' {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        if self.need()? == b'n' {
            self.ret.truncate(undo);
            return self.literal(b"null");
        }
        if let Some(Open::Object { members, .. }) = self.open.last_mut() {
            *members += 1;
        }
        self.value(true)
    }

    /// One value; of an array or an object only the beginning and its first entry.
    fn value(&mut self, nested: bool) -> Result<(), String> {
        match self.need()? {
            b'{' => {
                self.begin(|table| Open::Object { table, members: 0 })?;
                if self.need()? == b'}' { self.close() } else { self.member()? }
            }
            b'[' => {
                self.begin(|table| Open::Array { table, next: 1 })?;
                if self.need()? == b']' { self.close() } else { self.item()? }
            }
            b'"' => self.string()?,
            b't' => {
                self.literal(b"true")?;
                self.ret.bool(true);
            }
            b'f' => {
                self.literal(b"false")?;
                self.ret.bool(false);
            }
            b'n' if !nested => {
                self.literal(b"null")?;
                self.ret.nil();
            }
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(self.invalid(VALUE)),
        }
        Ok(())
    }

    fn begin(&mut self, open: impl FnOnce(usize) -> Open) -> Result<(), String> {
        if self.open.len() >= MAX_NESTING {
            return Err("exceeded max depth".into());
        }
        self.at += 1;
        self.open.push(open(self.ret.begin_table()));
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        match self.open.pop() {
            Some(Open::Array { table, next }) => self.ret.set_room(table, next - 1, 0),
            Some(Open::Object { table, members }) => self.ret.set_room(table, 0, members),
            None => {}
        }
        self.ret.end_table();
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), String> {
        for wanted in word {
            if self.peek() != *wanted {
                let word = String::from_utf8_lossy(word);
                return Err(self.invalid(&format!("in literal {word} (expecting '{}')", *wanted as char)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let start = self.at;
        if let Some((number, length)) = scan::short_number(&self.bytes[start..]) {
            self.at += length;
            self.ret.num(number);
            return Ok(());
        }
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits("")?,
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        self.convert(start);
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.peek().is_ascii_digit() {
            return Err(self.invalid(place));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn convert(&mut self, start: usize) {
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or("0");
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => self.ret.num(number),
            _ => {
                self.ret.num(0.0);
                let error = || format!("json: cannot unmarshal number {text} into Go value of type float64");
                self.range.get_or_insert_with(error);
            }
        }
    }

    /// A string, its opening quote next.
    fn string(&mut self) -> Result<(), String> {
        let start = self.at + 1;
        self.at = start + scan::plain_text(&self.bytes[start..]);
        if self.utf8 && self.bytes.get(self.at) == Some(&b'"') {
            self.ret.str(&self.bytes[start..self.at]);
            self.at += 1;
            return Ok(());
        }
        self.at = start;
        self.scratch.clear();
        self.escaped()?;
        self.ret.str(&self.scratch);
        Ok(())
    }

    fn escaped(&mut self) -> Result<(), String> {
        loop {
            let rest = &self.bytes[self.at..];
            let run = scan::plain_text(rest);
            for chunk in rest[..run].utf8_chunks() {
                self.scratch.extend_from_slice(chunk.valid().as_bytes());
                for _ in chunk.invalid() {
                    self.push_char('\u{fffd}');
                }
            }
            self.at += run;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(_) => return Err(self.invalid("in string literal")),
                None => return Err(end()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let plain = match self.peek() {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        self.scratch.push(plain);
        Ok(())
    }

    /// Behind `\u`: a character, or the first half of a pair with its second.
    fn unicode(&mut self) -> Result<(), String> {
        let first = self.hex()?;
        let mut decoded = char::from_u32(first);
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let behind = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                decoded = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            } else {
                self.at = behind;
            }
        }
        self.push_char(decoded.unwrap_or('\u{fffd}'));
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return Err(self.invalid("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn push_char(&mut self, decoded: char) {
        self.scratch.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// The next byte that is not white space; there must be one.
    fn need(&mut self) -> Result<u8, String> {
        self.skip_space().ok_or_else(end)
    }

    /// The next byte; the end reads as a space, as Go's scanner has it.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(b' ')
    }

    /// What Go says of the next byte at this place.
    fn invalid(&self, place: &str) -> String {
        format!("invalid character {} {place}", quote(self.peek()))
    }
}

fn end() -> String {
    "unexpected end of JSON input".into()
}

/// A byte as Go's messages quote it: as the Latin-1 character that it would be.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        7 => r"'\a'".into(),
        8 => r"'\b'".into(),
        11 => r"'\v'".into(),
        12 => r"'\f'".into(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
