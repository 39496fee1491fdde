//! Tests of header lines: a table of texts, and any bytes at all.

use super::*;
use proptest::prelude::*;

fn errors(text: &str) -> Vec<String> {
    parse(text.as_bytes()).errors.iter().map(|error| format!("{}: {error}", error.line)).collect()
}

fn warnings(text: &str) -> Vec<String> {
    parse(text.as_bytes()).warnings.iter().map(|it| format!("{}: {}", it.line, it.text)).collect()
}

#[test]
fn a_full_header() {
    let header = parse(
        b"-- A script.\n\n--* subject: funcs.hello\n--*name:hello \n  --*   http :  true\n--* require: web\n\
          --* require: util\n--* executor: lua\n--* timeout: 1m30s\n--* memory: 64MiB\n--* jit: true\n\
          function GET() end\n",
    );
    assert_eq!(header.errors, []);
    assert_eq!(header.warnings, []);
    assert_eq!(header.subject.as_deref(), Some("funcs.hello"));
    assert_eq!(header.name.as_deref(), Some("hello"));
    assert!(header.http && header.jit);
    assert_eq!(header.requires, ["web".into(), "util".into()]);
    assert_eq!(header.executor, Executor::Lua);
    assert_eq!(header.timeout, Some(Duration::from_secs(90)));
    assert_eq!(header.memory, Some(64 << 20));
    assert_eq!(header.lines.len(), 9);
    assert_eq!(header.lines[2], ("http".to_owned(), "true".to_owned()));
}

#[test]
fn comments_and_banners_are_no_headers() {
    let header = parse(b"--*******\n--* Note that this: is prose\n--* no colon\n-- * subject: x\n--* : y\n");
    assert_eq!((header.lines.len(), header.errors.len(), header.warnings.len()), (0, 0, 0));
}

#[test]
fn line_ends_and_byte_order_marks() {
    for text in ["\u{feff}--* subject: a\r\n--* name: n\r\n", "#!/usr/bin/lua\n--* subject: a\n--* name: n"] {
        let text = lua_text(text.as_bytes());
        let header = parse(&text);
        assert_eq!(header.subject.as_deref(), Some("a"));
        assert_eq!(header.name.as_deref(), Some("n"));
    }
    assert_eq!(&*lua_text(b"\xef\xbb\xbf#!/bin/lua\r\nx()"), b"\r\nx()");
    assert_eq!(&*lua_text(b"#!/bin/lua"), b"");
    assert_eq!(&*lua_text(b"x()"), b"x()");
}

#[test]
fn five_keys_count_anywhere() {
    let text =
        "--* subject: a\nlocal x = 1\n--* name: late\n--* timeout: 5s\n--* other: x\n --* http: true\n";
    let header = parse(text.as_bytes());
    assert_eq!(header.name.as_deref(), Some("late"));
    assert_eq!((header.timeout, header.http), (None, false));
    assert_eq!(header.unknown, []);
    let expected = [
        "3: `name` belongs in the block at the top, before the first line of code",
        "4: `timeout` counts only in the block at the top; this line does nothing",
    ];
    assert_eq!(warnings(text), expected);
}

#[test]
fn unknown_keys_are_kept_and_warned_about_once() {
    let text = "--* Author: Ann\n--* Author: Bob\n--* colour: x\n";
    let header = parse(text.as_bytes());
    let kept: Vec<_> = header.unknown.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(kept, [("Author", "Ann"), ("Author", "Bob"), ("colour", "x")]);
    let expected = ["1: unknown key `Author` does nothing", "3: unknown key `colour` does nothing"];
    assert_eq!(warnings(text), expected);
    assert_eq!(header.errors, []);
}

