//! Scripts and libraries as an etcd holds them, in the Go server's layout.
//!
//! A script: key `msgscript/scripts/<subject>/<name>`, JSON of six fields with the text in Base64, whose header
//! lines that the Go server knows are empty lines. A library: key `msgscript/libs/<name>`, its text. Pure. Any bytes
//! may come.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

use super::build::Source;
use super::header::{self, Kept, Requires};
use super::{Executor, Script};

/// What keys of scripts begin with.
pub const SCRIPTS: &str = "msgscript/scripts/";

/// What keys of libraries begin with.
pub const LIBRARIES: &str = "msgscript/libs/";

/// What keys of locks begin with.
pub const LOCKS: &str = "msgscript/locks/";

/// What keys of schedules begin with.
pub const SCHEDULES: &str = "msgscript/schedules/";

/// A script as it is kept. The order of fields is the Go server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The text.
    #[serde(serialize_with = "base64")]
    pub content: Vec<u8>,
    /// `lua`, `wasm`, `podman`, or nothing for Lua.
    pub executor: String,
    /// `http: true`.
    pub is_html: bool,
    /// The libraries that it requires; none is `null`.
    pub libraries: Option<Vec<String>>,
    /// Its name.
    pub name: String,
    /// Its subject.
    pub subject: String,
}

/// Why a value is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key is not of the form `msgscript/scripts/<subject>/<name>`.
    #[error("the key names no subject and script")]
    Key,
    /// It is no JSON object.
    #[error("the value is no JSON object: {0}")]
    Json(String),
    /// A field has a value of another type.
    #[error("`{0}` is {1}")]
    Field(&'static str, &'static str),
    /// Key and value disagree.
    #[error("the value is of subject `{0}` and name `{1}`")]
    Other(String, String),
}

fn base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

/// A field whatever the case of its name, as Go reads it; absent and `null` are the same.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let exact = object.get(name);
    let other = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    exact.or_else(other).filter(|value| !value.is_null())
}

fn text(object: &Map<String, Value>, name: &'static str) -> Result<String, RecordError> {
    match field(object, name) {
        None => Ok(String::new()),
        Some(value) => Ok(value.as_str().ok_or(RecordError::Field(name, "no text"))?.to_owned()),
    }
}

impl Record {
    /// What `msgscriptcli add` puts: the file's text, and what its header says.
    #[must_use]
    pub fn new(subject: &str, name: &str, executor: Executor, text: &[u8]) -> Record {
        let text = header::lua_text(text);
        let header = header::parse(&text);
        let libraries: Vec<String> = header.requires.iter().map(ToString::to_string).collect();
        Record {
            content: header::without_kept(&text, Requires::Go),
            executor: executor.name().to_owned(),
            is_html: header.http,
            libraries: (!libraries.is_empty()).then_some(libraries),
            name: name.to_owned(),
            subject: subject.to_owned(),
        }
    }

    /// A script that is in service, as it would be kept.
    #[must_use]
    pub fn of(script: &Script) -> Record {
        Record::new(&script.subject, &script.name, script.executor, &script.source.text)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{SCRIPTS}{}/{}", self.subject, self.name)
    }

