//! Databases in memory, by the functions that scripts call.

use super::*;
use crate::lua::testing::{Value, array, call, message};

fn client(ctx: &mut Ctx) -> Value {
    call(new_sqlite, ctx, &[]).unwrap().remove(0)
}

fn options() -> Value {
    Value::Table(vec![("mode".into(), "rwc".into())])
}

fn opened(ctx: &mut Ctx, file: &str) -> Value {
    let client = client(ctx);
    assert_eq!(call(connect::open, ctx, &[client.clone(), file.into(), options()]).unwrap(), [true.into()]);
    client
}

fn run(ctx: &mut Ctx, client: &Value, sql: &str) -> Vec<Value> {
    call(query::query, ctx, &[client.clone(), sql.into()]).unwrap()
}

#[test]
fn rows_are_tables_by_name() {
    let ctx = &mut Ctx::default();
    let db = opened(ctx, ":memory:");
    assert_eq!(run(ctx, &db, "CREATE TABLE t (n INTEGER, s TEXT)"), [Value::Table(vec![])]);
    assert_eq!(run(ctx, &db, "INSERT INTO t VALUES (1, 'a'), (2, NULL)"), [Value::Table(vec![])]);
    let row = |fields: Vec<(Value, Value)>| Value::Table(fields);
    let expected = array([
        row(vec![("n".into(), 1.0.into()), ("s".into(), "a".into())]),
        row(vec![("n".into(), 2.0.into())]),
    ]);
    assert_eq!(run(ctx, &db, "SELECT n, s FROM t ORDER BY n"), [expected]);
    let doubled = array([row(vec![("x".into(), 2.0.into())])]);
    assert_eq!(run(ctx, &db, "SELECT 1 AS x, 2 AS x"), [doubled]);
    let args = [db, "SELECT ? + ? AS sum".into(), 1.0.into(), 2.0.into()];
    let sum = array([row(vec![("sum".into(), 3.0.into())])]);
    assert_eq!(call(query::query, ctx, &args).unwrap(), [sum]);
}

#[test]
fn names_are_shared_within_a_run() {
    let ctx = &mut Ctx::default();
    let (one, two, other) = (opened(ctx, "a.db"), opened(ctx, "file:a.db?cache=shared"), opened(ctx, "b.db"));
    run(ctx, &one, "CREATE TABLE t (n)");
    assert_eq!(run(ctx, &two, "SELECT * FROM t"), [Value::Table(vec![])]);
    assert_eq!(run(ctx, &other, "SELECT * FROM t"), [Value::Nil, "no such table: t".into()]);
    ctx.reset();
    let again = opened(ctx, "a.db");
    assert_eq!(run(ctx, &again, "SELECT * FROM t"), [Value::Nil, "no such table: t".into()]);
}

#[test]
fn read_only() {
    let ctx = &mut Ctx::default();
    let ro = Value::Table(vec![("mode".into(), "ro".into())]);
    let reader = client(ctx);
    let results = call(connect::open, ctx, &[reader.clone(), "a.db".into(), ro.clone()]).unwrap();
    assert_eq!(results, [false.into(), "unable to open database file: no such file or directory".into()]);
    let writer = opened(ctx, "a.db");
    run(ctx, &writer, "CREATE TABLE t (n)");
    assert_eq!(call(connect::open, ctx, &[reader.clone(), "a.db".into(), ro]).unwrap(), [true.into()]);
    let refused = [Value::Nil, "attempt to write a readonly database".into()];
    assert_eq!(run(ctx, &reader, "INSERT INTO t VALUES (1)"), refused);
    assert_eq!(run(ctx, &writer, "INSERT INTO t VALUES (1)"), [Value::Table(vec![])]);
}

#[test]
fn wrong_calls() {
    let ctx = &mut Ctx::default();
    let db = client(ctx);
    assert_eq!(run(ctx, &db, "SELECT 1"), []);
    let raised = |ctx: &mut Ctx, function, args: &[Value]| message(call(function, ctx, args));
    assert!(raised(ctx, connect::open, &[db.clone(), Value::Nil]).contains("file path string excepted"));
    assert!(raised(ctx, connect::open, &[db.clone(), "x".into()]).contains("options excepted"));
    let _ = call(connect::open, ctx, &[db.clone(), "x".into(), Value::Table(vec![])]).unwrap();
    assert!(raised(ctx, query::query, &[db.clone(), "".into()]).contains("query string required"));
    assert!(raised(ctx, query::query, &["x".into()]).contains("client expected"));
    let table = call(query::query, ctx, &[db.clone(), "SELECT ?".into(), array([])]).unwrap();
    let text = "sql: converting argument $1 type: unsupported type map[string]interface {}, a map";
    assert_eq!(table, [Value::Nil, text.into()]);
    assert_eq!(call(close, ctx, &[db.clone()]).unwrap(), [true.into()]);
    assert_eq!(call(close, ctx, &[db.clone()]).unwrap(), [true.into()]);
    assert_eq!(run(ctx, &db, "SELECT 1"), []);
}

#[test]
fn connection_strings() {
    let ctx = &mut Ctx::default();
    let db = call(new_server, ctx, &[]).unwrap().remove(0);
    let mut connect = |value: Value| call(connect::mysql, ctx, &[db.clone(), value]);
    let excepted = "options or connection string excepted";
    for wrong in [Value::Nil, "".into(), 5.0.into(), Value::Table(vec![]), array(["x".into()])] {
        assert!(message(connect(wrong)).contains(excepted));
    }
    let unknown = connect("oracle://x".into()).unwrap();
    assert_eq!(unknown, [false.into(), "sql: unknown driver \"oracle\" (forgotten import?)".into()]);
    assert_eq!(connect("sqlite3://file.db".into()).unwrap(), [true.into()]);
    assert_eq!(run(ctx, &db, "SELECT 1 WHERE 0"), [Value::Table(vec![])]);
}

#[test]
fn escaped() {
    let ctx = &mut Ctx::default();
    let text = "a\r\n\\'\"\u{1a}\0é";
    assert_eq!(call(escape, ctx, &[text.into()]).unwrap(), ["a\\r\\n\\\\\\'\\\"\\Z\0é".into()]);
    assert_eq!(call(escape, ctx, &[Value::Nil]).unwrap(), ["".into()]);
}
