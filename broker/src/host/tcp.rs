//! `tcp`: plain connections of a run. They are the run's own and close with it, however it ends.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msgscript_proto::net::TcpCall;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::net::{Net, NetError, io_text};
use super::{Answer, Caller};
use crate::policy::Policy;

/// Connections that a run may have open.
const MOST: usize = 16;

/// Bytes that one read gives at most.
const MOST_READ: u64 = 1 << 20;

/// What a script asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Connects.
    Open {
        /// `host:port`.
        address: String,
        /// How long it may take.
        timeout: Duration,
    },
    /// Sends all of it.
    Write {
        /// The connection.
        connection: u32,
        /// What to send.
        data: Bytes,
        /// How long it may take.
        timeout: Duration,
    },
    /// Waits for bytes.
    Read {
        /// The connection.
        connection: u32,
        /// As many as these at most.
        most: u32,
        /// How long it may take.
        timeout: Duration,
    },
    /// Closes.
    Close {
        /// The connection.
        connection: u32,
    },
}

impl Act {
    /// Copies a worker's request.
    #[must_use]
    pub fn from_wire(call: &TcpCall<'_>) -> Act {
        match *call {
            TcpCall::Open { address, timeout } => Act::Open {
                address: String::from_utf8_lossy(address).into_owned(),
                timeout: Duration::from_nanos(timeout),
            },
            TcpCall::Write { connection, data, timeout } => Act::Write {
                connection,
                data: Bytes::copy_from_slice(data),
                timeout: Duration::from_nanos(timeout),
            },
            TcpCall::Read { connection, most, timeout } => {
                Act::Read { connection, most, timeout: Duration::from_nanos(timeout) }
            }
            TcpCall::Close { connection } => Act::Close { connection },
        }
    }

    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Act::Open { address, .. } => address.len(),
            Act::Write { data, .. } => data.len(),
            Act::Read { .. } | Act::Close { .. } => 0,
        }
    }
}

/// The connections of one run, by number. A run does one thing at a time, so one that is in use is simply
/// not there meanwhile.
#[derive(Debug, Default)]
pub struct Connections(RefCell<Vec<Option<TcpStream>>>);

impl Connections {
    fn take(&self, connection: u32) -> Option<TcpStream> {
        self.0.borrow_mut().get_mut(connection as usize)?.take()
    }

    fn put(&self, connection: u32, stream: TcpStream) {
        if let Some(place) = self.0.borrow_mut().get_mut(connection as usize) {
            *place = Some(stream);
        }
    }

    fn add(&self, stream: TcpStream) -> Result<u32, String> {
        let mut all = self.0.borrow_mut();
        if all.iter().flatten().count() >= MOST {
            return Err(format!("more than {MOST} connections are open"));
        }
        let number = u32::try_from(all.len()).map_err(|error| error.to_string())?;
        all.push(Some(stream));
        Ok(number)
    }
}

/// Does what is asked.
pub async fn act(net: &Net, policy: &Policy, caller: &Caller, act: Act) -> Answer {
    let until = |timeout| {
        let own = Instant::now().checked_add(timeout);
        own.map_or(caller.invocation.deadline, |own| own.min(caller.invocation.deadline)).into()
    };
    match act {
        Act::Open { address, timeout } => {
            let opening = open(net, policy, &address);
            match tokio::time::timeout_at(until(timeout), opening).await {
                Ok(Ok(stream)) => match caller.connections.add(stream) {
                    Ok(number) => Answer::Opened(number),
                    Err(text) => Answer::Failed(text),
                },
                Ok(Err(NetError::Denied(denied))) => denied.into(),
                Ok(Err(NetError::Failed(text))) => Answer::Failed(text),
                Err(_) => Answer::Failed(format!("dial tcp {address}: i/o timeout")),
            }
        }
        Act::Write { connection, data, timeout } => {
            let Some(mut stream) = caller.connections.take(connection) else { return closed("write") };
            let writing = tokio::time::timeout_at(until(timeout), stream.write_all(&data)).await;
            let answer = match flat(writing) {
                Ok(()) => Answer::Done,
                Err(why) => Answer::Failed(format!("write {}: {why}", ends(&stream))),
            };
            caller.connections.put(connection, stream);
            answer
        }
        Act::Read { connection, most, timeout } => {
            let Some(mut stream) = caller.connections.take(connection) else { return closed("read") };
            let most = u64::from(most).min(MOST_READ).min(caller.room);
            let mut buffer = vec![0; usize::try_from(most).unwrap_or(0)];
            let reading = tokio::time::timeout_at(until(timeout), stream.read(&mut buffer)).await;
            let answer = match flat(reading) {
                Ok(size) => {
                    buffer.truncate(size);
                    Answer::Bytes(buffer.into())
                }
                Err(why) => Answer::Failed(format!("read {}: {why}", ends(&stream))),
            };
            caller.connections.put(connection, stream);
            answer
        }
        Act::Close { connection } => match caller.connections.take(connection) {
            Some(_) => Answer::Done,
            None => closed("close"),
        },
    }
}

async fn open(net: &Net, policy: &Policy, address: &str) -> Result<TcpStream, NetError> {
    let bad = |why: &str| NetError::Failed(format!("dial tcp: address {address}: {why}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(|| bad("missing port in address"))?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(|| bad("missing ']' in address"))?,
        None if host.contains(':') => return Err(bad("too many colons in address")),
        None if host.is_empty() => "127.0.0.1",
        None => host,
    };
    let port = port.parse().map_err(|_| bad("invalid port"))?;
    let target = policy.connect(host, port)?;
    net.connect(policy, &target).await
}

fn flat<T>(ended: Result<io::Result<T>, tokio::time::error::Elapsed>) -> Result<T, String> {
    match ended {
        Ok(ended) => ended.map_err(|error| io_text(&error)),
        Err(_) => Err("i/o timeout".to_owned()),
    }
}

fn closed(act: &str) -> Answer {
    Answer::Failed(format!("{act} tcp: use of closed network connection"))
}

fn ends(stream: &TcpStream) -> String {
    let text = |address: io::Result<SocketAddr>| address.map_or_else(|_| "?".to_owned(), |it| it.to_string());
    format!("tcp {}->{}", text(stream.local_addr()), text(stream.peer_addr()))
}
