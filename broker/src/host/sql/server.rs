//! A database server: how it is dialled.

use std::path::PathBuf;
use std::str::FromStr;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection as _};
use tokio::net::TcpStream;

use super::dsn::{Driver, Dsn, Place, Tls};
use super::failure::Failure;
use super::gate::{self, Meter};
use super::pool::{Connection, Link};
use crate::host::net::{Net, io_text};
use crate::policy::Policy;
use crate::secrets::{Redactor, Secrets};

/// Bytes that a server may send before the first query.
const GREETING: u64 = 1 << 20;

/// How often PostgreSQL looks whether its client is still there while it works, so that what nobody waits for
/// ends. Servers before version 14 do not know it.
const WATCH: &str = "SET client_connection_check_interval = '1s'";

/// A server that a client is for.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Where it is and who asks.
    pub dsn: Dsn,
    /// Whether it is the operator who says so; else its addresses are judged.
    pub configured: bool,
}

/// A DSN with its secrets in it: for the wire, and to tell connections apart.
#[derive(Clone)]
pub(super) struct Filled {
    /// The DSN.
    pub dsn: Dsn,
    /// Takes the secrets out of what comes back.
    pub redactor: Redactor,
}

impl Server {
    /// The DSN with its secrets, which must be bound to its host.
    pub(super) async fn fill(&self, policy: &Policy, secrets: &Secrets) -> Result<Filled, Failure> {
        let mut dsn = self.dsn.clone();
        let host = match &dsn.place {
            Place::Tcp { host, .. } => host.trim_end_matches('.').to_ascii_lowercase(),
            Place::Unix { .. } => "localhost".to_owned(),
        };
        let user = secrets.fill(policy, &dsn.user, &host).await?;
        let password = secrets.fill(policy, &dsn.password, &host).await?;
        let redactor = password.redactor;
        (dsn.user, dsn.password) = (user.text, password.text);
        Ok(Filled { dsn, redactor })
    }

    /// A new connection.
    pub(super) async fn dial(
        &self,
        policy: &Policy,
        net: &Net,
        filled: &Filled,
    ) -> Result<Connection, Failure> {
        let meter = Meter::default();
        meter.allow(GREETING);
        let socket = match &self.dsn.place {
            Place::Unix { path, .. } => path.clone(),
            Place::Tcp { host, port } => {
                let stream = if self.configured {
                    plain(host, *port).await?
                } else {
                    net.connect(policy, &policy.sql_server(host, *port)?).await?
                };
                let name = gate::new_name();
                let listener = match self.dsn.driver {
                    Driver::MySql => name.clone(),
                    Driver::Postgres => format!("{name}/.s.PGSQL.{port}"),
                };
                gate::open(stream, &listener, meter.clone())
                    .map_err(|error| Failure::Broken(error.to_string()))?;
                format!("\0{name}")
            }
        };
        let connected = match self.dsn.driver {
            Driver::MySql => mysql(&filled.dsn, socket.into()).await.map(Link::MySql),
            Driver::Postgres => postgres(&filled.dsn, socket.into()).await.map(Link::Postgres),
        };
        let link = connected.map_err(|error| super::pool::failure(&error, &meter, &filled.redactor))?;
        Ok(Connection { link, meter, redactor: filled.redactor.clone() })
    }
}

/// A connection to where the operator says, whatever its addresses are.
async fn plain(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::Broken(format!("dial tcp {host}:{port}: connect: {}", io_text(error)))
    };
    TcpStream::connect((host, port)).await.map_err(|error| failed(&error))
}

async fn mysql(dsn: &Dsn, socket: PathBuf) -> Result<sqlx::MySqlConnection, sqlx::Error> {
    let tls = match dsn.tls {
        Tls::Off => MySqlSslMode::Disabled,
        Tls::Prefer => MySqlSslMode::Preferred,
        Tls::Require => MySqlSslMode::Required,
        Tls::VerifyCa => MySqlSslMode::VerifyCa,
        Tls::Verify => MySqlSslMode::VerifyIdentity,
    };
    // A session as the Go driver leaves it: the server's own modes and time zone.
    let mut options = MySqlConnectOptions::new()
        .host(host(dsn))
        .socket(socket)
        .username(&dsn.user)
        .password(&dsn.password)
        .ssl_mode(tls)
        .statement_cache_capacity(0)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None);
    if !dsn.database.is_empty() {
        options = options.database(&dsn.database);
    }
    if !dsn.charset.is_empty() {
        options = options.charset(&dsn.charset);
    }
    options.disable_statement_logging().connect().await
}

async fn postgres(dsn: &Dsn, socket: PathBuf) -> Result<sqlx::PgConnection, sqlx::Error> {
    let tls = match dsn.tls {
        Tls::Off => PgSslMode::Disable,
        Tls::Prefer => PgSslMode::Prefer,
        Tls::Require => PgSslMode::Require,
        Tls::VerifyCa => PgSslMode::VerifyCa,
        Tls::Verify => PgSslMode::VerifyFull,
    };
    let port = match &dsn.place {
        Place::Tcp { port, .. } | Place::Unix { port, .. } => *port,
    };
    // Each of these is set, so that nothing of the broker's environment goes to a server that a script names.
    let mut options = PgConnectOptions::from_str("postgres://localhost")?
        .host(host(dsn))
        .port(port)
        .socket(socket)
        .username(&dsn.user)
        .password(&dsn.password)
        .ssl_mode(tls)
        .statement_cache_capacity(0)
        .application_name("msgscript");
    let database = if dsn.database.is_empty() { &dsn.user } else { &dsn.database };
    options = options.database(database);
    let mut connection = options.disable_statement_logging().connect().await?;
    match sqlx::raw_sql(WATCH).execute(&mut connection).await {
        Ok(_) | Err(sqlx::Error::Database(_)) => Ok(connection),
        Err(error) => {
            let _ = connection.close_hard().await;
            Err(error)
        }
    }
}

/// The name that a certificate must be for.
fn host(dsn: &Dsn) -> &str {
    match &dsn.place {
        Place::Tcp { host, .. } => host,
        Place::Unix { .. } => "localhost",
    }
}
