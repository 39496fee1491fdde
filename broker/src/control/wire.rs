//! What is said over the control socket: a line of JSON asks, lines of JSON answer, then the connection ends.
//!
//! Takes bytes of a client, gives a [`Request`]; bounded. Pure but for the reading.

use std::io;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest request, in bytes, with its line's end.
pub const MOST: usize = 4 << 10;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it fares: a [`super::report::Status`].
    Status {},
    /// Log events, an object a line: those kept of the last runs or, to follow, all from now on.
    Logs {
        /// Whether to follow.
        #[serde(default)]
        follow: bool,
        /// Which.
        #[serde(default)]
        filter: Filter,
    },
    /// Stop: no new messages, finish what runs. Says so at once; the connection ends with the broker.
    Drain {},
    /// Read the configuration again.
    Reload {},
}

/// Which log events. Without anything: all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Those of this tenant.
    pub tenant: Option<String>,
    /// Those of scripts with this subject; NATS wildcards work.
    pub subject: Option<String>,
}

impl Filter {
    /// Whether an event of this tenant and subject is wanted.
    #[must_use]
    pub fn admits(&self, tenant: Option<&str>, subject: Option<&str>) -> bool {
        let same = |wanted: &String| tenant == Some(wanted);
        let within = |pattern: &String| {
            subject.is_some_and(|it| it == pattern || crate::nats::subject::matches(pattern, it))
        };
        self.tenant.as_ref().is_none_or(same) && self.subject.as_ref().is_none_or(within)
    }
}

/// An answer to everything but `status` and `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It is done, or under way.
    Done(String),
    /// It is not, and why.
    Error(String),
    /// So many lines of a log were left out: the reader was too slow.
    Lost(u64),
}

/// A value as a line.
#[must_use]
pub fn line(value: &impl Serialize) -> Rc<[u8]> {
    // Only maps with keys that are no text cannot be written, and there are none.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Reads a line of at most [`MOST`] bytes and takes it for a request. What follows the line is not looked at.
///
/// # Errors
/// When it is too long or none; the text is for the client.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request, String> {
    let mut text = Vec::new();
    while !text.contains(&b'\n') {
        let mut piece = [0; 512];
        match stream.read(&mut piece).await.map_err(|error: io::Error| error.to_string())? {
            0 => return Err("the request has no end; write a line of JSON".to_owned()),
            count => text.extend_from_slice(&piece[..count]),
        }
        if text.len() > MOST {
            return Err(format!("the request is longer than {MOST} bytes"));
        }
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).map_err(|error| format!("this is no request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8]) -> Result<Request, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut bytes = bytes;
        runtime.block_on(read(&mut bytes))
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(read_all(b"{\"do\":\"status\"}\n"), Ok(Request::Status {}));
        let filter = Filter { tenant: None, subject: Some("a.>".to_owned()) };
        let asked = Request::Logs { follow: true, filter };
        assert_eq!(read_all(&line(&asked)), Ok(asked));
    }

    #[test]
    fn all_else_is_refused_with_a_reason() {
        let long = vec![b' '; MOST + 1];
        let deep = [vec![b'['; 3000], b"\n".to_vec()].concat();
        for bytes in [
            &b""[..],
            b"{\"do\":\"status\"}",
            b"\n",
            b"\xff\xfe\n",
            b"{\"do\":\"format\"}\n",
            b"{\"do\":\"status\",\"more\":1}\n",
            b"{\"do\":\"logs\",\"filter\":{\"tenants\":1}}\n",
            &long,
            &deep,
        ] {
            assert!(read_all(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn filters() {
        let filter = |tenant: Option<&str>, subject: Option<&str>| Filter {
            tenant: tenant.map(str::to_owned),
            subject: subject.map(str::to_owned),
        };
        assert!(filter(None, None).admits(None, None));
        assert!(!filter(Some("a"), None).admits(None, Some("x")));
        assert!(filter(Some("a"), Some("x.*")).admits(Some("a"), Some("x.y")));
        assert!(!filter(Some("a"), Some("x.*")).admits(Some("b"), Some("x.y")));
        assert!(!filter(None, Some("x.*")).admits(Some("a"), Some("x.y.z")));
        assert!(filter(None, Some("x.>")).admits(None, Some("x.>")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_all(&bytes);
        }
    }
}
