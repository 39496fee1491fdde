//! Secrets: values that a tenant may use but its scripts need not see.
//!
//! Takes text in which `{{secret:name}}` stands for a value, gives it filled in for one host. Values are
//! read when they are used, so that a change counts at once. They never reach a log or an error text, and
//! [`Redactor`] takes them out of answers that echo them.

mod redact;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use redact::Redactor;

use crate::config::tenant::{Secret, Source};
use crate::policy::secrets::SecretUse;
use crate::policy::{Denied, Policy};

/// What a placeholder begins with; `}}` ends it.
const OPEN: &str = "{{secret:";

/// The longest value, in bytes.
const LONGEST: u64 = 64 << 10;

/// The secrets of the configuration in force.
#[derive(Debug, Default)]
pub struct Secrets {
    table: RefCell<BTreeMap<String, Secret>>,
}

/// A text with its secrets in it: for the wire only.
#[derive(Clone)]
pub struct Filled {
    /// The text. Never to be logged, nor to be shown to a script.
    pub text: String,
    /// Takes the values out of what comes back.
    pub redactor: Redactor,
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redactor.text(self.text.clone()))
    }
}

/// Why a secret cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Policy forbids it.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// Its value is not to be had; the log says why.
    #[error("the secret {0} cannot be read")]
    Unreadable(String),
}

/// Whether a text has a placeholder.
#[must_use]
pub fn has_placeholder(text: &str) -> bool {
    placeholder(text).is_some()
}

impl Secrets {
    /// A configuration comes into force.
    pub fn configure(&self, table: &BTreeMap<String, Secret>) {
        self.table.borrow_mut().clone_from(table);
    }

    /// The text with a value for each `{{secret:name}}`, all of which the tenant must have been granted and
    /// all of which must be bound to that host (a lower-case name, or an address without brackets).
    ///
    /// # Errors
    /// The first that may not be used or cannot be read.
    pub async fn fill(&self, policy: &Policy, text: &str, host: &str) -> Result<Filled, SecretError> {
        let mut filled = Filled { text: String::with_capacity(text.len()), redactor: Redactor::default() };
        let mut rest = text;
        while let Some((before, name, after)) = placeholder(rest) {
            let source = {
                let table = self.table.borrow();
                let wanted = SecretUse { name, secret: table.get(name), host };
                policy.use_secret(wanted)?.into_inner().source.clone()
            };
            let value = read(source).await.map_err(|error| {
                tracing::error!(secret = name, tenant = &*policy.tenant, error, "a secret cannot be read");
                SecretError::Unreadable(name.to_owned())
            })?;
            filled.text.push_str(before);
            filled.text.push_str(&value);
            filled.redactor.add(name, &value);
            rest = after;
        }
        filled.text.push_str(rest);
        Ok(filled)
    }
}

/// The first placeholder: what stands before it, its name, and what follows.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(OPEN).map(|at| from + at) {
        let inner = &text[at + OPEN.len()..];
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
        if let Some(end) = end.filter(|end| *end > 0)
            && let Some(after) = inner[end..].strip_prefix("}}")
        {
            return Some((&text[..at], &inner[..end], after));
        }
        from = at + OPEN.len();
    }
    None
}

/// The value, without one newline at its end.
async fn read(source: Source) -> Result<String, String> {
    let text = match source {
        Source::Text(text) => text,
        Source::Env(name) => {
            std::env::var(name.as_str()).map_err(|_| format!("{} is not set, or no text", name.as_str()))?
        }
        Source::File(path) => tokio::task::spawn_blocking(move || read_file(path))
            .await
            .unwrap_or_else(|error| Err(error.to_string()))?,
    };
    let value = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if value.is_empty() { Err("it is empty".to_owned()) } else { Ok(value.to_owned()) }
}

fn read_file(path: PathBuf) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{}: {error}", Path::display(&path));
    let mut text = String::new();
    let file = std::fs::File::open(&path).map_err(told)?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("{}: longer than 64 KiB", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::open;
    use proptest::prelude::*;

    fn one(source: Source) -> Secrets {
        let secrets = Secrets::default();
        let secret = Secret { source, hosts: vec!["a.example".to_owned()] };
        secrets.configure(&BTreeMap::from([("key".to_owned(), secret)]));
        secrets
    }

    async fn filled(secrets: &Secrets, text: &str, host: &str) -> Result<String, String> {
        let filled = secrets.fill(&open(), text, host).await;
        filled.map(|filled| filled.text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_file_is_read_at_each_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secrets = one(Source::File(file.path().to_owned()));
        for (content, value) in [("one\n", "one"), ("two\r\n", "two"), (" 3\n\n", " 3\n")] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(filled(&secrets, "x{{secret:key}}y", "a.example").await, Ok(format!("x{value}y")));
        }
        for content in [&b""[..], b"\n", b"\xff"] {
            std::fs::write(file.path(), content).unwrap();
            let error = filled(&secrets, "{{secret:key}}", "a.example").await.unwrap_err();
            assert_eq!(error, "the secret key cannot be read");
        }
        std::fs::write(file.path(), vec![b'x'; 65 << 10]).unwrap();
        assert!(filled(&secrets, "{{secret:key}}", "a.example").await.is_err());
    }

    #[tokio::test]
    async fn only_placeholders_are_filled() {
        let secrets = one(Source::Text("v".to_owned()));
        for text in ["", "plain", "{{secret:}}", "{{secret:key}", "{{secret:k y}}", "{{ secret:key}}"] {
            assert_eq!(filled(&secrets, text, "b.example").await, Ok(text.to_owned()));
        }
        let text = "{{secret:{{secret:key}}}}{{secret:key}}";
        assert_eq!(filled(&secrets, text, "a.example").await, Ok("{{secret:v}}v".to_owned()));
        let denied = filled(&secrets, "{{secret:key}}", "b.example").await.unwrap_err();
        assert!(denied.starts_with("denied: the secret key may not go to b.example"), "{denied}");
        let unknown = filled(&secrets, "{{secret:nokey}}", "a.example").await.unwrap_err();
        assert!(unknown.starts_with("denied: default has no grant to use the secret nokey"), "{unknown}");
    }

    #[tokio::test]
    async fn nothing_prints_a_value() {
        let secrets = one(Source::Text("swordfish".to_owned()));
        let filled = secrets.fill(&open(), "Bearer {{secret:key}}", "a.example").await.unwrap();
        assert_eq!(filled.text, "Bearer swordfish");
        assert_eq!(format!("{filled:?}"), "Bearer [secret:key]");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(\\{\\{|secret:|\\}\\}|\\PC){0,20}") {
            if let Some((before, name, after)) = placeholder(&text) {
                prop_assert_eq!(format!("{before}{OPEN}{name}}}}}{after}"), text);
            }
        }
    }
}
