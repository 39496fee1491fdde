use proptest::prelude::*;

use super::super::super::Ctx;
use super::super::super::testing::{Value, array, call, message, text};
use super::{another, decode, encode, step};

fn decoded(yaml: &str) -> Value {
    let results = call(decode, &mut Ctx::default(), &[yaml.into()]).unwrap();
    assert_eq!(results.len(), 1, "{yaml:?}: {results:?}");
    results.into_iter().next().unwrap()
}

fn failing(yaml: impl AsRef<[u8]>) -> String {
    let results = call(decode, &mut Ctx::default(), &[yaml.as_ref().into()]).unwrap();
    assert_eq!(results[0], Value::Nil);
    text(&results[1..])
}

fn encoded(value: Value) -> String {
    text(&call(encode, &mut Ctx::default(), &[value]).unwrap())
}

fn table(entries: &[(&str, Value)]) -> Value {
    Value::Table(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

#[test]
fn scalars_are_those_of_yaml_1_1() {
    for (yaml, value) in [
        ("yes", true.into()),
        ("off", false.into()),
        ("y", true.into()),
        ("010", 8.0.into()),
        ("0o10", 8.0.into()),
        ("0x1F", 31.0.into()),
        ("-0b11", (-3.0).into()),
        ("1_000", 1000.0.into()),
        ("08", 8.0.into()),
        ("1e3", 1000.0.into()),
        (".5", 0.5.into()),
        ("-.inf", f64::NEG_INFINITY.into()),
        ("9223372036854775808", Value::Nil),
        ("18446744073709551616", 18_446_744_073_709_551_616.0.into()),
        ("1e400", "1e400".into()),
        ("2001-01-02", "2001-01-02".into()),
        ("1:30", "1:30".into()),
        ("'yes'", "yes".into()),
        ("!!str 5", "5".into()),
        ("!!int \"7\"", 7.0.into()),
        ("!!float 3", 3.0.into()),
        ("!!binary aGk=", "hi".into()),
        ("!own x", "x".into()),
        ("~", Value::Nil),
        ("", Value::Nil),
        ("# nothing", Value::Nil),
    ] {
        assert_eq!(decoded(yaml), value, "{yaml}");
    }
    assert!(matches!(decoded(".nan"), Value::Num(number) if number.is_nan()));
}

#[test]
fn collections_lose_their_nulls() {
    assert_eq!(decoded("[1, ~, 3]"), array([1.0.into(), 3.0.into()]));
    assert_eq!(decoded("- a\n- [b]\n"), array(["a".into(), array(["b".into()])]));
    assert_eq!(
        decoded("{1: a, true: b}"),
        Value::Table(vec![(1.0.into(), "a".into()), (true.into(), "b".into())])
    );
    // The last of two wins; a null takes the first away.
    assert_eq!(
        decoded("{a: 1, a: 2}"),
        Value::Table(vec![("a".into(), 1.0.into()), ("a".into(), 2.0.into())])
    );
    assert_eq!(decoded("{~: 1, .nan: 2, b: 3}"), table(&[("b", 3.0.into())]));
}

#[test]
fn anchors_and_merges() {
    assert_eq!(decoded("[&a x, *a]"), array(["x".into(), "x".into()]));
    assert_eq!(decoded("{<<: {a: 1}, b: 2}"), table(&[("a", 1.0.into()), ("b", 2.0.into())]));
    assert_eq!(
        decoded("- &m {a: 1}\n- {<<: [*m, {a: 2, c: 3}]}\n"),
        array([
            table(&[("a", 1.0.into())]),
            table(&[("a", 2.0.into()), ("c", 3.0.into()), ("a", 1.0.into())]),
        ])
    );
    assert_eq!(decoded("[<<]"), array(["<<".into()]));
    assert_eq!(failing("{<<: 5}"), "yaml: map merge requires map or sequence of maps as the value");
    assert_eq!(failing("a: *b"), "yaml: unknown anchor 'b' referenced");
}

#[test]
fn errors_are_told() {
    for yaml in ["a: [1", "a: b: c", "\"x", "{", "- a\nb"] {
        assert!(failing(yaml).starts_with("yaml: line "), "{yaml:?}: {}", failing(yaml));
    }
    assert_eq!(failing("a: !!int foo"), "yaml: cannot decode !!str `foo` as a !!int");
    assert_eq!(failing(b"\xff"), "yaml: invalid leading UTF-8 octet");
    assert_eq!(failing("a\x01"), "yaml: control characters are not allowed");
    assert_eq!(failing("{[a]: 1}"), "yaml: invalid map key");
    assert_eq!(failing("!!binary '*'"), "yaml: !!binary value contains invalid base64 data");
    assert_eq!(
        message(call(decode, &mut Ctx::default(), &[])),
        "bad argument #1 to f (string expected, got nil)"
    );
    assert_eq!(message(call(encode, &mut Ctx::default(), &[])), "bad argument #1 to f (value expected)");
}

#[test]
fn hostile_texts_end() {
    assert!(failing("[".repeat(100_000)).starts_with("yaml: "));
    assert!(failing("- ".repeat(100_000)).starts_with("yaml: "));
    assert!(failing("a: ".repeat(100_000)).starts_with("yaml: "));
    let mut lines = String::new();
    for depth in 0..5_000 {
        lines.push_str(&format!("{}a:\n", " ".repeat(depth)));
    }
    assert_eq!(failing(lines), "yaml: exceeded max depth of 1000");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    assert_eq!(failing(bomb), "yaml: document contains excessive aliasing");
    assert_eq!(failing("&a [*a]"), "yaml: anchor value contains itself");
    assert_eq!(failing("&a {<<: *a}"), "yaml: anchor value contains itself");
}

#[test]
fn documents_are_read_one_by_one() {
    let stream = "a: 1\na: 2\n---\n---\n5\n...\n--- x\n";
    let (mut offset, mut lines, mut seen) = (0.0, 0.0, Vec::new());
    for _ in 0..6 {
        let args = [stream.into(), offset.into(), f64::from(lines as u32).into(), true.into()];
        let mut results = call(step, &mut Ctx::default(), &args).unwrap().into_iter();
        let (value, problem) = (results.next().unwrap(), results.next().unwrap());
        seen.push((value, problem));
        let (Some(Value::Num(next)), Some(Value::Num(line))) = (results.next(), results.next()) else {
            panic!()
        };
        (offset, lines) = (next, line);
    }
    let duplicate = "yaml: unmarshal errors:\n  line 2: key \"a\" already set in map";
    assert_eq!(
        seen,
        [
            (Value::Nil, duplicate.into()),
            (Value::Nil, Value::Nil),
            (5.0.into(), Value::Nil),
            ("x".into(), Value::Nil),
            (Value::Nil, "EOF".into()),
            (Value::Nil, "EOF".into()),
        ]
    );
}

#[test]
fn values_are_laid_out_as_go_does() {
    let value = table(&[
        ("a10", 1e15.into()),
        ("a9", array([1.5.into(), table(&[("b", 2.0.into()), ("c", table(&[]))])])),
        ("d", "multi\nline\n".into()),
        ("e", array([array([1.0.into(), 2.0.into()]), array([1e20.into()])])),
    ]);
    assert_eq!(
        encoded(value),
        "a9:\n- 1.5\n- b: 2\n  c: []\na10: 1000000000000000\nd: |\n  multi\n  line\ne:\n- - 1\n  - 2\n- - 1e+20\n"
    );
    let sparse = Value::Table(vec![(3.0.into(), 3.0.into()), (1.0.into(), 1.0.into())]);
    assert_eq!(encoded(sparse), "1: 1\n3: 3\n");
    let mixed =
        Value::Table(vec![("x".into(), true.into()), (1.0.into(), "one".into()), (false.into(), 0.0.into())]);
    assert_eq!(encoded(mixed), "false: 0\n1: one\nx: true\n");
    assert_eq!(encoded(table(&[])), "[]\n");
    assert_eq!(encoded(Value::Nil), "null\n");
}

#[test]
fn strings_are_quoted_where_they_must_be() {
    for (value, yaml) in [
        ("plain", "plain\n"),
        ("123", "\"123\"\n"),
        ("yes", "\"yes\"\n"),
        ("true", "\"true\"\n"),
        ("1:30", "\"1:30\"\n"),
        ("2001-01-02", "\"2001-01-02\"\n"),
        ("", "\"\"\n"),
        ("a: b", "'a: b'\n"),
        ("it's", "it's\n"),
        ("# no", "'# no'\n"),
        (" lead", "' lead'\n"),
        ("x\ty", "\"x\\ty\"\n"),
        ("😀", "\"\\U0001F600\"\n"),
        ("ü", "ü\n"),
        ("a\nb", "|-\n  a\n  b\n"),
        ("a\n\n", "|+\n  a\n\n"),
        ("\na", "|2-\n\n  a\n"),
        ("<<", "<<\n"),
    ] {
        assert_eq!(encoded(value.into()), yaml, "{value:?}");
    }
    assert_eq!(encoded(Value::from(&b"\xff\xfe"[..])), "!!binary //4=\n");
    let long = "word ".repeat(20) + "end";
    let folded = format!("{}word\n  {}end\n", "word ".repeat(16), "word ".repeat(3));
    assert_eq!(encoded(long.as_str().into()), folded);
    assert_eq!(encoded(table(&[(&"k".repeat(129), 1.0.into())])), format!("? {}\n: 1\n", "k".repeat(129)));
}

#[test]
fn what_has_no_yaml_is_an_error() {
    let error = |value| text(&call(encode, &mut Ctx::default(), &[value]).unwrap()[1..]);
    assert!(error(array([Value::Other("function")])).contains("cannot encode values with function in them"));
    assert!(error(table(&[("me", Value::Seen)])).contains("nested table table: 0x"));
}

#[test]
fn further_documents_have_a_mark() {
    let next = |value| text(&call(another, &mut Ctx::default(), &[value, true.into()]).unwrap());
    assert_eq!(next("x".into()), "--- x\n");
    assert_eq!(next(table(&[("a", 1.0.into())])), "---\na: 1\n");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (-1e9..1e9f64).prop_map(Value::Num),
        (-1000..1000i32).prop_map(|number| Value::Num(number.into())),
        "[ -~\n\u{e9}\u{1f600}]{0,100}".prop_map(|text| Value::Str(text.into_bytes())),
        prop::sample::select(vec!["yes", "0x1", "~", "1e3", "- a", "a: b", "?", "", "\n", "012"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(array),
            prop::collection::btree_map("[a-c1 :#-]{1,4}", inner, 1..4).prop_map(|map| {
                Value::Table(
                    map.into_iter().map(|(key, value)| (Value::Str(key.into_bytes()), value)).collect(),
                )
            }),
        ]
    })
}

/// The same value with each table's members in one order.
fn ordered(value: Value) -> Value {
    let Value::Table(entries) = value else { return value };
    let mut entries: Vec<_> = entries.into_iter().map(|(key, value)| (key, ordered(value))).collect();
    entries.sort_by_key(|(key, _)| format!("{key:?}"));
    Value::Table(entries)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_value()) {
        prop_assert_eq!(ordered(decoded(&encoded(value.clone()))), ordered(value));
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(
        prop_oneof![8 => prop::sample::select(&b"-:?[]{}&*!|>'\"% \n#a1~<,."[..]), 1 => any::<u8>()], 0..40)) {
        let _ = call(decode, &mut Ctx::default(), &[bytes.as_slice().into()]).unwrap();
    }
}
