//! A command's surroundings: environment, standard input, output and error; and how it ended.
//!
//! Takes an invocation, gives how it ended. There are no arguments but the name, and no sockets; clocks, random
//! numbers, the scratch folder and granted folders are there.

use std::sync::{Arc, Mutex};

use msgscript_proto::message::{Entry, Invoke};
use msgscript_worker::serve::Broker;
use wasmtime::{Error, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use crate::budget::Budget;
use crate::files::Files;
use crate::http::Outgoing;
use crate::preview1::{self, Descriptors, Environment, Prepared, Preview1};
use crate::preview2::Preview2;
use crate::run::{Ended, Failed, judge};
use crate::streams::Sink;

/// The largest payload that is also an environment variable, in bytes.
const MOST_IN_ENVIRONMENT: usize = 64 << 10;

/// Bytes of standard error that are kept.
const STDERR: u64 = 64 << 10;

/// What a run is given, and what it writes.
pub struct Surroundings {
    builder: WasiCtxBuilder,
    /// Its standard output.
    pub stdout: Sink,
    /// Its standard error.
    pub stderr: Sink,
}

impl Surroundings {
    /// Those of any run: no input, output kept.
    pub fn new(output: u64) -> Surroundings {
        Surroundings::writing(Sink::with_limit(output), Sink::keeping(STDERR))
    }

    /// The same for a run that writes there.
    pub fn writing(stdout: Sink, stderr: Sink) -> Surroundings {
        let mut builder = WasiCtxBuilder::new();
        // A socket that may not connect anywhere would still be a system call.
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        builder.stdout(stdout.clone()).stderr(stderr.clone());
        Surroundings { builder, stdout, stderr }
    }

    /// Those of a command that answers this.
    fn of(invoke: &Invoke<'_>) -> Surroundings {
        let mut surroundings = Surroundings::new(invoke.limits.output);
        let builder = &mut surroundings.builder;
        builder.arg("function");
        for (name, value) in variables(invoke) {
            builder.env(name, value.replace('\0', ""));
        }
        surroundings
    }

    /// The builder, to build with.
    pub fn builder(&mut self) -> &mut WasiCtxBuilder {
        &mut self.builder
    }
}

/// The environment of a command that answers this.
fn variables<'a>(invoke: &Invoke<'a>) -> impl Iterator<Item = (&'static str, &'a str)> {
    let (subject, method, url) = match invoke.entry {
        Entry::Message { subject } => (subject, "", ""),
        Entry::Http { subject, method, url, .. } => (subject, method, url),
    };
    let small = Some(invoke.payload).filter(|payload| payload.len() <= MOST_IN_ENVIRONMENT);
    let payload = small.and_then(|payload| std::str::from_utf8(payload).ok());
    let payload = payload.filter(|payload| !payload.contains('\0'));
    let always = [("SUBJECT", subject), ("METHOD", method), ("URL", url)];
    always.into_iter().chain(payload.map(|payload| ("PAYLOAD", payload)))
}

/// Runs a preview 1 command.
pub async fn run(prepared: &Prepared, invoke: &Invoke<'_>, outside: Arc<Mutex<Broker>>) -> Ended {
    let (stdout, stderr) = (Sink::with_limit(invoke.limits.output), Sink::keeping(STDERR));
    let mut environment = Environment::default();
    for (name, value) in variables(invoke) {
        environment.set(name, value);
    }
    let files = Files::new(&invoke.limits, outside);
    let open = Descriptors::new(files.clone(), invoke.payload.to_vec(), stdout.clone(), stderr.clone());
    let budget = Budget::new(invoke.limits.memory, files);
    let state = Preview1::new((stdout.clone(), stderr.clone()), environment, open, budget);
    let mut store = Store::new(prepared.engine(), state);
    store.limiter(|state| &mut state.budget);
    store.set_epoch_deadline(1);
    let result = preview1::run(prepared, &mut store).await;
    ended(result, &store.data().budget, &stdout, &stderr)
}

/// Runs a component of the world `wasi:cli/command`.
pub async fn run_component(
    pre: &CommandPre<Preview2>,
    invoke: &Invoke<'_>,
    outside: Arc<Mutex<Broker>>,
) -> Ended {
    let mut surroundings = Surroundings::of(invoke);
    let builder = surroundings.builder();
    let wasi = builder.stdin(MemoryInputPipe::new(invoke.payload.to_vec())).build();
    let files = Files::new(&invoke.limits, outside.clone());
    let budget = Budget::new(invoke.limits.memory, files.clone());
    let state = Preview2::new(wasi, files, budget, Outgoing::new(outside));
    let mut store = Store::new(pre.engine(), state);
    store.limiter(|state| &mut state.budget);
    store.set_epoch_deadline(1);
    let result = async {
        let command = pre.instantiate_async(&mut store).await?;
        match command.wasi_cli_run().call_run(&mut store).await? {
            Ok(()) => Ok(()),
            Err(()) => Err(Error::from(I32Exit(1))),
        }
    };
    let result = result.await;
    ended(result, &store.data().budget, &surroundings.stdout, &surroundings.stderr)
}

fn ended(result: wasmtime::Result<()>, budget: &Budget, stdout: &Sink, stderr: &Sink) -> Ended {
    let (status, trap) = match result.map_or_else(|error| judge(&error, budget), |()| Ok(0)) {
        Ok(status) => (status, None),
        Err(Failed::Trap(text)) => (1, Some(text)),
        Err(failed) => return Ended::Failed(failed),
    };
    Ended::Command { stdout: stdout.take(), stderr: stderr.take(), status, trap }
}
