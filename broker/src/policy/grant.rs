//! Powers that an operator gives, in their text form.
//!
//! Takes the text of `--allow` and of `[tenant.grants]`, gives checked values. Pure. A text that is not
//! understood is an error: it never gives a power, and never a wider one than was written.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A power of the tenant `default` beyond what it has anyway, as `--allow` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// `env:NAME`: scripts may read that environment variable.
    Env(EnvName),
    /// `files:/path[:ro]`: scripts may use that folder or file of the host.
    Files(FileScope),
    /// `cmd`: scripts may run commands of the host.
    Cmd,
    /// `podman-network`: containers may have a network.
    PodmanNetwork,
    /// `podman-mount:/path`: containers may mount what is below that path.
    PodmanMount(HostPath),
    /// `podman-privileged`: containers may be privileged (they then own the host).
    PodmanPrivileged,
    /// `catalog`: scripts may read and write msgscript's own keys in etcd.
    Catalog,
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A word that is no grant.
    #[error(
        "unknown grant `{0}`; there are env:NAME, files:/path[:ro], cmd, podman-network, \
         podman-mount:/path, podman-privileged and catalog"
    )]
    Unknown(String),
    /// A name that no environment variable should have.
    #[error("`{0}` is no environment variable's name (letters, digits, `_`)")]
    EnvName(String),
    /// A path that cannot be granted.
    #[error("`{0}` cannot be granted: write an absolute path other than `/`, without `..` and `:`")]
    Path(String),
    /// No origin.
    #[error(
        "`{0}` is no origin; write scheme and host, and a port if it is not the usual one, such as \
         `https://api.example.com` or `https://*.example.org:8443`, with methods in front if not all are \
         meant: `GET,HEAD https://api.example.com`"
    )]
    Origin(String),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        Ok(match text.split_once(':') {
            None => match text {
                "cmd" => Grant::Cmd,
                "podman-network" => Grant::PodmanNetwork,
                "podman-privileged" => Grant::PodmanPrivileged,
                "catalog" => Grant::Catalog,
                _ => return Err(GrantError::Unknown(text.to_owned())),
            },
            Some(("env", name)) => Grant::Env(name.parse()?),
            Some(("files", scope)) => Grant::Files(scope.parse()?),
            Some(("podman-mount", path)) => Grant::PodmanMount(path.parse()?),
            Some(_) => return Err(GrantError::Unknown(text.to_owned())),
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Env(name) => write!(f, "env:{}", name.0),
            Grant::Files(scope) => write!(f, "files:{scope}"),
            Grant::Cmd => f.write_str("cmd"),
            Grant::PodmanNetwork => f.write_str("podman-network"),
            Grant::PodmanMount(path) => write!(f, "podman-mount:{}", path.0.display()),
            Grant::PodmanPrivileged => f.write_str("podman-privileged"),
            Grant::Catalog => f.write_str("catalog"),
        }
    }
}

/// An environment variable's name: letters, digits and `_`, no digit first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvName(String);

impl EnvName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvName {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if good { Ok(EnvName(text.to_owned())) } else { Err(GrantError::EnvName(text.to_owned())) }
    }
}

/// An absolute path of the host, not `/`, without `..`, `:` and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath(PathBuf);

impl HostPath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for HostPath {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let path = Path::new(text);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let clean = !text.contains(|c: char| c == ':' || c.is_control());
        if path.is_absolute() && plain && clean && path.components().count() > 1 {
            Ok(HostPath(path.components().collect()))
        } else {
            Err(GrantError::Path(text.to_owned()))
        }
    }
}

/// A folder or file of the host: `/path`, or `/path:ro` to read only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileScope {
    /// Where.
    pub path: HostPath,
    /// Whether nothing may be changed there.
    pub read_only: bool,
}

impl FromStr for FileScope {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (path, read_only) = match text.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (text, false),
        };
        Ok(FileScope { path: path.parse()?, read_only })
    }
}

impl fmt::Display for FileScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path.0.display(), if self.read_only { ":ro" } else { "" })
    }
}

/// Where HTTP requests may go: `https://api.example.com`, `http://*.example.org:8080`, `http://[::1]:80`; with
/// methods in front, only those: `GET,HEAD https://api.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host in lower case, an IPv6 address without brackets. Behind `*.` if [`Self::any_subdomain`].
    pub host: String,
    /// `*.host`: any name below the host, not the host itself.
    pub any_subdomain: bool,
    /// The port, the scheme's own if none is written.
    pub port: u16,
    /// The methods, in upper case; none: all.
    pub methods: Vec<String>,
}

