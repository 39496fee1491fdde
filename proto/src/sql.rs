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
