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

// 3 who: processes that run scripts.
pub mod pool;

pub mod config;
pub mod doctor;
