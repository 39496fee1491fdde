//! What a statement gave, counted while it comes in.

use msgscript_proto::sql::{Rows, SqlValue, VALUE_SIZE};

use super::failure::Failure;

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
    pub columns: Vec<String>,
    /// The values, row by row.
    pub values: Vec<Value>,
    /// What that takes, in bytes, [`VALUE_SIZE`] for each value included.
    pub size: u64,
}

impl Table {
    /// Adds a value, as long as all take no more than `most` bytes.
    pub(super) fn push(&mut self, value: Value, most: u64) -> Result<(), Failure> {
        let text = if let Value::Text(bytes) = &value { bytes.len() } else { 0 };
        self.size = self.size.saturating_add((text + VALUE_SIZE) as u64);
        if self.size > most {
            return Err(Failure::Broken("limit of bytes that host calls may bring in reached".to_owned()));
        }
        self.values.push(value);
        Ok(())
    }

    /// A copy of what came over the wire.
    pub(super) fn from_wire(rows: &Rows<'_>, most: u64) -> Result<Table, Failure> {
        let columns = rows.columns.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let mut table = Table { columns, ..Table::default() };
        for value in &rows.values {
            let value = match *value {
                SqlValue::Null => Value::Null,
                SqlValue::Bool(value) => Value::Bool(value),
                SqlValue::Int(value) => Value::Int(value),
                SqlValue::Float(value) => Value::Float(value),
                SqlValue::Text(bytes) => Value::Text(bytes.to_vec()),
            };
            table.push(value, most)?;
        }
        Ok(table)
    }

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
        Rows { columns: self.columns.iter().map(String::as_bytes).collect(), values: values.collect() }
    }
}
