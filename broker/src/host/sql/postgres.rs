//! PostgreSQL: statements, and their values as Go's driver has them.
//!
//! A statement with arguments, or one that gives rows, is prepared by SQL's own `PREPARE` (through the protocol
//! that takes one statement only) and executed with quoted literals: so the server itself finds out of which types
//! the arguments are, and sends values as text.

use std::fmt::Write;
use std::time::Duration;

use msgscript_proto::sql::{SqlValue, Table, Value};
use sqlx::postgres::{PgRow, PgValueFormat, PgValueRef};
use sqlx::{AssertSqlSafe, Decode, PgConnection, Postgres, Row, TypeInfo, ValueRef};

use super::failure::Failure;
use super::pool::Problem;
use super::table::collect;

/// Statements that `PREPARE` takes.
const PREPARED: [&str; 7] = ["select", "insert", "update", "delete", "merge", "values", "with"];

/// The name of a prepared statement.
const NAME: &str = "msgscript";

/// Has the server end each statement after that time.
pub(super) async fn tell_time(link: &mut PgConnection, time: Duration) -> Result<(), Failure> {
    let statement = format!("SET statement_timeout = {}", time.as_millis().clamp(1, i32::MAX as u128));
    match sqlx::raw_sql(AssertSqlSafe(statement)).execute(link).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Broken(error.to_string())),
    }
}

/// Runs a statement; gives at most that many bytes.
pub(super) async fn run(
    link: &mut PgConnection,
    sql: &str,
    args: &[SqlValue<'_>],
    most: u64,
) -> Result<Table, Problem> {
    if !PREPARED.contains(&&*first_word(sql)) {
        if !args.is_empty() {
            let text = "only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and WITH take arguments";
            return Err(Failure::Failed(text.to_owned()).into());
        }
        // The longer protocol, which takes one statement only.
        let query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
        return collect(query.fetch(link), most, value).await;
    }
    let execute = execute(args)?;
    let prepare = format!("PREPARE {NAME} AS {sql}");
    sqlx::query(AssertSqlSafe(prepare)).persistent(false).execute(&mut *link).await?;
    let result = collect(sqlx::raw_sql(AssertSqlSafe(execute)).fetch(&mut *link), most, value).await;
    // Takes effect even in a transaction that has failed, where it only can be sent after a rollback.
    if !matches!(result, Err(Problem::Ours(_))) {
        forget(link).await?;
    }
    result
}

/// Forgets the prepared statement. In a failed transaction the server refuses to: then the transaction ends
/// first, as it must in any case.
async fn forget(link: &mut PgConnection) -> Result<(), Problem> {
    for statement in ["DEALLOCATE msgscript", "ROLLBACK", "DEALLOCATE msgscript"] {
        match sqlx::raw_sql(statement).execute(&mut *link).await {
            Ok(_) if statement != "ROLLBACK" => return Ok(()),
            Ok(_) | Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The first word, in lower case, behind white space, comments and parentheses.
fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            return rest[..end].to_ascii_lowercase();
        };
    }
}

/// `EXECUTE` with the arguments as literals whose type the server finds.
fn execute(args: &[SqlValue<'_>]) -> Result<String, Failure> {
    let mut text = format!("EXECUTE {NAME}");
    for (at, value) in args.iter().enumerate() {
        text.push(if at == 0 { '(' } else { ',' });
        match value {
            SqlValue::Null => text.push_str("NULL"),
            SqlValue::Bool(value) => literal(&mut text, &value.to_string()),
            SqlValue::Int(value) => literal(&mut text, &value.to_string()),
            SqlValue::Float(value) => literal(&mut text, &value.to_string()),
            SqlValue::Text(bytes) => {
                let argument = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
                let wrong = || format!("pq: argument ${} is not UTF-8 or has a zero byte", at + 1);
                literal(&mut text, argument.ok_or_else(|| Failure::Failed(wrong()))?);
            }
        }
    }
    if !args.is_empty() {
        text.push(')');
    }
    Ok(text)
}

/// `E'…'`, which means the same whatever the server is set to.
fn literal(out: &mut String, text: &str) {
    out.push_str("E'");
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = match character {
            '\'' => out.write_str("''"),
            '\\' => out.write_str("\\\\"),
            other => out.write_char(other),
        };
    }
    out.push('\'');
}

/// A value: numbers and truth values are such, all else is text.
fn value(row: &PgRow, at: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    Ok(if raw.is_null() { Value::Null } else { present(raw) })
}

fn present(raw: PgValueRef<'_>) -> Value {
    let name = raw.type_info().name().to_owned();
    let binary = raw.format() == PgValueFormat::Binary;
    let bytes = <&[u8] as Decode<'_, Postgres>>::decode(raw.clone()).unwrap_or(b"");
    if binary {
        return binary_value(&name, bytes);
    }
    let text = raw.as_str().unwrap_or("");
    let plain = || Value::Text(text.as_bytes().to_vec());
    match &*name {
        "BOOL" => Value::Bool(text == "t"),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse().map_or_else(|_| plain(), Value::Int),
        "FLOAT4" | "FLOAT8" => text.parse().map_or_else(|_| plain(), Value::Float),
        _ => plain(),
    }
}

/// What `SHOW`, `EXPLAIN` and their like give: text, mostly.
fn binary_value(name: &str, bytes: &[u8]) -> Value {
    let whole = |size: usize| {
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let start = if negative { -1_i64 } else { 0 };
        (bytes.len() == size).then(|| bytes.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte)))
    };
    let number = match name {
        "BOOL" => return Value::Bool(bytes == [1]),
        "INT2" => whole(2),
        "INT4" => whole(4),
        "INT8" => whole(8),
        _ => None,
    };
    number.map_or_else(|| Value::Text(bytes.to_vec()), Value::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words() {
        for (sql, word) in [
            ("SELECT 1", "select"),
            (" -- x\n /* y */ ((Select 1))", "select"),
            ("BEGIN", "begin"),
            ("-- only", ""),
            ("/* open", ""),
            ("", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql:?}");
        }
    }

    #[test]
    fn arguments_are_literals() {
        let args = [
            SqlValue::Null,
            SqlValue::Bool(true),
            SqlValue::Int(-5),
            SqlValue::Float(0.5),
            SqlValue::Text(b"it's \\ E'x"),
        ];
        assert_eq!(execute(&args).unwrap(), r"EXECUTE msgscript(NULL,E'true',E'-5',E'0.5',E'it''s \\ E''x')");
        assert_eq!(execute(&[]).unwrap(), "EXECUTE msgscript");
        assert!(execute(&[SqlValue::Text(b"\xff")]).is_err() && execute(&[SqlValue::Text(b"\0")]).is_err());
    }

    #[test]
    fn binary_numbers() {
        assert_eq!(binary_value("INT4", &[0xff, 0xff, 0xff, 0xfe]), Value::Int(-2));
        assert_eq!(binary_value("INT2", &[1, 0]), Value::Int(256));
        assert_eq!(binary_value("INT8", &[0]), Value::Text(vec![0]));
    }
}
