//! What the tests share: real brokers and real servers, each ended with its test.

pub mod browser;
pub mod cluster;
pub mod collector;
pub mod embedded_nats;
pub mod harness;
pub mod podman;
pub mod servers;
pub mod wasm;
pub mod web;
