//! Connections that are kept for the next request: of one tenant, to one server, pinned to the address that
//! was judged when they were opened.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use crate::invocation::Tenant;

/// How long a connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Connections kept for one tenant and server, and altogether.
const MOST_EACH: usize = 8;
const MOST: usize = 256;

/// Whose connections they are, and where they lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) tenant: Tenant,
    pub(super) tls: bool,
    pub(super) host: Rc<str>,
    pub(super) port: u16,
}

/// A connection; closed when dropped.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Connection {
    /// A connection that this task drives.
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, task: AbortHandle) -> Connection {
        Connection { sender, task }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The idle connections, the longest idle first.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<VecDeque<(Key, Connection, Instant)>>,
}

impl Pool {
    /// The connection of that key that was used last.
    pub(super) fn take(&self, key: &Key) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        tidy(&mut idle);
        let at = idle.iter().rposition(|(known, _, _)| known == key)?;
        idle.remove(at).map(|(_, connection, _)| connection)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, key: Key, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        tidy(&mut idle);
        let same = idle.iter().filter(|(known, _, _)| *known == key).count();
        if connection.sender.is_ready() && same < MOST_EACH {
            if idle.len() >= MOST {
                idle.pop_front();
            }
            idle.push_back((key, connection, Instant::now()));
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

fn tidy(idle: &mut VecDeque<(Key, Connection, Instant)>) {
    idle.retain(|(_, connection, since)| connection.sender.is_ready() && since.elapsed() < IDLE);
}
