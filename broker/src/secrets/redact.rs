//! Takes secret values out of bytes that go back to a script. Pure.
//!
//! A server that gets a secret may send it back: in an echo, in a complaint about a bad token. The value
//! is found as it is, in base64 (at any place within what was encoded), percent-encoded, and escaped as in
//! JSON. A server that disguises it otherwise is one that the operator should not have bound it to.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Values that were filled in, with what stands for each.
#[derive(Clone, Default)]
pub struct Redactor {
    /// What to look for, longest first, and what to put there.
    forms: Vec<(Vec<u8>, String)>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor of {} forms", self.forms.len())
    }
}

/// Encoded forms shorter than this would be found by chance.
const LEAST_ENCODED: usize = 6;

impl Redactor {
    /// Looks for that value, too.
    pub fn add(&mut self, name: &str, value: &str) {
        let stand_in = format!("[secret:{name}]");
        let mut forms = vec![value.as_bytes().to_vec()];
        let json = serde_json::to_string(value).unwrap_or_default();
        forms.push(json.trim_matches('"').into());
        let percent = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
        forms.push(percent.to_ascii_lowercase().into());
        forms.push(percent.into());
        forms.push(percent_kept(value).into());
        for offset in 0..3 {
            forms.extend(encoded(value, offset, &STANDARD_NO_PAD));
            forms.extend(encoded(value, offset, &URL_SAFE_NO_PAD));
        }
        for form in forms {
            if !form.is_empty() && !self.forms.iter().any(|(known, _)| *known == form) {
                self.forms.push((form, stand_in.clone()));
            }
        }
        self.forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    }

    /// Adds all that another looks for.
    pub fn merge(&mut self, other: Redactor) {
        self.forms.extend(other.forms);
        self.forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The bytes with `[secret:NAME]` for each value.
    #[must_use]
    pub fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.forms.iter().fold(bytes, |bytes, (form, stand_in)| replace(bytes, form, stand_in.as_bytes()))
    }

    /// The text with `[secret:NAME]` for each value.
    #[must_use]
    pub fn text(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        String::from_utf8_lossy(&self.bytes(text.into_bytes())).into_owned()
    }
}

/// Percent-encoded as forms and URLs often are: `-`, `_`, `.`, `~` and `*` stay.
fn percent_kept(value: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'*');
    utf8_percent_encode(value, KEPT).to_string()
}

/// The characters of base64 that depend on the value alone when it stands `offset` bytes (modulo 3) into
/// what is encoded.
fn encoded(value: &str, offset: usize, engine: &impl Engine) -> Option<Vec<u8>> {
    let padded = [&[0; 3][..offset], value.as_bytes()].concat();
    let text = engine.encode(&padded).into_bytes();
    let begin = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    text.get(begin..end).filter(|form| form.len() >= LEAST_ENCODED).map(<[u8]>::to_vec)
}

fn replace(bytes: Vec<u8>, form: &[u8], stand_in: &[u8]) -> Vec<u8> {
    let finder = memchr::memmem::Finder::new(form);
    let mut found = finder.find_iter(&bytes).peekable();
    if found.peek().is_none() {
        return bytes;
    }
    let mut clean = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for at in found {
        clean.extend_from_slice(&bytes[done..at]);
        clean.extend_from_slice(stand_in);
        done = at + form.len();
    }
    clean.extend_from_slice(&bytes[done..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_taken_out() {
        let mut redactor = Redactor::default();
        redactor.add("k", "sk_live\"42/ü+x");
        let echo = |text: String| redactor.text(text);
        assert_eq!(echo("a sk_live\"42/ü+x b sk_live\"42/ü+x".into()), "a [secret:k] b [secret:k]");
        assert_eq!(echo(r#"{"t":"sk_live\"42/ü+x"}"#.into()), r#"{"t":"[secret:k]"}"#);
        assert_eq!(echo("sk%5Flive%2242%2F%C3%BC%2Bx".into()), "[secret:k]");
        assert_eq!(echo("sk%5flive%2242%2f%c3%bc%2bx".into()), "[secret:k]");
        assert_eq!(echo("sk_live%2242%2F%C3%BC%2Bx".into()), "[secret:k]");
        assert_eq!(echo("sk_live 42".into()), "sk_live 42");
        for prefix in ["", "u", "us", "use", "user:"] {
            let header = STANDARD.encode(format!("{prefix}sk_live\"42/ü+x tail"));
            assert!(echo(header.clone()).contains("[secret:k]"), "{prefix} {header}");
        }
        assert!(!format!("{redactor:?}").contains("sk_live"));
    }

    proptest! {
        #[test]
        fn no_value_stays(value in "[!-~]{5,30}", before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let mut redactor = Redactor::default();
            redactor.add("n", &value);
            let text = redactor.text(format!("{before}{value}{after}"));
            let without = text.replace("[secret:n]", "\t");
            prop_assert!(!without.contains(&value));
            let encoded = STANDARD.encode(format!("{before}{value}{after}"));
            prop_assert!(redactor.text(encoded).contains("[secret:n]"));
        }
    }
}
