//! What the tests share: real brokers and real servers, each ended with its test.

pub mod harness;
