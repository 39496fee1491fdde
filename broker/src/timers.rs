//! Schedules: scripts that run when they are due.
//!
//! Follows the catalogue: each such script has a task that waits for its next due time and takes it from the
//! [`store::Store`] that all brokers share. Who takes it runs the script, with an empty payload; the answer goes
//! nowhere. A due time is taken once and runs at most once: a broker that dies right then takes it along. All is
//! reckoned from the clock on the wall, which is looked at again and again, whatever it does meanwhile.

mod keeper;
mod local;
mod state;
mod store;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::Core;
use crate::catalog::Script;
use crate::invocation::{Call, Message, Reason, format_id};
use crate::pipeline;
use crate::statistics::Scheduled;
use crate::telemetry::trace::{Span, SpanKind, Tracer};
use keeper::{Decision, Keeper};
use state::Key;
use store::Stores;

/// A due time that is this late was missed.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// How long after a failure the store is asked again, and a run that found no room is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest wait before the clock is looked at again.
const LOOK: SignedDuration = SignedDuration::from_secs(30);

/// The header of the message that tells a script its due time.
const HEADER: &str = "Msgscript-Schedule";

/// What a script's task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Go,
    /// No more runs.
    Leave,
    /// No more runs, and the schedule is no more.
    Forget,
}

/// One script's task.
struct Running {
    script: Rc<Script>,
    key: Key,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// The tasks of all scripts with a schedule, by the version of the script.
#[derive(Default)]
pub struct Timers {
    stores: Rc<Stores>,
    running: HashMap<u64, Running>,
    leaving: Vec<JoinHandle<()>>,
}

impl Timers {
    /// Starts and stops tasks, so that they are those of the scripts now in service. An older version finishes
    /// what it has begun. A schedule that is no more is forgotten: when it comes again it begins from then.
    pub fn follow(&mut self, core: &Rc<Core>) {
        let snapshot = core.catalog.current();
        let keys = snapshot.index.list().iter().filter_map(|script| Some((script, Key::of(script)?)));
        let wanted: HashMap<u64, (&Rc<Script>, Key)> =
            keys.map(|(script, key)| (script.id, (script, key))).collect();
        let kept: HashSet<&Key> = wanted.values().map(|(_, key)| key).collect();
        self.leaving.retain(|task| !task.is_finished());
        let gone: Vec<u64> = self.running.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            if let Some(Running { orders, task, script, key }) = self.running.remove(&id) {
                let order = if kept.contains(&key) { Order::Leave } else { Order::Forget };
                tracing::debug!(script = &*script.source.name, ?order, "this version is due no more");
                orders.send_replace(order);
                self.leaving.push(task);
            }
        }
        for (id, (script, key)) in wanted {
            self.running.entry(id).or_insert_with(|| start(core, &self.stores, script.clone(), key));
        }
    }

    /// Takes no more due times, and waits for what runs.
    pub async fn leave(mut self) {
        for running in self.running.values() {
            running.orders.send_replace(Order::Leave);
        }
        self.leaving.extend(self.running.drain().map(|(_, running)| running.task));
        futures_util::future::join_all(self.leaving).await;
    }
}

fn start(core: &Rc<Core>, stores: &Rc<Stores>, script: Rc<Script>, key: Key) -> Running {
    let (orders, told) = watch::channel(Order::Go);
    let task =
        tokio::task::spawn_local(tend(core.clone(), stores.clone(), script.clone(), key.clone(), told));
    Running { script, key, orders, task }
}

/// Whether there is an order to stop.
fn has_order(orders: &watch::Receiver<Order>) -> bool {
    *orders.borrow() != Order::Go
}

/// Waits that long, or for an order to stop.
async fn pause(orders: &mut watch::Receiver<Order>, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        _ = orders.wait_for(|order| *order != Order::Go) => {}
    }
}

/// Tends one script until it is told to stop, whatever becomes of the store meanwhile.
async fn tend(
    core: Rc<Core>,
    stores: Rc<Stores>,
    script: Rc<Script>,
    key: Key,
    mut orders: watch::Receiver<Order>,
) {
    let mut keeper = Keeper::new(key);
    let mut runs = Vec::new();
    let mut told = String::new();
    while !has_order(&orders) {
        let Err(error) = turn(&core, &stores, &script, &mut keeper, &mut orders, &mut runs).await else {
            break;
        };
        if error != told {
            tracing::error!(
                tenant = &*script.tenant,
                script = &*script.source.name,
                error,
                "{}: its schedule waits: it is not known which due times others took",
                script.source.name
            );
            told = error;
        }
        pause(&mut orders, AGAIN).await;
    }
    futures_util::future::join_all(runs).await;
    if *orders.borrow() == Order::Forget
        && let Ok(store) = stores.get(&core).await
    {
        keeper.forget(&store).await;
    }
}

