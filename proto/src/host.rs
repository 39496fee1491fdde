//! The closed list of what a script may ask of the broker.
//!
//! Each request has a stub in the worker, an arm in the broker's policy, and a file in the broker that
//! answers it.

use bincode::{BorrowDecode, Encode};

/// A request for something only the broker may do.
#[derive(Debug, Clone, Copy, Encode, BorrowDecode)]
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
    /// There is no such thing.
    NotFound,
    /// It failed: the module's own error value.
    Failed(&'a str),
    /// Policy does not allow it; the text names the missing grant.
    Denied(&'a str),
}
