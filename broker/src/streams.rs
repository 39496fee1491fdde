//! Durable triggers: scripts that JetStream streams trigger.
//!
//! Follows the catalogue: each such script has a task that pulls from the consumer that all brokers share. A
//! message is acknowledged after its run succeeded, is tried again when it failed, and ends as a dead letter. It
//! never leaves its stream before its run succeeded or the dead letter is stored.

pub mod dead;
mod handed;
mod session;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::Core;
use crate::catalog::Script;
use crate::ingress::nats::Door;
use crate::invocation::Reason;

/// How long after a failure (no such stream, no JetStream) the server is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// What the scripts of an embedded server are told.
const NO_JETSTREAM: &str =
    "the embedded NATS server has no JetStream: give the URL of a NATS server that has it";

/// One script's task.
struct Running {
    script: Rc<Script>,
    /// The number of the account's connection that it reads by; none: the broker's own.
    account: Option<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(core: &Rc<Core>, script: Rc<Script>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let account = core.account_of(&script.tenant);
        let task = tokio::task::spawn_local(consume(core.clone(), script.clone(), stopped));
        Running { script, account, stop, task }
    }
}

/// The tasks of all scripts that a stream triggers, by the version of the script.
pub struct Streams {
    running: HashMap<u64, Running>,
    leaving: Vec<JoinHandle<()>>,
}

impl Streams {
    /// No tasks.
    #[must_use]
    pub fn new() -> Streams {
        Streams { running: HashMap::new(), leaving: Vec::new() }
    }

    /// Starts and stops tasks, so that they are those of the scripts now in service. An older version finishes
    /// what it has begun.
    pub fn follow(&mut self, core: &Rc<Core>) {
        let snapshot = core.catalog.current();
        let wanted = snapshot.index.list().iter().filter(|script| script.trigger.is_some());
        let wanted: HashMap<u64, &Rc<Script>> = wanted.map(|script| (script.id, script)).collect();
        self.leaving.retain(|task| !task.is_finished());
        // A tenant whose account is another one now is to read there, and no more where it was.
        let stays = |id: &u64, running: &Running| {
            wanted.contains_key(id) && running.account == core.account_of(&running.script.tenant)
        };
        let gone = self.running.iter().filter(|(id, running)| !stays(id, running));
        let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(Running { stop, task, script, .. }) = self.running.remove(&id) {
                tracing::debug!(script = &*script.source.name, "pulls no more");
                stop.send_replace(true);
                self.leaving.push(task);
            }
        }
        for (id, script) in wanted {
            self.running.entry(id).or_insert_with(|| Running::start(core, script.clone()));
        }
    }

    /// Pulls no more, and waits for what runs.
    pub async fn leave(mut self) {
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        self.leaving.extend(self.running.drain().map(|(_, running)| running.task));
        futures_util::future::join_all(self.leaving).await;
    }
}

impl Default for Streams {
    fn default() -> Self {
        Streams::new()
    }
}

/// Serves one script until it is told to stop, whatever becomes of the server meanwhile.
async fn consume(core: Rc<Core>, script: Rc<Script>, mut stopped: watch::Receiver<bool>) {
    let mut told = String::new();
    loop {
        let error = match core.door_of(&script.tenant) {
            Some(Door::External(upstream)) => match upstream.jetstream().await {
                Ok(client) => {
                    let context = async_nats::jetstream::new(client);
                    match session::serve(&core, &context, &script, &mut stopped).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            },
            Some(Door::Embedded(_)) => NO_JETSTREAM.to_owned(),
            None => "its tenant's NATS server is not there yet".to_owned(),
        };
        if error != told {
            let script = &*script.source.name;
            tracing::error!(script, error, "{script}: its stream cannot be read");
            told = error;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// What becomes of a message after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Done,
    /// Handed back: not held against the message.
    Back(Duration),
    Later(Duration),
    Dead,
}

/// The verdict on a run that was the `attempt`th (from 1). A run that did not begin for want of room is not
/// held against the message.
fn judge(trigger: &crate::catalog::trigger::Trigger, reason: Reason, attempt: u32) -> Verdict {
    match reason {
        Reason::Ok => Verdict::Done,
        Reason::Cancelled => Verdict::Back(Duration::ZERO),
        reason if is_no_try(reason) => Verdict::Back(trigger.wait_after(1)),
        _ if attempt > trigger.retries => Verdict::Dead,
        _ => Verdict::Later(trigger.wait_after(attempt)),
    }
}

/// Whether a run that ended so is none that the message can be blamed for.
fn is_no_try(reason: Reason) -> bool {
    matches!(reason, Reason::Cancelled | Reason::Overloaded | Reason::Wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::trigger::Lines;

    #[test]
    fn failures_are_tried_again_and_then_dead() {
        let lines = Lines { stream: Some("S".into()), retries: Some(2), ..Lines::default() };
        let trigger = lines.trigger("n").unwrap();
        let verdict = |reason, attempt| judge(&trigger, reason, attempt);
        assert_eq!(verdict(Reason::Ok, 9), Verdict::Done);
        assert_eq!(verdict(Reason::ScriptError, 1), Verdict::Later(Duration::from_secs(1)));
        assert_eq!(verdict(Reason::Crashed, 2), Verdict::Later(Duration::from_secs(5)));
        assert_eq!(verdict(Reason::WallTime, 3), Verdict::Dead);
        assert_eq!(verdict(Reason::Overloaded, 99), Verdict::Back(Duration::from_secs(1)));
        assert_eq!(verdict(Reason::Cancelled, 99), Verdict::Back(Duration::ZERO));
    }
}
