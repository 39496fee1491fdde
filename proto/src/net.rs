//! What scripts send into the network, and what comes back.

use bincode::{BorrowDecode, Encode};

/// A request of `http`. The broker judges it, fills in secrets, follows redirects.
#[derive(Debug, Clone, Encode, BorrowDecode)]
pub struct HttpRequest<'a> {
    /// The method, in upper case.
    pub method: &'a [u8],
    /// The URL.
    pub url: &'a [u8],
    /// Header fields, in order.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// The body, if there is one (it may be empty).
    pub body: Option<&'a [u8]>,
    /// How long it may take, body included, in nanoseconds; `None`: as long as the run may.
    pub timeout: Option<u64>,
}

/// What came of one request.
#[derive(Debug, Encode, BorrowDecode)]
pub enum HttpResult<'a> {
    /// An answer, whatever its status.
    Response(HttpResponse<'a>),
    /// It failed: the module's own error value.
    Failed(&'a str),
    /// Policy does not allow it; the text names the missing grant.
    Denied(&'a str),
}

/// An answer.
#[derive(Debug, Encode, BorrowDecode)]
pub struct HttpResponse<'a> {
    /// Its status.
    pub status: u16,
    /// Where it came from, after redirects.
    pub url: &'a str,
    /// Header fields: names in lower case, in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The body, decompressed.
    pub body: &'a [u8],
}

/// What `tcp` asks. Connections are numbered within an invocation, and end with it.
#[derive(Debug, Clone, Copy, Encode, BorrowDecode)]
pub enum TcpCall<'a> {
    /// Connects; answered by [`crate::host::HostReply::Opened`].
    Open {
        /// `host:port`.
        address: &'a [u8],
        /// How long it may take, in nanoseconds.
        timeout: u64,
    },
    /// Sends all of it; answered by `Done`.
    Write {
        /// The connection.
        connection: u32,
        /// What to send.
        data: &'a [u8],
        /// How long it may take, in nanoseconds.
        timeout: u64,
    },
    /// Waits for bytes; answered by `Bytes`, empty at the end of what the other side sends.
    Read {
        /// The connection.
        connection: u32,
        /// As many as these at most.
        most: u32,
        /// How long it may take, in nanoseconds.
        timeout: u64,
    },
    /// Closes; answered by `Done`.
    Close {
        /// The connection.
        connection: u32,
    },
}
