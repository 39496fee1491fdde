//! Connections that wait for their next run: few for each tenant and DSN, closed when nobody comes.
//!
//! A connection carries nothing from one run to the next: one whose session may have been changed ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use msgscript_proto::sql::{SqlValue, Table};
use sqlx::{MySqlConnection, PgConnection};
use tokio::sync::Semaphore;

use super::dsn::Dsn;
use super::failure::Failure;
use super::gate::Meter;
use super::server::Filled;
use super::{mysql, postgres};
use crate::secrets::Redactor;

/// Connections of one tenant to one DSN, in use or not.
const MOST: usize = 8;

/// Connections that wait, of all tenants together.
const MOST_IDLE: usize = 64;

/// How long one waits.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes on the wire beyond those of a result: the protocol's own.
const OVERHEAD: u64 = 1 << 20;

/// Whose connection, and to where; the login is part of it.
type Key = (Rc<str>, Rc<KeyDsn>);

/// A DSN that can be looked up.
#[derive(PartialEq, Eq)]
struct KeyDsn(Dsn);

impl std::hash::Hash for KeyDsn {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.user.hash(state);
        self.0.database.hash(state);
    }
}

/// A connection to a server.
pub(super) struct Connection {
    /// The protocol.
    pub link: Link,
    /// What may still come in.
    pub meter: Meter,
    /// Takes the login's secrets out of errors.
    pub redactor: Redactor,
}

/// A connection by its protocol.
pub(super) enum Link {
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

/// The pool.
#[derive(Default)]
pub(super) struct Pool {
    places: RefCell<HashMap<Key, Rc<Place>>>,
    idle: Cell<usize>,
    swept: Cell<bool>,
}

/// Connections of one key.
struct Place {
    /// Those that may still be made.
    free: Semaphore,
    idle: RefCell<Vec<(Instant, Connection)>>,
}

/// A connection that a run holds. It goes back when it is dropped, or ends.
pub(super) struct Held {
    pool: Weak<Pool>,
    place: Rc<Place>,
    /// `None` once it is broken.
    connection: Option<Connection>,
    /// Whether its session may have been changed.
    changed: bool,
    /// Whether its time was told to the server.
    timed: bool,
}

impl Pool {
    /// A connection of that tenant to that DSN: one that waits, or what `dial` gives. Waits while too many are
    /// in use.
    pub(super) async fn acquire(
        self: &Rc<Self>,
        tenant: &Rc<str>,
        filled: Filled,
        dial: impl AsyncFnOnce(&Filled) -> Result<Connection, Failure>,
    ) -> Result<Held, Failure> {
        let key = (tenant.clone(), Rc::new(KeyDsn(filled.dsn.clone())));
        let new = || Rc::new(Place { free: Semaphore::new(MOST), idle: RefCell::default() });
        let place = self.places.borrow_mut().entry(key).or_insert_with(new).clone();
        // Given back by `Held`.
        let permit = place.free.acquire().await.map_err(|error| Failure::Failed(error.to_string()))?;
        permit.forget();
        let mut held = Held {
            pool: Rc::downgrade(self),
            place: place.clone(),
            connection: None,
            changed: false,
            timed: false,
        };
        self.drop_old();
        let waiting = place.idle.borrow_mut().pop();
        held.connection = Some(match waiting {
            Some((_, connection)) => {
                self.idle.set(self.idle.get().saturating_sub(1));
                connection
            }
            None => dial(&filled).await?,
        });
        Ok(held)
    }

    /// Closes those that nobody uses.
    pub(super) fn forget(&self) {
        for place in self.places.borrow().values() {
            place.idle.borrow_mut().clear();
        }
        self.idle.set(0);
    }

    /// Closes those that have waited long enough; forgets keys that nobody uses.
    fn drop_old(&self) {
        let mut left = 0;
        self.places.borrow_mut().retain(|_, place| {
            let mut idle = place.idle.borrow_mut();
            idle.retain(|(since, _)| since.elapsed() < IDLE);
            left += idle.len();
            !idle.is_empty() || Rc::strong_count(place) > 1
        });
        self.idle.set(left);
    }

    /// Looks after those that wait until there are none.
    fn sweep(self: &Rc<Self>) {
        if self.swept.replace(true) {
            return;
        }
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(IDLE / 4).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.drop_old();
                if pool.idle.get() == 0 {
                    pool.swept.set(false);
                    return;
                }
            }
        });
    }
}

