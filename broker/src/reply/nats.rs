//! Endings to NATS replies: one message per script, or one document for an envelope.
//!
//! Takes endings, gives payloads and headers. Pure. Must never give a header value with a line end, nor
//! a message larger than the server takes.

use std::borrow::Cow;

use bytes::Bytes;

use super::document::{Reply, json};
use super::size_text;
use crate::invocation::{Answer, Ending, Reason, format_id};

/// One reply message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsReply {
    /// Header fields: name, value. The values have no control characters.
    pub headers: Vec<(&'static str, String)>,
    /// The payload.
    pub payload: Bytes,
}

/// The longest value of a header field, in bytes.
const MAX_VALUE: usize = 1024;

/// The error text for a message on whose subject no script is.
pub const NO_SCRIPT: &str = "No script found for subject";

/// The reply to a raw message from one script. One that would be larger than `max_payload` (bytes, headers
/// included, as NATS servers count) is a failure with reason `output` instead.
#[must_use]
pub fn raw(ending: &Ending, max_payload: usize) -> NatsReply {
    let mut headers = vec![
        ("Msgscript-Name", super::one_line(&ending.name, MAX_VALUE)),
        ("Msgscript-Invocation", format_id(ending.invocation)),
    ];
    if super::failed(ending) {
        let status = super::status(ending, None);
        headers.extend(error_headers(status, ending.reason, &super::text(ending)));
        headers.extend(limit_headers(&ending.limit, &ending.measured));
        return NatsReply { headers, payload: Bytes::new() };
    }
    let payload = match &ending.answer {
        Answer::Message(payload) | Answer::Result { payload, .. } => payload.clone(),
        Answer::Http { body, .. } => body.clone(),
        Answer::None | Answer::NoFunction { .. } => Bytes::new(),
    };
    let size = head_size(&headers) + payload.len();
    if size > max_payload {
        let text = over_max_payload(size, max_payload);
        headers.extend(error_headers(Reason::Output.status(), Reason::Output, &text));
        headers.extend(limit_headers(&size_text(max_payload), &size_text(size)));
        return NatsReply { headers, payload: Bytes::new() };
    }
    NatsReply { headers, payload }
}

/// The reply to a message that ran nothing.
#[must_use]
pub fn refusal(reason: Reason, text: &str) -> NatsReply {
    let headers = error_headers(reason.status(), reason, text).into();
    NatsReply { headers, payload: Bytes::new() }
}

/// The document that answers an envelope (`method`: the envelope's), or any message where the operator
/// chose so. The endings stand in the order of their scripts' names.
#[must_use]
pub fn envelope(endings: &[Ending], method: Option<&str>, max_payload: usize) -> Bytes {
    let document = json(&Reply::new(endings, method));
    match document.len() {
        size if size > max_payload => envelope_error(&over_max_payload(size, max_payload)),
        _ => document,
    }
}

/// The document that answers an envelope which ran nothing.
#[must_use]
pub fn envelope_error(text: &str) -> Bytes {
    json(&Reply::error(super::bounded(text, MAX_VALUE)))
}

fn over_max_payload(size: usize, max_payload: usize) -> String {
    let (size, limit) = (size_text(size), size_text(max_payload));
    format!("the result is {size} and the NATS server's max_payload {limit}")
}

fn error_headers(status: u16, reason: Reason, text: &str) -> [(&'static str, String); 3] {
    let text = match super::one_line(text, MAX_VALUE) {
        line if line.is_empty() => Cow::Borrowed(super::sentence(reason)),
        line => Cow::Owned(line),
    };
    [
        ("Nats-Service-Error", text.into_owned()),
        ("Nats-Service-Error-Code", status.to_string()),
        ("Msgscript-Reason", reason.word().to_owned()),
    ]
}

fn limit_headers(limit: &str, measured: &str) -> impl Iterator<Item = (&'static str, String)> {
    [("Msgscript-Limit", limit), ("Msgscript-Measured", measured)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, super::one_line(value, MAX_VALUE)))
        .collect::<Vec<_>>()
        .into_iter()
}

/// The bytes of a header block on the wire.
fn head_size(headers: &[(&'static str, String)]) -> usize {
    let fields: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    "NATS/1.0\r\n\r\n".len() + fields
}
