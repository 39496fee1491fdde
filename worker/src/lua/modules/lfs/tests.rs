//! Results and failures of the functions of `lfs`.

use super::super::super::testing::{Value, array, call, message};
use super::*;

fn ctx() -> Ctx {
    let mut ctx = Ctx::default();
    ctx.scratch.mkdir(b"d").unwrap();
    ctx.scratch.write_file(b"d/f", b"12345").unwrap();
    ctx.scratch.symlink(b"d/f", b"l").unwrap();
    ctx
}

fn run(ctx: &mut Ctx, function: HostFn, values: &[Value]) -> Vec<Value> {
    call(function, ctx, values).unwrap()
}

fn failed(text: &str) -> [Value; 2] {
    [Value::Nil, text.into()]
}

#[test]
fn attributes_are_a_table_or_one_field() {
    let mut ctx = ctx();
    let [Value::Table(fields)] = &run(&mut ctx, attributes, &["d/f".into()])[..] else { panic!() };
    let mut names: Vec<String> = fields
        .iter()
        .map(|(name, _)| match name {
            Value::Str(name) => String::from_utf8_lossy(name).into_owned(),
            _ => panic!(),
        })
        .collect();
    names.sort();
    let known = "access blksize blocks change dev gid ino mode modification nlink rdev size uid";
    assert_eq!(names.join(" "), known);
    for (path, field, value) in [
        ("d/f", "size", Value::Num(5.0)),
        ("d/f", "blocks", Value::Num(1.0)),
        ("d/f", "mode", "file".into()),
        ("d", "mode", "directory".into()),
        ("l", "mode", "file".into()),
        ("l", "target", Value::Nil),
        ("d/f", "permissions", Value::Nil),
    ] {
        assert_eq!(run(&mut ctx, attributes, &[path.into(), field.into()]), [value], "{path} {field}");
    }
    assert_eq!(run(&mut ctx, attributes, &["x".into()]), failed("stat x: no such file or directory"));
    for wrong in [Value::Nil, array([])] {
        assert!(message(call(attributes, &mut ctx, &["d".into(), wrong])).starts_with("bad argument #2"));
    }
}

#[test]
fn links_are_told_from_what_they_lead_to() {
    let mut ctx = ctx();
    for (field, value) in [("mode", "link"), ("target", "/scratch/d/f")] {
        assert_eq!(run(&mut ctx, symlinkattributes, &["l".into(), field.into()]), [value.into()]);
    }
    let error = failed("lstat x: no such file or directory");
    assert_eq!(run(&mut ctx, symlinkattributes, &["x".into()]), error);
    assert_eq!(run(&mut ctx, link, &["d/f".into(), "hard".into()]), [true.into()]);
    assert_eq!(run(&mut ctx, attributes, &["hard".into(), "nlink".into()]), [2.0.into()]);
    assert_eq!(run(&mut ctx, link, &["d".into(), "soft".into(), true.into()]), [true.into()]);
    assert_eq!(run(&mut ctx, symlinkattributes, &["soft".into(), "mode".into()]), ["link".into()]);
    let error = failed("link d/f l: file exists");
    assert_eq!(run(&mut ctx, link, &["d/f".into(), "l".into()]), error);
    let error = failed("symlink d/f l: file exists");
    assert_eq!(run(&mut ctx, link, &["d/f".into(), "l".into(), true.into()]), error);
    let wrong = message(call(link, &mut ctx, &["a".into(), "b".into(), 1.0.into()]));
    assert_eq!(wrong, "bad argument #3 to f (boolean expected, got number)");
}

#[test]
fn directories_are_made_listed_and_removed() {
    let mut ctx = ctx();
    assert_eq!(run(&mut ctx, list, &[".".into()]), [array(["d".into(), "l".into()])]);
    assert_eq!(message(call(list, &mut ctx, &["x".into()])), "open x: no such file or directory");
    assert_eq!(message(call(list, &mut ctx, &["d/f".into()])), "open d/f: not a directory");
    assert_eq!(run(&mut ctx, mkdir, &["n".into()]), [true.into()]);
    assert_eq!(run(&mut ctx, mkdir, &["n".into()]), failed("mkdir n: file exists"));
    assert_eq!(run(&mut ctx, rmdir, &["n".into()]), [true.into()]);
    assert_eq!(run(&mut ctx, rmdir, &["n".into()]), failed("stat n: no such file or directory"));
    assert_eq!(run(&mut ctx, rmdir, &["d/f".into()]), failed("not a directory"));
    assert_eq!(run(&mut ctx, rmdir, &["d".into()]), failed("remove d: directory not empty"));
}

#[test]
fn the_working_directory_changes() {
    let mut ctx = ctx();
    assert_eq!(run(&mut ctx, currentdir, &[]), ["/scratch".into()]);
    assert_eq!(run(&mut ctx, chdir, &["d".into()]), [true.into()]);
    assert_eq!(run(&mut ctx, currentdir, &[]), ["/scratch/d".into()]);
    assert_eq!(run(&mut ctx, chdir, &["x".into()]), failed("chdir x: no such file or directory"));
}

#[test]
fn touch_sets_times_and_creates_nothing() {
    let mut ctx = ctx();
    let times = |ctx: &mut Ctx| {
        ["access", "modification"].map(|field| run(ctx, attributes, &["d/f".into(), field.into()])[0].clone())
    };
    assert_eq!(run(&mut ctx, touch, &["d/f".into(), 100.0.into()]), [true.into()]);
    assert_eq!(times(&mut ctx), [100.0.into(), 100.0.into()]);
    assert_eq!(run(&mut ctx, touch, &["d/f".into(), 100.0.into(), 200.0.into()]), [true.into()]);
    assert_eq!(times(&mut ctx), [100.0.into(), 200.0.into()]);
    assert_eq!(run(&mut ctx, touch, &["d/f".into()]), [true.into()]);
    assert_ne!(times(&mut ctx)[0], 100.0.into());
    assert_eq!(run(&mut ctx, touch, &["x".into()]), failed("chtimes x: no such file or directory"));
}

#[test]
fn locks_are_not_implemented() {
    for (name, function) in
        FUNCTIONS.iter().filter(|(name, _)| name.contains("lock") || name.contains("setmode"))
    {
        assert_eq!(message(call(*function, &mut ctx(), &[])), "unimplemented function", "{name}");
    }
}
