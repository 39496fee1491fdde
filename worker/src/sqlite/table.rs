//! The rows of a statement, as values of ours.

use msgscript_proto::sql::{Rows, SqlValue, VALUE_SIZE};
use rusqlite::Statement;
use rusqlite::types::ValueRef;

use super::SqlError;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text or bytes.
    Text(Vec<u8>),
}

/// What a statement gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<Vec<u8>>,
    /// The values, row by row.
    pub values: Vec<Value>,
}

impl Table {
    /// As it crosses.
    #[must_use]
    pub fn as_wire(&self) -> Rows<'_> {
        let values = self.values.iter().map(|value| match value {
            Value::Null => SqlValue::Null,
            Value::Bool(value) => SqlValue::Bool(*value),
            Value::Int(value) => SqlValue::Int(*value),
            Value::Float(value) => SqlValue::Float(*value),
            Value::Text(bytes) => SqlValue::Text(bytes),
        });
        Rows { columns: self.columns.iter().map(Vec::as_slice).collect(), values: values.collect() }
    }
}

/// Steps through a statement whose arguments are bound.
pub(super) fn run(statement: &mut Statement<'_>, most: usize) -> Result<Table, SqlError> {
    let mut booleans = Vec::new();
    let mut table = Table::default();
    for column in statement.columns() {
        table.columns.push(column.name().as_bytes().to_vec());
        booleans.push(column.decl_type().is_some_and(|kind| kind.eq_ignore_ascii_case("boolean")));
    }
    let mut size = 0_usize;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        for (at, boolean) in booleans.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) if *boolean => Value::Bool(number > 0),
                ValueRef::Integer(number) => Value::Int(number),
                ValueRef::Real(number) => Value::Float(number),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    size = size.saturating_add(bytes.len());
                    if size > most {
                        return Err(SqlError::TooLarge);
                    }
                    Value::Text(bytes.to_vec())
                }
            };
            size = size.saturating_add(VALUE_SIZE);
            table.values.push(value);
        }
        if size > most {
            return Err(SqlError::TooLarge);
        }
    }
    Ok(table)
}
