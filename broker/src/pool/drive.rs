//! The task of one worker: from its start to its end.
//!
//! Reads what the worker says, watches the clock and the process, and kills. It owns the worker's life;
//! the pool only hands jobs over.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_proto::codec;
use msgscript_proto::message::{Engine, ToBroker, ToWorker};
use msgscript_proto::outcome::{Fault, Outcome};
use msgscript_proto::packet::{Assembler, MAX_PACKET, PacketError, bundled, is_bundle};
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::job::{Calling, Job, Work, level};
use super::spawn::SpawnPlan;
use super::terms::Terms;
use super::worker::{PATIENCE, Sentence, Violation, Worker};
use super::{Pool, rights, verdict, verify};
use crate::audit::{self, Act};
use crate::cgroup::Leaf;
use crate::host::{Answer, Call, Caller};
use crate::invocation::{Ending, LogLine, Reason};
use crate::units::{print_duration, print_size};

/// How long a worker may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// How long a run that was interrupted may take to end.
const GRACE: Duration = Duration::from_millis(50);

/// Packets read from one worker before others get their turn.
const TURN: usize = 64;

/// Bytes of a worker's own log (its libraries' last words) that are kept.
const LAST_WORDS: usize = 4096;

/// Starts a worker, serves it until it ends, and sees to its place in the pool.
pub(super) async fn run(pool: Weak<Pool>, plan: Arc<SpawnPlan>) {
    let engine = plan.setup.engine;
    let Some(strong) = pool.upgrade() else { return };
    let (worker, log) = match strong.start_process(plan).await.map(Worker::new) {
        Ok(Ok((worker, log))) => (Rc::new(worker), log),
        Ok(Err(error)) => return strong.not_joined(engine, format!("cannot watch a worker: {error}")),
        Err(error) => return strong.not_joined(engine, error.to_string()),
    };
    drop(strong);
    let mut drive =
        Drive { pool, worker, assembler: Assembler::new(msgscript_proto::MAX_MESSAGE), joined: false };
    let words = drive.serve(log).await;
    drive.bury(words).await;
}

/// Lets an idle worker end: its socket closes.
pub(super) fn retire(worker: &Worker) {
    let text = "the worker was retired".to_owned();
    worker.kill(Sentence {
        reason: Reason::Cancelled,
        error: text,
        limit: String::new(),
        measured: String::new(),
    });
}

/// A job that could not be sent: too large for a message, or the worker is dying.
pub(super) fn unsendable(worker: &Worker, job: Job, error: &io::Error) {
    let error = format!("cannot hand the message to a worker: {error}");
    worker.kill(Sentence {
        reason: Reason::Internal,
        error: error.clone(),
        limit: String::new(),
        measured: String::new(),
    });
    job.fail(Reason::Internal, error, String::new(), String::new());
}

struct Drive {
    pool: Weak<Pool>,
    worker: Rc<Worker>,
    assembler: Assembler,
    joined: bool,
}

/// What woke the task.
enum Event {
    Readable,
    Writable,
    Woken,
    Timer,
    Log(io::Result<usize>),
}

impl Drive {
    /// Serves the worker until its log pipe closes, which is when it ends; gives its last words.
    async fn serve(&mut self, log: std::io::PipeReader) -> Vec<u8> {
        let mut words = Vec::new();
        let Ok(mut log) = pipe::Receiver::from_owned_fd(log.into()) else { return words };
        let mut line = [0; 1024];
        let mut buffer = vec![0; MAX_PACKET];
        let worker = self.worker.clone();
        let greeting = Instant::now() + GREETING;
        let timer = tokio::time::sleep_until(greeting.into());
        tokio::pin!(timer);
        worker.looks_at.set(greeting);
        loop {
            let event = tokio::select! {
                _ = worker.socket.readable() => Event::Readable,
                _ = worker.socket.writable(), if worker.has_output() => Event::Writable,
                () = worker.wake.notified() => Event::Woken,
                () = &mut timer => Event::Timer,
                read = log.read(&mut line) => Event::Log(read),
            };
            match event {
                Event::Readable => {
                    self.receive(&mut buffer);
                }
                Event::Woken => {}
                Event::Writable => {
                    if worker.flush().is_err() {
                        self.violation(Violation("the socket is broken"));
                    }
                }
                Event::Timer => self.tick(greeting),
                Event::Log(Ok(0) | Err(_)) => break,
                Event::Log(Ok(size)) => {
                    let room = LAST_WORDS - words.len().min(LAST_WORDS);
                    words.extend_from_slice(&line[..size.min(room)]);
                }
            }
            if worker.send_bundle().is_err() {
                self.violation(Violation("the socket is broken"));
            }
            let next = self.next_tick(greeting);
            // The timer is only ever brought forward here; one that fires early looks again.
            if timer.is_elapsed() || next < timer.deadline().into_std() {
                timer.as_mut().reset(next.into());
                worker.looks_at.set(next);
            }
        }
        words
    }

