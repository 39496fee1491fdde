//! Results and failures as Go's `strings` gives them.

use proptest::prelude::*;

use super::super::super::testing::{Value, array, call, message, text};
use super::*;

fn texts(items: &[&str]) -> Value {
    array(items.iter().map(|item| Value::from(*item)))
}

fn one(function: HostFn, values: &[&str]) -> Value {
    let values: Vec<Value> = values.iter().map(|value| Value::from(*value)).collect();
    call(function, &mut Ctx::default(), &values).unwrap().remove(0)
}

#[test]
fn split_keeps_empty_pieces() {
    for (values, pieces) in [
        (&["a,b", ","][..], &["a", "b"][..]),
        (&["a,", ","], &["a", ""]),
        (&[",", ","], &["", ""]),
        (&["", ","], &[""]),
        (&["aXXbXXXc", "XX"], &["a", "b", "Xc"]),
        (&["aé€"], &["a", "é", "€"]),
        (&["ab", ""], &["a", "b"]),
        (&[""], &[]),
    ] {
        assert_eq!(one(split, values), texts(pieces), "{values:?}");
    }
    let broken = call(split, &mut Ctx::default(), &[Value::from(&b"a\xffb"[..])]).unwrap();
    assert_eq!(broken, [array(["a".into(), Value::from(&b"\xff"[..]), "b".into()])]);
    assert_eq!(call(split, &mut Ctx::default(), &[12.0.into()]).unwrap(), [texts(&["1", "2"])]);
}

#[test]
fn an_explicit_nil_is_no_separator() {
    let failed = message(call(split, &mut Ctx::default(), &["a".into(), Value::Nil]));
    assert_eq!(failed, "bad argument #2 to f (string expected, got nil)");
}

#[test]
fn fields_are_what_white_space_separates() {
    for (value, pieces) in
        [("", &[][..]), (" \t\n", &[]), (" a  b\u{a0}c\u{2003}", &["a", "b", "c"]), ("a", &["a"])]
    {
        assert_eq!(one(fields, &[value]), texts(pieces), "{value:?}");
    }
}

#[test]
fn questions_are_answered() {
    for (function, values, expected) in [
        (has_prefix as HostFn, ["abc", "ab"], true),
        (has_prefix, ["abc", "bc"], false),
        (has_suffix, ["abc", "bc"], true),
        (has_suffix, ["abc", "ab"], false),
        (contains, ["abc", "b"], true),
        (contains, ["abc", ""], true),
        (contains, ["abc", "d"], false),
    ] {
        assert_eq!(one(function, &values), expected.into(), "{values:?}");
        let failed = message(call(function, &mut Ctx::default(), &["a".into()]));
        assert_eq!(failed, "bad argument #2 to f (string expected, got nil)");
    }
}

#[test]
fn trimming_takes_from_the_ends() {
    for (function, values, expected) in [
        (trim as HostFn, &["xxaxbyx", "xy"][..], "axb"),
        (trim, &["ééaé", "é"], "a"),
        (trim, &["abc", ""], "abc"),
        (trim, &["xx", "x"], ""),
        (trim_space, &["\u{2003} a b\t\n"], "a b"),
        (trim_prefix, &["aab", "a"], "ab"),
        (trim_prefix, &["aab", "b"], "aab"),
        (trim_suffix, &["abb", "b"], "ab"),
    ] {
        assert_eq!(one(function, values), expected.into(), "{values:?}");
    }
    assert!(message(call(trim, &mut Ctx::default(), &["a".into()])).starts_with("bad argument #2"));
}

proptest! {
    #[test]
    fn pieces_join_to_the_whole(whole: Vec<u8>, separator in proptest::collection::vec(0..3_u8, 0..3)) {
        let values = [Value::Str(whole.clone()), Value::Str(separator.clone())];
        let Value::Table(pieces) = &call(split, &mut Ctx::default(), &values).unwrap()[0] else { panic!() };
        let pieces: Vec<&[u8]> = pieces
            .iter()
            .map(|(_, piece)| match piece { Value::Str(bytes) => bytes.as_slice(), _ => panic!() })
            .collect();
        prop_assert_eq!(pieces.join(&separator[..]), whole);
    }

    #[test]
    fn any_bytes_are_trimmed(bytes: Vec<u8>, set: Vec<u8>) {
        let values = [Value::Str(bytes.clone()), Value::Str(set)];
        let Value::Str(left) = &call(trim, &mut Ctx::default(), &values).unwrap()[0] else { panic!() };
        prop_assert!(left.is_empty() || bytes.windows(left.len()).any(|window| window == left.as_slice()));
        prop_assert!(text(&call(trim_space, &mut Ctx::default(), &[" a ".into()]).unwrap()) == "a");
    }
}
