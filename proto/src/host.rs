//! The closed list of what a script may ask of the broker.
//!
//! Each request has a stub in the worker, an arm in the broker's policy, and a file in the broker that
//! answers it.

use bincode::{BorrowDecode, Encode};

use crate::files::{FileCall, FileReply, Folder};
use crate::net::{HttpRequest, HttpResult, TcpCall};
use crate::sql::Rows;

/// A request for something only the broker may do.
#[derive(Debug, Clone, Encode, BorrowDecode)]
pub enum HostCall<'a> {
    /// `nats.publish(subject, message)`.
    NatsPublish {
        /// Where to.
        subject: &'a [u8],
        /// The message.
        payload: &'a [u8],
    },
    /// The text of a library for `require("name")`.
    Library {
        /// The library's name.
        name: &'a [u8],
    },
    /// `etcd.get(key, prefix)`; answered by [`HostReply::Pairs`].
    EtcdGet {
        /// The key, or what keys begin with.
        key: &'a [u8],
        /// Whether all keys that begin so are meant.
        prefix: bool,
    },
    /// `etcd.put(key, value)`.
    EtcdPut {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// `etcd.delete(key)`.
    EtcdDelete {
        /// The key.
        key: &'a [u8],
    },
    /// Says where a client's queries go; nothing is dialled yet.
    SqlConnect {
        /// The script's number for the client.
        client: u32,
        /// A DSN, or the name of a configured database.
        target: &'a [u8],
    },
    /// Opens a file of a granted folder for a client; [`HostReply::NotFound`] if no grant covers it.
    SqliteOpen {
        /// The script's number for the client.
        client: u32,
        /// Its absolute path.
        path: &'a [u8],
        /// Whether nothing is to be changed.
        read_only: bool,
    },
    /// Runs a statement; answered by [`HostReply::Rows`].
    SqlQuery {
        /// The script's number for the client.
        client: u32,
        /// The longest it may take, in milliseconds; 0: as long as the run may.
        timeout: u32,
        /// The statement.
        sql: &'a [u8],
        /// Its arguments: [`crate::sql::Values`], encoded.
        args: &'a [u8],
    },
    /// Ends a client's connection.
    SqlClose {
        /// The script's number for the client.
        client: u32,
    },
    /// `os.getenv`: an environment variable of the broker's.
    Env {
        /// Its name.
        name: &'a [u8],
    },
    /// Which folders of the host the script may use; answered by [`HostReply::Folders`].
    Folders,
    /// An operation on something in such a folder; answered by [`HostReply::File`].
    File(FileCall<'a>),
    /// A command of the host, run by `/bin/sh -c`; answered by [`HostReply::Command`].
    Command {
        /// The command. An empty one is only judged, and answered by [`HostReply::Done`].
        line: &'a [u8],
        /// Its standard input.
        input: &'a [u8],
        /// How long it may take, in milliseconds.
        timeout: u64,
    },
    /// `nats.request(subject, message)`; answered by [`HostReply::Bytes`].
    NatsRequest {
        /// Where to.
        subject: &'a [u8],
        /// The message.
        payload: &'a [u8],
        /// How long to wait for the reply, in nanoseconds.
        timeout: u64,
    },
    /// Requests of `http`, made at the same time; answered by [`HostReply::Http`].
    Http(Vec<HttpRequest<'a>>),
    /// An act of `tcp`.
    Tcp(TcpCall<'a>),
    /// `time.sleep(seconds)`: the answer comes after that time.
    Sleep {
        /// How long, in milliseconds.
        millis: u64,
    },
}

/// What came of a request.
#[derive(Debug, Encode, BorrowDecode)]
pub enum HostReply<'a> {
    /// It was done; there is nothing to return.
    Done,
    /// It was done, with this result.
    Bytes(&'a [u8]),
    /// A library, in the order in which its parts are to be run as one chunk.
    Library(Vec<crate::message::Part<'a>>),
    /// Keys and values, in the order of the keys.
    Pairs(Vec<(&'a [u8], &'a [u8])>),
    /// What a statement gave.
    Rows(Rows<'a>),
    /// The folders that the script may use.
    Folders(Vec<Folder<'a>>),
    /// What came of an operation on a file.
    File(FileReply<'a>),
    /// How a command ended.
    Command {
        /// Its exit status; -1 if a signal ended it.
        status: i32,
        /// What it wrote to its standard output.
        stdout: &'a [u8],
        /// What it wrote to its standard error.
        stderr: &'a [u8],
    },
    /// There is no such thing.
    NotFound,
    /// It failed: the module's own error value.
    Failed(&'a str),
    /// Policy does not allow it; the text names the missing grant.
    Denied(&'a str),
    /// What came of each request, in their order.
    Http(Vec<HttpResult<'a>>),
    /// It is open, under this number.
    Opened(u32),
}