impl FromStr for Origin {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        parse_origin(text).ok_or_else(|| GrantError::Origin(text.to_owned()))
    }
}

fn parse_origin(text: &str) -> Option<Origin> {
    let (methods, text) = match text.split_once(' ') {
        Some((methods, text)) => (parse_methods(methods)?, text),
        None => (Vec::new(), text),
    };
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let usual = if tls { 443 } else { 80 };
    if let Some(rest) = rest.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let host = address.parse::<std::net::Ipv6Addr>().ok()?.to_string();
        let port = if port.is_empty() { usual } else { parse_port(port.strip_prefix(':')?)? };
        return Some(Origin { tls, host, any_subdomain: false, port, methods });
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (rest, usual),
    };
    let (host, any_subdomain) = match host.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (host, false),
    };
    let address = is_address_like(host);
    let sound = is_host(host) && (!address || !any_subdomain && host.parse::<Ipv4Addr>().is_ok());
    sound.then(|| Origin { tls, host: host.to_ascii_lowercase(), any_subdomain, port, methods })
}

fn parse_methods(text: &str) -> Option<Vec<String>> {
    let is_method = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    text.split(',').map(|word| is_method(word).then(|| word.to_owned())).collect()
}

/// Whether URLs take it for an IPv4 address: its last part is a number.
fn is_address_like(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// Whether it is a DNS name or an IPv4 address.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_grant_reads_as_it_prints() {
        let texts = [
            "env:GREETING",
            "files:/srv/data",
            "files:/srv/data:ro",
            "cmd",
            "podman-network",
            "podman-mount:/srv",
            "podman-privileged",
            "catalog",
        ];
        for text in texts {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_understood_gives_nothing() {
        let unknown = "podman".parse::<Grant>().unwrap_err().to_string();
        assert!(unknown.contains("unknown grant `podman`"), "{unknown}");
        for known in
            ["env:NAME", "files:/path[:ro]", "cmd", "podman-network", "podman-mount:/path", "catalog"]
        {
            assert!(unknown.contains(known), "{unknown} lacks {known}");
        }
        let bad = [
            "",
            "Cmd",
            "cmd:",
            "cmd:ls",
            "env",
            "env:",
            "env:A=B",
            "env:1A",
            "env:A B",
            "files:",
            "files:srv",
            "files:/",
            "files:/srv/../etc",
            "files:/srv:rw",
            "files:/srv:ro:ro",
            "files:/a\nb",
            "podman-mount:/",
            "podman-mount:/x:ro",
            "catalog:",
            " cmd",
        ];
        for text in bad {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn origins() {
        let origin: Origin = "https://*.Example.org:8443".parse().unwrap();
        let expected = Origin {
            tls: true,
            host: "example.org".into(),
            any_subdomain: true,
            port: 8443,
            methods: Vec::new(),
        };
        assert_eq!(origin, expected);
        let some: Origin = "GET,POST https://Example.org".parse().unwrap();
        assert_eq!((some.methods, some.host), (vec!["GET".into(), "POST".into()], "example.org".into()));
        assert_eq!("http://10.0.0.1".parse::<Origin>().unwrap().port, 80);
        assert_eq!("https://[0::1]".parse::<Origin>().unwrap().host, "::1");
        let bad = [
            "",
            "example.org",
            "ftp://x",
            "https://",
            "https://*",
            "https://*.",
            "https://a*.b",
            "https://x/",
            "https://u@x",
            "https://x:0",
            "https://x:+1",
            "https://x:70000",
            "https://x:",
            "https://a..b",
            "https://[::1]x",
            "https://[x]",
            "https://x y",
            "https://*.*.x",
            "https://127.1",
            "https://0x7f.1",
            "https://2130706433",
            "https://256.0.0.1",
            "https://*.0.0.1",
            "get https://x",
            "GET,, https://x",
            " https://x",
            "GET  https://x",
            "GET https://x ",
        ];
        for text in bad {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((env|files|cmd|podman-mount|https://)[:/]{0,3})?\\PC{0,30}") {
            if let Ok(grant) = text.parse::<Grant>() {
                prop_assert_eq!(grant.to_string().parse::<Grant>(), Ok(grant));
            }
            let _ = text.parse::<Origin>();
        }
    }
}
