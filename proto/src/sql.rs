//! Values and rows of SQL, between scripts, the broker and the worker that opens SQLite's files.
//!
//! Arguments travel as a list of their own ([`Values`]), so that a request stays a plain value.

use bincode::{BorrowDecode, Encode};

/// What a column holds, or an argument.
#[derive(Debug, Clone, Copy, PartialEq, Encode, BorrowDecode)]
pub enum SqlValue<'a> {
    /// `NULL`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text or bytes.
    Text(&'a [u8]),
}

/// The arguments of a statement, encoded by [`crate::codec`] into bytes.
#[derive(Debug, Clone, PartialEq, Encode, BorrowDecode)]
pub struct Values<'a>(pub Vec<SqlValue<'a>>);

/// What a statement gave.
#[derive(Debug, Clone, PartialEq, Encode, BorrowDecode)]
pub struct Rows<'a> {
    /// The names of the columns, which may repeat.
    pub columns: Vec<&'a [u8]>,
    /// The values, row by row: as many in a row as there are columns.
    pub values: Vec<SqlValue<'a>>,
}

/// What a value takes in memory besides its text, in bytes: for counting against limits.
pub const VALUE_SIZE: usize = 32;

/// A value that owns its text.
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

impl Value {
    /// As it crosses.
    #[must_use]
    pub fn as_wire(&self) -> SqlValue<'_> {
        match self {
            Value::Null => SqlValue::Null,
            Value::Bool(value) => SqlValue::Bool(*value),
            Value::Int(value) => SqlValue::Int(*value),
            Value::Float(value) => SqlValue::Float(*value),
            Value::Text(bytes) => SqlValue::Text(bytes),
        }
    }
}

impl From<SqlValue<'_>> for Value {
    fn from(value: SqlValue<'_>) -> Value {
        match value {
            SqlValue::Null => Value::Null,
            SqlValue::Bool(value) => Value::Bool(value),
            SqlValue::Int(value) => Value::Int(value),
            SqlValue::Float(value) => Value::Float(value),
            SqlValue::Text(bytes) => Value::Text(bytes.to_vec()),
        }
    }
}

/// Rows that own their text, counted while they come in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<Vec<u8>>,
    /// The values, row by row.
    pub values: Vec<Value>,
    /// What that takes, in bytes, [`VALUE_SIZE`] for each value included.
    pub size: u64,
}

/// Rows take more bytes than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows take more bytes than they may")]
pub struct TooLarge;

impl Table {
    /// Adds a value.
    ///
    /// # Errors
    /// When all take more than `most` bytes.
    pub fn push(&mut self, value: Value, most: u64) -> Result<(), TooLarge> {
        self.count(value.as_wire(), most)?;
        self.values.push(value);
        Ok(())
    }

    /// Adds a copy of a value, which is not made when there is no room for it.
    ///
    /// # Errors
    /// When all take more than `most` bytes.
    pub fn copy(&mut self, value: SqlValue<'_>, most: u64) -> Result<(), TooLarge> {
        self.count(value, most)?;
        self.values.push(value.into());
        Ok(())
    }

    fn count(&mut self, value: SqlValue<'_>, most: u64) -> Result<(), TooLarge> {
        let text = if let SqlValue::Text(bytes) = value { bytes.len() } else { 0 };
        self.size = self.size.saturating_add((text + VALUE_SIZE) as u64);
        if self.size > most { Err(TooLarge) } else { Ok(()) }
    }

    /// A copy of what came over the wire.
    ///
    /// # Errors
    /// When it takes more than `most` bytes.
    pub fn from_wire(rows: &Rows<'_>, most: u64) -> Result<Table, TooLarge> {
        let columns = rows.columns.iter().map(|name| name.to_vec()).collect();
        let mut table = Table { columns, ..Table::default() };
        for value in &rows.values {
            table.copy(*value, most)?;
        }
        Ok(table)
    }

    /// As it crosses.
    #[must_use]
    pub fn as_wire(&self) -> Rows<'_> {
        let columns = self.columns.iter().map(Vec::as_slice).collect();
        Rows { columns, values: self.values.iter().map(Value::as_wire).collect() }
    }
}

/// Asks a worker of [`crate::message::Engine::Sqlite`].
#[derive(Debug, Clone, Copy, PartialEq, Encode, BorrowDecode)]
pub enum SqliteCall<'a> {
    /// Opens a file; what was open is closed. Answered by [`SqliteReply::Done`].
    Open {
        /// Its absolute path.
        path: &'a str,
        /// Whether nothing is to be changed.
        read_only: bool,
    },
    /// Runs statements, of which the last one gives rows.
    Query {
        /// The statements.
        sql: &'a [u8],
        /// Their arguments: [`Values`], encoded.
        args: &'a [u8],
        /// The most that the rows may take, in bytes, [`VALUE_SIZE`] for each value included.
        most: u64,
    },
    /// Closes the file; an unfinished transaction is undone. Answered by [`SqliteReply::Done`].
    Close,
}

/// What came of a [`SqliteCall`].
#[derive(Debug, Clone, PartialEq, Encode, BorrowDecode)]
pub enum SqliteReply<'a> {
    /// It was done.
    Done,
    /// Rows.
    Rows(Rows<'a>),
    /// What SQLite said.
    Failed(&'a str),
}
