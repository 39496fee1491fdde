//! Subjects and patterns: are they valid, does one match the other.
//!
//! Pure. A subject is tokens between dots, none of them empty, without white space or control
//! characters. A pattern may have `*` for one whole token and `>` for the one or more last ones.

/// The longest subject or pattern, in bytes (a control line must hold it).
pub const MAX_LENGTH: usize = 4096;

/// Whether `subject` can be published to: valid tokens, no wildcard.
#[must_use]
pub fn valid_subject(subject: &str) -> bool {
    valid_pattern(subject) && !has_wildcard(subject)
}

/// Whether `pattern` can be subscribed to: valid tokens, `>` only as the last one.
#[must_use]
pub fn valid_pattern(pattern: &str) -> bool {
    let clean = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if pattern.len() > MAX_LENGTH || !pattern.as_bytes().iter().all(clean) {
        return false;
    }
    let mut tail = false;
    tokens(pattern).all(|token| !token.is_empty() && !std::mem::replace(&mut tail, token == b">"))
}

/// Whether a token of `pattern` is a wildcard.
#[must_use]
pub fn has_wildcard(pattern: &str) -> bool {
    // Most subjects have none of the two characters, and need no look at their tokens.
    memchr::memchr2(b'*', b'>', pattern.as_bytes()).is_some()
        && tokens(pattern).any(|token| token == b"*" || token == b">")
}

/// The tokens of a subject or pattern, as bytes: they are short, and looking for a character in text takes longer.
pub fn tokens(subject: &str) -> impl Iterator<Item = &[u8]> {
    subject.as_bytes().split(|byte| *byte == b'.')
}

/// Whether the valid pattern `pattern` takes in the valid subject `subject`.
#[must_use]
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut left = tokens(subject);
    for part in tokens(pattern) {
        match (part, left.next()) {
            (_, None) => return false,
            (b">", Some(_)) => return true,
            (part, Some(token)) if part != b"*" && part != token => return false,
            _ => {}
        }
    }
    left.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn validity() {
        for subject in ["a", "a.b", "a*.b>", "é.x", "$SRV.PING", "_INBOX.a.b", "**", "a.>>"] {
            assert!(valid_subject(subject), "{subject}");
        }
        for subject in ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\n", "a\0", "\x7f", "*", "a.*", "a.>"]
        {
            assert!(!valid_subject(subject), "{subject}");
        }
        for pattern in ["a", "*", ">", "a.*.b", "a.>", "*.*", "*.>"] {
            assert!(valid_pattern(pattern), "{pattern}");
        }
        for pattern in ["", ">.a", "a.>.b", "a..*", ".*", "*.", "> "] {
            assert!(!valid_pattern(pattern), "{pattern}");
        }
        assert!(!valid_pattern(&"a".repeat(MAX_LENGTH + 1)));
    }

    #[test]
    fn matching() {
        for (pattern, subject) in [
            ("a", "a"),
            ("*", "a"),
            (">", "a"),
            (">", "a.b"),
            ("a.>", "a.b.c"),
            ("a.*.c", "a.b.c"),
            ("*.>", "a.b"),
        ] {
            assert!(matches(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("a", "b"), ("a", "a.b"), ("a.b", "a"), ("*", "a.b"), ("a.>", "a"), ("a.*", "a"), ("*.>", "a")]
        {
            assert!(!matches(pattern, subject), "{pattern} {subject}");
        }
    }

    proptest! {
        #[test]
        fn a_subject_matches_itself_and_its_generalizations(
            tokens in prop::collection::vec("[a-z*>]{2,4}", 1..6),
            star in 0usize..6,
            cut in 1usize..6,
        ) {
            let subject = tokens.join(".");
            prop_assert!(valid_subject(&subject));
            prop_assert!(matches(&subject, &subject));
            let mut pattern = tokens.clone();
            let star = star % tokens.len();
            pattern[star] = "*".into();
            prop_assert!(matches(&pattern.join("."), &subject));
            let cut = cut % tokens.len();
            pattern.truncate(cut);
            pattern.push(">".into());
            prop_assert!(valid_pattern(&pattern.join(".")));
            prop_assert!(matches(&pattern.join("."), &subject));
            let longer = format!("{subject}.x");
            prop_assert!(!matches(&subject, &longer));
        }
    }
}
