//! The database clients of one run, by the script's numbers. They end with the run.

use std::cell::RefCell;
use std::collections::HashMap;

use super::failure::Failure;
use super::file::Opened;
use super::pool::Held;
use super::server::Server;

/// Clients that one run may have.
const MOST: usize = 64;

/// A client.
pub(super) enum Client {
    /// Of a server.
    Server {
        /// Which.
        server: Box<Server>,
        /// Its connection, from the first query on.
        connection: Option<Held>,
    },
    /// Of a file; `None` once its process is lost.
    File(Option<Opened>),
}

/// The clients of one run.
#[derive(Default)]
pub struct Clients(RefCell<HashMap<u32, Client>>);

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clients({})", self.0.borrow().len())
    }
}

impl Clients {
    /// Adds one, or replaces it.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn add(&self, number: u32, client: Client) -> Result<(), Failure> {
        let mut clients = self.0.borrow_mut();
        if clients.len() >= MOST && !clients.contains_key(&number) {
            return Err(Failure::Failed(format!("too many database clients: a run may have {MOST}")));
        }
        clients.insert(number, client);
        Ok(())
    }

    /// Takes one out, to use it or to drop it.
    pub(super) fn take(&self, number: u32) -> Option<Client> {
        self.0.borrow_mut().remove(&number)
    }

    /// Puts it back.
    pub(super) fn give_back(&self, number: u32, client: Client) {
        self.0.borrow_mut().insert(number, client);
    }
}
