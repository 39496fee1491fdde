//! `nats.publish`: a message to another subject, marked with how often messages have begotten it.

use bytes::Bytes;

use super::{Answer, Caller};
use crate::ingress::nats::Door;
use crate::invocation::Message;
use crate::policy::Policy;

/// The header that counts how many scripts stand between a message and its origin.
pub const HOPS: &str = "Msgscript-Hops";

/// More hops than this are a loop.
pub const MOST_HOPS: u32 = 8;

/// How many scripts a message has come through.
#[must_use]
pub fn hops(message: &Message) -> u32 {
    let found = message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HOPS));
    found.and_then(|(_, value)| std::str::from_utf8(value).ok()?.trim().parse().ok()).unwrap_or(0)
}

/// A message to publish.
#[derive(Debug)]
pub struct Publish {
    /// Where to.
    pub subject: String,
    /// The message.
    pub payload: Bytes,
    /// Its count of hops.
    pub hops: u32,
}

/// Publishes; does not wait for delivery.
pub async fn publish(
    door: Option<&Door>,
    policy: &Policy,
    caller: &Caller,
    subject: String,
    payload: Bytes,
) -> Answer {
    let hops = hops(&caller.invocation.message) + 1;
    let permitted = match policy.publish(Publish { subject, payload, hops }) {
        Ok(permitted) => permitted,
        Err(denied) => return denied.into(),
    };
    let Some(door) = door else { return Answer::Failed("Not connected to NATS".to_owned()) };
    let Publish { subject, payload, hops } = permitted.into_inner();
    if !crate::nats::subject::valid_subject(&subject) {
        return Answer::Failed("Failed to publish message: nats: invalid subject".to_owned());
    }
    match door.publish(&subject, None, &[(HOPS, &hops.to_string())], payload).await {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(format!("Failed to publish message: {error}")),
    }
}
