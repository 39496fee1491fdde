//! MySQL and MariaDB: statements, and their values as Go's driver has them.
//!
//! Every statement is prepared, so that a second one cannot ride behind the first; and the client never offers to
//! send files (`LOAD DATA LOCAL`).

use std::time::Duration;

use msgscript_proto::sql::{SqlValue, Table, Value};
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlDatabaseError, MySqlRow, MySqlValueRef};
use sqlx::{AssertSqlSafe, Decode, MySql, MySqlConnection, Row, TypeInfo, ValueRef};

use super::failure::Failure;
use super::pool::Problem;
use super::table::collect;

/// "This command is not supported in the prepared statement protocol yet".
const NOT_PREPARED: u16 = 1295;

/// `Error 1064 (42000): …`, if it is an error of this kind of server.
pub(super) fn error_text(error: &dyn DatabaseError) -> Option<String> {
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    let state = error.code().map(|state| format!(" ({state})")).unwrap_or_default();
    Some(format!("Error {}{state}: {}", error.number(), error.message()))
}

/// Has the server end each statement after that time: MariaDB, or else MySQL.
pub(super) async fn tell_time(link: &mut MySqlConnection, time: Duration) -> Result<(), Failure> {
    let mariadb = format!("SET SESSION max_statement_time = {:.3}", time.as_secs_f64().max(0.001));
    let mysql = format!("SET SESSION max_execution_time = {}", time.as_millis().max(1));
    for statement in [mariadb, mysql] {
        match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *link).await {
            Ok(_) => return Ok(()),
            // A server that knows neither is bounded by our own clock only.
            Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(Failure::Broken(error.to_string())),
        }
    }
    Ok(())
}

/// Runs a statement; gives at most that many bytes.
pub(super) async fn run(
    link: &mut MySqlConnection,
    sql: &str,
    args: &[SqlValue<'_>],
    most: u64,
) -> Result<Table, Problem> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
    for value in args {
        query = match *value {
            SqlValue::Null => query.bind(None::<String>),
            SqlValue::Bool(value) => query.bind(value),
            SqlValue::Int(value) => query.bind(value),
            SqlValue::Float(value) => query.bind(value),
            SqlValue::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => query.bind(text.to_owned()),
                Err(_) => query.bind(bytes.to_vec()),
            },
        };
    }
    match collect(query.fetch(&mut *link), most, value).await {
        Err(Problem::Sql(sqlx::Error::Database(error)))
            if args.is_empty() && is_not_prepared(error.as_ref()) && is_single(sql) =>
        {
            collect(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(link), most, value).await
        }
        other => other,
    }
}

fn is_not_prepared(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| error.number() == NOT_PREPARED)
}

/// Whether no second statement can be in it.
fn is_single(sql: &str) -> bool {
    !sql.trim_end().trim_end_matches(';').contains(';')
}

/// A value, by the binary form of the server's type; in the text form, as text or number.
fn value(row: &MySqlRow, at: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    Ok(if raw.is_null() { Value::Null } else { present(raw) })
}

fn present(raw: MySqlValueRef<'_>) -> Value {
    let info = raw.type_info().into_owned();
    let Ok(bytes) = <&[u8] as Decode<'_, MySql>>::decode(raw) else { return Value::Null };
    let name = info.name();
    let unsigned = name.ends_with("UNSIGNED");
    match name.split(' ').next().unwrap_or(name) {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => {
            whole(bytes, unsigned)
        }
        "FLOAT" => match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => Value::Float(f64::from(f32::from_le_bytes(bytes))),
            Err(_) => Value::Text(bytes.to_vec()),
        },
        "DOUBLE" => match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => Value::Float(f64::from_le_bytes(bytes)),
            Err(_) => Value::Text(bytes.to_vec()),
        },
        "DATE" => Value::Text(date(bytes, false)),
        "DATETIME" | "TIMESTAMP" => Value::Text(date(bytes, true)),
        "TIME" => Value::Text(time(bytes)),
        _ => Value::Text(bytes.to_vec()),
    }
}

/// A whole number of 1 to 8 bytes.
fn whole(bytes: &[u8], unsigned: bool) -> Value {
    let mut full = [0; 8];
    let Some(room) = full.get_mut(..bytes.len()) else { return Value::Text(bytes.to_vec()) };
    room.copy_from_slice(bytes);
    let number = u64::from_le_bytes(full);
    if unsigned {
        #[allow(clippy::cast_precision_loss, reason = "numbers of scripts are doubles")]
        return i64::try_from(number).map_or(Value::Float(number as f64), Value::Int);
    }
    // The sign of the shorter number becomes that of the longer.
    let spare = 64 - 8 * u32::try_from(bytes.len()).unwrap_or(8);
    Value::Int(number.checked_shl(spare).unwrap_or(0).cast_signed().checked_shr(spare).unwrap_or(0))
}

/// `2024-05-06`, or `2024-05-06 07:08:09[.123456]`. The binary form leaves out zeros at its end.
fn date(bytes: &[u8], with_time: bool) -> Vec<u8> {
    let mut full = [0; 11];
    let given = bytes.get(1..).unwrap_or(b"");
    for (to, from) in full.iter_mut().zip(given) {
        *to = *from;
    }
    let [year, century, month, day, hour, minute, second, a, b, c, d] = full;
    let year = u16::from_le_bytes([year, century]);
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if with_time {
        text += &format!(" {hour:02}:{minute:02}:{second:02}{}", fraction(u32::from_le_bytes([a, b, c, d])));
    }
    text.into_bytes()
}

/// `[-]26:07:08[.123456]`: hours count days too.
fn time(bytes: &[u8]) -> Vec<u8> {
    let mut full = [0; 12];
    let given = bytes.get(1..).unwrap_or(b"");
    for (to, from) in full.iter_mut().zip(given) {
        *to = *from;
    }
    let [negative, day0, day1, day2, day3, hour, minute, second, a, b, c, d] = full;
    let hours = u64::from(u32::from_le_bytes([day0, day1, day2, day3])) * 24 + u64::from(hour);
    let sign = if negative == 0 { "" } else { "-" };
    let fraction = fraction(u32::from_le_bytes([a, b, c, d]));
    format!("{sign}{hours:02}:{minute:02}:{second:02}{fraction}").into_bytes()
}

fn fraction(micros: u32) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_forms() {
        assert_eq!(whole(&[0xff], false), Value::Int(-1));
        assert_eq!(whole(&[0xff], true), Value::Int(255));
        assert_eq!(whole(&[0xfe, 0xff], false), Value::Int(-2));
        assert_eq!(whole(&[0xff; 8], true), Value::Float(18_446_744_073_709_551_615.0));
        assert_eq!(whole(&[], false), Value::Int(0));
        assert_eq!(whole(b"123456789", false), Value::Text(b"123456789".to_vec()));
        assert_eq!(date(&[4, 0xe8, 7, 5, 6], false), b"2024-05-06");
        assert_eq!(date(&[0], true), b"0000-00-00 00:00:00");
        assert_eq!(date(&[11, 0xe8, 7, 5, 6, 7, 8, 9, 64, 226, 1, 0], true), b"2024-05-06 07:08:09.123456");
        assert_eq!(time(&[8, 1, 1, 0, 0, 0, 2, 3, 4]), b"-26:03:04");
        assert_eq!(time(&[]), b"00:00:00");
    }

    #[test]
    fn single_statements() {
        assert!(is_single("BEGIN") && is_single("BEGIN ; "));
        assert!(!is_single("BEGIN; DROP TABLE t"));
    }
}
