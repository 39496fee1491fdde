//! Queries on databases in memory. SQLite's own allocator is used here: the process of a test has many threads.

use msgscript_proto::sql::Value;

use super::*;

fn rows(sql: &str, args: &[SqlValue<'_>]) -> Result<Table, SqlError> {
    let database = Database::in_memory().unwrap();
    for statement in [
        "CREATE TABLE t (n INTEGER, r REAL, s TEXT, b BOOLEAN, d DATETIME, x BLOB)",
        "INSERT INTO t VALUES (7, 0.5, 'text', 1, '2024-05-06 07:08:09', x'00ff'), (NULL, NULL, NULL, 0, NULL, NULL)",
    ] {
        database.query(statement.as_bytes(), &[], 1 << 20).unwrap();
    }
    database.query(sql.as_bytes(), args, 1 << 20)
}

#[test]
fn types() {
    let table = rows("SELECT n, r, s, b, d, x FROM t", &[]).unwrap();
    assert_eq!(table.columns, ["n", "r", "s", "b", "d", "x"].map(|name| name.as_bytes().to_vec()));
    let text = |text: &[u8]| Value::Text(text.to_vec());
    let first = [
        Value::Int(7),
        Value::Float(0.5),
        text(b"text"),
        Value::Bool(true),
        text(b"2024-05-06 07:08:09"),
        text(b"\0\xff"),
    ];
    assert_eq!(table.values[..6], first);
    let second = [Value::Null, Value::Null, Value::Null, Value::Bool(false), Value::Null, Value::Null];
    assert_eq!(table.values[6..], second);
}

#[test]
fn arguments() {
    let args =
        [SqlValue::Int(1), SqlValue::Float(0.5), SqlValue::Text(b"x"), SqlValue::Bool(true), SqlValue::Null];
    let table = rows("SELECT ?, ?, ?, ?, ?", &args).unwrap();
    assert_eq!(
        table.values,
        [Value::Int(1), Value::Float(0.5), Value::Text(b"x".to_vec()), Value::Int(1), Value::Null]
    );
    let error = rows("SELECT ?, ?", &[SqlValue::Null]).unwrap_err().to_string();
    assert_eq!(error, "not enough args to execute query: want 2 got 1");
}

#[test]
fn only_the_last_statement_runs() {
    let database = Database::in_memory().unwrap();
    database.query(b"CREATE TABLE t (n)", &[], 1000).unwrap();
    let table = database.query(b"INSERT INTO t VALUES (1); SELECT count(*) FROM t", &[], 1000).unwrap();
    assert_eq!((table.columns, table.values), (vec![b"count(*)".to_vec()], vec![Value::Int(0)]));
    assert_eq!(database.query(b" -- nothing", &[], 1000).unwrap(), Table::default());
}

#[test]
fn failures_are_sqlites_own() {
    let failed = |sql| rows(sql, &[]).unwrap_err().to_string();
    assert_eq!(failed("selec 1"), "near \"selec\": syntax error");
    assert_eq!(failed("SELECT * FROM nope"), "no such table: nope");
    assert_eq!(failed("SELECT load_extension('/x')"), "not authorized");
    let (database, long) = (Database::in_memory().unwrap(), b"SELECT zeroblob(2000)");
    assert_eq!(database.query(long, &[], 1000), Err(SqlError::TooLarge));
    assert!(database.query(b"SELECT '\xff'", &[], 1000).is_err());
}