#[test]
fn bad_values_name_their_line() {
    let cases = [
        ("\n--* http: yes", "2: bad `http`: `yes` is neither true nor false"),
        ("--* html:", "1: bad `html`: `` is neither true nor false"),
        ("--* name:", "1: bad `name`: it is empty"),
        ("--* name: a\tb", "1: bad `name`: it has a control character"),
        ("--* executor: js", "1: bad `executor`: `js` is none of lua, wasm, podman"),
        ("--* timeout: 0s", "1: bad `timeout`: it must be more than zero"),
        ("--* stream: a.b", "1: bad `stream`: write a name of letters, digits, `-` and `_` only"),
        ("--* retries: -1", "1: bad `retries`: write a whole number up to 1000"),
        ("--* lock:", "1: bad `lock`: write `script`, or a name"),
        ("--* lock: a/b", "1: bad `lock`: `a/b`: a name has letters, digits, `-`, `_` and `.` only"),
        ("--* memory: 1KiB", "1: bad `memory`: it must be at least 1MiB"),
        ("--* name: a\n--* name: b", "2: `name` is given twice, here and on line 1"),
        ("--* http: true\n--\n--* html: true", "3: `html` is given twice, here and on line 1"),
        ("--* name: a\nx()\n--* name: b", "3: `name` is given twice, here and on line 1"),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
    for value in ["", "a b", "a..b", "_INBOX.x", "$SYS.x", "a.>.b", "a*", ".a"] {
        let text = format!("--* subject: {value}");
        assert_eq!(errors(&text).len(), 1, "{value}");
        assert_eq!(parse(text.as_bytes()).subject, None);
    }
    assert!(errors("--* timeout: soon")[0].starts_with("1: bad `timeout`: `soon` is not a duration"));
}

#[test]
fn the_first_of_a_duplicate_stays_readable() {
    let header = parse(b"--* name: a\n--* name: b\n--* name: c");
    assert_eq!(header.name.as_deref(), Some("a"));
    assert_eq!(header.errors.len(), 2);
    assert_eq!(header.errors[1].problem, HeaderProblem::Duplicate { key: "name", first: 1 });
}

#[test]
fn bytes_that_are_no_text() {
    let header = parse(b"--* author: J\xf6rg\n--* name: \xff\nlocal s = '\xff'\n");
    assert_eq!(header.errors, [HeaderError { line: 2, problem: HeaderProblem::NotUtf8("name") }]);
    assert_eq!(header.unknown, [("author".to_owned(), "J\u{fffd}rg".to_owned())]);
}

#[test]
fn compiled_code_is_rejected() {
    for text in [b"\x1bLJ\x02".as_slice(), b"--* subject: a\n\x1bLJ", b"\n  \x1bLuaQ"] {
        let errors = parse(text).errors;
        assert_eq!(errors.first().map(|error| &error.problem), Some(&HeaderProblem::Bytecode));
    }
    assert_eq!(parse(b"local x = '\x1b'\n\x1b").errors, []);
}

#[test]
fn what_is_kept_is_bounded() {
    let header = parse("--* k: v\n--* http: maybe\n--* require: x\n".repeat(10_000).as_bytes());
    assert_eq!((header.lines.len(), header.errors.len()), (MAX_KEPT, MAX_KEPT));
    let header = parse("--* require: x\n".repeat(10_000).as_bytes());
    assert_eq!(header.requires.len(), MAX_REQUIRES);
    let header = parse(format!("--* k: {}\n", "v".repeat(1 << 20)).as_bytes());
    assert_eq!(header.lines, []);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&lua_text(&text));
    }

    #[test]
    fn likely_texts_are_survived(
        text in "(#|\u{feff})?((--)?\\*? ?(subject|name|http|require|timeout|memory|x)?:? ?[a.$*> \u{e9}]{0,4}[\\r\\n\\[\\]=]{0,3}){0,12}"
    ) {
        let header = parse(&lua_text(text.as_bytes()));
        for error in &header.errors {
            prop_assert!(error.line >= 1 && error.line <= text.len() + 1);
        }
    }

    #[test]
    fn written_headers_are_read(subject in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}", name in "[^\\p{Cc}\\s]{1,20}",
                                http: bool, blanks in "[ \\t]{0,3}") {
        let text = format!("--*{blanks}subject{blanks}:{blanks}{subject}{blanks}\n--* name:{name}\n--* http: {http}\n");
        let header = parse(text.as_bytes());
        prop_assert_eq!(header.errors, []);
        prop_assert_eq!(header.subject.as_deref(), Some(subject.as_str()));
        prop_assert_eq!(header.name.as_deref(), Some(name.as_str()));
        prop_assert_eq!(header.http, http);
    }
}
