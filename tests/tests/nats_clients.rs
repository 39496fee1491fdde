//! The embedded NATS server seen from outside: official clients, raw sockets, and the real nats-server
//! beside it.

#[path = "nats_clients/differential.rs"]
mod differential;
#[path = "nats_clients/official.rs"]
mod official;
#[path = "nats_clients/raw.rs"]
mod raw;
#[path = "nats_clients/rules.rs"]
mod rules;
