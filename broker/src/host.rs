//! The powers: what a script may ask of the broker, one file each.
//!
//! Takes a call that policy permitted, gives the answer. A worker's request is copied out of its packet
//! before anything else looks at it. `dispatch` asks the policy and hands each call to its file.

pub mod command;
mod dispatch;
pub mod env;
pub mod etcd;
pub mod files;
pub mod http;
pub mod library;
pub mod nats;
pub mod net;
pub mod sql;
mod sleep;
pub mod tcp;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message;

use crate::catalog::Part;
use crate::invocation::Invocation;
use crate::policy::Denied;
use crate::policy::grant::FileScope;
use crate::telemetry::trace::{Span, SpanKind};

/// A call, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `nats.publish`.
    NatsPublish {
        /// Where to.
        subject: String,
        /// The message.
        payload: Bytes,
    },
    /// `require` of a library.
    Library {
        /// Its name.
        name: String,
    },
    /// `os.getenv`.
    Env {
        /// The variable's name.
        name: String,
    },
    /// Which folders of the host may be used.
    Folders,
    /// Something in one of them.
    File(files::Operation),
    /// A command of the host.
    Command(command::Command),
    /// `nats.request`.
    NatsRequest {
        /// Where to.
        subject: String,
        /// The message.
        payload: Bytes,
        /// How long to wait for the reply.
        timeout: Duration,
    },
    /// Requests of `http`, made at the same time.
    Http(Vec<http::Request>),
    /// An act of `tcp`.
    Tcp(tcp::Act),
    /// An act of `etcd`.
    Etcd(etcd::Act),
    /// An act of `mysql`, `postgres` or `sqlite3`.
    Sql(sql::Act),
    /// `time.sleep`.
    Sleep {
        /// How long, in milliseconds.
        millis: u64,
    },
}

impl Call {
    /// Copies a worker's request. Text that is no UTF-8 is replaced, and so names nothing that exists.
    #[must_use]
    pub fn from_wire(call: &HostCall<'_>) -> Call {
        match call {
            HostCall::NatsPublish { subject, payload } => Call::NatsPublish {
                subject: String::from_utf8_lossy(subject).into_owned(),
                payload: Bytes::copy_from_slice(payload),
            },
            HostCall::Library { name } => Call::Library { name: String::from_utf8_lossy(name).into_owned() },
            HostCall::Env { name } => Call::Env { name: String::from_utf8_lossy(name).into_owned() },
            HostCall::Folders => Call::Folders,
            HostCall::File(call) => Call::File(files::Operation::from_wire(call)),
            HostCall::Command { line, input, timeout } => Call::Command(command::Command {
                line: line.to_vec(),
                input: Bytes::copy_from_slice(input),
                timeout: Duration::from_millis(*timeout),
            }),
            HostCall::NatsRequest { subject, payload, timeout } => Call::NatsRequest {
                subject: String::from_utf8_lossy(subject).into_owned(),
                payload: Bytes::copy_from_slice(payload),
                timeout: Duration::from_nanos(*timeout),
            },
            HostCall::Http(requests) => Call::Http(requests.iter().map(http::Request::from_wire).collect()),
            HostCall::Tcp(call) => Call::Tcp(tcp::Act::from_wire(call)),
            HostCall::EtcdGet { key, prefix } => {
                Call::Etcd(etcd::Act::Get { key: key.to_vec(), prefix: *prefix })
            }
            HostCall::EtcdPut { key, value } => {
                let change = etcd::Change::Put(value.to_vec());
                Call::Etcd(etcd::Act::Change { key: key.to_vec(), change })
            }
            HostCall::EtcdDelete { key } => {
                Call::Etcd(etcd::Act::Change { key: key.to_vec(), change: etcd::Change::Delete })
            }
            HostCall::SqlConnect { client, target } => {
                let target = String::from_utf8_lossy(target).into_owned();
                Call::Sql(sql::Act::Connect { client: *client, target })
            }
            HostCall::SqliteOpen { client, path, read_only } => {
                let path = String::from_utf8_lossy(path).into_owned();
                Call::Sql(sql::Act::Open { client: *client, path, read_only: *read_only })
            }
            HostCall::SqlQuery { client, timeout, sql, args } => Call::Sql(sql::Act::Query(sql::Query {
                client: *client,
                timeout: Duration::from_millis((*timeout).into()),
                sql: Bytes::copy_from_slice(sql),
                args: Bytes::copy_from_slice(args),
            })),
            HostCall::SqlClose { client } => Call::Sql(sql::Act::Close { client: *client }),
            HostCall::Sleep { millis } => Call::Sleep { millis: *millis },
        }
    }
}

