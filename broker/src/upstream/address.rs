//! Where NATS servers are, and the login that stands in their URLs.
//!
//! Pure. Takes what operators write, URLs with commas between them; gives addresses, never a login in a text that
//! is shown.

use url::{Host, Url};

/// The port of a URL without one.
const PORT: u16 = 4222;

/// A server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether it is spoken to by TLS only.
    pub tls: bool,
}

impl Address {
    /// Of `scheme://host:port`; scheme (`nats`, `tls`) and port may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Address, String> {
        let (shown, full) = (redacted(url), with_scheme(url));
        let parsed =
            Url::parse(&full).map_err(|error| format!("{shown} is no URL of a NATS server: {error}"))?;
        let tls = match parsed.scheme() {
            "nats" => false,
            "tls" => true,
            other => {
                return Err(format!(
                    "{shown}: a NATS server's URL begins with nats:// or tls://, not {other}://"
                ));
            }
        };
        let host = match parsed.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(format!("{shown} names no host")),
        };
        Ok(Address { host, port: parsed.port().unwrap_or(PORT), tls })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let brackets = self.host.contains(':');
        let (open, close) = if brackets { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// Who we are by the URLs: the last that says it counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// User and password.
    pub user: Option<(String, String)>,
    /// A token.
    pub token: Option<String>,
}

/// The servers and the login of comma-separated URLs.
#[must_use]
pub fn split(urls: &str) -> (Vec<String>, Login) {
    let (mut servers, mut login) = (Vec::new(), Login::default());
    for url in urls.split(',') {
        let (server, own) = without_login(url.trim());
        match own {
            None => {}
            Some((token, None)) => login.token = Some(token),
            Some((user, Some(password))) => login.user = Some((user, password)),
        }
        servers.push(server);
    }
    (servers, login)
}

/// The servers of comma-separated URLs, and the options of the other client with the login that is in them.
pub(crate) fn nats_options(
    mut options: async_nats::ConnectOptions,
    urls: &str,
) -> (async_nats::ConnectOptions, Vec<String>) {
    let (servers, login) = split(urls);
    if let Some(token) = login.token {
        options = options.token(token);
    }
    if let Some((user, password)) = login.user {
        options = options.user_and_password(user, password);
    }
    (options, servers)
}

/// URLs without user and password.
pub(crate) fn redacted(urls: &str) -> String {
    let one = |url: &str| {
        let url = with_scheme(url.trim());
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", &url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{host}")
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("nats://{url}") }
}

/// A URL without its login: user and password, or a token.
fn without_login(url: &str) -> (String, Option<(String, Option<String>)>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let Some((login, host)) = rest.rsplit_once('@') else { return (url.to_owned(), None) };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (decoded(user), Some(decoded(password))),
        None => (decoded(login), None),
    };
    (format!("{scheme}://{host}"), Some((user, password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, u16, bool) {
        let Address { host, port, tls } = Address::parse(url).unwrap_or_else(|error| panic!("{error}"));
        (host, port, tls)
    }

    #[test]
    fn addresses() {
        assert_eq!(parsed("nats://h:1"), ("h".to_owned(), 1, false));
        assert_eq!(parsed("h"), ("h".to_owned(), 4222, false));
        assert_eq!(parsed("10.0.0.1:7"), ("10.0.0.1".to_owned(), 7, false));
        assert_eq!(parsed("tls://[::1]"), ("::1".to_owned(), 4222, true));
        assert_eq!(Address::parse("tls://[::1]:9").unwrap().to_string(), "[::1]:9");
        for bad in ["", "nats://", "http://h", "ws://h:1", "nats://h:99999", "nats://a b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let told = Address::parse("ftp://user:secret@h").unwrap_err();
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn logins() {
        let (servers, login) = split("nats://u:p%40ss@a:1, nats://b");
        assert_eq!(servers, ["nats://a:1", "nats://b"]);
        assert_eq!(login.user, Some(("u".to_owned(), "p@ss".to_owned())));
        assert_eq!(split("tok@h").1.token.as_deref(), Some("tok"));
        assert!(split("nats://h").1 == Login::default());
        assert_eq!(redacted("u:p@h:1,tls://t@x"), "nats://h:1,tls://x");
    }
}
