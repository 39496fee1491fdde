//! The rows of a statement, as values of ours.

use msgscript_proto::sql::{SqlValue, Table};
use rusqlite::Statement;
use rusqlite::types::ValueRef;

use super::SqlError;

/// Steps through a statement whose arguments are bound.
pub(super) fn run(statement: &mut Statement<'_>, most: u64) -> Result<Table, SqlError> {
    let mut booleans = Vec::new();
    let mut table = Table::default();
    for column in statement.columns() {
        table.columns.push(column.name().as_bytes().to_vec());
        booleans.push(column.decl_type().is_some_and(|kind| kind.eq_ignore_ascii_case("boolean")));
    }
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        for (at, boolean) in booleans.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Null => SqlValue::Null,
                ValueRef::Integer(number) if *boolean => SqlValue::Bool(number > 0),
                ValueRef::Integer(number) => SqlValue::Int(number),
                ValueRef::Real(number) => SqlValue::Float(number),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => SqlValue::Text(bytes),
            };
            table.copy(value, most).map_err(|_| SqlError::TooLarge)?;
        }
    }
    Ok(table)
}