impl Call {
    /// What it is, and which kind of span tells of it.
    #[must_use]
    pub fn kind(&self) -> (&'static str, SpanKind) {
        match self {
            Call::NatsPublish { .. } => ("nats publish", SpanKind::Producer),
            Call::NatsRequest { .. } => ("nats request", SpanKind::Client),
            Call::Library { .. } => ("require", SpanKind::Internal),
            Call::Env { .. } => ("getenv", SpanKind::Internal),
            Call::Folders => ("folders", SpanKind::Internal),
            Call::File(_) => ("file", SpanKind::Internal),
            Call::Command(_) => ("command", SpanKind::Internal),
            Call::Http(_) => ("http", SpanKind::Internal),
            Call::Tcp(_) => ("tcp", SpanKind::Client),
            Call::Etcd(_) => ("etcd", SpanKind::Client),
            Call::Sql(_) => ("sql", SpanKind::Client),
            Call::Sleep { .. } => ("sleep", SpanKind::Internal),
        }
    }

    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = match self {
            Call::NatsPublish { subject, payload } | Call::NatsRequest { subject, payload, .. } => {
                subject.len() + payload.len()
            }
            Call::Library { .. } | Call::Folders | Call::Sleep { .. } => 0,
            Call::Env { name } => name.len(),
            Call::File(operation) => operation.size(),
            Call::Command(command) => command.line.len() + command.input.len(),
            Call::Http(requests) => requests.iter().map(http::Request::size).sum(),
            Call::Tcp(act) => act.size(),
            Call::Etcd(act) => act.size(),
            Call::Sql(act) => act.size(),
        };
        size as u64
    }
}

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Done; nothing to return.
    Done,
    /// A library's parts.
    Library(Vec<Part>),
    /// Done; this is the result.
    Bytes(Bytes),
    /// Folders that may be used, and whether only to read.
    Folders(Vec<FileScope>),
    /// What came of an operation on a file.
    File(files::Outcome),
    /// How a command ended.
    Command(command::Ended),
    /// There is none.
    NotFound,
    /// It failed: the module's own error.
    Failed(String),
    /// Policy forbids it; names the missing grant.
    Denied(String),
    /// What came of each request.
    Http(Vec<http::Fetched>),
    /// It is open, under this number.
    Opened(u32),
    /// Keys and values.
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    /// What a statement gave.
    Rows(msgscript_proto::sql::Table),
}

impl From<Denied> for Answer {
    fn from(denied: Denied) -> Answer {
        Answer::Denied(denied.0)
    }
}

impl Answer {
    /// Bytes that it brings in. Libraries are the operator's own.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Answer::Done | Answer::NotFound | Answer::Library(_) | Answer::Folders(_) | Answer::Opened(_) => {
                0
            }
            Answer::Bytes(bytes) => bytes.len() as u64,
            Answer::Pairs(pairs) => {
                pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() as u64
            }
            Answer::Rows(table) => table.size,
            Answer::File(outcome) => outcome.size(),
            Answer::Command(ended) => (ended.stdout.len() + ended.stderr.len()) as u64,
            Answer::Http(fetched) => fetched.iter().map(http::Fetched::size).sum::<usize>() as u64,
            Answer::Failed(text) | Answer::Denied(text) => text.len() as u64,
        }
    }

    /// Hands the answer over as the worker is to get it.
    pub fn with_wire<T>(&self, take: impl FnOnce(HostReply<'_>) -> T) -> T {
        match self {
            Answer::Done => take(HostReply::Done),
            Answer::NotFound => take(HostReply::NotFound),
            Answer::Bytes(bytes) => take(HostReply::Bytes(bytes)),
            Answer::Folders(scopes) => take(HostReply::Folders(files::wire_folders(scopes))),
            Answer::File(outcome) => outcome.with_wire(|reply| take(HostReply::File(reply))),
            Answer::Command(command::Ended { status, stdout, stderr }) => {
                take(HostReply::Command { status: *status, stdout, stderr })
            }
            Answer::Failed(text) => take(HostReply::Failed(text)),
            Answer::Denied(text) => take(HostReply::Denied(text)),
            Answer::Library(parts) => take(HostReply::Library(wire_parts(parts))),
            Answer::Http(fetched) => take(HostReply::Http(fetched.iter().map(http::Fetched::wire).collect())),
            Answer::Opened(number) => take(HostReply::Opened(*number)),
            Answer::Pairs(pairs) => {
                take(HostReply::Pairs(pairs.iter().map(|(key, value)| (&**key, &**value)).collect()))
            }
            Answer::Rows(table) => take(HostReply::Rows(table.as_wire())),
        }
    }
}

/// Parts of a chunk as they go to a worker.
#[must_use]
pub fn wire_parts(parts: &[Part]) -> Vec<message::Part<'_>> {
    parts.iter().map(|part| message::Part { name: &part.name, text: &part.text }).collect()
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The run.
    pub invocation: Rc<Invocation>,
    /// Bytes that answers may still bring in: what is larger is refused, so no file need fetch more.
    pub room: u64,
    /// Its open connections.
    pub connections: Rc<tcp::Connections>,
    /// Its database clients.
    pub clients: Rc<sql::Clients>,
    /// The call's span, if the run is traced.
    pub span: Option<Rc<Span>>,
}

/// Who answers calls: the application, which has the doors to the outside.
pub trait Powers {
    /// Judges and carries out a call.
    fn call(
        self: Rc<Self>,
        caller: Caller,
        call: Call,
    ) -> futures_util::future::LocalBoxFuture<'static, Answer>;

    /// Bytes that the host calls of a run of this tenant may send out and bring in.
    fn budget(&self, tenant: &str) -> Budget;
}

/// Bytes that host calls may still move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Out: names, texts and bodies of requests.
    pub out: u64,
    /// In: answers.
    pub into: u64,
}
