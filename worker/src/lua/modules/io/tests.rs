use msgscript_proto::message::Level;

use super::super::super::testing::{Value, call, message, text};
use super::*;

fn opened(ctx: &mut Ctx, path: &str, mode: &str) -> Value {
    call(open, ctx, &[path.into(), mode.into()]).unwrap().remove(0)
}

fn file_with(ctx: &mut Ctx, content: &[u8]) -> Value {
    ctx.scratch.write_file(b"f", content).unwrap();
    opened(ctx, "f", "r")
}

#[test]
fn writes_and_reads_back() {
    let mut ctx = Ctx::default();
    let file = opened(&mut ctx, "a.txt", "w+");
    assert_eq!(call(write, &mut ctx, &[file.clone(), "one\n".into(), 2.0.into()]).unwrap(), [true.into()]);
    assert_eq!(call(seek, &mut ctx, &[file.clone(), "set".into()]).unwrap(), [0.0.into()]);
    assert_eq!(call(read, &mut ctx, &[file.clone(), "*a".into()]).unwrap(), ["one\n2".into()]);
    assert_eq!(call(seek, &mut ctx, &[file.clone(), "end".into(), (-1.0).into()]).unwrap(), [4.0.into()]);
    assert_eq!(
        call(seek, &mut ctx, &[file.clone(), "set".into(), (-1.0).into()]).unwrap(),
        [Value::Nil, "seek a.txt: invalid argument".into(), 1.0.into()]
    );
    assert_eq!(call(close, &mut ctx, &[file]).unwrap(), [true.into()]);
    assert_eq!(ctx.scratch.read_file(b"a.txt").unwrap(), b"one\n2");
}

#[test]
fn reads_by_format() {
    let mut ctx = Ctx::default();
    let file = file_with(&mut ctx, b"first\r\nsecond\n 0x10 -1.5e1x\nabcdef");
    assert_eq!(call(line, &mut ctx, std::slice::from_ref(&file)).unwrap(), ["first".into()]);
    assert_eq!(call(read, &mut ctx, &[file.clone(), "*L".into()]).unwrap(), ["second\n".into()]);
    let numbers = call(read, &mut ctx, &[file.clone(), "*n".into(), "n".into()]).unwrap();
    assert_eq!(numbers, [16.0.into(), (-15.0).into()]);
    assert_eq!(call(read, &mut ctx, &[file.clone(), "*n".into(), "*a".into()]).unwrap(), [Value::Nil]);
    assert_eq!(call(read, &mut ctx, std::slice::from_ref(&file)).unwrap(), ["x".into()]);
    assert_eq!(
        call(read, &mut ctx, &[file.clone(), 0.0.into(), 3.0.into()]).unwrap(),
        ["".into(), "abc".into()]
    );
    assert_eq!(call(read, &mut ctx, &[file.clone(), 1e300.into()]).unwrap(), ["def".into()]);
    assert_eq!(call(read, &mut ctx, &[file.clone(), 0.0.into()]).unwrap(), [Value::Nil]);
    assert_eq!(call(read, &mut ctx, &[file.clone(), "*a".into()]).unwrap(), ["".into()]);
    let wrong = message(call(read, &mut ctx, &[file, "x".into()]));
    assert_eq!(wrong, "bad argument #2 to f (invalid options:x)");
}

#[test]
fn failures_have_gos_texts() {
    let mut ctx = Ctx::default();
    let missing = call(open, &mut ctx, &["no.txt".into()]).unwrap();
    assert_eq!(missing, [Value::Nil, "open no.txt: no such file or directory".into(), 1.0.into()]);
    assert!(
        message(call(open, &mut ctx, &["a".into(), "q".into()]))
            .contains("invalid option: q (must be one of")
    );
    let directory = opened(&mut ctx, "/tmp", "r");
    assert_eq!(message(call(read, &mut ctx, &[directory])), "read /tmp: is a directory");
    let file = opened(&mut ctx, "w", "w");
    assert_eq!(
        call(read, &mut ctx, std::slice::from_ref(&file)).unwrap()[1],
        "file w is opened for only writing.".into()
    );
    assert_eq!(
        message(call(write, &mut ctx, &[file.clone(), Value::Nil])),
        "bad argument #2 to f (number or string expected, got nil)"
    );
    let readonly = opened(&mut ctx, "w", "r");
    assert_eq!(
        call(write, &mut ctx, &[readonly, "x".into()]).unwrap(),
        [Value::Nil, "file w is opened for only reading.".into(), 1.0.into()]
    );
    call(close, &mut ctx, std::slice::from_ref(&file)).unwrap();
    assert_eq!(message(call(read, &mut ctx, std::slice::from_ref(&file))), "file is closed");
    assert_eq!(
        message(call(close, &mut ctx, std::slice::from_ref(&file))),
        "close file: file already closed"
    );
    assert_eq!(text(&call(tostring, &mut ctx, std::slice::from_ref(&file)).unwrap()), "file (closed)");
    assert_eq!(text(&call(kind, &mut ctx, &[file]).unwrap()), "closed file");
    assert_eq!(
        message(call(read, &mut ctx, &["x".into()])),
        "bad argument #1 to f (file expected, got string)"
    );
}

