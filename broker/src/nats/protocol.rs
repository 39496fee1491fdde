//! What clients send ([`server`]: what servers send): bytes become operations.
//!
//! Pure. [`Parser::next`] looks at the front of a connection's buffer and gives one operation that borrows
//! from it, or asks for more. It keeps no bytes, so any cutting of the stream gives the same operations,
//! and it never asks the connection to hold more than a control line and the largest payload.

pub mod server;

use thiserror::Error;

/// What a client asks for. Subjects are as sent, not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// `CONNECT {json}`: the JSON.
    Connect(&'a [u8]),
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `PUB` or `HPUB`
    Publish(Message<'a>),
    /// `SUB subject [queue] sid`
    Subscribe {
        /// The pattern.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`
    Unsubscribe {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// After how many deliveries it ends; 0: at once.
        max: u64,
    },
    /// `+OK` or `INFO`: nothing to do.
    Ignored,
    /// `-ERR`: the client gives up.
    Error,
}

/// A message as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where to.
    pub subject: &'a [u8],
    /// Where replies go.
    pub reply: Option<&'a [u8]>,
    /// The header block, if it came by `HPUB` (it may be empty then).
    pub headers: Option<&'a [u8]>,
    /// The payload behind the block.
    pub payload: &'a [u8],
}

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// No verb that a client may send, or a payload without its line end.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// The arguments are too long.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// The message is too large.
    #[error("Maximum Payload Violation")]
    Payload,
    /// Wrong number of arguments, or not a number: the connection closes without a word.
    #[error("malformed arguments")]
    Arguments,
}

impl ProtocolError {
    /// What the client is told before the connection closes.
    #[must_use]
    pub fn reply(self) -> Option<String> {
        (self != ProtocolError::Arguments).then(|| format!("-ERR '{self}'\r\n"))
    }
}

/// Limits on one operation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest arguments, in bytes.
    pub control_line: usize,
    /// The largest message, headers included, in bytes.
    pub payload: usize,
}

/// Reads operations off the front of a buffer.
#[derive(Debug, Clone)]
pub struct Parser {
    limits: Limits,
    /// The operation at the front is not complete before there are this many bytes.
    need: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Error,
    HeaderPublish,
    Info,
    Okay,
    Ping,
    Pong,
    Publish,
    Subscribe,
    Unsubscribe,
}

/// Upper case; a verb that takes arguments ends with the space before them. `CONNECT` and `INFO` need none.
const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB ", Verb::Publish),
    (b"HPUB ", Verb::HeaderPublish),
    (b"SUB ", Verb::Subscribe),
    (b"UNSUB ", Verb::Unsubscribe),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
    (b"+OK", Verb::Okay),
    (b"-ERR ", Verb::Error),
    (b"INFO", Verb::Info),
];

impl Parser {
    /// A parser for the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, need: 0 }
    }

    /// How many bytes the operation at the front has at least; a buffer of this size is worth having.
    #[must_use]
    pub fn need(&self) -> usize {
        self.need
    }

    /// The operation at the front of `buffer` and its length, or `None` if more bytes are needed: then call
    /// again with the same bytes and more.
    ///
    /// # Errors
    /// If the stream is at an end: no later call makes sense.
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<(Op<'a>, usize)>, ProtocolError> {
        if buffer.is_empty() || buffer.len() < self.need {
            return Ok(None);
        }
        let Some((verb, length)) = verb(&VERBS, buffer)? else { return Ok(None) };
        let Some((line, after)) = self.arguments(&buffer[length..])? else { return Ok(None) };
        let start = length + after;
        let op = match verb {
            Verb::Publish | Verb::HeaderPublish => {
                let head = publish_head(line, verb == Verb::HeaderPublish)?;
                let message = self.message(head, buffer, start)?;
                return Ok(message.map(|(message, end)| (Op::Publish(message), end)));
            }
            Verb::Subscribe => subscribe(line)?,
            Verb::Unsubscribe => unsubscribe(line)?,
            Verb::Connect => Op::Connect(line),
            Verb::Ping => Op::Ping,
            Verb::Pong => Op::Pong,
            Verb::Okay | Verb::Info => Op::Ignored,
            Verb::Error => Op::Error,
        };
        Ok(Some((op, start)))
    }

    /// The arguments, without their line end, and where the next line starts.
    fn arguments<'a>(&self, rest: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, ProtocolError> {
        let end = memchr::memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.limits.control_line {
            return Err(ProtocolError::ControlLine);
        }
        Ok(end.map(|end| (line, end + 1)))
    }

    /// The message whose payload begins at `start`, and where it ends; `None` while it is not all there.
    fn message<'a>(
        &mut self,
        head: Head<'a>,
        buffer: &'a [u8],
        start: usize,
    ) -> Result<Option<(Message<'a>, usize)>, ProtocolError> {
        let Head { subject, reply, headers, size } = head;
        if size > self.limits.payload {
            return Err(ProtocolError::Payload);
        }
        let end = start + size;
        let line_end = &buffer[end.min(buffer.len())..(end + 2).min(buffer.len())];
        if !b"\r\n".starts_with(line_end) {
            return Err(ProtocolError::UnknownOperation);
        }
        if line_end.len() < 2 {
            // One byte behind the payload can already be a wrong one.
            self.need = if buffer.len() > end { end + 2 } else { end + 1 };
            return Ok(None);
        }
        self.need = 0;
        let (block, payload) = buffer[start..end].split_at(headers.unwrap_or(0));
        Ok(Some((Message { subject, reply, headers: headers.map(|_| block), payload }, end + 2)))
    }
}

