//! SQLite: databases in the memory of a run, and the worker that opens the files of a granted folder.
//!
//! Takes SQL that a hostile script chose and plain values, gives rows or SQLite's message. What runs scripts
//! has only [`Database::in_memory`], on a SQLite that knows no file system ([`no_files`]); a worker set up as
//! `Engine::Sqlite` opens files, which ones is for its jail to say. All of SQLite's memory is counted
//! ([`memory`]).

mod memory;
mod no_files;
mod table;

use msgscript_proto::codec;
use msgscript_proto::message::{Setup, ToBroker, ToWorker};
use msgscript_proto::sql::{SqlValue, SqliteCall, SqliteReply, Table, Values};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, Statement, ToSql};

use crate::link::Link;
use crate::{heap, jail};

/// What a worker with files may take besides what a query may, in bytes.
const OWN_MEMORY: u64 = 64 << 20;

/// How long to wait for another process's lock on a file, in milliseconds: as the Go server's driver.
const BUSY_MS: u64 = 5000;

/// The exit status of a worker whose broker broke the protocol (`EX_PROTOCOL`).
const PROTOCOL: i32 = 76;

/// The exit status of a worker whose SQLite cannot be set up (`EX_SOFTWARE`).
const NO_ENGINE: i32 = 70;

/// Why a query gave nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The memory limit is reached.
    #[error("out of memory")]
    Memory,
    /// The rows are larger than allowed.
    #[error("the result is too large")]
    TooLarge,
    /// What SQLite said.
    #[error("{0}")]
    Sqlite(String),
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::OutOfMemory) {
            return SqlError::Memory;
        }
        match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => SqlError::Sqlite(text),
            rusqlite::Error::SqlInputError { msg, .. } => SqlError::Sqlite(msg),
            other => SqlError::Sqlite(other.to_string()),
        }
    }
}

/// Makes SQLite count its memory, and know no files. For workers that run scripts; once, before the jail
/// closes and before any other use.
///
/// # Errors
/// When SQLite refuses.
pub fn prepare_without_files() -> Result<(), SqlError> {
    memory::count()?;
    no_files::install()
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
}

impl Database {
    /// A new one, empty, in memory.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn in_memory() -> Result<Database, SqlError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Database::with(Connection::open_in_memory_with_flags(flags)?)
    }

    /// That of a file, which is made if it is missing and may be.
    fn open(path: &str, read_only: bool) -> Result<Database, SqlError> {
        let access = if read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        };
        let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        Database::with(connection)
    }

    fn with(connection: Connection) -> Result<Database, SqlError> {
        // As the Go server's driver has them; and nothing is to be spilled into temporary files.
        connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY")?;
        Ok(Database { connection })
    }

    /// Runs the last of these statements; those before it are only compiled, as the Go server's driver does.
    /// `most` bounds the rows, in bytes.
    ///
    /// # Errors
    /// What SQLite says; the rows that were stepped through until then are lost.
    pub fn query(&self, sql: &[u8], args: &[SqlValue<'_>], most: u64) -> Result<Table, SqlError> {
        let sql = std::str::from_utf8(sql).map_err(|_| SqlError::Sqlite("the query is not UTF-8".into()))?;
        let mut statements = Batch::new(&self.connection, sql);
        let mut rest = args;
        let mut last: Option<Statement<'_>> = None;
        while let Some(mut statement) = statements.next()? {
            rest = bind(&mut statement, rest)?;
            last = Some(statement);
        }
        match last {
            Some(mut statement) => table::run(&mut statement, most),
            None => Ok(Table::default()),
        }
    }
}

/// Binds as many arguments as the statement has places; gives the others.
fn bind<'a, 'v>(
    statement: &mut Statement<'_>,
    args: &'a [SqlValue<'v>],
) -> Result<&'a [SqlValue<'v>], SqlError> {
    let wanted = statement.parameter_count();
    let Some((own, rest)) = args.split_at_checked(wanted) else {
        let text = format!("not enough args to execute query: want {wanted} got {}", args.len());
        return Err(SqlError::Sqlite(text));
    };
    for (at, value) in own.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, Bound(value))?;
    }
    Ok(rest)
}

/// A value as SQLite takes it.
struct Bound<'a>(&'a SqlValue<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Bool(value) => ValueRef::Integer(value.into()),
            SqlValue::Int(value) => ValueRef::Integer(value),
            SqlValue::Float(value) => ValueRef::Real(value),
            SqlValue::Text(bytes) => ValueRef::Text(bytes),
        }))
    }
}

/// Serves the files of one folder until the broker closes its end. Gives the status to exit with.
#[must_use]
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    if memory::count().is_err() {
        return NO_ENGINE;
    }
    if let Err(status) = jail::enter(link, setup, setup.memory.saturating_add(OWN_MEMORY), None) {
        return status;
    }
    let mut out = Link::new();
    let mut open = None;
    loop {
        match link.recv() {
            Ok(Some(bytes)) => match codec::decode(bytes) {
                Ok(ToWorker::Sqlite(call)) => {
                    heap::limit(usize::try_from(setup.memory).ok());
                    let answered = answer(&mut open, call, &mut out);
                    heap::limit(None);
                    if answered.is_err() {
                        return PROTOCOL;
                    }
                }
                _ => return PROTOCOL,
            },
            Ok(None) => return 0,
            Err(_) => return PROTOCOL,
        }
    }
}

fn answer(open: &mut Option<Database>, call: SqliteCall<'_>, out: &mut Link) -> std::io::Result<()> {
    match obey(open, call) {
        Ok(Some(table)) => out.send(&ToBroker::Sqlite(SqliteReply::Rows(table.as_wire()))),
        Ok(None) => out.send(&ToBroker::Sqlite(SqliteReply::Done)),
        Err(error) => out.send(&ToBroker::Sqlite(SqliteReply::Failed(&error.to_string()))),
    }
}

fn obey(open: &mut Option<Database>, call: SqliteCall<'_>) -> Result<Option<Table>, SqlError> {
    match call {
        SqliteCall::Open { path, read_only } => {
            // Its transaction and its locks go before the next one opens.
            *open = None;
            *open = Some(Database::open(path, read_only)?);
            Ok(None)
        }
        SqliteCall::Close => {
            *open = None;
            Ok(None)
        }
        SqliteCall::Query { sql, args, most } => {
            let database = open.as_ref().ok_or_else(|| SqlError::Sqlite("no file is open".into()))?;
            let Values(args) = codec::decode(args).map_err(|error| SqlError::Sqlite(error.to_string()))?;
            database.query(sql, &args, most).map(Some)
        }
    }
}

#[cfg(test)]
mod tests;