    /// When to look at the clock next.
    fn next_tick(&self, greeting: Instant) -> Instant {
        if !self.joined {
            return greeting;
        }
        let jobs = self.worker.jobs.borrow();
        let Some(first) = jobs.front() else { return Instant::now() + Duration::from_secs(3600) };
        if self.worker.interrupted.get() {
            return first.deadline + GRACE;
        }
        let end = self.worker.cpu_look.get().map_or(first.deadline, |look| look.min(first.deadline));
        if jobs.len() > 1 { end.min(Instant::now() + PATIENCE) } else { end }
    }

    /// Kills a run that is past its deadline; takes jobs back from behind a long one.
    fn tick(&mut self, greeting: Instant) {
        let now = Instant::now();
        if !self.joined && now >= greeting {
            return self.violation(Violation("no greeting in time"));
        }
        // An answer that is there already counts.
        self.receive(&mut vec![0; MAX_PACKET]);
        self.look_at_cpu(now);
        let worker = self.worker.clone();
        let (late, stuck) = {
            let jobs = worker.jobs.borrow();
            let Some(first) = jobs.front() else { return };
            (first.deadline <= now, jobs.len() > 1 && now >= worker.began.get() + PATIENCE)
        };
        // Its answer may be on the slate.
        let runs_on = !(late || stuck) || self.take_back();
        let late = late && runs_on;
        // A module's code can be interrupted, which leaves the worker whole. Nothing else has been handed to
        // it by now, so that the signal meets this run or none.
        if late && worker.engine == Engine::Wasm && !worker.interrupted.replace(true) {
            return worker.signal(Signal::SIGUSR1);
        }
        if late {
            let first = worker.jobs.borrow_mut().pop_front();
            let sentence = self.out_of_time(first.as_ref(), now);
            worker.kill(sentence.clone());
            // Its end may take a while (memory to be freed); the caller need not wait for that.
            if let Some(job) = first {
                sentence.carry_out(job);
            }
        }
    }

    /// Takes back what was handed over behind the run in progress, and gives out what was answered before it and
    /// not sent. False if the run has ended, too.
    fn take_back(&mut self) -> bool {
        let worker = self.worker.clone();
        let first = || worker.jobs.borrow().front().map(Job::id);
        let running = first();
        worker.slow.set(true);
        let Ok(began) = worker.end_epoch() else {
            self.violation(Violation("its slate cannot be used"));
            return false;
        };
        // One that waits for the broker has nothing to keep.
        let kept = if worker.in_host_call.get() { Vec::new() } else { worker.kept() };
        let back = worker.take_back(began, messages(&kept).filter_map(Told::of));
        for (job, answer) in back.answered {
            if let Err(violation) = self.answered(job, answer) {
                self.violation(violation);
            }
            worker.limit_cpu_time();
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.put_back(back.unbegun);
            if worker.is_idle() {
                pool.answered(&worker);
            }
        }
        running == first()
    }

    /// Reads from the slate what the worker had not sent when it died. What it had sent was read before.
    fn receive_kept(&mut self) {
        let kept = self.worker.kept();
        for message in messages(&kept) {
            let first = self.worker.jobs.borrow().front().map(Job::id);
            if let ToBroker::Done { invocation, .. } | ToBroker::Returned { invocation } = message
                && first == Some(invocation)
                && let Err(violation) = self.message(message)
            {
                tracing::error!(worker = self.worker.pid, %violation, "on the slate of a dead worker");
            }
        }
    }

    /// The sentence of a run that took too long.
    fn out_of_time(&self, job: Option<&Job>, now: Instant) -> Sentence {
        Sentence {
            reason: Reason::WallTime,
            error: "time limit reached".to_owned(),
            limit: print_duration(job.map_or(Duration::ZERO, Job::wall)),
            measured: print_duration(now - self.worker.began.get()),
        }
    }

