//! The texts that name a database server: those of Go's MySQL driver, URLs, and libpq's keys and values.
//!
//! Takes text that a hostile script chose, gives its parts. Pure, but for [`read`].

mod mysql;
mod postgres;

use crate::config::tenant::Source;
use crate::host::sql::failure::Failure;

/// Which kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    MySql,
    Postgres,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the network.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// On this machine: the socket's path, for PostgreSQL that of its folder.
    Unix {
        /// The path.
        path: String,
        /// The port, which is part of PostgreSQL's sockets' names.
        port: u16,
    },
}

/// How far TLS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// Not at all.
    Off,
    /// If the server has it; nothing is verified.
    Prefer,
    /// Always; nothing is verified.
    Require,
    /// Always, with a certificate that a known authority signed.
    VerifyCa,
    /// The same, for this very name.
    Verify,
}

/// A server, a database of it, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Dsn {
    /// Which kind.
    pub driver: Driver,
    /// Where.
    pub place: Place,
    /// Who asks; may hold `{{secret:name}}`.
    pub user: String,
    /// The password; may hold `{{secret:name}}`.
    pub password: String,
    /// The database; empty: the server's choice.
    pub database: String,
    /// TLS.
    pub tls: Tls,
    /// The character set of MySQL's connection; empty: `utf8mb4`.
    pub charset: String,
}

impl std::fmt::Debug for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {}", self.driver, self.place, self.database)
    }
}

/// Why a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DsnError(String);

impl From<DsnError> for Failure {
    fn from(error: DsnError) -> Failure {
        Failure::Failed(error.0)
    }
}

fn wrong<T>(text: &str) -> Result<T, DsnError> {
    Err(DsnError(format!("invalid DSN: {text}")))
}

/// Whether a text is a name and no DSN: letters, digits, `-`, `_` and `.`.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Reads a DSN.
///
/// # Errors
/// When it is none.
pub(super) fn parse(text: &str) -> Result<Dsn, DsnError> {
    match text.split_once("://") {
        Some(("postgres" | "postgresql", rest)) => postgres::parse(rest),
        Some(("mysql", rest)) => mysql::parse(rest),
        Some((other, _)) if other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(DsnError(format!("sql: unknown driver \"{other}\" (forgotten import?)")))
        }
        _ => mysql::parse(text),
    }
}

/// A port from text.
fn port(text: &str) -> Result<u16, DsnError> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => wrong("the port is no number from 1 to 65535"),
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(text: &str, usual: u16) -> Result<Place, DsnError> {
    let (host, behind) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, behind)) if behind.is_empty() => (host, None),
            Some((host, behind)) => match behind.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return wrong("the address is malformed"),
            },
            None => return wrong("the address is malformed"),
        },
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = behind.map_or(Ok(usual), port)?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Place::Tcp { host: host.to_owned(), port })
}

/// Text with `%` escapes, which must be UTF-8.
fn decoded(text: &str) -> Result<String, DsnError> {
    match percent_encoding::percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => wrong("an escaped text is not UTF-8"),
    }
}

/// The URL of a configured database.
pub(super) async fn read(source: Source) -> Result<String, String> {
    let text = match source {
        Source::Text(text) => text,
        Source::Env(name) => {
            std::env::var(name.as_str()).map_err(|_| format!("{} is not set, or no text", name.as_str()))?
        }
        Source::File(path) => {
            let shown = path.display().to_string();
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
            let read = read.map_err(|error| error.to_string())?;
            read.map_err(|error| format!("{shown}: {error}"))?
        }
    };
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
