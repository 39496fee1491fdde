//! The worker's loop: one message in, one run, one message out.
//!
//! Takes an open link and what the worker is to be; builds the engine, closes the jail, then serves until
//! the broker closes its end. Gives the status to exit with.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use msgscript_proto::codec;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Engine, Invoke, Level, Setup, ToBroker, ToWorker};
use msgscript_proto::outcome::{Failure, Fault, Outcome};

use crate::link::{Link, Received};
use crate::lua::value::{Token, Tokens};
use crate::lua::{CALLS_REACHED, Ctx, Outside};
use crate::scratch::Reached;
use crate::vm::{Ended, Vm};
use crate::{heap, jail, slate};

/// Exit status of a worker whose broker broke the protocol (`EX_PROTOCOL`).
pub const PROTOCOL: i32 = 76;
/// Exit status of a worker that ran out of memory, past all soft ways to end a run.
pub const EXHAUSTED: i32 = 77;
/// Exit status of a worker whose engine cannot be built (`EX_SOFTWARE`).
const NO_ENGINE: i32 = 70;

/// Memory besides the arena: images, buffers, the engine itself.
const OWN_MEMORY: u64 = 256 << 20;

/// The run in progress, for [`exhausted`]: invocation (0: none) and memory limit.
static RUNNING: AtomicU64 = AtomicU64::new(0);
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Serves until the broker is gone.
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    if let Err(error) = crate::sqlite::prepare_without_files() {
        return no_engine(&error);
    }
    let ctx = Ctx::new(Box::new(Broker::new()));
    let jit = setup.engine == Engine::LuaJit;
    let mut vm = match Vm::new(setup.memory, jit, ctx, exhausted) {
        Ok(vm) => vm,
        Err(error) => return no_engine(&error),
    };
    vm.offer(&setup.plugins);
    let once = setup.engine == Engine::Plugin;
    let mut load = || vm.load_plugins(&setup.plugins);
    let load: Option<&mut dyn FnMut()> = if once { Some(&mut load) } else { None };
    if let Err(status) = jail::enter(link, setup, data_limit(setup.memory), load) {
        return status;
    }
    let mut answers = Answers::default();
    loop {
        match link.receive() {
            Ok(Some(received)) => {
                if let Err(status) = handle(&mut vm, &received, &mut answers, once) {
                    return status;
                }
            }
            Ok(None) => return 0,
            Err(_) => return PROTOCOL,
        }
    }
}

/// Tells why no script can run here.
fn no_engine(error: &dyn std::fmt::Display) -> i32 {
    let text = format!("msgscript-worker: {error}\n");
    let _ = nix::unistd::write(std::io::stderr(), text.as_bytes());
    NO_ENGINE
}

/// The arena is half as large again as the largest run (see `vm/arena.rs`).
fn data_limit(memory: u64) -> u64 {
    memory.max(128 << 20).saturating_mul(3) / 2 + OWN_MEMORY
}

/// `once`: the first run is the last, since no rewind reaches what it left.
fn handle(vm: &mut Vm, received: &Received<'_>, answers: &mut Answers, once: bool) -> Result<(), i32> {
    match codec::decode(received.bytes).map_err(|_| PROTOCOL)? {
        ToWorker::Load(load) => vm.load(&load),
        ToWorker::Unload { script } => vm.unload(script),
        ToWorker::Check(load) => {
            let checked = vm.check(&load);
            let error = checked.as_ref().err().map(Vec::as_slice);
            answers.link.send(&ToBroker::Checked { error }).map_err(|_| PROTOCOL)?;
        }
        ToWorker::Invoke(invoke) => {
            if !answers.begin(&invoke, received.more).map_err(|_| PROTOCOL)? {
                return Ok(());
            }
            invoke_once(vm, &invoke, answers).map_err(|_| PROTOCOL)?;
            if once {
                return Err(0);
            }
            vm.prepare(invoke.script);
        }
        ToWorker::Setup(_)
        | ToWorker::HostReply { .. }
        | ToWorker::Command(_)
        | ToWorker::Probe(_)
        | ToWorker::Compile { .. }
        | ToWorker::Bind { .. }
        | ToWorker::Sqlite(_) => return Err(PROTOCOL),
    }
    Ok(())
}

/// How long an answer may wait for others, in nanoseconds of their runs.
const HOLD: u64 = 100_000;

