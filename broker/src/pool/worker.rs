//! One worker process as the broker sees it: a socket, what was handed to it, and its end.
//!
//! Bytes from the worker are hostile: anything out of order is a [`Violation`] and the worker's death.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use msgscript_proto::codec;
use msgscript_proto::message::{Engine, Setup, ToWorker};
use msgscript_proto::packet::{self, Packets};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, send};
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;

use super::binding::Binding;
use super::job::Job;
use super::slate::Slate;
use super::spawn::Spawned;
use super::unsaid::{Back, Unsaid};
use crate::cgroup::Leaf;
use crate::config::value::Isolation;
use crate::invocation::{Reason, Tenant};
use crate::schedule::{DEPTH, View};
use crate::wasm::{Key, Module};

/// A run that takes longer than this gives up the jobs that were handed over behind it.
pub const PATIENCE: Duration = Duration::from_millis(5);

/// Jobs that a worker is sent each by itself, as soon as it comes. Those behind them have time: what comes in the
/// same turn of the loop goes along in one packet.
const AT_ONCE: usize = 4;

/// Scripts kept loaded in one worker; the least recently used goes first.
const LOADED: usize = 256;

/// What a worker did that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol violation: {0}")]
pub struct Violation(pub &'static str);

/// Why the broker killed a worker, for the run that it takes along.
#[derive(Debug, Clone)]
pub struct Sentence {
    /// The reason.
    pub reason: Reason,
    /// The text.
    pub error: String,
    /// The limit.
    pub limit: String,
    /// What was measured.
    pub measured: String,
}

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    /// Its process.
    pub pid: u32,
    /// What it runs.
    pub engine: Engine,
    /// How it was set up.
    pub setup: Setup,
    /// The broker's end. tokio has no type of its own for `SOCK_SEQPACKET`, which sends and receives as a
    /// connected datagram socket does.
    pub socket: UnixDatagram,
    worker_end: RefCell<Option<OwnedFd>>,
    slate: Slate,
    /// The epoch of what is handed over now (see [`msgscript_proto::slate`]).
    epoch: Cell<u8>,
    /// Jobs handed over that wait to be sent together: the last ones of `jobs`.
    bundle: RefCell<Bundle>,
    /// What it will say that counts no more.
    pub unsaid: RefCell<Unsaid>,
    /// Whether its run took long, or may, so that nothing is to wait behind it.
    pub slow: Cell<bool>,
    child: RefCell<Option<Child>>,
    /// Its control group, where there is one.
    pub leaf: Option<Leaf>,
    /// What was handed to it and not answered, in order: only the first can have started.
    pub jobs: RefCell<VecDeque<Job>>,
    /// When the first of them became the first.
    pub began: Cell<Instant>,
    /// When its task will look at the clock next.
    pub looks_at: Cell<Instant>,
    /// What it serves, from its first job on.
    pub binding: RefCell<Option<Binding>>,
    /// The CPU time that it had used when its tenant was last charged.
    pub charged: Cell<Duration>,
    /// The CPU time that it had used when the first of its jobs became the first, if that is limited.
    pub cpu_began: Cell<Duration>,
    /// When that limit is looked at next.
    pub cpu_look: Cell<Option<Instant>>,
    /// The module that it is bound to.
    module: Cell<Option<Key>>,
    /// Whether its run was told that its time is over.
    pub interrupted: Cell<bool>,
    /// Whether it has greeted and was checked.
    pub ready: Cell<bool>,
    /// Whether its running script waits for the broker.
    pub in_host_call: Cell<bool>,
    /// Why it was killed.
    pub sentence: RefCell<Option<Sentence>>,
    /// Runs served.
    pub served: Cell<u64>,
    /// When it started.
    pub started: Instant,
    /// When it last became idle.
    pub idle_since: Cell<Instant>,
    loaded: RefCell<Loaded>,
    outgoing: RefCell<VecDeque<Vec<u8>>>,
    /// Wakes its task: output waits, or the timer must be set anew.
    pub wake: Notify,
}

/// Messages that wait to be sent as one packet.
#[derive(Debug, Default)]
struct Bundle {
    room: Vec<u8>,
    used: usize,
    jobs: usize,
}

