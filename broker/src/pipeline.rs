//! The story of a message: the one place that calls the rooms in their order.
//!
//! 1 *ingress* made a [`Message`] of bytes, and 2 *route* found its scripts; for each of them, this:

use std::rc::Rc;
use std::time::Instant;

use crate::app::Core;
use crate::catalog::{Executor, Script};
use crate::invocation::{Ending, Invocation, Message, Reason};
use crate::pool::terms::Terms;
use crate::telemetry::trace::RunTrace;
use crate::wasm::{Module, ModuleError, file};
use crate::{policy, telemetry};

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
    app.modules.get(&script.tenant, spot, deadline).await.map(Some)
}

/// Runs one script for one message. Whoever stops waiting for this stops only the waiting: spawn it as a
/// task where that matters.
pub async fn run(app: Rc<Core>, script: Rc<Script>, message: Message) -> Ending {
    let id = app.pool.next_id();
    let trace = message.trace.as_ref().map(|span| RunTrace::start(span, id, &script));

    // 3 admit: may this message run this script at all?
    let policy = app.policy(&script.tenant);
    let within_rate = app.within_rate(&policy);
    if let Err(refusal) = policy::admit(&policy, &script, &message, within_rate) {
        let failed = Ending::failed(id, &script, refusal.reason, refusal.text);
        let ending = Ending { limit: refusal.limit, measured: refusal.measured, ..failed };
        if let Some(trace) = &trace {
            trace.ended(&ending);
        }
        app.statistics.ended(&script, &ending, message.arrived);
        telemetry::ended(&script, &ending);
        return ending;
    }
    let (wall, limits) = (policy.wall(&script), app.limits(&script));
    let deadline = message.arrived + wall;
    let invocation = Rc::new(Invocation { id, script: script.clone(), message, wall, deadline, trace });
    let traced = invocation.clone();

    // 4 check out a worker (of the compiled module, if the script is one) or a container's place, 5 run, 6
    // answer its host calls (`host/dispatch.rs`). A container has none.
    let lost = |_| Ending::failed(id, &script, Reason::Internal, "the invocation was lost".to_owned());
    let ending = if script.executor == Executor::Podman {
        app.podman.run(invocation, policy, limits).await.unwrap_or_else(lost)
    } else {
        match module(&app, &script, deadline).await {
            Ok(module) => {
                let terms = Terms::of(&policy);
                app.pool.run(invocation, module, limits, terms).await.unwrap_or_else(lost)
            }
            Err(error) => {
                let text = format!("{}: {error}", script.source.name);
                Ending { limit: error.limit(), ..Ending::failed(id, &script, error.reason(), text) }
            }
        }
    };

    // 7 reply is the ingress's own.
    if let Some(trace) = &traced.trace {
        trace.ended(&ending);
    }
    app.statistics.ended(&script, &ending, traced.message.arrived);
    telemetry::ended(&script, &ending);
    app.records.add(&script, &ending);
    ending
}