/// What leaves the worker: one answer to each invocation, in order.
#[derive(Debug, Default)]
pub struct Answers {
    link: Link,
    more: bool,
    held: u64,
}

impl Answers {
    /// Begins with an invocation, behind which there are `more` or not; false if it must not begin any more, which
    /// the broker is told.
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn begin(&mut self, invoke: &Invoke<'_>, more: bool) -> std::io::Result<bool> {
        self.more = more;
        let begins = slate::begin(invoke.invocation, invoke.epoch);
        if !begins {
            self.link.answer(&ToBroker::Returned { invocation: invoke.invocation }, more)?;
        }
        Ok(begins)
    }

    fn send(&mut self, message: &ToBroker<'_>, nanos: u64) -> std::io::Result<()> {
        self.held = self.held.saturating_add(nanos);
        let may_wait = self.more && self.held < HOLD;
        if !may_wait {
            self.held = 0;
        }
        self.link.answer(message, may_wait)
    }
}

fn invoke_once(vm: &mut Vm, invoke: &Invoke<'_>, out: &mut Answers) -> std::io::Result<()> {
    let (ended, nanos) = run(invoke, || vm.invoke(invoke));
    let reply = Reply { invoke, nanos };
    match ended {
        Ended::Message(text) => reply.send(out, text.map_or(0, <[u8]>::len), Outcome::Message(text)),
        Ended::Http { body, status, headers } => {
            let headers = pairs(headers);
            let size = headers.iter().fold(body.len(), |size, (name, value)| size + name.len() + value.len());
            reply.send(out, size, Outcome::Http { body, status, headers })
        }
        Ended::NoFunction(methods) => reply.send(out, 0, Outcome::NoFunction { methods }),
        Ended::NeedsPlugin(name) => reply.send(out, 0, Outcome::NeedsPlugin { name }),
        Ended::Exit => reply.send(out, 0, Outcome::Message(None)),
        Ended::Memory { measured } => {
            reply.fail(out, Fault::Memory, b"memory limit reached", invoke.limits.memory, measured)
        }
        Ended::Error { message, traceback } => {
            if !traceback.is_empty() {
                let text = [message.as_slice(), b"\n", &traceback].concat();
                vm.ctx().outside.log(Level::Error, &text);
            }
            let (fault, limit, measured) = match vm.ctx().reached(&message) {
                None => (Fault::Script, 0, 0),
                Some(Reached::Bytes(limit, measured)) => (Fault::ScriptBytes, limit, measured),
                Some(Reached::Count(limit, measured)) => (Fault::ScriptCount, limit, measured),
            };
            reply.fail(out, fault, &message, limit, measured)
        }
    }
}

/// Runs an invocation under its limit of memory; gives how long it took too, in nanoseconds.
pub fn run<T>(invoke: &Invoke<'_>, run: impl FnOnce() -> T) -> (T, u64) {
    RUNNING.store(invoke.invocation, Relaxed);
    LIMIT.store(invoke.limits.memory, Relaxed);
    heap::limit(usize::try_from(invoke.limits.memory).ok());
    let began = Instant::now();
    let ended = run();
    let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    heap::limit(None);
    RUNNING.store(0, Relaxed);
    (ended, nanos)
}

fn pairs(mut headers: Tokens<'_>) -> Vec<(&[u8], &[u8])> {
    let mut pairs = Vec::new();
    while let (Some(Token::Str(name)), Some(Token::Str(value))) = (headers.next(), headers.next()) {
        pairs.push((name, value));
    }
    pairs
}

/// The message that ends an invocation.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Which.
    pub invoke: &'a Invoke<'a>,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
}

impl Reply<'_> {
    /// Sends how it ended. `size` is that of the result, in bytes; one over the limit is a failure.
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn send(&self, out: &mut Answers, size: usize, outcome: Outcome<'_>) -> std::io::Result<()> {
        let limit = self.invoke.limits.output;
        if size as u64 > limit {
            return self.fail(out, Fault::Output, b"result is too large", limit, size as u64);
        }
        let invocation = self.invoke.invocation;
        out.send(&ToBroker::Done { invocation, nanos: self.nanos, memory: 0, outcome }, self.nanos)
    }

    /// Sends that it failed, and at which limit (0 if none), in bytes or calls.
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn fail(
        &self,
        out: &mut Answers,
        fault: Fault,
        text: &[u8],
        limit: u64,
        measured: u64,
    ) -> std::io::Result<()> {
        // The text may be as long as the script likes.
        let text = &text[..text.len().min(64 << 10)];
        let outcome = Outcome::Failed(Failure { fault, text, limit, measured });
        let invocation = self.invoke.invocation;
        out.send(&ToBroker::Done { invocation, nanos: self.nanos, memory: measured, outcome }, self.nanos)
    }
}