/// Scripts that a worker has loaded, with when each was last used (in jobs handed over).
#[derive(Debug, Default)]
struct Loaded {
    scripts: HashMap<u64, u64>,
    tick: u64,
}

impl Worker {
    /// A worker that was just started.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn new(spawned: Spawned) -> io::Result<(Worker, std::io::PipeReader)> {
        let Spawned { child, setup, socket, worker_end, slate, log, leaf } = spawned;
        let now = Instant::now();
        let worker = Worker {
            pid: child.id(),
            engine: setup.engine,
            setup,
            socket: UnixDatagram::from_std(socket.into())?,
            worker_end: RefCell::new(Some(worker_end)),
            slate,
            epoch: Cell::new(0),
            bundle: RefCell::default(),
            unsaid: RefCell::default(),
            slow: Cell::new(false),
            child: RefCell::new(Some(child)),
            leaf,
            jobs: RefCell::default(),
            began: Cell::new(now),
            looks_at: Cell::new(now),
            binding: RefCell::default(),
            charged: Cell::default(),
            cpu_began: Cell::default(),
            cpu_look: Cell::default(),
            module: Cell::new(None),
            interrupted: Cell::new(false),
            ready: Cell::new(false),
            in_host_call: Cell::new(false),
            sentence: RefCell::default(),
            served: Cell::new(0),
            started: now,
            idle_since: Cell::new(now),
            loaded: RefCell::default(),
            outgoing: RefCell::default(),
            wake: Notify::new(),
        };
        Ok((worker, log))
    }

    /// Whether it may run this job at all.
    #[must_use]
    pub fn fits(&self, job: &Job) -> bool {
        self.engine == job.engine()
            && self.sentence.borrow().is_none()
            && self.binding.borrow().as_ref().is_none_or(|binding| binding.serves(job))
            && self.module.get().is_none_or(|key| job.module().is_some_and(|module| module.key == key))
    }

    /// Whether it is what it will be for the rest of its life: a worker for WebAssembly becomes one of a
    /// module by its first job.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.engine != Engine::Wasm || self.module.get().is_some()
    }

    /// Whether it was bound to a module and has answered nothing since.
    #[must_use]
    pub fn is_untried(&self) -> bool {
        self.module.get().is_some() && self.served.get() == 0
    }

    /// Whether it is bound to this module.
    #[must_use]
    pub fn is_of(&self, module: &Module) -> bool {
        self.module.get() == Some(module.key)
    }

    /// What the scheduler needs to know.
    #[must_use]
    pub fn view(&self, job: &Job) -> View {
        let ahead = job.short.is_some()
            && job.terms.isolation != Isolation::Invocation
            && self.takes_ahead()
            && self.loaded.borrow().scripts.contains_key(&job.script().id);
        View { in_flight: self.jobs.borrow().len(), ahead }
    }

    /// Whether it may be handed any job at all behind those that it has.
    #[must_use]
    pub fn takes_ahead(&self) -> bool {
        let jobs = self.jobs.borrow();
        // Nothing is sent ahead behind a long job, so the last one tells of all.
        self.engine != Engine::Plugin
            && jobs.len() < DEPTH
            && !self.in_host_call.get()
            && !self.interrupted.get()
            && !self.slow.get()
            && jobs.back().is_none_or(|job| job.short.is_some())
            && self.outgoing.borrow().is_empty()
    }

    /// Hands it a job; loads the script first if need be.
    ///
    /// # Errors
    /// The job, if the socket is broken or the message too large.
    #[allow(clippy::result_large_err, reason = "the job itself comes back")]
    pub fn hand(&self, job: Job) -> Result<(), (Job, io::Error)> {
        let bundled = self.jobs.borrow().len() >= AT_ONCE && job.is_small();
        if let Err(error) = self.send_job(&job, bundled) {
            return Err((job, error));
        }
        self.binding.borrow_mut().get_or_insert_with(|| Binding::by(&job));
        let now = Instant::now();
        let (is_first, deadline) = (self.is_idle(), job.deadline);
        if is_first {
            self.began.set(now);
            job.began();
        }
        self.jobs.borrow_mut().push_back(job);
        let look_at = if is_first {
            self.limit_cpu_time();
            self.cpu_look.get().map_or(deadline, |look| look.min(deadline))
        } else {
            now + 2 * PATIENCE
        };
        // Timers are set seldom: one that fires early looks again.
        if bundled || look_at < self.looks_at.get() {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Another job is the first now, and has its own CPU time.
    pub fn limit_cpu_time(&self) {
        let jobs = self.jobs.borrow();
        let run = jobs.front().filter(|job| job.id() != 0);
        let limit = run.and_then(|job| job.terms.cpu);
        self.cpu_look.set(limit.map(|most| self.began.get() + most));
        if limit.is_some() {
            self.cpu_began.set(self.cpu_time());
        }
    }

    /// The CPU time that the process has used, by the kernel's account.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let pid = i32::try_from(self.pid).map(Pid::from_raw);
        let clock = pid.ok().and_then(|pid| ClockId::pid_cpu_clock_id(pid).ok());
        // A process that is gone uses no more.
        clock.and_then(|clock| clock.now().ok()).map_or(self.charged.get(), Duration::from)
    }

    /// The tenant that it is bound to.
    #[must_use]
    pub fn is_of_tenant(&self, tenant: &Tenant) -> bool {
        self.binding.borrow().as_ref().is_some_and(|binding| binding.tenant() == tenant)
    }

    /// Whether it has served nobody yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.binding.borrow().is_none()
    }

    /// Whether it has no job.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.jobs.borrow().is_empty()
    }

    fn send_job(&self, job: &Job, bundled: bool) -> io::Result<()> {
        if matches!(job.work, super::job::Work::Run { .. }) {
            self.load(job)?;
        }
        let epoch = self.epoch.get();
        if !bundled {
            return job.with_wire(epoch, |message| self.send(message));
        }
        job.with_wire(epoch, |message| {
            encoded(message, |buffer| {
                if self.bundle.borrow_mut().add(&buffer[1..]) {
                    return Ok(());
                }
                self.send_bundle()?;
                if self.bundle.borrow_mut().add(&buffer[1..]) { Ok(()) } else { self.send_packets(buffer) }
            })
        })
    }

    fn load(&self, job: &Job) -> io::Result<()> {
        let id = job.script().id;
        let mut loaded = self.loaded.borrow_mut();
        loaded.tick += 1;
        let tick = loaded.tick;
        if let Some(last) = loaded.scripts.get_mut(&id) {
            *last = tick;
            return Ok(());
        }
        if let Some(module) = job.module() {
            if self.module.get().is_none() {
                self.module.set(Some(module.key));
                job.with_load(|message| self.send(message))?;
            }
            // Several scripts may be the same module; which of them were run does not matter to the worker.
            loaded.scripts.insert(id, tick);
            return Ok(());
        }
        if loaded.scripts.len() >= LOADED
            && let Some(oldest) = loaded.scripts.iter().min_by_key(|(_, tick)| **tick).map(|(id, _)| *id)
        {
            loaded.scripts.remove(&oldest);
            self.send(&ToWorker::Unload { script: oldest })?;
        }
        job.with_load(|message| self.send(message))?;
        loaded.scripts.insert(id, tick);
        Ok(())
    }

    /// Sends a message, or queues what the socket does not take now.
    ///
    /// # Errors
    /// When the socket is broken or the message too large.
    pub fn send(&self, message: &ToWorker<'_>) -> io::Result<()> {
        self.send_bundle()?;
        encoded(message, |buffer| self.send_packets(buffer))
    }

    /// Sends the jobs that wait to be sent together.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn send_bundle(&self) -> io::Result<()> {
        let mut bundle = self.bundle.borrow_mut();
        if bundle.used == 0 {
            return Ok(());
        }
        let used = std::mem::take(&mut bundle.used);
        bundle.jobs = 0;
        self.send_packet(&bundle.room[..used])
    }

    fn send_packet(&self, packet: &[u8]) -> io::Result<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        if !outgoing.is_empty() || !send_now(&self.socket, packet)? {
            outgoing.push_back(packet.to_vec());
            self.wake.notify_one();
        }
        Ok(())
    }

    fn send_packets(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut packets = Packets::new(buffer);
        while let Some(packet) = packets.next_packet() {
            self.send_packet(packet)?;
        }
        Ok(())
    }

    /// Whether output waits for the socket.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outgoing.borrow().is_empty()
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn flush(&self) -> io::Result<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        while let Some(packet) = outgoing.front() {
            match self.socket.try_send(packet) {
                Ok(_) => drop(outgoing.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives one packet if there is one: its length, 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else what the kernel says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(buffer)
    }

    /// Ends the epoch: nothing that was handed over and has not begun will begin. Gives the invocation that began
    /// last.
    ///
    /// # Errors
    /// When that cannot be noted, or the worker does not let it be read.
    pub fn end_epoch(&self) -> io::Result<u64> {
        let epoch = self.epoch.get().wrapping_add(1);
        self.slate.set_epoch(epoch)?;
        self.epoch.set(epoch);
        self.slate.running()
    }

    /// The invocation that began last, of a worker that has ended.
    #[must_use]
    pub fn began_last(&self) -> u64 {
        self.slate.running().unwrap_or(0)
    }

    /// The messages that the worker has not sent, by its slate.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        self.slate.kept()
    }

    /// Takes the jobs behind the one that began last, which was read after the end of their epoch or of the
    /// worker, and those that were answered on the slate, with their answers.
    pub fn take_back<A>(&self, began: u64, kept: impl IntoIterator<Item = (u64, A)>) -> Back<Job, A> {
        let mut bundle = self.bundle.borrow_mut();
        let unsent = std::mem::take(&mut bundle.jobs);
        bundle.used = 0;
        self.unsaid.borrow_mut().take_back(&mut self.jobs.borrow_mut(), began, unsent, kept)
    }

    /// Whether what the worker says of this invocation is void. To be asked once for each thing said.
    #[must_use]
    pub fn is_void(&self, invocation: u64) -> bool {
        self.unsaid.borrow_mut().is_void(invocation)
    }

    /// Kills it. The run in progress ends with this reason. A worker is killed once.
    pub fn kill(&self, sentence: Sentence) {
        if self.sentence.borrow().is_some() {
            return;
        }
        *self.sentence.borrow_mut() = Some(sentence);
        self.signal(Signal::SIGKILL);
    }

    /// Sends a signal, unless it has been reaped.
    pub fn signal(&self, signal: Signal) {
        if self.child.borrow().is_some()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // It may have ended by itself, which is just as well.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits for its end, which is near: kills it if it is not there yet.
    pub async fn reap(&self) -> Option<ExitStatus> {
        let mut child = self.child.borrow_mut().take()?;
        let wait = tokio::task::spawn_blocking(move || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            // Its log pipe is closed, so it is about to end; give it a moment to do so by itself.
            for _ in 0..50 {
                std::thread::sleep(std::time::Duration::from_millis(1));
                if let Ok(Some(status)) = child.try_wait() {
                    return Some(status);
                }
            }
            let _ = child.kill();
            child.wait().ok()
        });
        wait.await.ok().flatten()
    }

    /// Lets go of the worker's end, so that it sees its socket close when the broker's end does.
    pub fn release(&self) {
        self.worker_end.borrow_mut().take();
    }
}

impl Bundle {
    /// Adds a job's message; false if it does not fit.
    fn add(&mut self, message: &[u8]) -> bool {
        if self.room.is_empty() {
            self.room = vec![0; packet::MAX_PACKET];
        }
        let Some(used) = packet::bundle(&mut self.room, self.used, message) else { return false };
        self.used = used;
        self.jobs += 1;
        true
    }
}

/// Hands the packets-to-be of a message to `send`.
fn encoded(message: &ToWorker<'_>, send: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        packet::start(buffer);
        codec::encode(message, buffer).map_err(io::Error::other)?;
        let sent = send(buffer);
        if buffer.capacity() > KEEP {
            *buffer = Vec::new();
        }
        sent
    })
}

/// A buffer above this size, in bytes, is given back after its message.
const KEEP: usize = 256 << 10;

thread_local! {
    /// Where outgoing messages are encoded.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends a packet whole, without asking tokio first whether it may; false if the socket is full.
fn send_now(socket: &UnixDatagram, packet: &[u8]) -> io::Result<bool> {
    loop {
        match send(socket.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
