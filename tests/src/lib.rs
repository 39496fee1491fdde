//! What several tests need: servers that run as long as a value lives.

pub mod embedded_nats;
