use proptest::prelude::{any, prop, prop_assert, proptest};
use regex::bytes::Regex;

use super::{literal, pattern};

fn matches(source: &str, text: &str) -> bool {
    let translated = pattern(source.as_bytes()).unwrap_or_else(|error| panic!("{error}")).regex;
    Regex::new(&format!("^(?:{translated})$"))
        .unwrap_or_else(|error| panic!("{error}"))
        .is_match(text.as_bytes())
}

#[test]
fn means_what_it_means_in_go() {
    for (source, yes, no) in [
        (r"\d", "7", "٧"),
        (r"\w\W", "aé", "éa"),
        (r"\s", " ", "\u{b}"),
        (r"\S", "\u{a0}", "\t"),
        (r"[[:alpha:]]", "a", "é"),
        (r"[[:^alpha:]]", "é", "a"),
        (r"[\d_]+", "1_", "١"),
        (r"[^\D]", "1", "x"),
        (r"\Qa.b*\E+", "a.b**", "axb"),
        (r"\Q(", "(", "x"),
        (r"\<\>", "<>", ""),
        (r"[a-z&&[^b]]", "&]", "a"),
        (r"[[a]b]", "[b]", "b"),
        (r"[a~~b]", "~", "c"),
        (r"[+--]", ",", "a"),
        (r"[]a]", "]", "[]a]"),
        (r"[^]a]", "b", "]"),
        (r"[a-]", "-", "b"),
        (r"\101\x41\x{1F600}", "AA\u{1f600}", "A"),
        (r"a{,2}", "a{,2}", "aa"),
        (r"a{2", "a{2", "aa"),
        (r"a{2}", "aa", "a{2}"),
        (r"a{1,2}?b", "aab", "b"),
        (r"x{1001x}", "x{1001x}", "x"),
        (r"(?i)É", "é", "e"),
        (r"(?i:a)b", "Ab", "AB"),
        (r"(?s).", "\n", ""),
        (r"(?ii)A", "a", "b"),
        (r"(?P<1n>a)(?<n>b)", "ab", "a"),
        (r"\pL\p{Greek}\P{^L}", "aαb", "a1b"),
        (r"\p{^Greek}", "a", "α"),
        (r"# a", "# a", "a"),
        (r"\_\-\ ", "_- ", "_"),
        (r"é{2}", "éé", "é"),
    ] {
        assert!(matches(source, yes), "{source} must match {yes:?}");
        assert!(!matches(source, no), "{source} must not match {no:?}");
    }
    assert!(Regex::new(&pattern("\\bé".as_bytes()).unwrap().regex).unwrap().find("aé".as_bytes()).is_some());
}

#[test]
fn errors_are_gos() {
    for (source, error) in [
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*??", "invalid nested repetition operator: `*??`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|{2}", "missing argument to repetition operator: `{2}`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"\xg", r"invalid escape sequence: `\xg`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<n!>a)", "invalid named capture: `(?P<n!>`"),
        ("(?P<n>a)(?P<n>b)", "invalid named capture: `(?P<n>`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
        ("[a", "missing closing ]: `[a`"),
        ("a{1,1001}", "invalid repeat count: `{1,1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
    ] {
        let got = pattern(source.as_bytes()).expect_err(source).to_string();
        assert_eq!(got, format!("error parsing regexp: {error}"), "{source}");
    }
    assert!(pattern(b"\xff").is_err());
    assert!(pattern(&vec![b'a'; 1 << 20]).is_err());
}

proptest! {
    /// What is translated compiles, or was refused for its size.
    #[test]
    fn whatever_passes_compiles(source in r"[ab(){}\[\]\\^$.|*+?,:\-&~<>=PQEdDswpzx0-9iU!#é]{0,16}") {
        if let Ok(translated) = pattern(source.as_bytes()) {
            match Regex::new(&translated.regex) {
                Ok(regex) => prop_assert!(regex.captures_len() == translated.names.len() + 1),
                Err(error) => prop_assert!(matches!(error, regex::Error::CompiledTooBig(_)), "{source} {error}"),
            }
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let _ = pattern(&bytes);
        prop_assert!(Regex::new(&literal(&bytes).unwrap()).unwrap().is_match(&bytes));
        let text = String::from_utf8_lossy(&bytes).replace("\\E", "");
        prop_assert!(matches(&(String::from("\\Q") + &text), &text));
    }
}
