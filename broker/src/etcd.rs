//! The way to etcd: one client, made when it is first needed and made again by itself.
//!
//! Takes endpoints, gives clients. Connecting waits for no server; a call on a dead one fails soon.

use std::cell::RefCell;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a silent connection is tried, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// The most that one answer of etcd's may hold, in bytes.
pub const MOST_ANSWER: usize = 64 << 20;

/// Endpoints, and the client for them.
#[derive(Default)]
pub struct Link {
    endpoints: RefCell<Vec<String>>,
    client: RefCell<Option<Client>>,
}

impl Link {
    /// With these endpoints.
    #[must_use]
    pub fn new(endpoints: &[String]) -> Link {
        Link { endpoints: RefCell::new(endpoints.to_vec()), client: RefCell::default() }
    }

    /// A configuration comes into force: these endpoints, from the next call on.
    pub fn configure(&self, endpoints: &[String]) {
        if *self.endpoints.borrow() != endpoints {
            *self.endpoints.borrow_mut() = endpoints.to_vec();
            self.client.borrow_mut().take();
        }
    }

    /// The client; made without waiting for the server.
    ///
    /// # Errors
    /// When an endpoint makes no sense.
    pub async fn client(&self) -> Result<Client, Error> {
        if let Some(client) = &*self.client.borrow() {
            return Ok(client.clone());
        }
        let endpoints = self.endpoints.borrow().clone();
        let options =
            ConnectOptions::new().with_connect_timeout(CONNECT).with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
        let client = Client::connect(&endpoints, Some(options)).await?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }
}

/// etcd's own words, without those of the transport around them.
#[must_use]
pub fn text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => format!("etcd: {other}"),
    }
}