    /// Kills a run that has used up its CPU time.
    fn look_at_cpu(&mut self, now: Instant) {
        let worker = self.worker.clone();
        let Some(look) = worker.cpu_look.get().filter(|look| *look <= now) else { return };
        let first = worker.jobs.borrow().front().and_then(|job| job.terms.cpu);
        let Some(limit) = first else { return worker.cpu_look.set(None) };
        let used = worker.cpu_time().saturating_sub(worker.cpu_began.get());
        if used < limit {
            // Never at once: the clock of the process may be coarser than ours.
            return worker.cpu_look.set(Some(look.max(now) + (limit - used).max(Duration::from_millis(1))));
        }
        worker.cpu_look.set(None);
        if !self.take_back() {
            return;
        }
        worker.kill(Sentence {
            reason: Reason::CpuTime,
            error: "CPU time limit reached".to_owned(),
            limit: print_duration(limit),
            measured: print_duration(used),
        });
    }

    fn violation(&self, violation: Violation) {
        tracing::error!(worker = self.worker.pid, %violation, "worker killed");
        // With a run, its ending tells.
        if self.worker.jobs.borrow().is_empty() {
            audit::record(Act::WorkerKilled, &audit::Event::told(violation.0));
        }
        self.worker.kill(Sentence {
            reason: Reason::Crashed,
            error: format!("the worker was killed: {violation}"),
            limit: String::new(),
            measured: String::new(),
        });
    }

