//! Tells the service manager how the broker fares (`sd_notify(3)`).
//!
//! Takes the socket that the manager names in the environment; without one, does nothing. Edge: that socket.
//! A manager that does not listen never holds the broker up.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that we live.
    interval: Option<Duration>,
}

impl ServiceManager {
    /// What the environment names. A socket that cannot be used is a warning only.
    #[must_use]
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> ServiceManager {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return ServiceManager::default();
        };
        let for_us = env("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let limit = env("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|limit| *limit > 1);
        let interval = limit.filter(|_| for_us).map(|limit| Duration::from_micros(limit) / 2);
        let socket = connect(&name).inspect_err(
            |error| tracing::warn!(%error, "cannot reach the service manager at $NOTIFY_SOCKET"),
        );
        ServiceManager { socket: socket.ok(), interval }
    }

    /// Messages and requests are taken from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Nothing new is taken any more.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says for ever that we live, as often as the manager wants to hear it: a broker whose one thread hangs
    /// is restarted.
    pub async fn keep_telling(&self) {
        let Some(interval) = self.interval else { return std::future::pending().await };
        loop {
            self.tell("WATCHDOG=1");
            tokio::time::sleep(interval).await;
        }
    }

    fn tell(&self, what: &str) {
        // Nothing to be done about a manager that does not listen.
        let _ = self.socket.as_ref().map(|socket| socket.send(what.as_bytes()));
    }
}

/// A name that begins with `@` is one without a file.
fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let size = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    }

    #[tokio::test]
    async fn the_manager_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("msgscript-test-{}", std::process::id());
        let abstractly = SocketAddr::from_abstract_name(&name).unwrap();
        let abstractly = UnixDatagram::bind_addr(&abstractly).unwrap();
        for (manager, name) in [(by_path, path.display().to_string()), (abstractly, format!("@{name}"))] {
            let env = |variable: &str| match variable {
                "NOTIFY_SOCKET" => Some(name.clone()),
                "WATCHDOG_USEC" => Some("20000".to_owned()),
                "WATCHDOG_PID" => Some(std::process::id().to_string()),
                _ => None,
            };
            let own = ServiceManager::from_env(&env);
            own.ready();
            own.stopping();
            assert_eq!([heard(&manager), heard(&manager)], ["READY=1", "STOPPING=1"]);
            let telling = tokio::time::timeout(Duration::from_millis(50), own.keep_telling());
            assert!(telling.await.is_err());
            assert_eq!([heard(&manager), heard(&manager)], ["WATCHDOG=1", "WATCHDOG=1"]);
        }
    }

    #[tokio::test]
    async fn without_a_manager_nothing_happens() {
        let none = ServiceManager::from_env(&|_| None);
        none.ready();
        assert!(none.interval.is_none());
        let gone =
            ServiceManager::from_env(&|name| (name == "NOTIFY_SOCKET").then(|| "/nowhere/at/all".to_owned()));
        gone.ready();
        let other = |name: &str| match name {
            "NOTIFY_SOCKET" => Some("/nowhere".to_owned()),
            "WATCHDOG_USEC" => Some("1000000".to_owned()),
            "WATCHDOG_PID" => Some("1".to_owned()),
            _ => None,
        };
        assert!(ServiceManager::from_env(&other).interval.is_none(), "another process's watchdog");
    }
}
