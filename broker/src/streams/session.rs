//! One script's pulls from its consumer, for as long as the server is there. Edge: JetStream.

use std::rc::Rc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::message::{AckKind, Acker};
use async_nats::jetstream::{self, Context};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handed::HandedBack;
use super::{Verdict, dead, is_no_try, judge};
use crate::app::Core;
use crate::catalog::Script;
use crate::catalog::trigger::Trigger;
use crate::ingress::nats::stored;
use crate::invocation::Reason;
use crate::pipeline;

/// How long a pull waits for messages.
const PULL: Duration = Duration::from_secs(5);

/// How long after a failure to store a dead letter, or to learn of its tries, a message comes again.
const AGAIN: Duration = Duration::from_secs(10);

/// The largest message, in bytes, where the server cannot be asked: the usual.
const MOST: usize = 1 << 20;

/// Pulls messages and runs the script for them, until told to stop; then waits for what runs.
///
/// # Errors
/// What is wrong with the server, the stream or the consumer. What runs goes on.
pub(super) async fn serve(
    core: &Rc<Core>,
    context: &Context,
    script: &Rc<Script>,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    let Some(trigger) = &script.trigger else { return Ok(()) };
    let consumer = open(context, script, trigger).await?;
    tracing::info!(script = &*script.source.name, stream = &*trigger.stream, "reads its stream");
    // No more at once than the workers can take: the others are for other brokers.
    let most = core.config().workers * 2;
    let mut runs = JoinSet::new();
    while !*stopped.borrow() {
        while runs.try_join_next().is_some() {}
        if runs.len() >= most {
            let _ = runs.join_next().await;
            continue;
        }
        let fetch = consumer.fetch().max_messages(most - runs.len()).expires(PULL);
        let mut messages = match fetch.messages().await {
            Ok(messages) => messages,
            Err(error) => return lost(runs, &error),
        };
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {
                    // What has come and not begun is for the others.
                    while let Some(Some(Ok(message))) = messages.next().now_or_never() {
                        if let Ok(sequence) = message.info().map(|info| info.stream_sequence) {
                            HandedBack::new(context, trigger, sequence).add().await;
                        }
                        let _ = message.ack_with(AckKind::Nak(None)).await;
                    }
                    break;
                }
                message = messages.next() => match message {
                    None => break,
                    Some(Err(error)) => return lost(runs, &error),
                    Some(Ok(message)) => {
                        runs.spawn_local(handle(core.clone(), context.clone(), script.clone(), message));
                    }
                },
            }
        }
    }
    while runs.join_next().await.is_some() {}
    Ok(())
}

/// The server is lost, not what runs.
fn lost(mut runs: JoinSet<()>, error: &dyn std::fmt::Display) -> Result<(), String> {
    runs.detach_all();
    Err(error.to_string())
}

/// The script's consumer, made if it is not there. It gives only messages of the script's own subject, which is
/// within its tenant's: a tenant can read nothing else, whichever stream it names.
async fn open(
    context: &Context,
    script: &Script,
    trigger: &Trigger,
) -> Result<Consumer<pull::Config>, String> {
    let named = |error: &dyn std::fmt::Display| format!("stream {}: {error}", trigger.stream);
    let stream = context.get_stream(&*trigger.stream).await.map_err(|error| named(&error))?;
    let config = pull::Config {
        durable_name: Some(trigger.durable.to_string()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: trigger.ack_wait,
        filter_subject: script.subject.to_string(),
        ..pull::Config::default()
    };
    if let Ok(known) = stream.consumer_info(&*trigger.durable).await
        && known.config.filter_subject != *script.subject
    {
        let text =
            format!("its consumer {} is one for another subject; write another `durable`", trigger.durable);
        return Err(named(&text));
    }
    stream.create_consumer(config).await.map_err(|error| named(&error))
}

/// Runs the script for one message and tells the server what became of it.
async fn handle(core: Rc<Core>, context: Context, script: Rc<Script>, message: jetstream::Message) {
    let Some(trigger) = &script.trigger else { return };
    let Ok(info) = message.info() else { return };
    let (delivered, sequence) = (u32::try_from(info.delivered).unwrap_or(u32::MAX), info.stream_sequence);
    let (message, acker) = message.split();
    let run = pipeline::run(core.clone(), script.clone(), stored(&core, &script, message.clone()));
    let mut run = std::pin::pin!(run);
    let mut beat = tokio::time::interval(trigger.ack_wait / 3);
    beat.reset();
    let ending = loop {
        tokio::select! {
            ending = &mut run => break ending,
            _ = beat.tick() => tell(&acker, AckKind::Progress).await,
        }
    };
    let handed = HandedBack::new(&context, trigger, sequence);
    let attempt = match attempts(&handed, delivered, ending.reason).await {
        Ok(attempt) => attempt,
        Err(error) => {
            tracing::warn!(sequence, error, "the tries of a message are not known; it will be tried again");
            return tell(&acker, AckKind::Nak(Some(AGAIN))).await;
        }
    };
    match judge(trigger, ending.reason, attempt) {
        Verdict::Done => tell(&acker, AckKind::Ack).await,
        Verdict::Back(wait) => {
            handed.add().await;
            tell(&acker, AckKind::Nak((!wait.is_zero()).then_some(wait))).await;
        }
        Verdict::Later(wait) => tell(&acker, AckKind::Nak((!wait.is_zero()).then_some(wait))).await,
        Verdict::Dead => {
            let letter = dead::Letter {
                script: &script,
                trigger,
                message: &message,
                sequence,
                attempt,
                ending: &ending,
                most: core.door_of(&script.tenant).map_or(MOST, |door| door.max_payload()),
            };
            match letter.store(&context).await {
                Ok(()) => tell(&acker, AckKind::Term).await,
                Err(error) => {
                    let name = &*script.source.name;
                    tracing::error!(
                        script = name,
                        sequence,
                        error,
                        "a dead letter cannot be stored; it will be tried again"
                    );
                    tell(&acker, AckKind::Nak(Some(AGAIN))).await;
                }
            }
        }
    }
}

/// How often a message was tried, this time included, which matters only when it failed.
async fn attempts(handed: &HandedBack<'_>, delivered: u32, reason: Reason) -> Result<u32, String> {
    if delivered <= 1 || matches!(reason, Reason::Ok) || is_no_try(reason) {
        return Ok(delivered);
    }
    Ok(delivered.saturating_sub(handed.count().await?).max(1))
}

/// Tells the server. When it does not hear this, it delivers again.
async fn tell(acker: &Acker, kind: AckKind) {
    if let Err(error) = acker.ack_with(kind).await {
        tracing::warn!(%error, ?kind, "the server cannot be told what became of a message");
    }
}
