//! msgscript's broker: it owns every door to the outside, and workers that own nothing run the scripts.
//!
//! The way of a message, in order:

// 1 in: bytes become invocations.
pub mod ingress;
pub mod nats;

pub mod invocation;

// 2 where: subject to scripts.
pub mod catalog;
pub mod route;

// 3 out: endings become replies.
pub mod reply;

pub mod config;
