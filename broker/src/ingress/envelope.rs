//! The JSON envelope of the Go server's clients, told from a raw payload.
//!
//! Takes a payload, gives an [`Envelope`] or nothing. Pure. Must never panic, whatever the bytes, and
//! never take a document for an envelope that only resembles one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

/// A message within a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whether the sender wants `{}` at once and no result.
    pub detached: bool,
    /// `executor`: what the sender thinks runs the script.
    pub executor: Option<String>,
    /// `method`: run the method function of this name.
    pub method: Option<String>,
    /// The payload, decoded.
    pub payload: Bytes,
    /// `raw`, which the Go server's command line sends.
    pub raw: bool,
    /// The subject that the script is to see.
    pub subject: Option<String>,
    /// `url` for a method function.
    pub url: Option<String>,
}

/// The same as it stands in JSON. Other keys are ignored, as Go does; a key that comes twice, or a value
/// of another type (`null` too), makes it no envelope.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default, rename = "async")]
    detached: bool,
    #[serde(default, deserialize_with = "present")]
    executor: Option<String>,
    #[serde(default, deserialize_with = "present")]
    method: Option<String>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(default)]
    raw: bool,
    #[serde(default, deserialize_with = "present")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "present")]
    url: Option<String>,
}

/// A string; a plain `Option` would take `null` too.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    String::deserialize(value).map(Some)
}

/// The envelope that these bytes are; `None`: they are a raw payload.
///
/// Most payloads are told by their first byte or by having no `"payload"` key (which must be written
/// without escapes), and not parsed.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Envelope> {
    let first = bytes.iter().find(|byte| !b" \t\r\n".contains(byte));
    if first != Some(&b'{') {
        return None;
    }
    memmem::find(bytes, b"\"payload\"")?;
    let document: Document<'_> = serde_json::from_slice(bytes).ok()?;
    Some(Envelope {
        payload: STANDARD.decode(document.payload.as_bytes()).ok()?.into(),
        detached: document.detached,
        executor: document.executor,
        method: document.method,
        raw: document.raw,
        subject: document.subject,
        url: document.url,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payload_alone_is_enough() {
        let envelope = parse(br#" {"payload":"aGk="}"#).unwrap();
        assert_eq!(envelope.payload, "hi");
        assert!(!envelope.detached && !envelope.raw);
        assert_eq!(envelope.method, None);
    }

    #[test]
    fn every_field_is_read() {
        let bytes = br#"{"async":true,"executor":"lua","method":"GET","payload":"","raw":true,
            "subject":"a.b","url":"/x?y","more":[{"payload":1}]}"#;
        let expected = Envelope {
            detached: true,
            executor: Some("lua".into()),
            method: Some("GET".into()),
            payload: Bytes::new(),
            raw: true,
            subject: Some("a.b".into()),
            url: Some("/x?y".into()),
        };
        assert_eq!(parse(bytes), Some(expected));
    }

    #[test]
    fn anything_else_is_raw() {
        let raw: [&[u8]; 17] = [
            b"",
            b"   ",
            b"hello",
            b"[]",
            b"{}",
            b"null",
            b"{\"payload\":\"aGk=\"",
            br#"{"payload":"aGk="} x"#,
            br#"{"payload":"aGk"}"#,
            br#"{"payload":"a b="}"#,
            br#"{"payload":"_-__"}"#,
            br#"{"payload":7}"#,
            br#"{"payload":null}"#,
            br#"{"payload":"aGk=","payload":"aGk="}"#,
            br#"{"payload":"aGk=","async":"yes"}"#,
            br#"{"payload":"aGk=","method":null}"#,
            br#"{"Payload":"aGk="}"#,
        ];
        for bytes in raw {
            assert_eq!(parse(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn deep_documents_do_not_overflow() {
        let mut bytes = br#"{"payload":"","x":"#.to_vec();
        bytes.resize(1 << 20, b'[');
        assert_eq!(parse(&bytes), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_near_the_shape(text in r#"\{("(payload|async|url|x)":("[A-Za-z+/=\\"]{0,6}"|true|null|1|\{|\[),?){0,4}\}?"#) {
            if let Some(envelope) = parse(text.as_bytes()) {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                let payload = value["payload"].as_str().unwrap();
                prop_assert_eq!(STANDARD.encode(&envelope.payload), payload);
            }
        }

        #[test]
        fn payloads_survive(payload in proptest::collection::vec(any::<u8>(), 0..200), detached: bool) {
            let text = serde_json::json!({ "payload": STANDARD.encode(&payload), "async": detached });
            let envelope = parse(text.to_string().as_bytes()).unwrap();
            prop_assert_eq!(envelope.payload, payload);
            prop_assert_eq!(envelope.detached, detached);
        }
    }
}