#[test]
fn a_closed_files_handle_never_means_another_file() {
    let mut ctx = Ctx::default();
    let one = opened(&mut ctx, "one", "w");
    call(close, &mut ctx, std::slice::from_ref(&one)).unwrap();
    opened(&mut ctx, "two", "w");
    assert_eq!(message(call(write, &mut ctx, &[one, "x".into()])), "file is closed");
}

#[test]
fn standard_streams_are_the_log() {
    let mut ctx = Ctx::default();
    for part in ["a", "b\nc\n\nd", "e"] {
        assert_eq!(call(write_default, &mut ctx, &[part.into()]).unwrap(), [true.into()]);
    }
    let stderr = call(standard, &mut ctx, &[2.0.into()]).unwrap().remove(0);
    call(write, &mut ctx, &[stderr, "oops\n".into()]).unwrap();
    let lines = |ctx: &Ctx| -> Vec<(Level, String)> {
        ctx.log_sink
            .iter()
            .map(|(level, line)| (*level, String::from_utf8_lossy(line).into_owned()))
            .collect()
    };
    let mut wanted = vec![
        (Level::Info, "ab".into()),
        (Level::Info, "c".into()),
        (Level::Info, String::new()),
        (Level::Warn, "oops".into()),
    ];
    assert_eq!(lines(&ctx), wanted);
    ctx.finish_lines();
    ctx.finish_lines();
    wanted.push((Level::Info, "de".into()));
    assert_eq!(lines(&ctx), wanted);
    assert_eq!(call(read_default, &mut ctx, &[]).unwrap(), [Value::Nil]);
    assert_eq!(call(read_default, &mut ctx, &["*a".into()]).unwrap(), ["".into()]);
}

#[test]
fn an_endless_line_is_cut() {
    let mut ctx = Ctx::default();
    for _ in 0..3 {
        call(write_default, &mut ctx, &[Value::Str(vec![b'x'; 40 << 10])]).unwrap();
    }
    assert_eq!(ctx.log_sink.len(), 1);
}

#[test]
fn input_and_output_can_be_files() {
    let mut ctx = Ctx::default();
    call(output, &mut ctx, &["o".into()]).unwrap();
    call(write_default, &mut ctx, &["hello".into()]).unwrap();
    assert_eq!(call(close_default, &mut ctx, &[]).unwrap(), [true.into()]);
    assert_eq!(message(call(write_default, &mut ctx, &["x".into()])), "file is closed");
    call(input, &mut ctx, &["o".into()]).unwrap();
    assert_eq!(call(read_default, &mut ctx, &[]).unwrap(), ["hello".into()]);
    assert_eq!(message(call(input, &mut ctx, &["no".into()])), "open no: no such file or directory");
}

#[test]
fn no_process_is_started() {
    let mut ctx = Ctx::default();
    let refused = call(process::popen, &mut ctx, &["id".into()]).unwrap();
    assert_eq!(refused, [Value::Nil, "popen: not permitted".into()]);
    let wrong = message(call(process::popen, &mut ctx, &["id".into(), "rw".into()]));
    assert_eq!(wrong, "bad argument #2 to f (invalid option: must be one of r w)");
}

#[test]
fn running_out_of_memory_ends_the_invocation() {
    let mut ctx = Ctx { scratch: crate::lua::Scratch::new(10_000), ..Ctx::default() };
    let file = opened(&mut ctx, "big", "w");
    let kilobyte = Value::Str(vec![b'x'; 1000]);
    let mut write_one = || call(write, &mut ctx, &[file.clone(), kilobyte.clone()]);
    assert!((0..20).any(|_| matches!(write_one(), Err(Fail::Memory))));
}
