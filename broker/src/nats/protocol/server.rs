//! What servers send: bytes become operations, by the same rules as what clients send.
//!
//! Pure. A server is trusted no more than a client: it cannot make us hold more than the limits say.

use super::{Head, Message, Parser, ProtocolError, fields, verb};

/// What a server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerOp<'a> {
    /// `INFO {json}`: the JSON.
    Info(&'a [u8]),
    /// `MSG` or `HMSG`
    Message {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// What was published.
        message: Message<'a>,
    },
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `+OK`
    Okay,
    /// `-ERR 'text'`: the text.
    Error(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Message,
    HeaderMessage,
    Info,
    Ping,
    Pong,
    Okay,
    Error,
}

/// As in what clients send: a verb that takes arguments ends with the space before them.
const VERBS: [(&[u8], Verb); 7] = [
    (b"MSG ", Verb::Message),
    (b"HMSG ", Verb::HeaderMessage),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"+OK", Verb::Okay),
    (b"-ERR ", Verb::Error),
    (b"INFO", Verb::Info),
];

impl Parser {
    /// The server's operation at the front of `buffer` and its length, or `None` if more bytes are needed: then
    /// call again with the same bytes and more. A stream is read by this or by [`Parser::next`], never by both.
    ///
    /// # Errors
    /// If the stream is at an end: no later call makes sense.
    pub fn next_of_server<'a>(
        &mut self,
        buffer: &'a [u8],
    ) -> Result<Option<(ServerOp<'a>, usize)>, ProtocolError> {
        if buffer.is_empty() || buffer.len() < self.need {
            return Ok(None);
        }
        let Some((verb, length)) = verb(&VERBS, buffer)? else { return Ok(None) };
        let Some((line, after)) = self.arguments(&buffer[length..])? else { return Ok(None) };
        let start = length + after;
        let op = match verb {
            Verb::Message | Verb::HeaderMessage => {
                let (sid, head) = message_head(line, verb == Verb::HeaderMessage)?;
                let message = self.message(head, buffer, start)?;
                return Ok(message.map(|(message, end)| (ServerOp::Message { sid, message }, end)));
            }
            Verb::Info => ServerOp::Info(line),
            Verb::Ping => ServerOp::Ping,
            Verb::Pong => ServerOp::Pong,
            Verb::Okay => ServerOp::Okay,
            Verb::Error => ServerOp::Error(error_text(line)),
        };
        Ok(Some((op, start)))
    }
}

/// `subject sid [reply] [headers] size`
fn message_head(line: &[u8], headers: bool) -> Result<(&[u8], Head<'_>), ProtocolError> {
    let (sid, head) = match (headers, fields::<5>(line)) {
        (false, ([subject, sid, size, ..], 3)) => (sid, Head::new(subject, None, (None, size))?),
        (false, ([subject, sid, reply, size, _], 4)) => (sid, Head::new(subject, Some(reply), (None, size))?),
        (true, ([subject, sid, head, size, _], 4)) => (sid, Head::new(subject, None, (Some(head), size))?),
        (true, ([subject, sid, reply, head, size], 5)) => {
            (sid, Head::new(subject, Some(reply), (Some(head), size))?)
        }
        _ => return Err(ProtocolError::Arguments),
    };
    Ok((sid, head))
}

/// The text without the quotes around it.
fn error_text(line: &[u8]) -> &[u8] {
    let text = line.trim_ascii();
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

#[cfg(test)]
mod tests;