impl Held {
    /// Runs a statement; says whether the connection is still good.
    pub(super) async fn run(
        &mut self,
        sql: &[u8],
        args: &[SqlValue<'_>],
        most: u64,
        time: Duration,
    ) -> (Result<Table, Failure>, bool) {
        let Ok(sql) = std::str::from_utf8(sql) else {
            return (Err(Failure::Failed("the query is not UTF-8".to_owned())), true);
        };
        // Taken out: one whose statement is abandoned on the way is never used again.
        let Some(mut connection) = self.connection.take() else {
            return (Err(Failure::Broken("driver: bad connection".to_owned())), false);
        };
        self.changed |= changes_session(sql);
        // Text of numbers and headers of rows take more room on the wire than here, but not twice as much.
        connection.meter.allow(most.saturating_mul(2).saturating_add(OVERHEAD));
        let tell = !std::mem::replace(&mut self.timed, true);
        let late = || Err(Failure::Broken("context deadline exceeded".to_owned()));
        let running = connection.run(sql, args, most, tell.then_some(time));
        let result = tokio::time::timeout(time, running).await.unwrap_or_else(|_| late());
        let sound = !matches!(result, Err(Failure::Broken(_)));
        if sound {
            self.connection = Some(connection);
        }
        (result, sound)
    }
}

impl Connection {
    /// `tell`: for how long the server may work at each statement from now on.
    async fn run(
        &mut self,
        sql: &str,
        args: &[SqlValue<'_>],
        most: u64,
        tell: Option<Duration>,
    ) -> Result<Table, Failure> {
        let Connection { link, meter, redactor } = self;
        let result = match link {
            Link::MySql(link) => {
                if let Some(time) = tell {
                    mysql::tell_time(link, time).await?;
                }
                mysql::run(link, sql, args, most).await
            }
            Link::Postgres(link) => {
                if let Some(time) = tell {
                    postgres::tell_time(link, time).await?;
                }
                postgres::run(link, sql, args, most).await
            }
        };
        result.map_err(|problem| match problem {
            Problem::Ours(failure) => failure,
            Problem::Sql(error) => failure(&error, meter, redactor),
        })
    }
}

/// Why a statement gave nothing.
pub(super) enum Problem {
    /// For a reason of ours.
    Ours(Failure),
    /// By the client library or the server.
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Problem {
        Problem::Sql(error)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::Ours(failure)
    }
}

/// An error in the words of Go's drivers.
pub(super) fn failure(error: &sqlx::Error, meter: &Meter, redactor: &Redactor) -> Failure {
    let text = match error {
        sqlx::Error::Database(error) => {
            return Failure::Failed(redactor.text(
                mysql::error_text(error.as_ref()).unwrap_or_else(|| format!("pq: {}", error.message())),
            ));
        }
        _ if meter.is_used_up() => "limit of bytes that host calls may bring in reached".to_owned(),
        sqlx::Error::Io(error) => format!("driver: bad connection: {}", crate::host::net::io_text(error)),
        other => other.to_string(),
    };
    Failure::Broken(redactor.text(text))
}

/// Whether a statement may leave something in its session: a transaction, a variable, a lock, a temporary table.
fn changes_session(sql: &str) -> bool {
    const PLAIN: [&str; 7] = ["select", "insert", "update", "delete", "replace", "values", "show"];
    const MARKS: [&str; 5] = ["@", "lock", "set_config", "temp", "into"];
    let lower = sql.trim_start().to_ascii_lowercase();
    let word = lower.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    let writes_into = word == "insert" || word == "replace";
    !PLAIN.contains(&word)
        || MARKS.iter().any(|mark| lower.contains(mark) && !(*mark == "into" && writes_into))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.place.free.add_permits(1);
        let (Some(connection), false, Some(pool)) =
            (self.connection.take(), self.changed, self.pool.upgrade())
        else {
            return;
        };
        if pool.idle.get() < MOST_IDLE {
            pool.idle.set(pool.idle.get() + 1);
            self.place.idle.borrow_mut().push((Instant::now(), connection));
            pool.sweep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::changes_session;

    #[test]
    fn what_changes_a_session() {
        for plain in ["SELECT 1", " insert INTO t VALUES (1)", "UPDATE t SET a = 1", "SHOW TABLES"] {
            assert!(!changes_session(plain), "{plain}");
        }
        for changing in [
            "BEGIN",
            "SET x = 1",
            "SELECT @a := 1",
            "SELECT get_lock('a', 1)",
            "SELECT set_config('a', 'b', false)",
            "SELECT 1 INTO TEMPORARY t",
            "/* x */ BEGIN",
            "WITH x AS (SELECT 1) SELECT 1",
            "",
        ] {
            assert!(changes_session(changing), "{changing}");
        }
    }
}
