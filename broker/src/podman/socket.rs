//! Where Podman listens.
//!
//! Takes the environment, gives places to try. The file system is asked at each call, since Podman may
//! come and go.

use std::path::{Path, PathBuf};

/// Where Podman of the system listens.
const SYSTEM: &str = "/run/podman/podman.sock";

/// The places where Podman may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    /// The first of these that is there.
    FirstOf(Vec<PathBuf>),
    /// `CONTAINER_HOST` names something that is no Unix socket.
    Unsupported(String),
}

/// `CONTAINER_HOST` is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CONTAINER_HOST is {0}: only Unix sockets are supported, such as unix:///run/podman/podman.sock")]
pub struct Unsupported(pub String);

impl Socket {
    /// `CONTAINER_HOST` alone if it is set; else the user's socket, else the system's.
    #[must_use]
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Socket {
        let get = |name| env(name).filter(|value| !value.is_empty());
        if let Some(host) = get("CONTAINER_HOST") {
            let path = host.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
            return match path.or(Some(&host)).filter(|path| Path::new(path).is_absolute()) {
                Some(path) => Socket::FirstOf(vec![path.into()]),
                None => Socket::Unsupported(host),
            };
        }
        let own = get("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("podman/podman.sock"));
        Socket::FirstOf(own.into_iter().chain([SYSTEM.into()]).collect())
    }

    /// The socket to connect to; the first place if nothing is at any.
    ///
    /// # Errors
    /// When it is none that we can speak to.
    pub fn path(&self) -> Result<&Path, Unsupported> {
        match self {
            Socket::FirstOf(places) => {
                let found = places.iter().find(|path| path.exists()).or(places.first());
                Ok(found.map_or(Path::new(SYSTEM), PathBuf::as_path))
            }
            Socket::Unsupported(host) => Err(Unsupported(host.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Socket;

    fn of(host: &str, runtime: &str) -> Socket {
        let env = |name: &str| match name {
            "CONTAINER_HOST" => Some(host.to_owned()),
            "XDG_RUNTIME_DIR" => Some(runtime.to_owned()),
            _ => None,
        };
        Socket::from_env(&env)
    }

    #[test]
    fn places_in_the_order_of_the_contract() {
        let system = "/run/podman/podman.sock";
        assert_eq!(of("", ""), Socket::FirstOf(vec![system.into()]));
        let both = vec!["/run/user/7/podman/podman.sock".into(), system.into()];
        assert_eq!(of("", "/run/user/7"), Socket::FirstOf(both));
        for host in ["unix:///x/p.sock", "unix:/x/p.sock", "/x/p.sock"] {
            assert_eq!(of(host, "/run/user/7"), Socket::FirstOf(vec!["/x/p.sock".into()]));
        }
        for host in ["ssh://root@host/run/podman/podman.sock", "tcp://localhost:80", "p.sock"] {
            assert_eq!(of(host, ""), Socket::Unsupported(host.into()));
            assert!(of(host, "").path().unwrap_err().to_string().contains(host));
        }
        let nowhere = of("unix:///not/there", "");
        assert_eq!(nowhere.path().unwrap().to_str(), Some("/not/there"));
    }
}
