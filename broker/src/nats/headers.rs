//! The header block of a NATS message: `NATS/1.0[ status][ text]`, lines `Name: value`, an empty line.
//!
//! Pure. Takes bytes from anyone; borrows from them, never panics, never gives more than
//! [`MAX_HEADERS`] headers. What it writes can hold nothing that starts a line of its own.

use thiserror::Error;

/// The most headers a block may have.
pub const MAX_HEADERS: usize = 1024;

const VERSION: &[u8] = b"NATS/1.0";

/// What is wrong with a header block, or with a header to be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It does not open as it must.
    #[error("the header block does not start with NATS/1.0; send one that does, or no headers")]
    Version,
    /// The empty line at its end is missing.
    #[error("the header block does not end with an empty line")]
    Unterminated,
    /// A line is no header.
    #[error("line {0} of the header block is not of the form `Name: value`")]
    Line(usize),
    /// Too many of them.
    #[error("the message has more than {MAX_HEADERS} headers; send fewer")]
    TooMany,
    /// A name that cannot be sent.
    #[error(
        "the header name {0:?} is empty or has characters other than printable ASCII without colon and space"
    )]
    Name(String),
    /// A value that cannot be sent.
    #[error("the value of header {0:?} has a line break; remove it")]
    Value(String),
}

/// A header block that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block<'a> {
    /// The status of a reply that the server made (`503`: nobody answers), if there is one.
    pub status: Option<&'a str>,
    /// The text behind the status.
    pub text: &'a str,
    /// Names as sent, and values without the white space around them; a name may come several times.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Block<'a> {
    /// The first value of the header `name`, compared as headers are: case counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// Reads a header block.
///
/// # Errors
/// If it is not one; names must be printable ASCII, values must not have a bare CR or LF.
pub fn parse(block: &[u8]) -> Result<Block<'_>, HeaderError> {
    let rest = block.strip_prefix(VERSION).ok_or(HeaderError::Version)?;
    let (status_line, mut rest) = split_line(rest).ok_or(HeaderError::Unterminated)?;
    let mut read = Block::default();
    (read.status, read.text) = status(status_line)?;
    for number in 2.. {
        let (line, after) = split_line(rest).ok_or(HeaderError::Unterminated)?;
        if line.is_empty() {
            return if after.is_empty() { Ok(read) } else { Err(HeaderError::Line(number + 1)) };
        }
        if read.headers.len() == MAX_HEADERS {
            return Err(HeaderError::TooMany);
        }
        read.headers.push(header(line).ok_or(HeaderError::Line(number))?);
        rest = after;
    }
    Err(HeaderError::Unterminated)
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

fn status(line: &[u8]) -> Result<(Option<&str>, &str), HeaderError> {
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line(1))?;
    if line.trim().is_empty() {
        return Ok((None, ""));
    }
    // `NATS/1.05` is another version, not status 5.
    let line = line.strip_prefix([' ', '\t']).ok_or(HeaderError::Version)?.trim();
    let (status, text) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    Ok((Some(status), text.trim()))
}

fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| valid_name(name))?;
    let value = line[colon + 1..].trim_ascii();
    valid_value(value).then_some((name, value))
}

fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn valid_value(value: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', value).is_none()
}

/// Writes a header block of these headers, in this order.
///
/// # Errors
/// If a name or value cannot be sent, or there are more than [`MAX_HEADERS`].
pub fn write<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>, HeaderError> {
    let mut block = Vec::new();
    append(&mut block, headers)?;
    Ok(block)
}

/// Appends a header block of these headers, in this order; after an error, part of it.
///
/// # Errors
/// If a name or value cannot be sent, or there are more than [`MAX_HEADERS`].
pub fn append<'a>(
    block: &mut Vec<u8>,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), HeaderError> {
    block.extend_from_slice(VERSION);
    block.extend_from_slice(b"\r\n");
    for (count, (name, value)) in headers.into_iter().enumerate() {
        if count == MAX_HEADERS {
            return Err(HeaderError::TooMany);
        }
        if !valid_name(name) {
            return Err(HeaderError::Name(name.into()));
        }
        if !valid_value(value) {
            return Err(HeaderError::Value(name.into()));
        }
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            block.extend_from_slice(part);
        }
    }
    block.extend_from_slice(b"\r\n");
    Ok(())
}

/// How many bytes the block of these headers has.
pub fn size<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> usize {
    let fields: usize = headers.into_iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    VERSION.len() + 4 + fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_status_and_headers() {
        let block = parse(b"NATS/1.0 503 No Responders\r\nA-b:  x y \r\na-B:\r\nA-b: 2\r\n\r\n").unwrap();
        assert_eq!((block.status, block.text), (Some("503"), "No Responders"));
        assert_eq!(block.headers, [("A-b", &b"x y"[..]), ("a-B", b""), ("A-b", b"2")]);
        assert_eq!(block.get("A-b"), Some(&b"x y"[..]));
        assert_eq!(block.get("A-B"), None);
        assert_eq!(parse(b"NATS/1.0\r\n\r\n").unwrap(), Block::default());
    }

    #[test]
    fn refuses_what_is_no_block() {
        assert_eq!(parse(b""), Err(HeaderError::Version));
        assert_eq!(parse(b"NATS/1.05\r\n\r\n"), Err(HeaderError::Version));
        assert_eq!(parse(b"NATS/1.0\r\nA: b\r\n"), Err(HeaderError::Unterminated));
        assert_eq!(parse(b"NATS/1.0\r\nA b\r\n\r\n"), Err(HeaderError::Line(2)));
        assert_eq!(parse(b"NATS/1.0\r\nA: b\r\n: c\r\n\r\n"), Err(HeaderError::Line(3)));
        assert_eq!(parse(b"NATS/1.0\r\nA: b\nB: c\r\n\r\n"), Err(HeaderError::Line(2)));
        assert_eq!(parse(b"NATS/1.0\r\n\r\nA: b\r\n\r\n"), Err(HeaderError::Line(3)));
        let many = ["NATS/1.0\r\n", &"A:b\r\n".repeat(MAX_HEADERS + 1), "\r\n"].concat();
        assert_eq!(parse(many.as_bytes()), Err(HeaderError::TooMany));
    }

    #[test]
    fn writes_nothing_that_splits_a_line() {
        assert_eq!(write([("A", &b"b\r\nC: d"[..])]), Err(HeaderError::Value("A".into())));
        assert_eq!(write([("A\r\nB", &b""[..])]), Err(HeaderError::Name("A\r\nB".into())));
        assert_eq!(write([("A:", &b""[..])]), Err(HeaderError::Name("A:".into())));
        assert_eq!(write([("", &b""[..])]), Err(HeaderError::Name(String::new())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"NATS/1.0", &bytes[..], b"\r\n\r\n"].concat());
        }

        #[test]
        fn what_is_written_is_read(headers in prop::collection::vec(("[!-9;-~]{1,8}", "[^\r\n]{0,12}"), 0..8)) {
            let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.trim_ascii().as_bytes())).collect();
            let block = write(pairs.iter().copied()).unwrap();
            prop_assert_eq!(block.len(), size(pairs.iter().copied()));
            prop_assert_eq!(parse(&block).unwrap().headers, pairs);
        }
    }
}
