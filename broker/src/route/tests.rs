//! Tests of the index, against a plain reading of NATS's matching rules.

use super::*;
use proptest::prelude::*;

fn script(subject: &str, name: &str) -> Rc<Script> {
    Rc::new(Script::for_test(subject, name))
}

fn index(scripts: &[(&str, &str)]) -> Index {
    Index::new(scripts.iter().map(|(subject, name)| script(subject, name)).collect())
}

fn names<'a>(scripts: &'a [Rc<Script>]) -> Vec<(&'a str, &'a str)> {
    scripts.iter().map(|script| (&*script.subject, &*script.name)).collect()
}

/// The rules of NATS, as simply as can be.
fn matches(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        ([p, pattern @ ..], [s, subject @ ..]) => (*p == "*" || p == s) && matches(pattern, subject),
        _ => false,
    }
}

fn tokens(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

#[test]
fn patterns_are_checked() {
    for good in ["a", "a.b", "*", ">", "a.*.c", "a.>", "*.>", "hé.$x", "_INBOX", "a-b_c/d"] {
        assert_eq!(check_script_subject(good), Ok(()), "{good}");
    }
    let bad = [
        ("", SubjectError::Empty),
        (".a", SubjectError::EmptyToken),
        ("a.", SubjectError::EmptyToken),
        ("a..b", SubjectError::EmptyToken),
        ("a b", SubjectError::Character),
        ("a\u{0}", SubjectError::Character),
        ("a\u{a0}b", SubjectError::Character),
        ("a*", SubjectError::Wildcard),
        (">.a", SubjectError::Wildcard),
        ("a.b>", SubjectError::Wildcard),
        ("_INBOX.a", SubjectError::Reserved),
        ("_INBOX.>", SubjectError::Reserved),
        ("$SYS.a", SubjectError::Reserved),
    ];
    for (text, error) in bad {
        assert_eq!(check_script_subject(text), Err(error), "{text}");
    }
    assert_eq!(check_pattern(&"a".repeat(MAX_SUBJECT + 1)), Err(SubjectError::TooLong));
    assert_eq!(check_pattern("$x"), Ok(()));
}

#[test]
fn a_message_finds_its_scripts_by_name() {
    let index =
        index(&[("a.b", "m"), ("a.b", "b"), ("a.*", "c"), ("a.>", "a"), ("x.>", "z"), ("a.b.c", "d")]);
    assert_eq!(names(&index.matching("a.b")), [("a.>", "a"), ("a.b", "b"), ("a.*", "c"), ("a.b", "m")]);
    assert_eq!(names(&index.matching("a.b.c")), [("a.>", "a"), ("a.b.c", "d")]);
    assert_eq!(names(&index.matching("a")), []);
    assert_eq!(names(&index.matching("x")), []);
    assert_eq!(names(&index.matching("x.y.z")), [("x.>", "z")]);
    assert_eq!(names(&index.matching("a.*")), [], "a subject with wildcards is no message's");
    assert_eq!(names(index.by_pattern("a.*")), [("a.*", "c")]);
    assert_eq!(names(index.by_pattern("a.b")), [("a.b", "b"), ("a.b", "m")]);
    assert_eq!(names(index.by_pattern("a.c")), []);
    let patterns: Vec<_> = index.patterns().map(|pattern| &**pattern).collect();
    assert_eq!(patterns, ["a.*", "a.>", "a.b", "a.b.c", "x.>"]);
    assert_eq!(index.get("a.b", "m").map(|script| &*script.name), Some("m"));
    assert!(index.get("a.b", "c").is_none());
}

#[test]
fn the_exact_path_borrows() {
    let mut scripts = vec![("only.wild.*".to_owned(), "w".to_owned())];
    scripts.extend((0..10_000).map(|n| (format!("s.{n}"), "n".to_owned())));
    let index = Index::new(scripts.iter().map(|(subject, name)| script(subject, name)).collect());
    assert!(matches!(index.matching("s.77"), Cow::Borrowed([one]) if &*one.subject == "s.77"));
    assert!(matches!(index.matching("only.wild.x"), Cow::Borrowed([_])));
}

#[test]
fn one_of_two_equals_is_kept() {
    let scripts = vec![script("a", "n"), script("a", "n")];
    let first = scripts[0].clone();
    let index = Index::new(scripts);
    assert_eq!(index.list().len(), 1);
    assert!(Rc::ptr_eq(&index.list()[0], &first));
}

const PATTERN: &str = "([ab*]\\.){0,3}[ab*>]";
const SUBJECT: &str = "([ab]\\.){0,4}[ab]";

proptest! {
    #[test]
    fn the_index_agrees_with_the_rules(
        patterns in proptest::collection::vec(PATTERN, 0..12), subject in SUBJECT
    ) {
        let index = Index::new(patterns.iter().map(|pattern| script(pattern, "n")).collect());
        let mut expected: Vec<_> =
            patterns.iter().filter(|p| matches(&tokens(p), &tokens(&subject))).map(String::as_str).collect();
        expected.sort_unstable();
        expected.dedup();
        let found = index.matching(&subject);
        let found: Vec<_> = found.iter().map(|script| &*script.subject).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_both_match_overlaps(one in PATTERN, other in PATTERN, subject in SUBJECT) {
        let both = matches(&tokens(&one), &tokens(&subject)) && matches(&tokens(&other), &tokens(&subject));
        prop_assert!(!both || overlap(&one, &other));
        prop_assert_eq!(overlap(&one, &other), overlap(&other, &one));
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,40}") {
        let _ = check_script_subject(&text);
        let _ = index(&[("a.*", "n"), (">", "m")]).matching(&text);
    }
}

#[test]
fn patterns_apart_do_not_overlap() {
    for (one, other) in [("a", "b"), ("a.*", "a"), ("a.>", "a"), ("a.*.c", "a.b.d"), ("a.*", "b.>")] {
        assert!(!overlap(one, other), "{one} {other}");
    }
}
