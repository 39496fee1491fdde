//! The powers: what a script may ask of the broker, one file each.
//!
//! Takes a call that policy permitted, gives the answer. A worker's request is copied out of its packet
//! before anything else looks at it. `dispatch` asks the policy and hands each call to its file.

mod dispatch;
pub mod library;
pub mod nats;

use std::rc::Rc;

use bytes::Bytes;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message;

use crate::catalog::Part;
use crate::invocation::Invocation;
use crate::policy::Denied;

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

impl Call {
    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = match self {
            Call::NatsPublish { subject, payload } => subject.len() + payload.len(),
            Call::Library { .. } => 0,
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
    /// There is none.
    NotFound,
    /// It failed: the module's own error.
    Failed(String),
    /// Policy forbids it; names the missing grant.
    Denied(String),
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
            Answer::Done | Answer::NotFound | Answer::Library(_) => 0,
            Answer::Failed(text) | Answer::Denied(text) => text.len() as u64,
        }
    }

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

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The run.
    pub invocation: Rc<Invocation>,
    /// Bytes that answers may still bring in: what is larger is refused, so no file need fetch more.
    pub room: u64,
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
