//! Dead letters: messages whose runs failed too often, in a stream of their own. Edge: JetStream.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use sha2::{Digest as _, Sha256};

use crate::catalog::Script;
use crate::catalog::trigger::{Trigger, token};
use crate::invocation::Ending;

/// The stream of dead letters. Made when the first is stored, if it is not there.
pub const STREAM: &str = "MSGSCRIPT_DEAD";

/// Begins the names of headers that tell how a message died.
pub const PREFIX: &str = "Msgscript-Dead-";

/// Begins the subjects of dead letters.
const SUBJECT: &str = "msgscript.dead";

/// The longest error text that is kept, in bytes.
const ERROR: usize = 4096;

/// A message and how it died.
pub(super) struct Letter<'a> {
    pub(super) script: &'a Script,
    pub(super) trigger: &'a Trigger,
    pub(super) message: &'a async_nats::Message,
    /// Its number in its stream.
    pub(super) sequence: u64,
    /// How often it was delivered.
    pub(super) attempt: u32,
    /// The last run's ending.
    pub(super) ending: &'a Ending,
}

impl Letter<'_> {
    /// Stores it. The server has it when this returns, once: letters of the same message are the same for it.
    pub(super) async fn store(&self, context: &Context) -> Result<(), String> {
        let stream = context.get_stream(&*self.trigger.stream).await.map_err(|error| error.to_string())?;
        let replicas = stream.cached_info().config.num_replicas;
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SUBJECT}.>")],
            storage: StorageType::File,
            num_replicas: replicas,
            ..Config::default()
        };
        context.get_or_create_stream(config).await.map_err(|error| error.to_string())?;
        let subject = format!("{SUBJECT}.{}.{}", token(&self.script.tenant), token(&self.script.name));
        let payload = self.message.payload.clone();
        let sent = context.publish_with_headers(subject, self.headers(), payload).await;
        sent.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// The message's own headers without those that the server acts upon, and how it died.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.message.headers.iter().flat_map(HeaderMap::iter) {
            let text: &str = name.as_ref();
            if begins(text, "Nats-") || begins(text, PREFIX) {
                continue;
            }
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        let (script, trigger) = (self.script, self.trigger);
        let fields = [
            ("Subject", self.message.subject.to_string()),
            ("Stream", trigger.stream.to_string()),
            ("Sequence", self.sequence.to_string()),
            ("Tenant", script.tenant.to_string()),
            ("Script", script.name.to_string()),
            ("Version", version(script)),
            ("Attempts", self.attempt.to_string()),
            ("Reason", self.ending.reason.word().to_owned()),
            ("Error", one_line(&self.ending.error)),
        ];
        for (name, value) in fields {
            headers.insert(format!("{PREFIX}{name}"), value);
        }
        let id = format!("dead-{}-{}-{}", trigger.stream, trigger.durable, self.sequence);
        headers.insert("Nats-Msg-Id", id);
        headers
    }
}

/// Whether a header's name begins so, in whatever case.
fn begins(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The same for the same text, libraries included, on every broker.
fn version(script: &Script) -> String {
    let mut hash = Sha256::new();
    for part in &script.parts {
        hash.update((part.text.len() as u64).to_le_bytes());
        hash.update(&part.text);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A header's value: one line, not too long.
fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(ERROR);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.get(..end).unwrap_or_default().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_short_line() {
        assert_eq!(one_line("a\r\nNats-Rollup: all"), "a  Nats-Rollup: all");
        assert_eq!(one_line(&"é".repeat(5000)).len(), ERROR);
    }

    #[test]
    fn headers_of_the_server_are_known_in_any_case() {
        assert!(begins("nats-expected-stream", "Nats-") && begins("MSGSCRIPT-DEAD-x", PREFIX));
        assert!(!begins("Nat", "Nats-") && !begins("é-Nats", "Nats-"));
    }

    #[test]
    fn versions_tell_texts_apart() {
        let (mut a, b) = (Script::for_test("s", "n"), Script::for_test("s", "n"));
        assert_eq!(version(&a), version(&b));
        a.parts[0].text = (*b"x = 1").into();
        assert_ne!(version(&a), version(&b));
    }
}
