//! Results and failures as Go's `path/filepath` gives them.

use proptest::prelude::*;

use super::super::super::testing::{Value, array, call, text};
use super::*;

fn one(function: HostFn, values: &[&str]) -> String {
    text(&all(&mut Ctx::default(), function, values))
}

fn all(ctx: &mut Ctx, function: HostFn, values: &[&str]) -> Vec<Value> {
    let values: Vec<Value> = values.iter().map(|value| Value::from(*value)).collect();
    call(function, ctx, &values).unwrap()
}

#[test]
fn paths_are_taken_apart() {
    for (path, expected) in [("", "."), ("/", "/"), ("a/b", "b"), ("a/b//", "b"), ("///", "/"), ("x", "x")] {
        assert_eq!(one(basename, &[path]), expected, "{path}");
    }
    for (path, expected) in
        [("", "."), ("x", "."), ("/x", "/"), ("a/b/", "a/b"), ("a//b", "a"), ("/a/b", "/a")]
    {
        assert_eq!(one(dir, &[path]), expected, "{path}");
    }
    for (path, expected) in [(".bashrc", ".bashrc"), ("a.tar.gz", ".gz"), ("a.b/c", ""), ("", "")] {
        assert_eq!(one(ext, &[path]), expected, "{path}");
    }
    let mut ctx = Ctx::default();
    assert_eq!(all(&mut ctx, split, &["a/b.c"]), ["a/".into(), "b.c".into()]);
    assert_eq!(all(&mut ctx, split, &["b"]), ["".into(), "b".into()]);
    assert_eq!(all(&mut ctx, split_list, &["/a:b:"]), [array(["/a".into(), "b".into(), "".into()])]);
    assert_eq!(all(&mut ctx, split_list, &[""]), [array([])]);
    assert_eq!(all(&mut ctx, is_abs, &["/a"]), [true.into()]);
    assert_eq!(all(&mut ctx, is_abs, &["a"]), [false.into()]);
    assert_eq!([one(separator, &[]), one(list_separator, &[])], ["/", ":"]);
    assert_eq!([one(same, &["a/b"]), one(volume_name, &["a"])], ["a/b", ""]);
}

#[test]
fn paths_are_cleaned_and_joined() {
    for (path, expected) in [
        ("", "."),
        ("a//b/./c/..", "a/b"),
        ("/../a", "/a"),
        ("../../a", "../../a"),
        ("a/../..", ".."),
        ("/", "/"),
        ("a/..", "."),
    ] {
        assert_eq!(one(clean, &[path]), expected, "{path}");
    }
    assert_eq!(one(join, &[]), "");
    assert_eq!(one(join, &["", ""]), "");
    assert_eq!(one(join, &["a", "", "../b"]), "b");
    assert_eq!(one(join, &["/", "a"]), "/a");
    assert_eq!(one(abs, &["a/../b"]), "/scratch/b");
    assert_eq!(one(abs, &["/a/."]), "/a");
    assert_eq!(one(abs, &[""]), "/scratch");
}

#[test]
fn ways_between_paths() {
    for (base, target, expected) in [
        ("/a", "/a/b/c", "b/c"),
        ("/a/b", "/a/c", "../c"),
        ("a", "a", "."),
        (".", "a", "a"),
        ("a", ".", ".."),
        ("/", "/a", "a"),
        ("a/b/c", "a", "../.."),
    ] {
        assert_eq!(one(rel, &[base, target]), expected, "{base} {target}");
    }
    let mut ctx = Ctx::default();
    let failed = all(&mut ctx, rel, &["a", "/b"]);
    assert_eq!(failed, ["".into(), "Rel: can't make /b relative to a".into()]);
    assert_eq!(all(&mut ctx, rel, &["../a", "b"])[0], "".into());
}

