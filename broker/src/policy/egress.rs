//! Where connections may go. Pure.
//!
//! Two questions, and a connection needs both answers: whether the host may be asked at all
//! ([`Policy::fetch`], [`Policy::connect`]), and, once its name is resolved, whether all of the addresses
//! may be reached ([`Policy::pin`]). What comes out is a list of addresses to connect to; nobody resolves
//! the name again.

pub mod address;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::grant::Origin;
use super::grants::Egress;
use super::{Denied, Permitted, Policy};

/// A host that may be asked, if its addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    port: u16,
    /// How it is asked, which named tenants are granted along with the place.
    by: By,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Http { tls: bool, method: String },
    Tcp,
}

impl Target {
    /// The host: a name in lower case without a dot at its end, or an address.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The host as text, an IPv6 address without brackets.
    #[must_use]
    pub fn host_text(&self) -> String {
        host_text(&self.host)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        matches!(self.by, By::Http { tls: true, .. })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = match self.by {
            By::Http { tls: true, .. } => ("https://", 443),
            By::Http { tls: false, .. } => ("http://", 80),
            By::Tcp => ("", 0),
        };
        write!(f, "{scheme}{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A host as text, an IPv6 address without brackets.
#[must_use]
pub fn host_text(host: &Host) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

/// The one form of a host: no dot at the end of a name.
fn canonical(host: Host<&str>) -> Option<Host> {
    Some(match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            (!name.is_empty() && !name.ends_with('.')).then(|| Host::Domain(name.to_owned()))?
        }
        Host::Ipv4(address) => Host::Ipv4(address),
        Host::Ipv6(address) => Host::Ipv6(address),
    })
}

impl Policy {
    /// Whether a request of that method may be sent to that URL, which must be `http` or `https`.
    ///
    /// # Errors
    /// The refusal.
    pub fn fetch(&self, url: &Url, method: &str) -> Result<Permitted<Target>, Denied> {
        let host = url.host().and_then(canonical);
        let tls = match url.scheme() {
            "https" => Some(true),
            "http" => Some(false),
            _ => None,
        };
        let (Some(host), Some(tls), Some(port)) = (host, tls, url.port_or_known_default()) else {
            return Err(Denied(format!("denied: {url} names no host of the web")));
        };
        let target = Target { host, port, by: By::Http { tls, method: method.to_owned() } };
        match &self.grants.http {
            Egress::Open => Ok(Permitted(target)),
            Egress::Listed(origins) if origins.iter().any(|origin| covers(origin, &target)) => {
                Ok(Permitted(target))
            }
            Egress::Listed(_) => {
                let grant = format!("http = [\"{target}\"]");
                Err(Denied::new(&self.tenant, &format!("send {method} to {target}"), &grant))
            }
        }
    }

    /// Whether a plain connection to `host` may be opened: only without a list, since a list is of origins
    /// of the web. `host` is a name or an address in any notation.
    ///
    /// # Errors
    /// The refusal; also for what is no host.
    pub fn connect(&self, host: &str, port: u16) -> Result<Permitted<Target>, Denied> {
        let bare = host.parse().map(Host::Ipv6).ok();
        let parsed = bare.or_else(|| Host::parse(host).ok());
        let borrowed = parsed.as_ref().map(|host| match host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        });
        let Some(host) = borrowed.and_then(canonical) else {
            return Err(Denied(format!("denied: {host:?} is no host")));
        };
        let target = Target { host, port, by: By::Tcp };
        match &self.grants.http {
            Egress::Open => Ok(Permitted(target)),
            Egress::Listed(_) => {
                let what = format!("connect to {target}");
                Err(Denied::new(&self.tenant, &what, "plain connections are for the tenant default"))
            }
        }
    }

    /// Whether all of these addresses of the target may be reached; then those are what to connect to.
    /// `own` tells whether the broker itself listens at an address.
    ///
    /// # Errors
    /// The refusal, for the first address that may not be reached. One is enough: a name with a good and a
    /// bad address is an attack.
    pub fn pin(
        &self,
        target: &Permitted<Target>,
        resolved: &[IpAddr],
        own: &dyn Fn(SocketAddr) -> bool,
    ) -> Result<Permitted<Vec<SocketAddr>>, Denied> {
        let target = target.get();
        for address in resolved {
            let address = address::canonical(*address);
            let refused = match &self.grants.http {
                _ if own(SocketAddr::new(address, target.port)) => Some("the broker itself listens there"),
                Egress::Open => address::is_metadata(address)
                    .then_some("link-local addresses and metadata services are for no script"),
                Egress::Listed(origins) => {
                    let itself = Target { host: host_of(address), ..target.clone() };
                    let listed = || origins.iter().any(|origin| covers(origin, &itself));
                    (address::is_special(address) && !listed())
                        .then_some("an address that is not public must be listed itself, as an address")
                }
            };
            if let Some(why) = refused {
                return Err(Denied::new(&self.tenant, &format!("reach {target}"), why));
            }
        }
        Ok(Permitted(resolved.iter().map(|address| SocketAddr::new(*address, target.port)).collect()))
    }
}

fn host_of(address: IpAddr) -> Host {
    match address {
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => Host::Ipv6(address),
    }
}

/// Whether a granted origin covers this target.
fn covers(origin: &Origin, target: &Target) -> bool {
    let By::Http { tls, method } = &target.by else { return false };
    let host = || match target.host() {
        Host::Domain(name) if origin.any_subdomain => name
            .strip_suffix(&*origin.host)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty()),
        _ if origin.any_subdomain => false,
        Host::Domain(name) => *name == origin.host,
        Host::Ipv4(address) => is_address(&origin.host, IpAddr::V4(*address)),
        Host::Ipv6(address) => is_address(&origin.host, IpAddr::V6(*address)),
    };
    origin.tls == *tls
        && origin.port == target.port
        && (origin.methods.is_empty() || origin.methods.contains(method))
        && host()
}

fn is_address(text: &str, address: IpAddr) -> bool {
    text.parse().is_ok_and(|listed: IpAddr| address::canonical(listed) == address::canonical(address))
}

#[cfg(test)]
mod tests;
