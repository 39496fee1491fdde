//! One attempt to connect: TCP, the server's `INFO`, TLS, our `CONNECT`, until the server says that it is well.

use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::address::Login;
use super::intake::Intake;
use super::login::{Credentials, Info, connect};
use super::servers::Server;
use super::stream::Stream;
use crate::nats::protocol::server::ServerOp;
use crate::nats::protocol::{Limits, Parser};

/// How long an attempt may take, for each address of the server's name.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest line of a server: `INFO` tells of a whole cluster.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// What to show to servers.
#[derive(Clone, Default)]
pub(super) struct Papers {
    pub(super) login: Login,
    pub(super) creds: Option<PathBuf>,
    /// The roots; with some of its own, TLS is demanded.
    pub(super) ca: Option<PathBuf>,
}

/// A connection that the server has agreed to.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) server: Server,
    pub(super) stream: Stream,
    pub(super) intake: Intake,
    pub(super) info: Info,
    /// Subscriptions that the server knows already.
    pub(super) announced: Vec<u64>,
}

/// Connects.
///
/// # Errors
/// Why not, in words for the log.
pub(super) async fn dial(server: &Server, papers: &Papers) -> Result<Dialed, String> {
    let place = (server.address.host.as_str(), server.address.port);
    let addresses = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(place)).await;
    let addresses = addresses.map_err(|_| "its name is not resolved in time".to_owned())?;
    let mut error = "its name has no address".to_owned();
    for address in addresses.map_err(|error| error.to_string())? {
        let attempt = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            // Output is already gathered into one write. Without it replies are late, not lost.
            let _ = stream.set_nodelay(true);
            greet(stream, server, papers).await
        };
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(dialed)) => return Ok(dialed),
            Ok(Err(why)) => error = why,
            Err(_) => error = "it does not answer in time".to_owned(),
        }
    }
    Err(error)
}

async fn greet(stream: TcpStream, server: &Server, papers: &Papers) -> Result<Dialed, String> {
    let (mut stream, mut intake) = (Stream::Plain(stream), Intake::new());
    let mut parser = Parser::new(Limits { control_line: LONGEST_LINE, payload: 0 });
    let info = expect(&mut stream, &mut intake, &mut parser, |op| match op {
        ServerOp::Info(json) => Some(Info::parse(json)),
        _ => Some(Err("it does not begin with INFO".to_owned())),
    });
    let mut info = info.await?;
    let secure = server.address.tls || papers.ca.is_some();
    if secure || info.tls_required == Some(true) {
        if !intake.held().is_empty() {
            return Err("it speaks before TLS is agreed".to_owned());
        }
        stream = stream.secured(&server.name, papers.ca.clone()).await?;
    }
    if info.headers != Some(true) {
        return Err("it knows no message headers: NATS 2.2 or newer is needed".to_owned());
    }
    let creds = match &papers.creds {
        None => None,
        Some(path) => Some(Credentials::read(path.clone()).await?),
    };
    let mut line = connect(&papers.login, creds.as_ref(), &info, secure)?;
    line.extend_from_slice(b"PING\r\n");
    write(&mut stream, &line).await?;
    // A server in a cluster may tell more of itself before it says that it is well.
    while let Some(newer) = expect(&mut stream, &mut intake, &mut parser, well).await? {
        info = newer;
    }
    Ok(Dialed { server: server.clone(), stream, intake, info, announced: Vec::new() })
}

/// The answer to `CONNECT` and `PING`.
fn well(op: ServerOp<'_>) -> Option<Result<Option<Info>, String>> {
    match op {
        ServerOp::Pong => Some(Ok(None)),
        ServerOp::Info(json) => Some(Info::parse(json).map(Some)),
        ServerOp::Error(text) => Some(Err(String::from_utf8_lossy(text).into_owned())),
        _ => None,
    }
}

/// Writes all of it, now.
pub(super) async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())
}

/// Takes operations until `judge` has had its one.
async fn expect<T>(
    stream: &mut Stream,
    intake: &mut Intake,
    parser: &mut Parser,
    mut judge: impl FnMut(ServerOp<'_>) -> Option<Result<T, String>>,
) -> Result<T, String> {
    loop {
        let next = parser.next_of_server(intake.held());
        if let Some((op, length)) = next.map_err(|_| "it does not speak NATS".to_owned())? {
            let judged = judge(op);
            intake.take(length);
            match judged {
                Some(result) => return result,
                None => continue,
            }
        }
        let more = poll_fn(|context| intake.poll_fill(stream, context)).await;
        if more.map_err(|error| error.to_string())?.is_none() {
            return Err("it closes the connection".to_owned());
        }
    }
}
