//! The messages between the broker and its workers, their bytes and their packets.
//!
//! Takes values, gives bytes, and back. Pure: no I/O, no clock, no engine. Everything a worker sends is
//! hostile input to the broker, so decoding has hard limits and never panics.
//!
//! The path of a message: [`message`] (typed, by direction) → [`codec`] (bytes) → [`packet`] (what one
//! `send` carries) → socket.

pub mod message;

pub mod host;

pub mod sql;
pub mod files;
pub mod net;

pub mod outcome;

pub mod sandbox;

pub mod codec;

pub mod packet;

pub mod slate;

/// The version both sides must have: the first field of the greeting. It changes with any message.
pub const VERSION: u32 = 1;

/// What a worker's last line begins with when it dies of a forbidden system call. The call's number follows.
pub const FORBIDDEN_CALL: &str = "forbidden system call ";

/// The hard maximum of one message, in bytes. Settings that need more are refused at start.
pub const MAX_MESSAGE: usize = 64 << 20;