    /// Reads what is there, up to a turn; false when there is no more.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let (served, void) = (self.worker.served.get(), !self.worker.unsaid.borrow().is_empty());
        let more = self.receive_packets(buffer);
        let answered = self.worker.served.get() != served;
        if answered {
            self.worker.limit_cpu_time();
        }
        // What came back may be handed to it again once it has said so.
        let cleared = void && self.worker.unsaid.borrow().is_empty();
        if (answered || cleared)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.answered(&self.worker);
        }
        more
    }

    fn receive_packets(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..TURN {
            match self.worker.receive(buffer) {
                Ok(size) => {
                    if let Err(violation) = self.packet(&buffer[..size]) {
                        self.violation(violation);
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn packet(&mut self, packet: &[u8]) -> Result<(), Violation> {
        let no_message = |_: PacketError| Violation("packets that make no message");
        if is_bundle(packet) && !self.assembler.is_open() {
            let mut at = 0;
            while let Some(message) = bundled(packet, &mut at).map_err(no_message)? {
                self.encoded(message)?;
            }
            return Ok(());
        }
        let mut assembler = std::mem::replace(&mut self.assembler, Assembler::new(0));
        let pushed = assembler.push(packet).map_err(no_message);
        let result = pushed.and_then(|message| message.map_or(Ok(()), |message| self.encoded(message)));
        if packet.len() < MAX_PACKET {
            assembler.shrink();
        }
        self.assembler = assembler;
        result
    }

    fn encoded(&mut self, message: &[u8]) -> Result<(), Violation> {
        self.message(codec::decode(message).map_err(|_| Violation("not a message"))?)
    }

    fn message(&mut self, message: ToBroker<'_>) -> Result<(), Violation> {
        if !self.joined {
            return self.greeting(&message);
        }
        match message {
            ToBroker::Done { invocation, .. } if self.worker.is_void(invocation) => Ok(()),
            ToBroker::Done { invocation, nanos, outcome, .. } => {
                let job = self.first(invocation)?;
                self.answered(job, Told { nanos, outcome })
            }
            ToBroker::Checked { error } => {
                let job = self.first(0)?;
                let error = error.map(|text| String::from_utf8_lossy(text).into_owned());
                self.done(job, |job| {
                    if let Work::Check { reply, .. } = job.work {
                        drop(reply.send(error.map_or(Ok(()), Err)));
                    }
                });
                Ok(())
            }
            ToBroker::Log { invocation, level: grade, text } => self.log(invocation, level(grade), text),
            ToBroker::HostCall { invocation, call, request } => {
                let call_made = self.host_call(invocation, call, Call::from_wire(&request));
                // It may take long.
                if self.worker.jobs.borrow().len() > 1 {
                    self.take_back();
                }
                call_made
            }
            ToBroker::Returned { invocation } => self.returned(invocation),
            ToBroker::Ready { .. }
            | ToBroker::NotJailed { .. }
            | ToBroker::Output { .. }
            | ToBroker::Exited { .. }
            | ToBroker::Probed { .. }
            | ToBroker::Compiled { .. }
            | ToBroker::Sqlite(_) => Err(Violation("a message out of place")),
        }
    }

    /// A run was answered.
    fn answered(&self, job: Job, answer: Told<'_>) -> Result<(), Violation> {
        let Told { nanos, outcome } = answer;
        let invocation = job.id();
        let script = job.script().clone();
        if matches!(outcome, Outcome::NeedsPlugin { .. }) {
            return self.needs_plugin(job);
        }
        let mut ending = verdict::of_outcome(invocation, &script, &outcome);
        if ending.reason == Reason::WallTime {
            let sentence = self.out_of_time(Some(&job), Instant::now());
            (ending.limit, ending.measured) = (sentence.limit, sentence.measured);
        }
        if let Some((limit, measured)) = job.over.filter(|_| tells_of_bytes(&ending)) {
            (ending.limit, ending.measured) = (print_size(limit), print_size(measured));
        }
        let bad = matches!(&outcome, Outcome::Failed(failure) if failure.fault == Fault::Artifact);
        if let Some(module) = job.module().filter(|_| bad) {
            module.bad.set(true);
            retire(&self.worker);
        }
        self.done(job, |job| job.finish(ending));
        if let Some(pool) = self.pool.upgrade() {
            pool.learn(script.id, nanos);
        }
        Ok(())
    }

    /// The script asked for a plugin before anything of it was seen: it runs again, once, where there is one.
    fn needs_plugin(&self, mut job: Job) -> Result<(), Violation> {
        if job.plugin || job.id() == 0 || self.worker.setup.plugins.is_empty() {
            return Err(Violation("a plugin that is none"));
        }
        self.worker.served.set(self.worker.served.get() + 1);
        job.start_over();
        if let Some(pool) = self.pool.upgrade() {
            pool.run_with_plugins(job);
        }
        Ok(())
    }

    fn greeting(&mut self, message: &ToBroker<'_>) -> Result<(), Violation> {
        let Some(pool) = self.pool.upgrade() else { return Ok(()) };
        match message {
            ToBroker::Ready { version, report } => {
                if let Err(error) = verify::verify(self.worker.pid, &self.worker.setup, *version, report) {
                    self.distrust(error.to_string());
                    return Ok(());
                }
                self.joined = true;
                pool.started.set(pool.started.get() + 1);
                pool.joined(&self.worker);
                Ok(())
            }
            ToBroker::NotJailed { layer, error } => {
                self.distrust(format!(
                    "sandbox layer {} cannot be closed: {error} (see `msgscript-broker doctor`; \
                     --sandbox-without {} does without it)",
                    layer.name(),
                    layer.name()
                ));
                Ok(())
            }
            _ => Err(Violation("no greeting")),
        }
    }

    fn distrust(&self, error: String) {
        audit::record(Act::WorkerKilled, &audit::Event::told(&error));
        let sentence =
            Sentence { reason: Reason::Internal, error, limit: String::new(), measured: String::new() };
        self.worker.kill(sentence);
    }

    /// Takes the job in progress, which must be this one.
    fn first(&self, invocation: u64) -> Result<Job, Violation> {
        let mut jobs = self.worker.jobs.borrow_mut();
        match jobs.front() {
            Some(job) if job.id() == invocation && !self.worker.in_host_call.get() => {
                jobs.pop_front().ok_or(Violation("no job"))
            }
            _ => Err(Violation("an answer that was not asked for")),
        }
    }

    fn done(&self, job: Job, finish: impl FnOnce(Job)) {
        self.worker.began.set(Instant::now());
        self.worker.interrupted.set(false);
        self.worker.slow.set(false);
        self.worker.served.set(self.worker.served.get() + 1);
        if let Some(next) = self.worker.jobs.borrow().front() {
            next.began();
        }
        finish(job);
    }

    fn log(&self, invocation: u64, level: tracing::Level, text: &[u8]) -> Result<(), Violation> {
        let mut jobs = self.worker.jobs.borrow_mut();
        let job = jobs.front_mut().filter(|job| job.id() == invocation);
        let job = job.ok_or(Violation("a log line of no run"))?;
        job.logged += text.len() as u64 + 16;
        // The worker counts as well; one line says that the limit was reached, and a traceback may follow.
        if job.logged > job.limits.log + (256 << 10) {
            return Err(Violation("log lines past the limit"));
        }
        let text = String::from_utf8_lossy(text).into_owned();
        crate::telemetry::script_line(job.script(), invocation, level, &text);
        job.logs.push(LogLine { level, text });
        Ok(())
    }

    fn host_call(&self, invocation: u64, number: u32, call: Call) -> Result<(), Violation> {
        let Some(powers) = self.pool.upgrade().and_then(|pool| pool.powers()) else { return Ok(()) };
        let (caller, budget) = {
            let mut jobs = self.worker.jobs.borrow_mut();
            let job = jobs.front_mut().filter(|job| job.id() == invocation);
            let job = job.ok_or(Violation("a host call of no run"))?;
            if self.worker.in_host_call.get() || number != job.calls + 1 || number > job.limits.host_calls {
                return Err(Violation("a host call out of order"));
            }
            job.calls = number;
            let Work::Run { invocation, .. } = &job.work else {
                return Err(Violation("a host call of a check"));
            };
            let invocation = invocation.clone();
            let most = powers.budget(&invocation.script.tenant);
            let budget = job.budget.get_or_insert(most);
            let left = budget.out.checked_sub(call.size());
            if left.is_none() {
                job.over = Some((most.out, most.out.saturating_sub(budget.out) + call.size()));
            }
            budget.out = left.unwrap_or(budget.out);
            let (room, most_in) = (budget.into, most.into);
            let connections = job.connections.get_or_insert_default().clone();
            let clients = job.clients.get_or_insert_default().clone();
            let span = invocation.trace.as_ref().map(|trace| {
                let (name, kind) = call.kind();
                Rc::new(trace.call(name, kind))
            });
            (Caller { invocation, room, connections, clients, span }, left.map(|_| most_in))
        };
        self.worker.in_host_call.set(true);
        let worker = self.worker.clone();
        let task = tokio::task::spawn_local(async move {
            let answer = match budget {
                Some(_) => powers.call(caller, call).await,
                None => Answer::Failed(format!("{BYTES_REACHED} send out reached")),
            };
            worker.in_host_call.set(false);
            let answer = charge(&worker, invocation, answer, budget.unwrap_or(0));
            if let Some(answer) = answer.filter(|_| worker.sentence.borrow().is_none()) {
                let sent =
                    answer.with_wire(|reply| worker.send(&ToWorker::HostReply { call: number, reply }));
                if let Err(error) = sent {
                    tracing::error!(worker = worker.pid, %error, "host reply not sent");
                    retire(&worker);
                }
            }
        });
        // A run that ends takes the call along that it waits for.
        if let Some(job) = self.worker.jobs.borrow_mut().front_mut() {
            job.calling = Some(Calling(task.abort_handle()));
        }
        Ok(())
    }

    fn returned(&self, invocation: u64) -> Result<(), Violation> {
        let worker = &self.worker;
        if worker.is_void(invocation) {
            return Ok(());
        }
        if worker.in_host_call.get() && worker.jobs.borrow().front().map(Job::id) == Some(invocation) {
            return Err(Violation("a run came back that waits for the broker"));
        }
        let back = worker.unsaid.borrow_mut().returned(&mut worker.jobs.borrow_mut(), invocation)?;
        if let Some(pool) = self.pool.upgrade() {
            pool.put_back(vec![back]);
        }
        Ok(())
    }

    /// After the worker's end: what it still said counts, what it had not begun goes elsewhere, what it had
    /// begun ends.
    async fn bury(&mut self, words: Vec<u8>) {
        let worker = self.worker.clone();
        let status = worker.reap().await;
        let mut buffer = vec![0; MAX_PACKET];
        while worker.sentence.borrow().as_ref().is_none_or(|sentence| sentence.reason != Reason::Crashed)
            && self.receive(&mut buffer)
        {}
        self.receive_kept();
        let Some(pool) = self.pool.upgrade() else { return };
        // What kills a worker while it is bound to its module would kill the next one too.
        let unbegun = if worker.is_untried() {
            Vec::new()
        } else {
            worker.take_back(worker.began_last(), std::iter::empty::<(u64, ())>()).unbegun
        };
        let sentence = worker.sentence.borrow_mut().take();
        let retired = sentence.as_ref().is_some_and(|sentence| sentence.reason == Reason::Cancelled);
        let sentence = sentence.unwrap_or_else(|| {
            let starved = worker.leaf.as_ref().is_some_and(Leaf::ran_out_of_memory);
            let (reason, error) = verdict::of_death(status, &words, starved);
            Sentence { reason, error, limit: String::new(), measured: String::new() }
        });
        if !words.is_empty() {
            let words = String::from_utf8_lossy(&words).escape_debug().to_string();
            tracing::warn!(worker = worker.pid, words, "the worker's last words");
        }
        if !retired {
            pool.deaths.borrow_mut().add(sentence.reason);
            let (reason, error) = (sentence.reason.word(), &sentence.error);
            tracing::warn!(
                worker = worker.pid,
                reason,
                error,
                limit = sentence.limit,
                measured = sentence.measured,
                "worker ended"
            );
        }
        let jobs = std::mem::take(&mut *worker.jobs.borrow_mut());
        if !retired || !jobs.is_empty() {
            pool.blame(&worker);
        }
        for job in jobs {
            sentence.carry_out(job);
        }
        worker.release();
        if self.joined {
            pool.left(&worker);
        } else {
            pool.not_joined(worker.engine, sentence.error);
        }
        // Only now that it has left the pool: else it could be given them again.
        pool.put_back(unbegun);
    }
}

/// How a run ended, by its worker's word.
struct Told<'a> {
    nanos: u64,
    outcome: Outcome<'a>,
}

impl<'a> Told<'a> {
    fn of(message: ToBroker<'a>) -> Option<(u64, Told<'a>)> {
        let ToBroker::Done { invocation, nanos, outcome, .. } = message else { return None };
        Some((invocation, Told { nanos, outcome }))
    }
}

/// The messages of a bundle that a worker kept, up to what is none: then the worker is hostile, and only its own runs
/// wait for it.
fn messages(bundle: &[u8]) -> impl Iterator<Item = ToBroker<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let message = (!bundle.is_empty()).then(|| bundled(bundle, &mut at).ok().flatten()).flatten()?;
        codec::decode(message).ok()
    })
}

