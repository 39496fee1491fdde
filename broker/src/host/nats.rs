//! `nats`: messages to other subjects, marked with how often messages have begotten them, and replies to
//! them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Answer, Caller};
use crate::ingress::nats::{Door, Reply};
use crate::invocation::Message;
use crate::nats::subject::valid_subject;
use crate::policy::{Permitted, Policy};

/// The error of a broker without a server.
const NOT_CONNECTED: &str = "Not connected to NATS";

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

/// A question.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub subject: String,
    /// The message.
    pub payload: Bytes,
    /// How long to wait for the reply.
    pub timeout: Duration,
}

/// Publishes; does not wait for delivery.
pub async fn publish(
    door: Option<&Door>,
    policy: &Policy,
    caller: &Caller,
    subject: String,
    payload: Bytes,
) -> Answer {
    let publish = match judge(policy, caller, subject, payload) {
        Ok(publish) => publish,
        Err(answer) => return answer,
    };
    let Some(door) = door else { return Answer::Failed(NOT_CONNECTED.to_owned()) };
    let Publish { subject, payload, hops } = publish;
    if !valid_subject(&subject) {
        return Answer::Failed("Failed to publish message: nats: invalid subject".to_owned());
    }
    let fields = fields(caller, &subject, hops);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match door.publish(&subject, None, &fields, payload).await {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(format!("Failed to publish message: {error}")),
    }
}

/// Publishes and waits for the first reply. A script that failed replies with its error.
pub async fn request(door: Option<&Door>, policy: &Policy, caller: &Caller, asked: Request) -> Answer {
    let Request { subject, payload, timeout } = asked;
    let publish = match judge(policy, caller, subject, payload) {
        Ok(publish) => publish,
        Err(answer) => return answer,
    };
    let Some(door) = door else { return Answer::Failed(NOT_CONNECTED.to_owned()) };
    let Publish { subject, payload, hops } = publish;
    if !valid_subject(&subject) {
        return Answer::Failed("nats: invalid subject".to_owned());
    }
    let own = Instant::now().checked_add(timeout);
    let until = own.map_or(caller.invocation.deadline, |own| own.min(caller.invocation.deadline));
    let fields = fields(caller, &subject, hops);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match tokio::time::timeout_at(until.into(), door.request(&subject, &fields, payload)).await {
        Err(_) => Answer::Failed("nats: timeout".to_owned()),
        Ok(Err(error)) => Answer::Failed(error),
        Ok(Ok(Reply { error: Some(error), .. })) => Answer::Failed(error),
        Ok(Ok(Reply { payload, error: None })) => Answer::Bytes(payload),
    }
}

/// The headers of a script's message: its hops, and the trace that it is part of.
fn fields(caller: &Caller, subject: &str, hops: u32) -> Vec<(&'static str, String)> {
    let mut fields = vec![(HOPS, hops.to_string())];
    if let Some(span) = &caller.span {
        span.set("messaging.system", "nats");
        span.set("messaging.destination.name", subject.to_owned());
        fields.extend(span.fields());
    }
    fields
}

/// A message that may be sent, or the refusal.
fn judge(policy: &Policy, caller: &Caller, subject: String, payload: Bytes) -> Result<Publish, Answer> {
    let hops = hops(&caller.invocation.message) + 1;
    policy.publish(Publish { subject, payload, hops }).map(Permitted::into_inner).map_err(Answer::from)
}
