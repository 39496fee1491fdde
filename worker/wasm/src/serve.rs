//! The loop of a worker that runs a module: bound once, then one invocation after another.
//!
//! Takes an open link and what the worker is to be; builds the engine and its runtime, closes the jail, then
//! serves until the broker closes its end. Gives the status to exit with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use msgscript_proto::codec;
use msgscript_proto::message::{Invoke, Level, Setup, ToWorker};
use msgscript_proto::outcome::{Fault, Outcome};
use msgscript_worker::jail;
use msgscript_worker::link::{Link, Received};
use msgscript_worker::lua::Outside;
use msgscript_worker::serve::{Answers, Broker, PROTOCOL, Reply, run};
use tokio::runtime::Runtime;
use wasmtime::Engine;

use crate::bound::{Bound, Unbound, bind};
use crate::run::{Ended, Failed};
use crate::{command, engine, http, no_engine, signals};

/// Memory besides the instance, in bytes: machine code, messages, the engine itself.
const OWN_MEMORY: u64 = 256 << 20;

/// Serves until the broker is gone.
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    let mut worker = match Worker::new(setup) {
        Ok(worker) => worker,
        Err(error) => return no_engine(&error),
    };
    if let Err(status) = jail::enter(link, setup, setup.memory.saturating_add(OWN_MEMORY), None) {
        return status;
    }
    loop {
        match link.receive() {
            Ok(Some(received)) => {
                if let Err(status) = worker.handle(&received) {
                    return status;
                }
            }
            Ok(None) => return 0,
            Err(_) => return PROTOCOL,
        }
    }
}

/// A worker of one module.
struct Worker<'a> {
    setup: &'a Setup,
    engine: Engine,
    /// wasmtime-wasi is async inside. This runs it on the one thread there is, and has no I/O.
    runtime: Runtime,
    bound: Option<Result<Bound, Unbound>>,
    out: Answers,
    /// The way out, shared with what a component calls.
    outside: Arc<Mutex<Broker>>,
}

impl<'a> Worker<'a> {
    fn new(setup: &'a Setup) -> wasmtime::Result<Worker<'a>> {
        signals::end_at_faults()?;
        let engine = engine::running()?;
        signals::interrupt(&engine)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Worker { setup, engine, runtime, bound: None, out: Answers::default(), outside: Arc::default() })
    }

    fn handle(&mut self, received: &Received<'_>) -> Result<(), i32> {
        match codec::decode(received.bytes).map_err(|_| PROTOCOL)? {
            ToWorker::Bind { artifact } if self.bound.is_none() => {
                self.bound = Some(bind(&self.engine, artifact));
                // Only now may anything of the module run.
                jail::narrow(self.setup).map_err(|_| jail::NOT_JAILED)
            }
            ToWorker::Unload { .. } => Ok(()),
            ToWorker::Invoke(invoke) => {
                if self.out.begin(&invoke, received.more).map_err(|_| PROTOCOL)? {
                    self.invoke(&invoke).map_err(|_| PROTOCOL)?;
                }
                Ok(())
            }
            _ => Err(PROTOCOL),
        }
    }

    fn invoke(&mut self, invoke: &Invoke<'_>) -> std::io::Result<()> {
        self.outside().start(invoke);
        let Worker { bound, runtime, outside, .. } = self;
        let outside = outside.clone();
        let (ended, nanos) = run(invoke, || match bound {
            Some(Ok(Bound::Command(pre))) => runtime.block_on(command::run(pre, invoke, outside)),
            Some(Ok(Bound::Component(pre))) => runtime.block_on(command::run_component(pre, invoke, outside)),
            Some(Ok(Bound::Proxy(pre))) => runtime.block_on(http::run(pre, invoke, outside)),
            Some(Err(Unbound::Module(text))) => Ended::Failed(Failed::Trap(text.clone())),
            Some(Err(Unbound::Artifact(text))) => Ended::Failed(Failed::Artifact(text.clone())),
            None => Ended::Failed(Failed::Artifact("the worker was not bound".to_owned())),
        });
        self.tell(&Reply { invoke, nanos }, &ended)
    }

    fn tell(&mut self, reply: &Reply<'_>, ended: &Ended) -> std::io::Result<()> {
        let limits = reply.invoke.limits;
        match ended {
            Ended::Command { stdout, stderr, status, trap } => {
                if *status == 0 {
                    self.log(stderr);
                }
                let trap = trap.as_deref();
                let outcome = Outcome::Command { stdout, stderr, status: *status, trap };
                reply.send(&mut self.out, stdout.len(), outcome)
            }
            Ended::Http { status, headers, body, log } => {
                self.log(log);
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
                let of_headers = headers.iter().map(|(name, value)| name.len() + value.len());
                let size = body.len() + of_headers.sum::<usize>();
                reply.send(&mut self.out, size, Outcome::Http { body, status: i64::from(*status), headers })
            }
            Ended::NoFunction => {
                let methods = vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
                reply.send(&mut self.out, 0, Outcome::NoFunction { methods })
            }
            Ended::Failed(failed) => {
                let (fault, text, limit, measured) = match failed {
                    Failed::Trap(text) => (Fault::Script, text.as_str(), 0, 0),
                    Failed::Artifact(text) => (Fault::Artifact, text.as_str(), 0, 0),
                    Failed::Time => (Fault::Time, "time limit reached", 0, 0),
                    Failed::Memory(wanted) => (Fault::Memory, "memory limit reached", limits.memory, *wanted),
                    Failed::Output(size) => (Fault::Output, "result is too large", limits.output, *size),
                };
                reply.fail(&mut self.out, fault, text.as_bytes(), limit, measured)
            }
        }
    }

    /// Logs a text line by line.
    fn log(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.outside().log(Level::Info, line);
        }
    }

    fn outside(&self) -> MutexGuard<'_, Broker> {
        // One thread: nobody can have died with it.
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