/// Whether a run ended by the error of a call that would have moved too many bytes.
fn tells_of_bytes(ending: &Ending) -> bool {
    ending.reason == Reason::ScriptError && ending.limit.is_empty() && ending.error.contains(BYTES_REACHED)
}

/// How the texts begin that tell of a limit of bytes.
const BYTES_REACHED: &str = "limit of bytes that host calls may";

/// The answer as the run may have it, its size taken from the budget, which was `most`; `None` if the run is
/// gone.
fn charge(worker: &Worker, invocation: u64, answer: Answer, most: u64) -> Option<Answer> {
    let mut jobs = worker.jobs.borrow_mut();
    let job = jobs.front_mut().filter(|job| job.id() == invocation)?;
    let budget = job.budget.as_mut()?;
    match budget.into.checked_sub(answer.size()) {
        Some(left) => {
            budget.into = left;
            Some(answer)
        }
        None => {
            job.over = Some((most, most.saturating_sub(budget.into) + answer.size()));
            budget.into = 0;
            Some(Answer::Failed(format!("{BYTES_REACHED} bring in reached")))
        }
    }
}

impl Sentence {
    /// Ends a job with it.
    fn carry_out(&self, job: Job) {
        let Sentence { reason, error, mut limit, mut measured } = self.clone();
        if reason == Reason::Memory && limit.is_empty() {
            limit = print_size(job.limits.memory);
            measured = format!("over {limit}");
        }
        let error = format!("{}: {error}", job.place());
        job.fail(reason, error, limit, measured);
    }
}

