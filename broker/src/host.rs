//! The powers: what a script may ask of the broker, one file each.
//!
//! Takes a call that policy permitted, gives the answer. A worker's request is copied out of its packet
//! before anything else looks at it.

pub mod library;
pub mod nats;

use std::rc::Rc;

use bytes::Bytes;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message;

use crate::catalog::Part;
use crate::invocation::Invocation;

/// A call, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Done; nothing to return.
    Done,
    /// A library's parts.
    Library(Vec<Part>),
    /// There is none.
    NotFound,
    /// It failed: the module's own error.
    Failed(String),
    /// Policy forbids it; names the missing grant.
    Denied(String),
}

impl Answer {
    /// Hands the answer over as the worker is to get it.
    pub fn with_wire<T>(&self, take: impl FnOnce(HostReply<'_>) -> T) -> T {
        match self {
            Answer::Done => take(HostReply::Done),
            Answer::NotFound => take(HostReply::NotFound),
            Answer::Failed(text) => take(HostReply::Failed(text)),
            Answer::Denied(text) => take(HostReply::Denied(text)),
            Answer::Library(parts) => take(HostReply::Library(wire_parts(parts))),
        }
    }
}

/// Parts of a chunk as they go to a worker.
#[must_use]
pub fn wire_parts(parts: &[Part]) -> Vec<message::Part<'_>> {
    parts.iter().map(|part| message::Part { name: &part.name, text: &part.text }).collect()
}

/// Who answers calls: the application, which has the doors to the outside.
pub trait Powers {
    /// Judges and carries out a call of this invocation.
    fn call(
        self: Rc<Self>,
        caller: Rc<Invocation>,
        call: Call,
    ) -> futures_util::future::LocalBoxFuture<'static, Answer>;
}
