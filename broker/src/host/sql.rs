//! SQL: servers that a script or the configuration names, and SQLite's files in granted folders.
//!
//! Takes requests that policy judges first. A client of a script keeps one connection from its first query to the
//! run's end, so that what belongs together (`BEGIN`, `COMMIT`) stays together; then the connection goes back to
//! its pool, or ends if the run may have changed its state. Servers are reached only by addresses that were
//! judged, and send no more than the run may take in ([`gate`]).

mod clients;
mod dsn;
mod failure;
mod file;
mod gate;
mod mysql;
mod pool;
mod postgres;
mod server;
mod table;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msgscript_proto::codec;
use msgscript_proto::sql::{Table, Values};

use super::net::Net;
use super::{Answer, Caller};
use crate::config::tenant::Source;
use crate::policy::Policy;
use crate::secrets::Secrets;

pub use clients::Clients;

use clients::Client;
use failure::Failure;

/// Time that a run keeps for telling what failed.
const RESERVE: Duration = Duration::from_millis(50);

/// The largest result, in bytes: half of what a message to a worker can be.
const MOST: u64 = msgscript_proto::MAX_MESSAGE as u64 / 2;

/// The broker's way to databases.
pub struct Sql {
    net: Rc<Net>,
    /// The configured databases.
    named: RefCell<BTreeMap<String, Source>>,
    servers: Rc<pool::Pool>,
    files: Rc<file::Files>,
}

/// What a script asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Says where a client's queries go. Nothing is dialled.
    Connect {
        /// The script's number for its client.
        client: u32,
        /// A DSN, or the name of a configured database.
        target: String,
    },
    /// Opens a file of a granted folder for a client.
    Open {
        /// The script's number for its client.
        client: u32,
        /// Its absolute path.
        path: String,
        /// Whether nothing is to be changed.
        read_only: bool,
    },
    /// Runs a statement.
    Query(Query),
    /// Ends a client's connection.
    Close {
        /// The script's number for its client.
        client: u32,
    },
}

impl Act {
    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Act::Connect { target, .. } => target.len(),
            Act::Open { path, .. } => path.len(),
            Act::Query(query) => query.sql.len() + query.args.len(),
            Act::Close { .. } => 0,
        }
    }
}

/// A statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The script's number for its client.
    pub client: u32,
    /// The longest it may take; zero: as long as the run may.
    pub timeout: Duration,
    /// The statement.
    pub sql: Bytes,
    /// Its arguments, encoded [`Values`].
    pub args: Bytes,
}

impl Sql {
    /// A way to databases; files are opened by processes of this pool.
    #[must_use]
    pub fn new(net: Rc<Net>, workers: Rc<crate::pool::Pool>) -> Sql {
        let (servers, files) = (Rc::default(), Rc::new(file::Files::new(workers)));
        Sql { net, named: RefCell::default(), servers, files }
    }

    /// Does what a script asks for, if it may.
    pub async fn answer(&self, policy: &Policy, secrets: &Secrets, caller: &Caller, act: Act) -> Answer {
        match act {
            Act::Connect { client, target } => self.connect(policy, caller, client, &target).await,
            Act::Open { client, path, read_only } => {
                self.open(policy, caller, client, (&path, read_only)).await
            }
            Act::Query(query) => self.query(policy, secrets, caller, query).await,
            Act::Close { client } => {
                drop(caller.clients.take(client));
                Answer::Done
            }
        }
    }

    /// A configuration comes into force: these databases have names. Connections that nobody uses are closed.
    pub fn configure(&self, databases: &BTreeMap<String, Source>) {
        self.named.borrow_mut().clone_from(databases);
        self.servers.forget();
        self.files.forget();
    }

    async fn connect(&self, policy: &Policy, caller: &Caller, client: u32, target: &str) -> Answer {
        match self.server(policy, target).await {
            Ok(server) => answer(
                caller.clients.add(client, Client::Server { server: Box::new(server), connection: None }),
            ),
            Err(failure) => failure.into(),
        }
    }

