//! Connections for scripts: a host that policy permitted is resolved once, all of its addresses are judged,
//! and only those are connected to.

pub mod resolve;
pub mod tls;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use nix::errno::Errno;
use tokio::net::TcpStream;
use url::Host;

use crate::policy::egress::Target;
use crate::policy::{Denied, Permitted, Policy};
use resolve::{Resolve, System};
use tls::Tls;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Policy forbids it.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// It failed; in the words of Go's `net`.
    #[error("{0}")]
    Failed(String),
}

/// The way to the network.
pub struct Net {
    resolver: Box<dyn Resolve>,
    /// Where the broker itself listens.
    own: RefCell<Vec<SocketAddr>>,
    /// What servers are trusted.
    pub tls: Tls,
}

impl Default for Net {
    fn default() -> Self {
        Net::new(Box::new(System::default()))
    }
}

impl Net {
    /// With that resolver of names.
    #[must_use]
    pub fn new(resolver: Box<dyn Resolve>) -> Net {
        Net { resolver, own: RefCell::default(), tls: Tls::default() }
    }

    /// A configuration comes into force: certificates (PEM) that servers' may be signed by, besides the
    /// system's.
    pub fn configure(&self, ca: Option<PathBuf>) {
        self.tls.configure(ca);
    }

    /// The broker listens there: no script may connect to it.
    pub fn listens(&self, address: SocketAddr) {
        self.own.borrow_mut().push(address);
    }

    /// Whether the broker listens at that address: the port is one of its own, and the address one of this
    /// machine's.
    fn is_own(&self, address: SocketAddr) -> bool {
        let port = self.own.borrow().iter().any(|own| own.port() == address.port());
        port && is_local(address.ip())
    }

    /// Resolves a target and judges all addresses that it has.
    ///
    /// # Errors
    /// When it has none, or one that may not be reached.
    pub async fn pin(
        &self,
        policy: &Policy,
        target: &Permitted<Target>,
    ) -> Result<Permitted<Vec<SocketAddr>>, NetError> {
        let addresses = match target.get().host() {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let failed = |error: &str| NetError::Failed(format!("dial tcp: lookup {name}: {error}"));
                let found = self.resolver.resolve(name).await.map_err(|error| failed(&error))?;
                if found.is_empty() {
                    return Err(failed("no such host"));
                }
                found
            }
        };
        let addresses = &addresses[..addresses.len().min(MOST_ADDRESSES)];
        Ok(policy.pin(target, addresses, &|address| self.is_own(address))?)
    }

    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// What the first one said, when none answers.
    pub async fn dial(&self, pinned: Permitted<Vec<SocketAddr>>) -> Result<TcpStream, NetError> {
        let mut first = None;
        for address in pinned.into_inner() {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => {
                    first.get_or_insert_with(|| format!("dial tcp {address}: connect: {}", io_text(&error)));
                }
            }
        }
        Err(NetError::Failed(first.unwrap_or_else(|| "dial tcp: no address".to_owned())))
    }

    /// Resolves, judges and connects.
    ///
    /// # Errors
    /// As [`Self::pin`] and [`Self::dial`].
    pub async fn connect(&self, policy: &Policy, target: &Permitted<Target>) -> Result<TcpStream, NetError> {
        let pinned = self.pin(policy, target).await?;
        self.dial(pinned).await
    }
}

/// Whether an address leads to this machine.
fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    // What cannot be told counts as ours.
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return true };
    interfaces.filter_map(|interface| interface.address).any(|own| {
        let v4 = own.as_sockaddr_in().map(|own| IpAddr::V4(own.ip()));
        let v6 = own.as_sockaddr_in6().map(|own| IpAddr::V6(own.ip()));
        v4.or(v6) == Some(address)
    })
}

/// What the system said, in the words of Go's `syscall`.
#[must_use]
pub fn io_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_ascii_lowercase(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        None => error.to_string(),
    }
}
