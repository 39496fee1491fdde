//! How strings look in JSON: Go's escapes on the way out.
//!
//! Takes any bytes, gives valid UTF-8 JSON. Must never let `<`, `>`, `&` or invalid UTF-8 through.

use super::scan::is_safe;

/// Appends a string with its quotes.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if is_safe(bytes) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    for chunk in bytes.utf8_chunks() {
        valid(chunk.valid().as_bytes(), out);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn valid(bytes: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if PLAIN[usize::from(*byte)] {
            continue;
        }
        let Some(width) = escape(&bytes[at..], &bytes[copied..at], out) else { continue };
        copied = at + width;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends `before` and the escape of the character that `rest` begins with; gives the width of what
/// was escaped, or nothing if it stays as it is.
fn escape(rest: &[u8], before: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (text, width): (&[u8], usize) = match *rest.first()? {
        b'"' => (b"\\\"", 1),
        b'\\' => (b"\\\\", 1),
        b'\n' => (b"\\n", 1),
        b'\r' => (b"\\r", 1),
        b'\t' => (b"\\t", 1),
        8 => (b"\\b", 1),
        12 => (b"\\f", 1),
        0xe2 => match rest.get(1..3)? {
            [0x80, 0xa8] => (b"\\u2028", 3),
            [0x80, 0xa9] => (b"\\u2029", 3),
            _ => return None,
        },
        other => {
            out.extend_from_slice(before);
            out.extend_from_slice(b"\\u00");
            out.extend([other >> 4, other & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            return Some(1);
        }
    };
    out.extend_from_slice(before);
    out.extend_from_slice(text);
    Some(width)
}

/// Bytes that need no second look.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut control = 0;
    while control < 0x20 {
        plain[control] = false;
        control += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'<' as usize] = false;
    plain[b'>' as usize] = false;
    plain[b'&' as usize] = false;
    plain[0xe2] = false;
    plain
};