    /// The server of a DSN, or of the configured database of that name.
    async fn server(&self, policy: &Policy, target: &str) -> Result<server::Server, Failure> {
        if dsn::is_name(target) {
            let name = policy.database(target)?.into_inner();
            let source = self.named.borrow().get(&name).cloned();
            let source = source.ok_or_else(|| match dsn::parse(target) {
                Err(error) => Failure::from(error),
                Ok(_) => Failure::Failed(format!("there is no database {name}")),
            })?;
            let text = dsn::read(source).await.map_err(|error| {
                tracing::error!(database = name, error, "a database's URL cannot be read");
                Failure::Failed(format!("the URL of the database {name} cannot be read"))
            })?;
            let dsn = dsn::parse(&text).map_err(|error| {
                tracing::error!(database = name, %error, "a database's URL is wrong");
                Failure::Failed(format!("the URL of the database {name} is wrong"))
            })?;
            return Ok(server::Server { dsn, configured: true });
        }
        let dsn = dsn::parse(target)?;
        // Judged again, with its addresses, whenever it is dialled.
        let dsn::Place::Tcp { host, port } = &dsn.place else {
            return Err(Failure::Denied(
                "denied: sockets of the host are for configured databases".to_owned(),
            ));
        };
        let _ = policy.sql_server(host, *port)?;
        Ok(server::Server { dsn, configured: false })
    }

    async fn open(&self, policy: &Policy, caller: &Caller, client: u32, file: (&str, bool)) -> Answer {
        let permitted = match policy.sqlite(file.0, file.1) {
            Ok(Some(permitted)) => permitted,
            Ok(None) => return Answer::NotFound,
            Err(denied) => return denied.into(),
        };
        let opening = self.files.open(&policy.tenant, permitted);
        match in_time(caller, Duration::ZERO, opening).await {
            Ok(file) => answer(caller.clients.add(client, Client::File(Some(file)))),
            Err(failure) => failure.into(),
        }
    }

    async fn query(&self, policy: &Policy, secrets: &Secrets, caller: &Caller, query: Query) -> Answer {
        let Some(mut client) = caller.clients.take(query.client) else {
            return Answer::Failed("the client is not connected".to_owned());
        };
        let result = self.run((policy, secrets), caller, &mut client, &query).await;
        // A client whose query did not come to an end has lost its connection, not its place.
        caller.clients.give_back(query.client, client);
        match result {
            Ok(table) => Answer::Rows(table),
            Err(failure) => failure.into(),
        }
    }

    async fn run(
        &self,
        (policy, secrets): (&Policy, &Secrets),
        caller: &Caller,
        client: &mut Client,
        query: &Query,
    ) -> Result<Table, Failure> {
        let Values(args) = codec::decode(&query.args).map_err(|error| Failure::Failed(error.to_string()))?;
        let most = caller.room.min(MOST);
        match client {
            Client::Server { server, connection } => {
                let mut held = match connection.take() {
                    Some(held) => held,
                    None => {
                        let acquire = self.acquire(policy, secrets, server);
                        in_time(caller, query.timeout, acquire).await?
                    }
                };
                let time = left(caller, query.timeout);
                let (result, sound) = held.run(&query.sql, &args, most, time).await;
                if sound {
                    *connection = Some(held);
                }
                result
            }
            Client::File(opened) => {
                let mut held = opened.take().ok_or_else(|| Failure::Failed(file::LOST.to_owned()))?;
                let result = in_time(caller, query.timeout, held.run(&query.sql, &query.args, most)).await;
                if !matches!(result, Err(Failure::Broken(_))) {
                    *opened = Some(held);
                }
                result
            }
        }
    }

    /// A connection to a server: one that waits in the pool, or a new one.
    async fn acquire(
        &self,
        policy: &Policy,
        secrets: &Secrets,
        server: &server::Server,
    ) -> Result<pool::Held, Failure> {
        let filled = server.fill(policy, secrets).await?;
        let dial = async |filled: &server::Filled| server.dial(policy, &self.net, filled).await;
        self.servers.acquire(&policy.tenant, filled, dial).await
    }
}

fn answer(result: Result<(), Failure>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(failure) => failure.into(),
    }
}

/// The time that is left for a call.
fn left(caller: &Caller, timeout: Duration) -> Duration {
    let left = caller.invocation.deadline.saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
    if timeout.is_zero() { left } else { left.min(timeout) }
}

async fn in_time<T>(
    caller: &Caller,
    timeout: Duration,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Err(Failure::Broken("context deadline exceeded".to_owned()));
    tokio::time::timeout(left(caller, timeout), call).await.unwrap_or_else(|_| late())
}
