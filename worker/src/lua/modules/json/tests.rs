use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::super::testing::{Value, array, call, message, text};
use super::super::super::value::{Fail, MAX_DEPTH};
use super::{Ctx, MAX_NESTING};

fn encode(value: Value) -> String {
    text(&call(super::encode, &mut Ctx::default(), &[value]).expect("encodes"))
}

fn encode_error(value: Value) -> String {
    let results = call(super::encode, &mut Ctx::default(), &[value]).expect("gives nil, err");
    assert_eq!(results[0], Value::Nil);
    text(&results[1..])
}

fn decode(source: impl AsRef<[u8]>) -> Vec<Value> {
    call(super::decode, &mut Ctx::default(), &[source.as_ref().into()]).expect("never raises")
}

fn decode_error(source: impl AsRef<[u8]>) -> String {
    let results = decode(&source);
    assert_eq!(results[0], Value::Nil, "{:?}", source.as_ref());
    text(&results[1..])
}

fn table(entries: &[(&str, Value)]) -> Value {
    Value::Table(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

const PREFIX: &str = "json: error calling MarshalJSON for type json.jsonValue: ";

#[test]
fn encodes_like_go() {
    for (value, json) in [
        (Value::Nil, "null"),
        (true.into(), "true"),
        (1e15.into(), "1000000000000000"),
        (9_223_372_036_854_775_808.0.into(), "9223372036854776000"),
        (1e20.into(), "100000000000000000000"),
        (1e21.into(), "1e+21"),
        (1e-6.into(), "0.000001"),
        (1e-7.into(), "1e-7"),
        ((-0.0).into(), "-0"),
        (0.1.into(), "0.1"),
        (Value::Table(vec![]), "[]"),
        (array([1.0.into(), Value::Table(vec![]), "x".into()]), "[1,[],\"x\"]"),
        (table(&[("b", 1.0.into()), ("a", table(&[("z", true.into())]))]), r#"{"a":{"z":true},"b":1}"#),
        (table(&[("1", "a".into())]), r#"{"1":"a"}"#),
        (
            "<a href=\"/\">&\\\n\r\t\u{8}\u{c}\u{1}\u{7f}é\u{2028}".into(),
            "\"\\u003ca href=\\\"/\\\"\\u003e\\u0026\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}é\\u2028\"",
        ),
        (Value::from(&b"a\xff\xe2\x80b"[..]), r#""a\ufffd\ufffd\ufffdb""#),
        (table(&[("<", 1.0.into())]), r#"{"\u003c":1}"#),
    ] {
        assert_eq!(encode(value), json);
    }
}

#[test]
fn items_out_of_order_are_an_array() {
    let value =
        Value::Table(vec![(2.0.into(), "b".into()), (3.0.into(), "c".into()), (1.0.into(), "a".into())]);
    assert_eq!(encode(value), r#"["a","b","c"]"#);
}

#[test]
fn tells_what_has_no_json() {
    let sparse = [
        Value::Table(vec![(2.0.into(), 1.0.into())]),
        Value::Table(vec![(1.5.into(), 1.0.into())]),
        Value::Table(vec![(1.0.into(), 1.0.into()), (3.0.into(), 1.0.into())]),
    ];
    for value in sparse {
        assert_eq!(encode_error(value), format!("{PREFIX}cannot encode sparse array"));
    }
    let mixed = [
        Value::Table(vec![(1.0.into(), 1.0.into()), ("a".into(), 1.0.into())]),
        Value::Table(vec![("a".into(), 1.0.into()), (1.0.into(), 1.0.into())]),
        Value::Table(vec![(true.into(), 1.0.into())]),
    ];
    for value in mixed {
        assert_eq!(encode_error(value), format!("{PREFIX}cannot encode mixed or invalid key types"));
    }
    assert_eq!(encode_error(Value::Other("function")), format!("{PREFIX}cannot encode function to JSON"));
    assert_eq!(
        encode_error(array([f64::NAN.into()])),
        format!("{PREFIX}{PREFIX}json: unsupported value: NaN")
    );
    assert_eq!(encode_error(f64::NEG_INFINITY.into()), format!("{PREFIX}json: unsupported value: -Inf"));
    assert_eq!(
        encode_error(array([array([]), Value::Seen])),
        format!("{PREFIX}{PREFIX}cannot encode recursively nested tables to JSON")
    );
}

#[test]
fn encode_wants_a_value_and_keeps_to_the_memory_limit() {
    assert_eq!(
        message(call(super::encode, &mut Ctx::default(), &[])),
        "bad argument #1 to f (value expected)"
    );
    let mut ctx = Ctx { memory_limit: 10, ..Ctx::default() };
    let long = array(["longer than that".into(), 1.0.into()]);
    assert!(matches!(call(super::encode, &mut ctx, &[long]), Err(Fail::Memory)));
}

#[test]
fn deep_tables_encode_up_to_the_limit() {
    let nested = |depth| {
        (0..depth).fold(Value::Nil, |inner, _| if inner == Value::Nil { array([]) } else { array([inner]) })
    };
    assert_eq!(encode(nested(MAX_DEPTH)).len(), 2 * MAX_DEPTH);
    assert!(encode_error(nested(MAX_DEPTH + 1)).contains("max depth"));
}

#[test]
fn decodes_like_go() {
    assert_eq!(decode("[1,null,3]"), [array([1.0.into(), 3.0.into()])]);
    assert_eq!(decode("[null]"), [array([])]);
    assert_eq!(decode(" null "), [Value::Nil]);
    assert_eq!(
        decode(r#"{"a":null,"b":[{}],"1":"x"}"#),
        [table(&[("b", array([table(&[])])), ("1", "x".into())])]
    );
    assert_eq!(decode(r#""\ud83d\ude00\ud800A\ud800\u0041\n\/""#), ["\u{1f600}\u{fffd}A\u{fffd}A\n/".into()]);
    assert_eq!(decode(b"\"a\xff\xfeb\""), ["a\u{fffd}\u{fffd}b".into()]);
    assert_eq!(decode("-1.5e3"), [(-1500.0).into()]);
    assert_eq!(call(super::decode, &mut Ctx::default(), &[5.0.into()]).unwrap(), [5.0.into()]);
    assert_eq!(
        message(call(super::decode, &mut Ctx::default(), &[Value::Nil])),
        "bad argument #1 to f (string expected, got nil)"
    );
}

#[test]
fn decode_errors_are_gos() {
    for (source, error) in [
        ("", "unexpected end of JSON input"),
        ("[1", "unexpected end of JSON input"),
        ("\"abc", "unexpected end of JSON input"),
        ("{\"a\"", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("\u{feff}1", "invalid character 'ï' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("1 2", "invalid character '2' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        ("\"\\'\"", "invalid character '\\'' in string escape code"),
        ("\"\\u12x\"", "invalid character 'x' in \\u hexadecimal character escape"),
        ("tru", "invalid character ' ' in literal true (expecting 'e')"),
        ("nul]", "invalid character ']' in literal null (expecting 'l')"),
        ("-", "invalid character ' ' in numeric literal"),
        ("1.", "invalid character ' ' after decimal point in numeric literal"),
        ("1e+", "invalid character ' ' in exponent of numeric literal"),
        ("1e400", "json: cannot unmarshal number 1e400 into Go value of type float64"),
        ("[1e400,", "unexpected end of JSON input"),
    ] {
        assert_eq!(decode_error(source), error, "{source}");
    }
}

#[test]
fn deep_nesting_ends_in_an_error() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(matches!(decode(deep(MAX_NESTING))[0], Value::Table(_)));
    assert_eq!(decode_error(deep(MAX_NESTING + 1)), "exceeded max depth");
    assert_eq!(decode_error("[".repeat(5_000_000)), "exceeded max depth");
}

/// What a text decodes to after Go's rules for nulls and duplicates, from serde_json's tree.
fn expected(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => number.as_f64().unwrap().into(),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => array(items.iter().filter(|item| !item.is_null()).map(expected)),
        serde_json::Value::Object(members) => Value::Table(
            members
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.as_str().into(), expected(value)))
                .collect(),
        ),
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        proptest::strategy::Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// No nulls and no empty objects: what survives both ways.
fn survives(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Null => false,
        serde_json::Value::Array(items) => items.iter().all(survives),
        serde_json::Value::Object(members) => !members.is_empty() && members.values().all(survives),
        _ => true,
    }
}

proptest! {
    #[test]
    fn decodes_as_serde_json_does(json in any_json()) {
        prop_assert_eq!(decode(json.to_string()), vec![expected(&json)]);
    }

    #[test]
    fn encodes_what_serde_json_reads_back(json in any_json().prop_filter("survives", survives)) {
        let text = encode(expected(&json));
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        // Read by ours: serde_json's numbers may be off by the last digit.
        prop_assert_eq!(decode(text), vec![expected(&json)]);
    }

    #[test]
    fn hostile_bytes_are_judged_as_serde_json_does(
        bytes in prop::collection::vec(
            prop_oneof![8 => proptest::sample::select(&b"{}[]\",:\\u0123456789.eE+-tfnruals \n/"[..]), 1 => any::<u8>()],
            0..40,
        )
    ) {
        let ours = decode(&bytes);
        let fine = ours.len() == 1;
        if std::str::from_utf8(&bytes).is_ok() {
            // serde_json refuses lone surrogates and lossy numbers; what it accepts, we do.
            let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
            prop_assert!(fine || theirs.is_err(), "{:?} {:?}", ours, theirs);
            if fine && theirs.is_err() {
                let error = theirs.unwrap_err().to_string();
                prop_assert!(error.contains("surrogate") || error.contains("hex escape"), "{}", error);
            }
        }
    }

    #[test]
    fn any_string_encodes_to_json_that_reads_back_lossily(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let text = encode(Value::Str(bytes.clone()));
        let back: String = serde_json::from_str(&text).unwrap();
        let lossy: String = bytes.utf8_chunks()
            .map(|chunk| chunk.valid().to_string() + &"\u{fffd}".repeat(chunk.invalid().len())).collect();
        prop_assert_eq!(back, lossy);
        prop_assert!(!text.contains(['<', '>', '&']));
    }
}
