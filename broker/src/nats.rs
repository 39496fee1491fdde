//! The embedded NATS server: what runs when no NATS URL is given.
//!
//! It speaks the NATS core protocol to the official clients, and hands messages to the broker's own
//! subscribers by a plain call, with no connection of ours in between. Pure rooms: `subject`, `headers`,
//! `protocol`, `sublist`. `hub` routes, `connection` serves one client, `server` accepts them. It must
//! never let one client's bytes or slowness harm another.

pub mod subject;

pub mod headers;

pub mod protocol;

mod sublist;

mod client;

pub mod hub;

mod connection;

pub mod server;

pub use hub::{Delivery, Hub, Publish, PublishError, Settings, SubscriptionId};
pub use server::serve;
