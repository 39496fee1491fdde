//! Names to addresses.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::sync::Semaphore;

/// Names that are looked up at a time, for all scripts. A lookup that nobody waits for any more still takes
/// its place until the system has given up on it, so a flood of bad names makes no threads.
const LOOKUPS: usize = 32;

/// Who knows the addresses of names.
pub trait Resolve {
    /// The addresses of a name, in order of preference; the error is Go's text.
    fn resolve<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Vec<IpAddr>, String>>;
}

/// The system's resolver.
pub struct System {
    /// Shared with the threads that look names up: hence no `Rc`.
    places: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        System { places: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, Result<Vec<IpAddr>, String>> {
        Box::pin(async move {
            let place = self.places.clone().acquire_owned().await.map_err(|error| error.to_string())?;
            let name = name.to_owned();
            let found = tokio::task::spawn_blocking(move || {
                let _place = place;
                (name.as_str(), 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect())
            });
            match found.await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err(text(&error)),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// The system tells a temporary failure from a name that is not there in words only.
fn text(error: &io::Error) -> String {
    let text = error.to_string().to_ascii_lowercase();
    let temporary = text.contains("temporary") || text.contains("again") || error.raw_os_error().is_some();
    if temporary { "server misbehaving".to_owned() } else { "no such host".to_owned() }
}
