//! Who we are to a server: its `INFO` comes in, our `CONNECT` goes out.
//!
//! The credentials file is read anew for each connection, so that it can be renewed. What is in it must never be
//! in a text that is shown.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};

use super::address::Login;

/// What a server tells of itself, as far as it counts here. `null` is as good as missing.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Info {
    pub(super) version: Option<String>,
    pub(super) max_payload: Option<u64>,
    pub(super) headers: Option<bool>,
    pub(super) tls_required: Option<bool>,
    pub(super) nonce: Option<String>,
    pub(super) connect_urls: Option<Vec<String>>,
    /// Lame duck mode: it is about to leave.
    pub(super) ldm: Option<bool>,
}

impl Info {
    pub(super) fn parse(json: &[u8]) -> Result<Info, String> {
        serde_json::from_slice(json).map_err(|error| format!("its INFO cannot be read: {error}"))
    }
}

#[derive(Debug, Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    protocol: u8,
    echo: bool,
    headers: bool,
    no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// The `CONNECT` line for a server that told this of itself.
pub(super) fn connect(
    login: &Login,
    creds: Option<&Credentials>,
    info: &Info,
    tls_required: bool,
) -> Result<Vec<u8>, String> {
    let (user, pass) = login.user.as_ref().map(|(user, pass)| (user.as_str(), pass.as_str())).unzip();
    let sig = creds.map(|creds| creds.sign(info.nonce.as_deref().unwrap_or(""))).transpose()?;
    let connect = Connect {
        verbose: false,
        pedantic: false,
        tls_required,
        name: "msgscript-broker",
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        echo: true,
        headers: true,
        no_responders: true,
        user,
        pass,
        auth_token: login.token.as_deref(),
        jwt: creds.map(|creds| creds.jwt.as_str()),
        sig,
    };
    let json = serde_json::to_string(&connect).map_err(|error| error.to_string())?;
    Ok(format!("CONNECT {json}\r\n").into_bytes())
}

/// What is in a credentials file.
pub(super) struct Credentials {
    jwt: String,
    key: KeyPair,
}

impl Credentials {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be used; nothing of it is in the text.
    pub(super) async fn read(path: PathBuf) -> Result<Credentials, String> {
        let read = tokio::task::spawn_blocking(move || Credentials::read_now(&path)).await;
        read.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The same, at once.
    ///
    /// # Errors
    /// As there.
    pub(super) fn read_now(path: &Path) -> Result<Credentials, String> {
        let told = |error: &dyn std::fmt::Display| format!("nats-creds {}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
        Credentials::parse(&text).map_err(|error| told(&error))
    }

    /// The first two values that stand between lines of dashes: a user's JWT and its seed.
    fn parse(text: &str) -> Result<Credentials, &'static str> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let fenced = |three: &[&str]| {
            let value = three[1].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte));
            three[0].starts_with("---")
                && three[2].starts_with("---")
                && value
                && !three[1].is_empty()
                && !three[1].starts_with("---")
        };
        let mut values = lines.windows(3).filter(|three| fenced(three)).map(|three| three[1]);
        let jwt = values.next().ok_or("there is no user JWT in it")?.to_owned();
        let seed = values.next().ok_or("there is no seed in it")?;
        let key = KeyPair::from_seed(seed).map_err(|_| "its seed is none")?;
        Ok(Credentials { jwt, key })
    }

    fn sign(&self, nonce: &str) -> Result<String, String> {
        let signature = self.key.sign(nonce.as_bytes());
        signature.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).map_err(|error| format!("cannot sign: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\nNKEYs are secrets.\r\n\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n\r\n*****\r\n"
        )
    }

    #[test]
    fn credentials_sign_the_nonce() {
        let key = KeyPair::new_user();
        let read = Credentials::parse(&file("a.b-c_d.e", &key.seed().unwrap())).unwrap();
        let info = Info { nonce: Some("nonce".into()), ..Info::default() };
        let line = connect(&Login::default(), Some(&read), &info, false).unwrap();
        let json = line.strip_prefix(b"CONNECT ").and_then(|line| line.strip_suffix(b"\r\n")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!((&json["jwt"], json.get("user")), (&"a.b-c_d.e".into(), None));
        let signature = URL_SAFE_NO_PAD.decode(json["sig"].as_str().unwrap()).unwrap();
        key.verify(b"nonce", &signature).unwrap();
    }

    #[test]
    fn what_is_no_credentials_file_is_refused() {
        let seed = KeyPair::new_user().seed().unwrap();
        let alone = format!("---\n{seed}\n---\n");
        for (text, wanted) in [
            ("", "no user JWT"),
            ("---\na.b\nx", "no user JWT"),
            (alone.as_str(), "no seed"),
            (&file("a.b", "SUAAA"), "its seed is none"),
        ] {
            let error = Credentials::parse(text).err().unwrap();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn logins_are_told() {
        let login = Login { user: Some(("u".into(), "p\"\r\n".into())), token: Some("t".into()) };
        let line = String::from_utf8(connect(&login, None, &Info::default(), true).unwrap()).unwrap();
        for part in [r#""user":"u""#, r#""pass":"p\"\r\n""#, r#""auth_token":"t""#, r#""tls_required":true"#]
        {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with("}\r\n") && line.matches('\n').count() == 1, "{line}");
    }
}