    /// Reads a value. The key decides where the value says nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(key: &str, value: &[u8]) -> Result<Record, RecordError> {
        let place = key.strip_prefix(SCRIPTS).ok_or(RecordError::Key)?;
        let value: Value =
            serde_json::from_slice(value).map_err(|error| RecordError::Json(error.to_string()))?;
        let Value::Object(object) = value else { return Err(RecordError::Json("another value".to_owned())) };
        let content = text(&object, "content")?;
        let content = content.replace(['\r', '\n'], "");
        let libraries = match field(&object, "libraries") {
            None => None,
            Some(Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>();
                Some(names.ok_or(RecordError::Field("libraries", "no list of texts"))?)
            }
            Some(_) => return Err(RecordError::Field("libraries", "no list")),
        };
        let mut record = Record {
            content: BASE64_STANDARD
                .decode(content)
                .map_err(|_| RecordError::Field("content", "no Base64"))?,
            executor: text(&object, "executor")?,
            is_html: match field(&object, "is_html") {
                None => false,
                Some(value) => {
                    value.as_bool().ok_or(RecordError::Field("is_html", "neither true nor false"))?
                }
            },
            libraries,
            name: text(&object, "name")?,
            subject: text(&object, "subject")?,
        };
        if record.subject.is_empty() && record.name.is_empty() {
            let (subject, name) = place.split_once('/').ok_or(RecordError::Key)?;
            (record.subject, record.name) = (subject.to_owned(), name.to_owned());
        }
        if record.key() != key {
            return Err(RecordError::Other(record.subject, record.name));
        }
        Ok(record)
    }

    /// The script's source, under the name that error messages have for it.
    ///
    /// # Errors
    /// What is wrong with the fields.
    pub(crate) fn source(&self) -> Result<Source, String> {
        let mut source = Source::new(&format!("{}/{}", self.subject, self.name), &self.content);
        let requires = self.libraries.as_deref().unwrap_or_default();
        let kept = Kept {
            subject: &self.subject,
            name: &self.name,
            executor: &self.executor,
            http: self.is_html,
            requires,
        };
        source.header.keep(&kept)?;
        Ok(source)
    }

    /// The value.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts, a truth value and a list: nothing that cannot be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The text of a file that would become this record: its header in front of the first empty lines, so that
    /// what was taken out by `add` comes back where it can.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let mut lines = vec![format!("--* subject: {}", self.subject), format!("--* name: {}", self.name)];
        if self.is_html {
            lines.push("--* http: true".to_owned());
        }
        if !matches!(self.executor.as_str(), "" | "lua") {
            lines.push(format!("--* executor: {}", self.executor));
        }
        lines.extend(self.libraries.iter().flatten().map(|name| format!("--* require: {name}")));
        let mut rest = &self.content[..];
        let mut file = Vec::new();
        for line in lines {
            file.extend_from_slice(line.as_bytes());
            file.push(b'\n');
            // An empty line was one of these: the others keep their numbers.
            rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or(rest);
        }
        file.extend_from_slice(rest);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Go server writes it.
    const GO: &str = r#"{"content":"ZnVuY3Rpb24gT25NZXNzYWdlKCkgcmV0dXJuICdoaScgZW5kCg==","executor":"","is_html":false,"libraries":null,"name":"hello","subject":"funcs.hello"}"#;
    const KEY: &str = "msgscript/scripts/funcs.hello/hello";

    #[test]
    fn what_go_writes_is_read() {
        let record = Record::parse(KEY, GO.as_bytes()).unwrap();
        assert_eq!(record.content, b"function OnMessage() return 'hi' end\n");
        let source = record.source().unwrap();
        assert_eq!(&*source.part.name, "funcs.hello/hello");
        assert_eq!(source.header.subject.as_deref(), Some("funcs.hello"));
        assert_eq!((source.header.executor, source.header.http), (Executor::Lua, false));
        assert_eq!(record.to_json(), GO.as_bytes(), "and written in the same way");
    }

    #[test]
    fn names_of_fields_in_any_case_and_unknown_ones() {
        let value = r#"{"Content":"eA==","IS_HTML":true,"Libraries":["a","b"],"later":{"x":1}}"#;
        let record = Record::parse(KEY, value.as_bytes()).unwrap();
        assert_eq!(
            (record.content.as_slice(), record.is_html, &*record.subject),
            (&b"x"[..], true, "funcs.hello")
        );
        assert_eq!(record.libraries.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        let source = record.source().unwrap();
        assert!(source.header.http && source.header.requires.len() == 2);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (key, value, error) in [
            ("msgscript/scripts/x", "{}", "the key names no subject and script"),
            (KEY, "[]", "the value is no JSON object: another value"),
            (KEY, r#"{"content":1}"#, "`content` is no text"),
            (KEY, r#"{"content":"%"}"#, "`content` is no Base64"),
            (KEY, r#"{"libraries":"a"}"#, "`libraries` is no list"),
            (KEY, r#"{"libraries":[1]}"#, "`libraries` is no list of texts"),
            (KEY, r#"{"is_html":"yes"}"#, "`is_html` is neither true nor false"),
            (KEY, r#"{"subject":"a","name":"b"}"#, "the value is of subject `a` and name `b`"),
        ] {
            assert_eq!(Record::parse(key, value.as_bytes()).unwrap_err().to_string(), error, "{value}");
        }
        let record = |executor: &str, subject: &str| Record {
            content: Vec::new(),
            executor: executor.to_owned(),
            is_html: false,
            libraries: Some(vec![String::new()]),
            name: "n".to_owned(),
            subject: subject.to_owned(),
        };
        for record in
            [record("perl", "a"), record("lua", "a..b"), record("lua", "$SYS.x"), record("lua", "a")]
        {
            assert!(record.source().is_err(), "{record:?}");
        }
    }

    #[test]
    fn a_file_becomes_a_record_and_a_file_again() {
        let file =
            b"--* subject: a.b\n--* name: n\n--* http: true\n--* require: web\n--* timeout: 2s\nx = 1\n";
        let record = Record::new("a.b", "n", Executor::Lua, file);
        assert_eq!(record.content, b"\n\n\n\n--* timeout: 2s\nx = 1\n", "lines keep their numbers");
        assert_eq!(record.source().unwrap().header.timeout, Some(std::time::Duration::from_secs(2)));
        assert_eq!(record.to_file(), file);
        let bare = Record::new("a.b", "n", Executor::Wasm, b"module.wasm\n");
        assert_eq!(bare.to_file(), b"--* subject: a.b\n--* name: n\n--* executor: wasm\nmodule.wasm\n");
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_or_refused(key in ".{0,40}", value in proptest::collection::vec(0_u8.., 0..200)) {
            if let Ok(record) = Record::parse(&format!("{SCRIPTS}{key}"), &value) {
                let _ = record.source();
            }
        }

        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(0_u8.., 0..300)) {
            let record = Record::new("a", "n", Executor::Lua, &text);
            let again = Record::parse(&record.key(), &record.to_json()).unwrap();
            proptest::prop_assert_eq!(again, record);
        }
    }
}
