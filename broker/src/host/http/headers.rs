//! Header fields that scripts set: checked, and their secrets filled in for one host.
//!
//! What frames a message or speaks of the connection is the broker's alone: a script that could set it could
//! smuggle a second request past whatever stands in front of the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Error;
use super::request::{Hop, field};
use crate::policy::Policy;
use crate::secrets::{Redactor, Secrets, has_placeholder};

/// Fields and bytes of fields that one request may have.
const MOST_FIELDS: usize = 128;
const MOST_BYTES: usize = 64 << 10;

/// Ignored, as Go's client does: it knows them better.
const IGNORED: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER];

/// Refused.
const CONNECTION: [&str; 7] = [
    "connection",
    "upgrade",
    "te",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
];

/// The fields of a script's request.
pub(super) fn check(fields: &[(String, Vec<u8>)]) -> Result<HeaderMap, Error> {
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if fields.len() > MOST_FIELDS || size > MOST_BYTES {
        return Err(Error::Failed(format!("more than {MOST_FIELDS} header fields, or than 64KiB of them")));
    }
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let (name, value) = field(name, value)?;
        if IGNORED.contains(&name) || name == header::CONNECTION && value.as_bytes() == b"close" {
            continue;
        }
        if CONNECTION.contains(&name.as_str()) {
            return Err(Error::Failed(format!("header field {:?} is not for scripts", name.as_str())));
        }
        map.append(name, value);
    }
    Ok(map)
}

/// Whether a field must not follow a redirect to another origin: credentials, and what holds a secret.
pub(super) fn is_bound(name: &HeaderName, value: &HeaderValue) -> bool {
    let credentials = [header::AUTHORIZATION, header::COOKIE, header::WWW_AUTHENTICATE];
    credentials.contains(name) || template(name, value).is_some()
}

/// The text of a value that has placeholders; of basic credentials, the text that is encoded there.
fn template(name: &HeaderName, value: &HeaderValue) -> Option<(String, bool)> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    if has_placeholder(text) {
        return Some((text.to_owned(), false));
    }
    let encoded = text.strip_prefix("Basic ").filter(|_| *name == header::AUTHORIZATION)?;
    let plain = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    has_placeholder(&plain).then_some((plain, true))
}

/// The fields of a hop as they go to that host. Their secrets are added to `redactor`.
pub(super) async fn fill(
    hop: &Hop,
    policy: &Policy,
    secrets: &Secrets,
    host: &str,
    redactor: &mut Redactor,
) -> Result<HeaderMap, Error> {
    let mut fields = HeaderMap::with_capacity(hop.headers.len() + 8);
    for (name, value) in &hop.headers {
        let value = match template(name, value) {
            None => value.clone(),
            Some((text, basic)) => {
                let filled = secrets.fill(policy, &text, host).await?;
                redactor.merge(filled.redactor);
                let text =
                    if basic { format!("Basic {}", STANDARD.encode(filled.text)) } else { filled.text };
                let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                    Error::Failed(format!(
                        "a secret in header field {:?} has characters that none may have",
                        name.as_str()
                    ))
                })?;
                value.set_sensitive(true);
                value
            }
        };
        fields.append(name.clone(), value);
    }
    Ok(fields)
}