impl Job {
    /// A job that is about to be admitted.
    #[must_use]
    pub fn new(work: Work, limits: msgscript_proto::message::Limits, terms: Terms, deadline: Instant) -> Job {
        Job {
            work,
            limits,
            terms,
            deadline,
            short: None,
            logs: Vec::new(),
            logged: 0,
            calls: 0,
            budget: None,
            over: None,
            plugin: false,
            connections: None,
            clients: None,
            calling: None,
        }
    }

    /// The longest it may take.
    #[must_use]
    pub fn wall(&self) -> Duration {
        match &self.work {
            Work::Run { invocation, .. } => invocation.wall,
            Work::Check { .. } => super::CHECK_TIME,
        }
    }

    /// The script's place in the author's words.
    #[must_use]
    pub fn place(&self) -> String {
        let script = self.script();
        script.parts.last().map_or(&*script.name, |part| &*part.name).to_owned()
    }

    /// Ends a job whose deadline came before a worker.
    /// `slowed`: because its tenant's runs kill their workers.
    pub(super) fn fail_waiting(self, now: Instant, slowed: bool) {
        let limit = self.wall();
        let waited = match &self.work {
            Work::Run { invocation, .. } => now - invocation.message.arrived,
            Work::Check { .. } => limit,
        };
        let error = rights::reason("no worker became free in time", slowed);
        self.fail(Reason::Wait, error, print_duration(limit), print_duration(waited));
    }
}