/// Takes due times and starts runs, as long as the store answers.
async fn turn(
    core: &Rc<Core>,
    stores: &Rc<Stores>,
    script: &Rc<Script>,
    keeper: &mut Keeper,
    orders: &mut watch::Receiver<Order>,
    runs: &mut Vec<JoinHandle<()>>,
) -> Result<(), String> {
    let Some(timer) = &script.timer else { return Ok(()) };
    let store = stores.get(core).await?;
    loop {
        let now = Timestamp::now();
        let wall = SignedDuration::try_from(core.policy(&script.tenant).wall(script)).unwrap_or(GRACE);
        let decision = keeper.step(&store, timer, now, wall).await?;
        if has_order(orders) && !matches!(decision, Decision::Run(_)) {
            return Ok(());
        }
        match decision {
            Decision::Run(due) => {
                runs.retain(|run: &JoinHandle<()>| !run.is_finished());
                let job = Job { core: core.clone(), script: script.clone(), due, began: now };
                let (done, orders) = (keeper.done(store.clone()), orders.clone());
                runs.push(tokio::task::spawn_local(async move {
                    job.run(orders).await;
                    done.tell().await;
                }));
            }
            Decision::Missed(due) => {
                let why = "it was due while no broker could run it";
                lost(core, script, due, Scheduled::Missed, why);
            }
            Decision::Overlapped(due) => {
                lost(core, script, due, Scheduled::Overlapped, "its last run still goes on");
            }
            Decision::Wait => {
                let next = timer.next(now.max(keeper.last().unwrap_or(now)));
                let wait = next.map_or(LOOK, |next| next.duration_since(now).min(LOOK));
                let wait = wait.max(SignedDuration::from_millis(5)).unsigned_abs();
                pause(orders, wait).await;
            }
        }
    }
}

/// A due time without a run.
fn lost(core: &Core, script: &Script, due: Timestamp, outcome: Scheduled, why: &str) {
    core.statistics.scheduled(&script.tenant, outcome);
    tracing::warn!(
        tenant = &*script.tenant,
        subject = &*script.subject,
        script = &*script.name,
        due = due.to_string(),
        outcome = outcome.word(),
        "a scheduled run did not begin: {why}",
    );
}

/// One run for a due time.
struct Job {
    core: Rc<Core>,
    script: Rc<Script>,
    due: Timestamp,
    /// When it was taken.
    began: Timestamp,
}

impl Job {
    /// Runs the script; tries again for a while if there is no room.
    async fn run(self, mut orders: watch::Receiver<Order>) {
        let Job { core, script, due, began } = self;
        loop {
            let message = message(&core, &script, due);
            let ending = pipeline::run(core.clone(), script.clone(), message).await;
            let no_room = matches!(ending.reason, Reason::Overloaded | Reason::Wait);
            if !no_room {
                core.statistics.scheduled(&script.tenant, Scheduled::Ran);
                tracing::info!(
                    tenant = &*script.tenant,
                    subject = &*script.subject,
                    script = &*script.name,
                    due = due.to_string(),
                    invocation = format_id(ending.invocation),
                    reason = ending.reason.word(),
                    "a scheduled run ended",
                );
                return;
            }
            if has_order(&orders) || Timestamp::now().duration_since(began) > GRACE {
                return lost(
                    &core,
                    &script,
                    due,
                    Scheduled::Missed,
                    &format!("no room for it: {}", ending.error),
                );
            }
            pause(&mut orders, AGAIN).await;
        }
    }
}

/// What the script gets: nothing but its due time.
fn message(core: &Core, script: &Script, due: Timestamp) -> Message {
    let headers: Rc<[(String, Bytes)]> = [(HEADER.to_owned(), Bytes::from(due.to_string()))].into();
    let span = |tracer: &Tracer| -> Rc<Span> {
        let span = tracer.message(
            format!("schedule {}", script.subject),
            SpanKind::Internal,
            &headers,
            Instant::now(),
        );
        span.set("msgscript.due", due.to_string());
        Rc::new(span)
    };
    Message {
        subject: script.subject.clone(),
        shown_subject: script.subject.clone(),
        call: Call::Message,
        payload: Bytes::new(),
        trace: core.tracer.as_ref().map(span),
        headers: headers.clone(),
        arrived: Instant::now(),
    }
}
