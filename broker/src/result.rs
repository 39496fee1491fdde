//! What a command's run came to (a WASM module's or a container's), as an ending.
//!
//! Takes what it wrote and whether it failed; gives the ending. Pure. The output is a stranger's: whatever
//! it is, it is answered, never believed beyond the fields of a result document.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tracing::Level;

use crate::catalog::Script;
use crate::invocation::{Answer, Ending, LogLine, Reason};

/// A run that came to its end by itself. Runs that were stopped (time, memory, output) are no case of this.
#[derive(Debug)]
pub struct Done<'a> {
    /// What ran, as its author wrote it (a module's path, an image): each error names it.
    pub what: &'a str,
    /// Why it failed (`exit status 3`, a trap's text); `None` is exit status 0.
    pub failure: Option<String>,
    /// What it wrote to standard output.
    pub stdout: Bytes,
    /// What it wrote to standard error.
    pub stderr: &'a [u8],
}

/// The ending of a run. Of a failed one it has the failure and standard error as its error, and standard
/// output as its payload. Standard error of a good one is for the log: see [`log_lines`].
#[must_use]
pub fn ending(id: u64, script: &Script, done: Done<'_>) -> Ending {
    let Done { what, failure, stdout, stderr } = done;
    let Some(failure) = failure else {
        return match Document::read(&stdout) {
            Some(document) => document.ending(id, script, what),
            None => Ending::message(id, script, stdout),
        };
    };
    let said = String::from_utf8_lossy(stderr);
    let error = match said.trim() {
        "" => format!("{what}: {failure}"),
        said => format!("{what}: {failure}: {said}"),
    };
    Ending { answer: Answer::Message(stdout), ..Ending::failed(id, script, Reason::ScriptError, error) }
}

/// What a good run wrote to standard error, line by line.
#[must_use]
pub fn log_lines(stderr: &[u8]) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| LogLine { level: Level::INFO, text: line.to_owned() }).collect()
}

/// A document of the `script_result` shape: any of its fields, and no others. Go writes `null` for an empty
/// map or payload.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    http_code: Option<i64>,
    error: Option<String>,
    http_headers: Option<BTreeMap<String, String>>,
    is_html: Option<bool>,
    payload: Option<String>,
    /// Ours; whatever a document says here is not believed.
    reason: Option<String>,
}

impl Document {
    /// Reads standard output; `None` if it is anything else, which then is the payload as it is.
    fn read(stdout: &[u8]) -> Option<Said> {
        if !stdout.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let document: Document = serde_json::from_slice(stdout).ok()?;
        if document == Document::default() {
            return None;
        }
        Some(Said {
            payload: STANDARD.decode(document.payload.unwrap_or_default()).ok()?.into(),
            // Go programs leave out what they do not set: 0.
            status: document.http_code.filter(|code| *code != 0).unwrap_or(200),
            headers: document.http_headers.unwrap_or_default().into_iter().collect(),
            is_html: document.is_html.unwrap_or(false),
            error: document.error.unwrap_or_default(),
        })
    }
}

/// What a document says.
#[derive(Debug)]
struct Said {
    payload: Bytes,
    status: i64,
    headers: Vec<(String, String)>,
    is_html: bool,
    error: String,
}

impl Said {
    fn ending(self, id: u64, script: &Script, what: &str) -> Ending {
        let Said { payload, headers, .. } = self;
        let Some(status) = u16::try_from(self.status).ok().filter(|status| (200..=599).contains(status))
        else {
            let error = format!("{what}: {} is no HTTP status (200 to 599)", self.status);
            let failed = Ending::failed(id, script, Reason::ScriptError, error);
            return Ending { answer: Answer::Message(payload), ..failed };
        };
        let answer = match self.is_html {
            true => Answer::Http { body: payload, status, headers },
            false => Answer::Result { payload, status, headers },
        };
        match self.error.as_str() {
            "" => Ending::answered(id, script, answer),
            error => {
                let error = format!("{what}: {error}");
                Ending { answer, ..Ending::failed(id, script, Reason::ScriptError, error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(failure: Option<&str>, stdout: &str, stderr: &str) -> Ending {
        let (failure, stdout) = (failure.map(str::to_owned), Bytes::copy_from_slice(stdout.as_bytes()));
        let done = Done { what: "tool", failure, stdout, stderr: stderr.as_bytes() };
        ending(7, &Script::for_test("s", "n"), done)
    }

    fn said(text: &'static str) -> Answer {
        Answer::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn standard_output_is_the_payload() {
        for text in ["", "hello", "{}", "{", "[1]", r#"{"a":1}"#, r#"{"payload":5}"#, r#"{"payload":"%"}"#] {
            let ending = of(None, text, "noise");
            assert_eq!((ending.reason, ending.error.as_str()), (Reason::Ok, ""), "{text}");
            assert_eq!(ending.answer, Answer::Message(text.to_owned().into()));
        }
        // A field more than the shape has: somebody's own document.
        let own = r#"{"payload":"aGk=","id":1}"#;
        assert_eq!(of(None, own, "").answer, said(r#"{"payload":"aGk=","id":1}"#));
    }

    #[test]
    fn a_failure_keeps_its_output() {
        let ending = of(Some("exit status 3"), r#"{"payload":"aGk="}"#, "cannot\n");
        assert_eq!(ending.reason, Reason::ScriptError);
        assert_eq!(ending.error, "tool: exit status 3: cannot");
        assert_eq!(ending.answer, said(r#"{"payload":"aGk="}"#));
        assert_eq!(of(Some("exit status 3"), "", " \n").error, "tool: exit status 3");
    }

    #[test]
    fn a_document_as_go_writes_it() {
        let text = r#"{"http_code":201,"error":"","http_headers":null,"is_html":true,"payload":"PGI+"}"#;
        let body = Bytes::from_static(b"<b>");
        assert_eq!(of(None, text, "").answer, Answer::Http { body, status: 201, headers: Vec::new() });

        let text = "\n{\"payload\":\"aGk=\",\"http_headers\":{\"A\":\"b\"},\"reason\":\"denied\"}\n";
        let (payload, headers) = (Bytes::from_static(b"hi"), vec![("A".to_owned(), "b".to_owned())]);
        let ending = of(None, text, "");
        assert_eq!(ending.reason, Reason::Ok);
        assert_eq!(ending.answer, Answer::Result { payload, status: 200, headers });
    }

    #[test]
    fn a_document_may_say_that_it_failed() {
        let ending = of(None, r#"{"http_code":404,"error":"no such thing"}"#, "");
        assert_eq!((ending.reason, ending.error.as_str()), (Reason::ScriptError, "tool: no such thing"));
        let ending = of(None, r#"{"http_code":99,"payload":"aGk="}"#, "");
        assert_eq!(ending.error, "tool: 99 is no HTTP status (200 to 599)");
        assert_eq!(ending.answer, said("hi"));
    }

    #[test]
    fn standard_error_is_logged_by_lines() {
        let lines: Vec<_> = log_lines(b"one\n\n two\xff\n").into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["one", " two\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn any_output_is_answered(stdout in "(\\PC{0,40}|\\{(\"(payload|http_code|is_html|error|x)\":(\"[a-z=]{0,5}\"|-?[0-9]{1,25}|true|null),?){0,3}\\})") {
            let ending = of(None, &stdout, "");
            prop_assert!(matches!(ending.reason, Reason::Ok | Reason::ScriptError));
        }
    }
}
