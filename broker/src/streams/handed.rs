//! How often messages were handed back without a run: JetStream counts those deliveries, too. Edge: JetStream.
//!
//! A stream of its own keeps the last count for each message, so that every broker knows it, also after the
//! deaths of others. Where it cannot be written, a message that is handed back loses one of its tries.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, StorageType};

use super::dead;
use crate::catalog::trigger::Trigger;

/// The stream of counts. Made when the first is written, if it is not there.
const STREAM: &str = "MSGSCRIPT_HANDED_BACK";

/// Begins the subjects of counts.
const SUBJECT: &str = "msgscript.handed-back";

/// How long a count is kept: longer than the longest wait before a retry.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The counts of one message.
pub(super) struct HandedBack<'a> {
    context: &'a Context,
    trigger: &'a Trigger,
    subject: String,
}

impl<'a> HandedBack<'a> {
    /// Of the message with this number in the trigger's stream.
    pub(super) fn new(context: &'a Context, trigger: &'a Trigger, sequence: u64) -> HandedBack<'a> {
        let subject = format!("{SUBJECT}.{}.{}.{sequence}", trigger.stream, trigger.durable);
        HandedBack { context, trigger, subject }
    }

    /// How often it was handed back.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(super) async fn count(&self) -> Result<u32, String> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(|error| error.to_string())?;
        match stream.get_last_raw_message_by_subject(&self.subject).await {
            Ok(message) => {
                Ok(std::str::from_utf8(&message.payload).ok().and_then(|n| n.parse().ok()).unwrap_or(0))
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(0),
                // Nothing was ever handed back.
                LastRawMessageErrorKind::JetStream(error) if error.code() == 404 => Ok(0),
                _ => Err(error.to_string()),
            },
        }
    }

    /// It is handed back once more. To be called before the server is told: the next broker asks.
    pub(super) async fn add(&self) {
        if let Err(error) = self.try_add().await {
            let stream = &*self.trigger.stream;
            tracing::warn!(stream, error, "a message handed back counts as one that was tried");
        }
    }

    async fn try_add(&self) -> Result<(), String> {
        let count = self.count().await?.saturating_add(1).to_string();
        if self.write(count.clone()).await.is_ok() {
            return Ok(());
        }
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SUBJECT}.>")],
            storage: StorageType::File,
            max_messages_per_subject: 1,
            max_age: KEPT,
            ..Config::default()
        };
        dead::ensure(self.context, self.trigger, config).await?;
        self.write(count).await
    }

    async fn write(&self, count: String) -> Result<(), String> {
        let sent = self.context.publish(self.subject.clone(), count.into()).await;
        sent.map_err(|error| error.to_string())?.await.map(drop).map_err(|error| error.to_string())
    }
}
