//! What follows a backslash.

use super::scan::Scan;
use super::{Error, Item, Translator};

/// Perl's classes, which are ASCII in Go.
fn perl(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

impl Translator<'_> {
    pub(super) fn escape(&mut self) -> Result<(), Error> {
        if self.scan.take("\\Q") {
            let quoted = self.scan.until("\\E").unwrap_or_else(|| {
                let rest = self.scan.rest();
                self.scan.at = self.scan.text.len();
                rest
            });
            quoted.chars().for_each(|letter| self.literal(letter));
            return Ok(());
        }
        for (text, there) in [("\\A", r"\A"), ("\\z", r"\z"), ("\\b", r"(?-u:\b)"), ("\\B", r"(?-u:\B)")] {
            if self.scan.take(text) {
                self.out.push_str(there);
                self.item = Item::Something;
                return Ok(());
            }
        }
        if !class(&mut self.scan, &mut self.out)? {
            let letter = letter(&mut self.scan)?;
            self.literal(letter);
        }
        self.item = Item::Something;
        Ok(())
    }
}

/// `\d`, `\pL` and the like; false, and nothing read, if it is something else.
pub(super) fn class(scan: &mut Scan<'_>, out: &mut String) -> Result<bool, Error> {
    let start = scan.at;
    let Some(letter) = scan.rest().chars().nth(1) else { return Ok(false) };
    if let Some(class) = perl(letter) {
        scan.at += 2;
        out.push_str(class);
        return Ok(true);
    }
    if !matches!(letter, 'p' | 'P') {
        return Ok(false);
    }
    scan.at += 2;
    let name = if scan.take("{") {
        scan.until("}").ok_or_else(|| Error::new("invalid character class range", &scan.text[start..]))?
    } else {
        let from = scan.at;
        scan.bump();
        scan.since(from)
    };
    let inner = name.strip_prefix('^');
    let negated = (letter == 'P') != inner.is_some();
    let name = inner.unwrap_or(name);
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let class = format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' });
    if !plain || name.len() > 64 || regex::bytes::Regex::new(&class).is_err() {
        return Err(Error::new("invalid character class range", scan.since(start)));
    }
    out.push_str(&class);
    Ok(true)
}

/// The one character that an escape stands for.
pub(super) fn letter(scan: &mut Scan<'_>) -> Result<char, Error> {
    let start = scan.at;
    scan.bump();
    let Some(next) = scan.bump() else {
        return Err(Error::new("trailing backslash at end of expression", ""));
    };
    let letter = match next {
        'a' => Some('\x07'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        'x' => hexadecimal(scan),
        // A single digit would refer back to a group, which Go does not have.
        '1'..='7' if !matches!(scan.peek(), Some('0'..='7')) => None,
        '0'..='7' => Some(octal(next, scan)),
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other),
        _ => None,
    };
    letter.ok_or_else(|| Error::new("invalid escape sequence", scan.since(start)))
}

fn octal(first: char, scan: &mut Scan<'_>) -> char {
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = scan.peek().and_then(|next| next.to_digit(8)) else { break };
        scan.bump();
        code = code * 8 + digit;
    }
    char::from_u32(code).unwrap_or('\0')
}

/// Behind `\x`: two digits, or up to eight in braces.
fn hexadecimal(scan: &mut Scan<'_>) -> Option<char> {
    let braced = scan.take("{");
    let digits = if braced {
        scan.until("}")?
    } else {
        let from = scan.at;
        scan.bump();
        scan.bump();
        scan.since(from)
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = if braced { (1..=8).contains(&digits.len()) } else { digits.len() == 2 };
    if !plain || !fits {
        return None;
    }
    u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
}
