use super::super::super::testing::{Value, call, message, text};
use super::*;

fn run(function: HostFn, args: &[Value]) -> Vec<Value> {
    call(function, &mut Ctx::default(), args).unwrap()
}

fn num(number: i32) -> Value {
    f64::from(number).into()
}

#[test]
fn match_gives_captures_or_the_whole() {
    assert_eq!(run(match_, &["key=val".into(), r"(\w+)=(\w+)".into()]), ["key".into(), "val".into()]);
    assert_eq!(run(match_, &["abc".into(), "b.".into()]), ["bc".into()]);
    assert_eq!(run(match_, &["abc".into(), "x".into()]), [Value::Nil]);
    assert_eq!(run(match_, &["b".into(), "(a)?(b)".into()]), [Value::Nil, "b".into()]);
    assert_eq!(run(match_, &["aba".into(), "^a".into(), num(3)]), ["a".into()]);
    assert_eq!(run(match_, &["abc".into(), "".into(), num(9)]), [Value::Nil]);
}

#[test]
fn find_gives_the_bounds_of_the_groups() {
    assert_eq!(run(find, &["abcdef".into(), "(b)cde".into()]), [num(2), num(2), "b".into()]);
    assert_eq!(run(find, &["abcdef".into(), "bcd".into()]), [num(2), num(4)]);
    assert_eq!(run(find, &["a.b.".into(), ".".into(), num(3), true.into()]), [num(4), num(4)]);
    assert_eq!(run(find, &["".into(), "".into()]), [num(1), num(0)]);
    assert_eq!(run(find, &["b".into(), "(a)?(b)".into()]), [Value::Nil]);
    assert_eq!(
        run(find, &[Value::from(&b"\xff\xfe"[..]), Value::from(&b"\xfe"[..]), Value::Nil, true.into()]),
        [num(2), num(2)]
    );
    assert_eq!(run(find, &["xaba".into(), "(a)".into(), num(3)]), [num(4), num(4), "a".into()]);
}

#[test]
fn gsub_expands_go_templates() {
    let gsub = |s: &str, pattern: &str, template: &str, n: Value| {
        let results = run(super::gsub, &[s.into(), pattern.into(), template.into(), n]);
        (text(&results), results[1].clone())
    };
    for (s, pattern, template, wanted, count) in [
        ("abc", "", "-", "-a-b-c-", 4),
        ("aéb", "", "-", "-a-é-b-", 4),
        ("baaac", "a*", "x", "xbxcx", 3),
        ("hello world", r"(\w+)", "<$1>", "<hello> <world>", 2),
        ("ab", "(?P<x>a)", "${x}${1}$x$0$$%1", "aaaa$%1b", 1),
        ("ab", "(a)", "$1x!", "!b", 1),
        ("ab", "(a)", "$ ${ $", "$ ${ $b", 1),
        ("abc", "x", "y", "abc", 0),
    ] {
        assert_eq!(gsub(s, pattern, template, Value::Nil), (wanted.into(), num(count)), "{s} {pattern}");
    }
    assert_eq!(gsub("aaa", "a", "b", num(2)), ("bba".into(), num(2)));
    assert_eq!(gsub("aaa", "a", "b", num(0)), ("aaa".into(), num(0)));
    let wrong = message(call(super::gsub, &mut Ctx::default(), &["a".into(), "a".into(), num(1)]));
    assert_eq!(wrong, "bad argument #3 to f (string or table or function expected, got number)");
}

#[test]
fn gsub_keeps_to_the_memory_limit() {
    let mut ctx = Ctx { memory_limit: 10_000, ..Ctx::default() };
    let (long, all) = (Value::Str(vec![b'a'; 1000]), Value::from("$0$0$0$0"));
    let grown = call(super::gsub, &mut ctx, &[long, "(?s).*".into(), Value::Str(b"$0".repeat(50))]);
    assert!(matches!(grown, Err(Fail::Memory)));
    assert!(call(super::gsub, &mut ctx, &["a".into(), "a".into(), all]).is_ok());
}

#[test]
fn steps_walk_over_all_matches() {
    let (mut at, mut last, mut seen) = (num(0), num(-1), Vec::new());
    loop {
        let found = run(step, &["a1b22".into(), r"([a-z])(\d)?".into(), at, last]);
        if found[0] == Value::Nil {
            break;
        }
        (at, last) = (found[0].clone(), found[2].clone());
        seen.push(found[3..].to_vec());
    }
    assert_eq!(seen, [["a".into(), "1".into()], ["b".into(), Value::from("2")]]);
}

#[test]
fn quote_makes_a_pattern_of_a_text() {
    assert_eq!(run(quote, &["a.b[c]é".into()]), [r"a\.b\[c\]é".into()]);
}

#[test]
fn a_bad_pattern_raises() {
    for function in [match_, find, check, step] {
        let error = message(call(function, &mut Ctx::default(), &["a".into(), "a**".into()]));
        assert_eq!(error, "error parsing regexp: invalid nested repetition operator: `**`");
    }
}

#[test]
fn hostile_patterns_match_in_linear_time() {
    let text = Value::Str(vec![b'a'; 20_000]);
    for pattern in ["(a*)*b", "(a|a)*b", "(a+)+$b"] {
        assert_eq!(run(match_, &[text.clone(), pattern.into()]), [Value::Nil]);
    }
}