/// The verb at the front and its length; `None` if it may become one. One byte too many is enough to
/// refuse the stream: who sends something else than NATS learns it without sending a line end.
fn verb<V: Copy>(verbs: &[(&[u8], V)], buffer: &[u8]) -> Result<Option<(V, usize)>, ProtocolError> {
    let mut possible = false;
    for &(text, verb) in verbs {
        let shared = text.len().min(buffer.len());
        let same = text.iter().zip(buffer).all(|(want, have)| match want {
            b' ' => is_blank(*have),
            want => want.eq_ignore_ascii_case(have),
        });
        if same && shared == text.len() {
            return Ok(Some((verb, shared)));
        }
        possible |= same;
    }
    if possible { Ok(None) } else { Err(ProtocolError::UnknownOperation) }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Up to `N` fields between blanks, and how many there are (`N + 1`: more).
fn fields<const N: usize>(line: &[u8]) -> ([&[u8]; N], usize) {
    let mut found = [&line[..0]; N];
    let mut count = 0;
    for field in line.split(|byte| is_blank(*byte)).filter(|field| !field.is_empty()) {
        if count == N {
            return (found, N + 1);
        }
        found[count] = field;
        count += 1;
    }
    (found, count)
}

/// A decimal number of up to nine digits.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

/// What a message's line tells of it.
struct Head<'a> {
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    /// The length of the header block, if the message has one.
    headers: Option<usize>,
    /// The length of all that follows the line.
    size: usize,
}

impl<'a> Head<'a> {
    /// `lengths` is what stands behind subject and reply: that of the headers, if there may be some, and that of
    /// all.
    fn new(
        subject: &'a [u8],
        reply: Option<&'a [u8]>,
        lengths: (Option<&[u8]>, &[u8]),
    ) -> Result<Self, ProtocolError> {
        let headers = lengths.0.map(|digits| number(digits).ok_or(ProtocolError::Arguments)).transpose()?;
        match number(lengths.1) {
            Some(size) if headers.is_none_or(|headers| headers <= size) => {
                Ok(Head { subject, reply, headers, size })
            }
            _ => Err(ProtocolError::Arguments),
        }
    }
}

/// `subject [reply] [headers] size`
fn publish_head(line: &[u8], headers: bool) -> Result<Head<'_>, ProtocolError> {
    match (headers, fields::<4>(line)) {
        (false, ([subject, size, ..], 2)) => Head::new(subject, None, (None, size)),
        (false, ([subject, reply, size, _], 3)) => Head::new(subject, Some(reply), (None, size)),
        (true, ([subject, head, size, _], 3)) => Head::new(subject, None, (Some(head), size)),
        (true, ([subject, reply, head, size], 4)) => Head::new(subject, Some(reply), (Some(head), size)),
        _ => Err(ProtocolError::Arguments),
    }
}

fn subscribe(line: &[u8]) -> Result<Op<'_>, ProtocolError> {
    match fields::<4>(line) {
        ([subject, sid, ..], 2) => Ok(Op::Subscribe { subject, queue: None, sid }),
        ([subject, queue, sid, _], 3) => Ok(Op::Subscribe { subject, queue: Some(queue), sid }),
        _ => Err(ProtocolError::Arguments),
    }
}

fn unsubscribe(line: &[u8]) -> Result<Op<'_>, ProtocolError> {
    match fields::<3>(line) {
        ([sid, ..], 1) => Ok(Op::Unsubscribe { sid, max: 0 }),
        // What is no number ends the subscription at once.
        ([sid, max, ..], 2) => Ok(Op::Unsubscribe { sid, max: number(max).unwrap_or(0) as u64 }),
        _ => Err(ProtocolError::Arguments),
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(to: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return to.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests;