/// Whether an invocation is in progress.
#[must_use]
pub fn is_running() -> bool {
    RUNNING.load(Relaxed) != 0
}

/// Ends the process because memory is used up: tells the broker which limit a run passed, if one runs.
pub fn exhausted(measured: u64) -> ! {
    heap::limit(None);
    let invocation = RUNNING.swap(0, Relaxed);
    if invocation != 0 {
        let limit = LIMIT.load(Relaxed);
        let text = b"memory limit reached";
        let outcome = Outcome::Failed(Failure { fault: Fault::Memory, text, limit, measured });
        let _ = Link::to_send().send(&ToBroker::Done { invocation, nanos: 0, memory: measured, outcome });
    }
    jail::sys::exit_now(EXHAUSTED)
}

/// The way out of a run: over the socket.
#[derive(Debug)]
pub struct Broker {
    link: Link,
    out: Link,
    invocation: u64,
    log_left: u64,
    calls: u32,
    calls_limit: u32,
    acted: bool,
    refused: bool,
}

impl Default for Broker {
    fn default() -> Self {
        Broker::new()
    }
}

impl Broker {
    /// A way out, for one run after another.
    #[must_use]
    pub fn new() -> Broker {
        Broker {
            link: Link::new(),
            out: Link::to_send(),
            invocation: 0,
            log_left: 0,
            calls: 0,
            calls_limit: 0,
            acted: false,
            refused: false,
        }
    }

    /// Waits for the reply to a call. Invocations that were sent ahead are given back: they have not
    /// started, and this one may take long.
    fn wait(&mut self, call: u32, reply: &mut dyn FnMut(HostReply<'_>)) -> Result<(), i32> {
        loop {
            let bytes = self.link.recv().map_err(|_| PROTOCOL)?.ok_or(0)?;
            match codec::decode(bytes).map_err(|_| PROTOCOL)? {
                ToWorker::HostReply { call: answered, reply: value } if answered == call => {
                    reply(value);
                    return Ok(());
                }
                ToWorker::Invoke(invoke) => {
                    let returned = ToBroker::Returned { invocation: invoke.invocation };
                    self.out.send(&returned).map_err(|_| PROTOCOL)?;
                }
                _ => return Err(PROTOCOL),
            }
        }
    }
}

impl Outside for Broker {
    fn start(&mut self, invoke: &Invoke<'_>) {
        self.invocation = invoke.invocation;
        self.log_left = invoke.limits.log;
        self.calls = 0;
        self.acted = false;
        self.refused = false;
        self.calls_limit = invoke.limits.host_calls;
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        if self.log_left == 0 {
            return;
        }
        let cost = text.len() as u64 + 16;
        let (level, text) = if cost > self.log_left {
            self.log_left = 0;
            (Level::Warn, &b"log limit reached: further lines are dropped"[..])
        } else {
            self.log_left -= cost;
            (level, text)
        };
        if self.out.send(&ToBroker::Log { invocation: self.invocation, level, text }).is_err() {
            jail::sys::exit_now(PROTOCOL);
        }
    }

    fn has_acted(&self) -> bool {
        self.acted
    }

    fn reached(&self) -> Option<Reached> {
        let limit = u64::from(self.calls_limit);
        self.refused.then_some(Reached::Count(limit, limit + 1))
    }

    fn call(&mut self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        if self.calls >= self.calls_limit {
            self.refused = true;
            let text = format!("limit of {} {CALLS_REACHED}", self.calls_limit);
            return reply(HostReply::Failed(&text));
        }
        self.calls += 1;
        self.acted |= !matches!(request, HostCall::Library { .. } | HostCall::Env { .. } | HostCall::Folders);
        let (invocation, call) = (self.invocation, self.calls);
        let request = ToBroker::HostCall { invocation, call, request: request.clone() };
        let asked = self.out.send(&request).map_err(|_| PROTOCOL);
        if let Err(status) = asked.and_then(|()| self.wait(call, reply)) {
            jail::sys::exit_now(status);
        }
    }
}
