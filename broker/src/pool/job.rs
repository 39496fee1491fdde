//! What is handed to a worker: one run, or the question whether a script compiles.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use msgscript_proto::message::{self, Engine, Entry, Invoke, Limits, Load, ToWorker};
use tokio::sync::oneshot;

use super::terms::Terms;
use super::unsaid::Numbered;
use crate::catalog::Script;
use crate::host::sql::Clients;
use crate::host::tcp::Connections;
use crate::host::{Budget, wire_parts};
use crate::invocation::{Call, Ending, Invocation, LogLine, Reason, Tenant};
use crate::wasm::Module;

/// Requests up to this many bytes may be sent ahead to a busy worker: they are one packet.
const SMALL: usize = 4096;

/// A job, from admission to its end.
#[derive(Debug)]
pub struct Job {
    /// What it is.
    pub work: Work,
    /// The limits of a run.
    pub limits: Limits,
    /// What its tenant's policy says of workers.
    pub terms: Terms,
    /// When it must have ended.
    pub deadline: Instant,
    /// The mean time of its script's runs, in nanoseconds, if that is known to be short and the request
    /// small enough to be sent ahead.
    pub short: Option<u64>,
    /// What the script has said so far.
    pub logs: Vec<LogLine>,
    /// Bytes of that.
    pub logged: u64,
    /// Host calls so far.
    pub calls: u32,
    /// Bytes that host calls may still move, from the first on.
    pub budget: Option<Budget>,
    /// That limit and what would have been moved, if a call was refused for it.
    pub over: Option<(u64, u64)>,
    /// Whether its script needs the operator's C modules.
    pub plugin: bool,
    /// What it has open, from the first host call on: closed with it.
    pub connections: Option<Rc<Connections>>,
    /// Its database clients, from the first host call on: they end with it.
    pub clients: Option<Rc<Clients>>,
    /// The host call that it waits for: abandoned with it.
    pub calling: Option<Calling>,
}

