//! The servers there are to connect to: those of the URLs, and those that servers told of.
//!
//! Pure. Takes what became of attempts, gives whom to try next and when. Must never hold more servers than
//! [`MOST`], whatever a server tells.

use std::net::IpAddr;
use std::time::Duration;

use super::address::Address;

/// The most servers that are known at a time.
const MOST: usize = 64;
/// A server that we were told of is forgotten after so many failures in a row.
const FORGOTTEN: u32 = 8;
/// The longest wait after a lost connection, so that not all clients of a server come back at once.
const FIRST: Duration = Duration::from_millis(50);
/// What the wait before the second attempt is at most; before each further one, twice that.
const STEP: Duration = Duration::from_millis(20);
/// A connection that lasts so long was a good one.
const STEADY: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(4);

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: Address,
    /// The name that its certificate must have.
    pub(super) name: String,
    failures: u32,
    told: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Servers {
    known: Vec<Server>,
    attempts: u32,
    /// There has been a connection.
    connected: bool,
}

impl Servers {
    pub(super) fn new(addresses: Vec<Address>) -> Servers {
        let mut known: Vec<Server> = Vec::new();
        for address in addresses.into_iter().take(MOST) {
            if !known.iter().any(|server| server.address == address) {
                let name = address.host.clone();
                known.push(Server { address, name, failures: 0, told: false });
            }
        }
        Servers { known, attempts: 0, connected: false }
    }

    /// All but `but` in the order in which to try them: the fewest failures first, else by chance.
    pub(super) fn round(&self, but: Option<&Server>, mut random: impl FnMut() -> u64) -> Vec<Server> {
        let others = self.known.iter().filter(|server| but.is_none_or(|but| but.address != server.address));
        let mut round: Vec<(u64, Server)> = others.map(|server| (random(), server.clone())).collect();
        round.sort_by_key(|(chance, server)| (server.failures, *chance));
        round.into_iter().map(|(_, server)| server).collect()
    }

    /// How long to wait before the next attempt. `random` is any number.
    pub(super) fn wait(&mut self, random: u64) -> Duration {
        let attempts = self.attempts;
        self.attempts += 1;
        let share = (random % 1024) as u32;
        match attempts {
            0 if !self.connected => Duration::ZERO,
            0 => FIRST * share / 1024,
            // From a half of it to all.
            _ => (STEP * (1 << attempts.min(10))).min(LONGEST) * (1024 + share) / 2048,
        }
    }

    /// It could not be reached, or did not want us.
    pub(super) fn failed(&mut self, server: &Server) {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == server.address) {
            known.failures += 1;
        }
        self.known.retain(|server| !server.told || server.failures < FORGOTTEN);
    }

    /// There is a connection.
    pub(super) fn connected(&mut self, server: &Server) {
        self.connected = true;
        if let Some(known) = self.known.iter_mut().find(|known| known.address == server.address) {
            known.failures = 0;
        }
    }

    /// The connection is gone. One that did not last does not make the next waits shorter.
    pub(super) fn lost(&mut self, server: &Server, lasted: Duration) {
        if lasted >= STEADY {
            self.attempts = 0;
        }
        self.failed(server);
    }

    /// Servers that `by` told of, as `host:port`. What is no address is passed over.
    pub(super) fn told(&mut self, by: &Server, urls: &[String]) {
        for url in urls {
            let Ok(address) = Address::parse(url) else { continue };
            let address = Address { tls: by.address.tls, ..address };
            if self.known.len() < MOST && !self.known.iter().any(|server| server.address == address) {
                // Certificates have names; servers tell each other's addresses.
                let is_name = address.host.parse::<IpAddr>().is_err();
                let name = if is_name { &address.host } else { &by.name };
                let name = name.clone();
                self.known.push(Server { address, name, failures: 0, told: true });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(urls: &[&str]) -> Servers {
        Servers::new(urls.iter().map(|url| Address::parse(url).unwrap()).collect())
    }

    fn round(servers: &Servers) -> Vec<String> {
        servers.round(None, || 0).iter().map(|server| server.address.to_string()).collect()
    }

    #[test]
    fn who_failed_is_tried_last() {
        let mut servers = servers(&["a", "b", "a"]);
        assert_eq!(round(&servers), ["a:4222", "b:4222"]);
        let a = servers.round(None, || 0).remove(0);
        servers.failed(&a);
        assert_eq!(round(&servers), ["b:4222", "a:4222"]);
        servers.connected(&a);
        assert_eq!(round(&servers), ["a:4222", "b:4222"]);
        assert_eq!(servers.round(Some(&a), || 0).len(), 1);
    }

    #[test]
    fn servers_are_told_of_and_forgotten() {
        let mut servers = servers(&["tls://a.example"]);
        let a = servers.round(None, || 0).remove(0);
        servers.told(&a, &["10.0.0.2:1".into(), "b.example:1".into(), "a.example:4222".into(), ":".into()]);
        let all = servers.round(None, || 0);
        let names: Vec<&str> = all.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["a.example", "a.example", "b.example"]);
        assert!(all.iter().all(|server| server.address.tls));
        for _ in 0..FORGOTTEN {
            servers.failed(&all[1]);
            servers.failed(&all[0]);
        }
        assert_eq!(round(&servers), ["b.example:1", "a.example:4222"]);
        let many: Vec<String> = (0..1000).map(|number| format!("h{number}:1")).collect();
        servers.told(&a, &many);
        assert_eq!(round(&servers).len(), MOST);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let mut servers = servers(&["a"]);
        assert_eq!(servers.wait(1023), Duration::ZERO);
        let waits: Vec<Duration> = (0..40).map(|_| servers.wait(1023)).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[0] >= STEP / 2 && waits[39] <= LONGEST && waits[39] > LONGEST / 2, "{waits:?}");
        assert!(servers.wait(0) >= LONGEST / 2);
        let a = servers.round(None, || 0).remove(0);
        servers.connected(&a);
        servers.lost(&a, Duration::ZERO);
        assert!(servers.wait(0) >= LONGEST / 2, "one that ends at once is no reason to hurry");
        servers.lost(&a, STEADY);
        let wait = servers.wait(512);
        assert!(wait > Duration::ZERO && wait <= FIRST, "{wait:?}");
    }
}