#[test]
fn patterns_do_not_cross_slashes() {
    for (pattern, name, expected) in [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*", "a/b", false),
        ("*c", "abc", true),
        ("a*/b", "abc/b", true),
        ("a*b*c*d*e*", "axbxcxdxexxx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[b-d]", "abc", true),
        ("ab[^b-d]", "abc", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("a?b", "a/b", false),
        ("[\\]a]", "]", true),
        ("[x\\-]", "-", true),
        ("\\*", "*", true),
        ("*x", "xxx", true),
        ("", "", true),
        ("", "a", false),
        ("a", "ab", false),
    ] {
        let mut ctx = Ctx::default();
        assert_eq!(all(&mut ctx, match_, &[pattern, name]), [expected.into()], "{pattern} {name}");
    }
    for pattern in ["[]a]", "[-]", "[x-]", "[a-b-c]", "[", "[^", "a[", "\\", "[^bc", "a*[", "[\u{fffd}"] {
        let failed = all(&mut Ctx::default(), match_, &[pattern, "a"]);
        assert_eq!(failed, [false.into(), "syntax error in pattern".into()], "{pattern}");
    }
}

fn folder() -> Ctx {
    let mut ctx = Ctx::default();
    for dir in ["d", "d/e", "f"] {
        ctx.scratch.mkdir(dir.as_bytes()).unwrap();
    }
    for file in ["a.txt", "b.txt", "d/x.txt", "d/e/y.txt", "f/x.lua"] {
        ctx.scratch.write_file(file.as_bytes(), b"").unwrap();
    }
    ctx
}

#[test]
fn globs_find_files() {
    let mut ctx = folder();
    for (pattern, expected) in [
        ("*.txt", &["a.txt", "b.txt"][..]),
        ("*/x.*", &["d/x.txt", "f/x.lua"]),
        ("d/*/y.txt", &["d/e/y.txt"]),
        ("/scratch/[ab].txt", &["/scratch/a.txt", "/scratch/b.txt"]),
        ("/sc*/f/*", &["/scratch/f/x.lua"]),
        ("a.txt", &["a.txt"]),
        ("nope", &[]),
        ("*/nope", &[]),
        ("a.txt/*", &[]),
    ] {
        let expected = array(expected.iter().map(|path| Value::from(*path)));
        assert_eq!(all(&mut ctx, glob, &[pattern]), [expected], "{pattern}");
    }
    assert_eq!(all(&mut ctx, glob, &["[x"]), [Value::Nil, "syntax error in pattern".into()]);
    let deep = "*/".repeat(100_000);
    assert_eq!(all(&mut ctx, glob, &[&deep]), [array([])]);
}

#[test]
fn links_are_followed() {
    let mut ctx = folder();
    ctx.scratch.symlink(b"d/e", b"l").unwrap();
    ctx.scratch.symlink(b"/scratch/d", b"abs").unwrap();
    ctx.scratch.symlink(b"loop", b"loop").unwrap();
    for (path, expected) in [
        ("l/y.txt", "d/e/y.txt"),
        ("l/../x.txt", "d/x.txt"),
        ("abs/x.txt", "/scratch/d/x.txt"),
        ("./d//e/", "d/e"),
        ("../scratch/l", "../scratch/d/e"),
        ("", "."),
    ] {
        assert_eq!(text(&all(&mut ctx, eval_symlinks, &[path])), expected, "{path}");
    }
    for (path, error) in [
        ("/nope", "lstat /nope: no such file or directory"),
        ("a.txt/x", "not a directory"),
        ("loop", "EvalSymlinks: too many links"),
    ] {
        assert_eq!(all(&mut ctx, eval_symlinks, &[path]), ["".into(), error.into()], "{path}");
    }
}

proptest! {
    #[test]
    fn cleaning_twice_changes_nothing(path in "[a./]{0,12}") {
        let once = lexical::clean(path.as_bytes());
        prop_assert_eq!(lexical::clean(&once), once);
    }

    #[test]
    fn the_way_leads_there(base in "/([ab.]{1,2}/){0,4}", target in "/([ab.]{1,2}/){0,4}") {
        let way = lexical::rel(base.as_bytes(), target.as_bytes()).unwrap();
        let there = lexical::join([base.as_bytes(), &way[..]]);
        prop_assert_eq!(there, lexical::clean(target.as_bytes()));
    }

    #[test]
    fn any_bytes_are_a_pattern_or_not(pattern: Vec<u8>, name: Vec<u8>) {
        let _ = pattern::matches(&pattern, &name);
        prop_assert_eq!(pattern::matches(b"*", b"abc"), Ok(true));
    }
}
