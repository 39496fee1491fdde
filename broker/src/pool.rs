//! The worker processes: how one is started, and what is checked before it is trusted.

pub mod spawn;
pub mod verify;