/// A task that ends with this value.
#[derive(Debug)]
pub struct Calling(pub tokio::task::AbortHandle);

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a job is.
#[derive(Debug)]
pub enum Work {
    /// Run a script.
    Run {
        /// The run.
        invocation: Rc<Invocation>,
        /// The module that the script is, if it is one.
        module: Option<Rc<Module>>,
        /// Who waits for its ending.
        reply: oneshot::Sender<Ending>,
    },
    /// Compile a script.
    Check {
        /// The script.
        script: Rc<Script>,
        /// Who waits for the compiler's word.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

impl Numbered for Job {
    fn number(&self) -> u64 {
        self.id()
    }
}

impl Job {
    /// The script.
    #[must_use]
    pub fn script(&self) -> &Rc<Script> {
        match &self.work {
            Work::Run { invocation, .. } => &invocation.script,
            Work::Check { script, .. } => script,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.script().tenant
    }

    /// The module that it runs.
    #[must_use]
    pub fn module(&self) -> Option<&Rc<Module>> {
        match &self.work {
            Work::Run { module, .. } => module.as_ref(),
            Work::Check { .. } => None,
        }
    }

    /// What it needs.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match &self.work {
            Work::Run { module: Some(_), .. } => Engine::Wasm,
            Work::Run { .. } if self.plugin => Engine::Plugin,
            Work::Run { invocation, .. } if invocation.script.jit && self.terms.jit => Engine::LuaJit,
            _ => Engine::Lua,
        }
    }

    /// Makes it ready to run anew, as if it had not run.
    pub fn start_over(&mut self) {
        (self.logs, self.logged, self.calls, self.budget, self.short) = (Vec::new(), 0, 0, None, None);
    }

    /// A worker begins with it.
    pub fn began(&self) {
        if let Work::Run { invocation, .. } = &self.work
            && let Some(trace) = &invocation.trace
        {
            trace.began();
        }
    }

    /// The run's id; 0 for a check.
    #[must_use]
    pub fn id(&self) -> u64 {
        match &self.work {
            Work::Run { invocation, .. } => invocation.id,
            Work::Check { .. } => 0,
        }
    }

    /// Whether it fits one packet and may be handed ahead.
    #[must_use]
    pub fn is_small(&self) -> bool {
        let Work::Run { invocation, .. } = &self.work else { return false };
        let message = &invocation.message;
        let headers = message.headers.iter().map(|(name, value)| name.len() + value.len() + 8);
        let size = message.payload.len() + headers.sum::<usize>() + message.subject.len();
        // What runs under a lock must be the first of its worker, so that its end is nobody else's.
        size < SMALL && invocation.held.is_none()
    }

    /// Whether somebody still waits for it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        match &self.work {
            Work::Run { reply, .. } => !reply.is_closed(),
            Work::Check { reply, .. } => !reply.is_closed(),
        }
    }

    /// Hands the message for the worker, which is in this epoch, to `send`.
    pub fn with_wire<T>(&self, epoch: u8, send: impl FnOnce(&ToWorker<'_>) -> T) -> T {
        match &self.work {
            Work::Run { invocation, .. } => {
                let Invocation { id, script, message, .. } = &**invocation;
                let (script_id, declared) = (script.id, script.http);
                let subject = &*message.shown_subject;
                let entry = match &message.call {
                    Call::Message => Entry::Message { subject },
                    Call::Http { method, url } => Entry::Http { subject, method, url, declared },
                };
                let headers = message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                let (payload, limits) = (&*message.payload, self.limits);
                send(&ToWorker::Invoke(Invoke {
                    invocation: *id,
                    epoch,
                    script: script_id,
                    entry,
                    headers,
                    payload,
                    limits,
                }))
            }
            Work::Check { script, .. } => {
                let parts = wire_parts(&script.parts);
                send(&ToWorker::Check(Load { script: script.id, parts }))
            }
        }
    }

    /// The message that loads the script, or binds a worker to its module.
    pub fn with_load<T>(&self, send: impl FnOnce(&ToWorker<'_>) -> T) -> T {
        if let Some(module) = self.module() {
            return send(&ToWorker::Bind { artifact: &module.artifact });
        }
        let script = self.script();
        send(&ToWorker::Load(Load { script: script.id, parts: wire_parts(&script.parts) }))
    }

    /// Ends it.
    pub fn finish(mut self, mut ending: Ending) {
        ending.logs = std::mem::take(&mut self.logs);
        match self.work {
            // Whoever waited may be gone; the run has ended all the same.
            Work::Run { reply, .. } => drop(reply.send(ending)),
            Work::Check { reply, .. } => drop(reply.send(Err(ending.error))),
        }
    }

    /// Ends it with a failure.
    pub fn fail(self, reason: Reason, error: String, limit: String, measured: String) {
        let ending = Ending { limit, measured, ..Ending::failed(self.id(), self.script(), reason, error) };
        self.finish(ending);
    }
}

impl Ending {
    /// A failure of a script's run.
    #[must_use]
    pub fn failed(invocation: u64, script: &Script, reason: Reason, error: String) -> Ending {
        Ending {
            invocation,
            name: script.name.clone(),
            reason,
            answer: crate::invocation::Answer::None,
            error,
            shown: false,
            limit: String::new(),
            measured: String::new(),
            logs: Vec::new(),
        }
    }

    /// An answer.
    #[must_use]
    pub fn answered(invocation: u64, script: &Script, answer: crate::invocation::Answer) -> Ending {
        Ending { answer, ..Ending::failed(invocation, script, Reason::Ok, String::new()) }
    }

    /// A string as the answer.
    #[must_use]
    pub fn message(invocation: u64, script: &Script, payload: Bytes) -> Ending {
        Ending::answered(invocation, script, crate::invocation::Answer::Message(payload))
    }
}

/// A log line's grade as the broker logs it.
#[must_use]
pub fn level(level: message::Level) -> tracing::Level {
    match level {
        message::Level::Debug => tracing::Level::DEBUG,
        message::Level::Info => tracing::Level::INFO,
        message::Level::Warn => tracing::Level::WARN,
        message::Level::Error => tracing::Level::ERROR,
    }
}
