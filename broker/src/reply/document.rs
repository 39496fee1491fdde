//! The JSON documents of both doors: the Go server's `script_result` shape.
//!
//! Takes endings, gives bytes. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::invocation::{Answer, Ending};

/// One script's result.
#[derive(Serialize)]
pub(super) struct ScriptResult<'a> {
    http_code: u16,
    error: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    http_headers: BTreeMap<&'a str, Cow<'a, str>>,
    is_html: bool,
    payload: String,
}

impl<'a> ScriptResult<'a> {
    /// The result of a run. A failed one may still have a payload: what a command wrote until then.
    pub(super) fn new(ending: &'a Ending, method: Option<&str>) -> Self {
        let (payload, headers): (&[u8], &[_]) = match &ending.answer {
            Answer::None | Answer::NoFunction { .. } => (&[], &[]),
            Answer::Message(payload) => (payload, &[]),
            Answer::Http { body: payload, headers, .. } | Answer::Result { payload, headers, .. } => {
                (payload, headers)
            }
        };
        ScriptResult {
            http_code: super::status(ending, method),
            error: super::text(ending),
            reason: None,
            http_headers: joined(headers),
            is_html: matches!(ending.answer, Answer::Http { .. }),
            payload: STANDARD.encode(payload),
        }
    }

    /// The same, with our `reason` beside the error if it failed.
    pub(super) fn with_reason(mut self, ending: &Ending) -> Self {
        self.reason = super::failed(ending).then(|| ending.reason.word());
        self
    }
}

/// Headers as an object: a repeated one's values are joined, as HTTP has it.
fn joined(headers: &[(String, String)]) -> BTreeMap<&str, Cow<'_, str>> {
    let mut map = BTreeMap::new();
    for (name, value) in headers {
        map.entry(name.as_str())
            .and_modify(|old: &mut Cow<'_, str>| {
                old.to_mut().push_str(", ");
                old.to_mut().push_str(value);
            })
            .or_insert(Cow::Borrowed(value.as_str()));
    }
    map
}

/// The object keyed by script name that HTTP answers, in this order.
pub(super) struct ByName<'a>(pub(super) Vec<(Cow<'a, str>, ScriptResult<'a>)>);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, result) in &self.0 {
            map.serialize_entry(name, result)?;
        }
        map.end()
    }
}

/// The document that answers an envelope.
#[derive(Serialize)]
pub(super) struct Reply<'a> {
    script_result: Vec<ScriptResult<'a>>,
    is_html: bool,
    error: Cow<'a, str>,
}

impl<'a> Reply<'a> {
    /// The results of all runs. Its own error is the first one's, if none succeeded.
    pub(super) fn new(endings: &'a [Ending], method: Option<&str>) -> Self {
        let error = match endings.iter().all(super::failed) {
            true => endings.first().map_or(Cow::Borrowed(""), super::text),
            false => Cow::Borrowed(""),
        };
        let script_result: Vec<_> = endings.iter().map(|e| ScriptResult::new(e, method)).collect();
        let is_html = script_result.iter().any(|result| result.is_html);
        Reply { script_result, is_html, error }
    }

    /// A document that has an error only.
    pub(super) fn error(text: &'a str) -> Self {
        Reply { script_result: Vec::new(), is_html: false, error: Cow::Borrowed(text) }
    }
}

/// The bytes of a document. Serializing strings, numbers and maps into memory cannot fail.
pub(super) fn json(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).unwrap_or_default().into()
}
