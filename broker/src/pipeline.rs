//! The story of a message: the one place that calls the rooms in their order.
//!
//! 1 *ingress* made a [`Message`] of bytes, and 2 *route* found its scripts; for each of them, this:

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::app::Core;
use crate::catalog::{Executor, Script};
use crate::invocation::{Ending, Invocation, Message, Reason};
use crate::pool::terms::Terms;
use crate::telemetry::trace::RunTrace;
use crate::wasm::{Module, ModuleError, file};
use crate::{locks, policy, telemetry};

/// What comes of waiting for a run.
type RunEnd<T> = Result<T, oneshot::error::RecvError>;

/// The module that a script names, compiled; none for other scripts.
async fn module(
    app: &Rc<Core>,
    script: &Script,
    deadline: Instant,
) -> Result<Option<Rc<Module>>, ModuleError> {
    if script.executor != Executor::Wasm {
        return Ok(None);
    }
    let written = file::written(&script.source.text)?;
    let spot = file::Spot { place: app.place(script), written };
    Box::pin(app.modules.get(&script.tenant, spot, deadline)).await.map(Some)
}

/// A run's ending; if the lock is lost under which it runs, its end.
async fn under_lock<T>(app: &Rc<Core>, invocation: &Invocation, mut run: oneshot::Receiver<T>) -> RunEnd<T> {
    tokio::select! {
        ending = &mut run => return ending,
        () = invocation.lock_lost() => {}
    }
    let lock = invocation.held.as_ref().map_or("", |held| held.name());
    app.pool.cancel(invocation.id, &format!("stopped: the lock `{lock}` was lost"));
    run.await
}

/// Runs one script for one message. What few messages come by is boxed: each message would carry the room for it.
/// Whoever stops waiting for this stops only the waiting: spawn it as a
/// task where that matters.
pub async fn run(app: Rc<Core>, script: Rc<Script>, message: Message) -> Ending {
    let id = app.pool.next_id();
    let trace = message.trace.as_ref().map(|span| Box::new(RunTrace::start(span, id, &script)));
    let arrived = message.arrived;

    // 3 admit: may this message run this script at all? And is it its turn, if it runs under a lock?
    let policy = app.policy(&script.tenant);
    let within_rate = app.within_rate(&policy);
    if let Err(refusal) = policy::admit(&policy, &script, &message, within_rate) {
        let failed = Ending::failed(id, &script, refusal.reason, refusal.text);
        let ending = Ending { limit: refusal.limit, measured: refusal.measured, ..failed };
        tell(&app, &script, &ending, trace.as_deref(), arrived);
        return ending;
    }
    let (wall, limits) = (policy.wall(&script), app.limits(&script));
    let deadline = arrived + wall;
    let held = match locks::name_of(&script) {
        None => None,
        Some(name) => match Box::pin(app.locks.take(name, deadline)).await {
            Ok(held) => Some(Rc::new(held)),
            Err(error) => {
                let text = format!("{}: {error}", script.source.name);
                let ending = Ending::failed(id, &script, Reason::Wait, text);
                tell(&app, &script, &ending, trace.as_deref(), arrived);
                app.records.add(&script, &ending);
                return ending;
            }
        },
    };
    let invocation = Rc::new(Invocation { id, script: script.clone(), message, wall, deadline, trace, held });

    // 4 check out a worker (of the compiled module, if the script is one) or a container's place, 5 run, 6
    // answer its host calls (`host/dispatch.rs`). A container has none.
    let lost = |_| Ending::failed(id, &script, Reason::Internal, "the invocation was lost".to_owned());
    let ending = if script.executor == Executor::Podman {
        Box::pin(app.podman.run(invocation.clone(), policy, limits)).await.unwrap_or_else(lost)
    } else {
        match module(&app, &script, deadline).await {
            Ok(module) => {
                let terms = Terms::of(&policy);
                let run = app.pool.run(invocation.clone(), module, limits, terms);
                under_lock(&app, &invocation, run).await.unwrap_or_else(lost)
            }
            Err(error) => {
                let text = format!("{}: {error}", script.source.name);
                Ending { limit: error.limit(), ..Ending::failed(id, &script, error.reason(), text) }
            }
        }
    };

    // 7 reply is the ingress's own.
    tell(&app, &script, &ending, invocation.trace.as_deref(), arrived);
    app.records.add(&script, &ending);
    ending
}

/// Tells all who count and log.
fn tell(app: &Core, script: &Script, ending: &Ending, trace: Option<&RunTrace>, arrived: Instant) {
    if let Some(trace) = trace {
        trace.ended(ending);
    }
    app.statistics.ended(script, ending, arrived);
    telemetry::ended(script, ending);
}
