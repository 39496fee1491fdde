//! Dead letters: messages whose runs failed too often, in a stream of their own. Edge: JetStream.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;
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

/// Room for the note that a letter was cut, in bytes.
const NOTE: usize = 256;

/// A message and how it died.
pub(super) struct Letter<'a> {
    pub(super) script: &'a Script,
    pub(super) trigger: &'a Trigger,
    pub(super) message: &'a async_nats::Message,
    /// Its number in its stream.
    pub(super) sequence: u64,
    /// How often it was tried.
    pub(super) attempt: u32,
    /// The last run's ending.
    pub(super) ending: &'a Ending,
    /// The largest message that the server takes, in bytes, headers included.
    pub(super) most: usize,
}

impl Letter<'_> {
    /// Stores it. The server has it when this returns, once: letters of the same message are the same for it.
    pub(super) async fn store(&self, context: &Context) -> Result<(), String> {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SUBJECT}.>")],
            storage: StorageType::File,
            ..Config::default()
        };
        let stored = ensure(context, self.trigger, config).await?;
        // An operator may have made the stream, with a bound of its own.
        let bound = usize::try_from(stored.max_message_size).ok().filter(|bound| *bound > 0);
        let most = bound.map_or(self.most, |bound| bound.min(self.most));
        let subject = format!("{SUBJECT}.{}.{}", token(&self.script.tenant), token(&self.script.name));
        let (headers, payload) = self.fitted(most);
        let sent = context.publish_with_headers(subject, headers, payload).await;
        sent.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Headers and payload, cut so that a message of so many bytes holds them; `Cut` says what went.
    fn fitted(&self, most: usize) -> (HeaderMap, Bytes) {
        let payload = &self.message.payload;
        let mut headers = self.own_headers();
        self.tell(&mut headers);
        let left = |headers: &HeaderMap| most.checked_sub(size(headers) + NOTE);
        if left(&headers).is_some_and(|left| left >= payload.len()) {
            return (headers, payload.clone());
        }
        let mut note = format!("the payload had {} bytes", payload.len());
        if left(&headers).is_none() {
            headers = HeaderMap::new();
            self.tell(&mut headers);
            note += "; it had headers of its own";
        }
        let kept = left(&headers).unwrap_or(0).min(payload.len());
        headers.insert(format!("{PREFIX}Cut"), note);
        (headers, payload.slice(..kept))
    }

    /// The message's own headers without those that the server acts upon.
    fn own_headers(&self) -> HeaderMap {
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
        headers
    }

    /// How it died.
    fn tell(&self, headers: &mut HeaderMap) {
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
    }
}

/// The stream's configuration: made, with as many replicas as the trigger's stream has, if it is not there.
pub(super) async fn ensure(context: &Context, trigger: &Trigger, config: Config) -> Result<Config, String> {
    let stream = context.get_stream(&*trigger.stream).await.map_err(|error| error.to_string())?;
    let num_replicas = stream.cached_info().config.num_replicas;
    let config = Config { num_replicas, ..config };
    let stream = context.get_or_create_stream(config).await.map_err(|error| error.to_string())?;
    Ok(stream.cached_info().config.clone())
}

/// What headers take in a message, in bytes.
fn size(headers: &HeaderMap) -> usize {
    let fields = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        // The colon, the space and the end of the line.
        values.iter().map(move |value| name.len() + value.as_str().len() + 4)
    });
    // The version's line and the last.
    fields.sum::<usize>() + 14
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

    /// A letter of so large a payload and own header, for a server that takes so much: how it is stored.
    fn stored(payload: usize, own: usize, most: usize) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert("Own", "x".repeat(own));
        let message = async_nats::Message {
            subject: "s".into(),
            reply: None,
            payload: vec![b'x'; payload].into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        let lines = crate::catalog::trigger::Lines { stream: Some("S".into()), ..Default::default() };
        let trigger = lines.trigger("n").expect("it has a stream");
        let ending = Ending {
            invocation: 1,
            name: "n".into(),
            reason: crate::invocation::Reason::ScriptError,
            answer: crate::invocation::Answer::None,
            error: "e".repeat(9000),
            shown: false,
            limit: String::new(),
            measured: String::new(),
            logs: Vec::new(),
        };
        let script = Script::for_test("s", "n");
        let letter = Letter {
            script: &script,
            trigger: &trigger,
            message: &message,
            sequence: 1,
            attempt: 1,
            ending: &ending,
            most,
        };
        letter.fitted(most)
    }

    #[test]
    fn what_is_too_large_is_cut() {
        for (payload, own, most, whole) in [
            (100, 100, 10_000, true),
            (20_000, 100, 10_000, false),
            (0, 9_000, 10_000, false),
            (10_000, 0, 10_000, false),
        ] {
            let (headers, kept) = stored(payload, own, most);
            assert_eq!(kept.len() == payload && headers.get("Own").is_some(), whole, "{payload} {own}");
            assert_eq!(headers.get(format!("{PREFIX}Cut").as_str()).is_none(), whole, "{payload} {own}");
            assert!(size(&headers) + kept.len() <= most, "{payload} {own}");
            let longest = payload.min(most - size(&headers) - NOTE);
            assert!(kept.len() >= longest, "no more is cut than must be: {}", kept.len());
        }
    }
}
