//! Starts worker processes: exec, never fork alone, with a socket, a slate, a log pipe and nothing else.
//!
//! Takes a plan, gives the process and the broker's ends. Must never hand a worker an environment, an
//! argument or a descriptor of the broker's.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use msgscript_proto::message::{Engine, Setup, ToWorker};
use msgscript_proto::sandbox::Layer;
use msgscript_proto::{codec, packet};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::Uid;
use tokio::sync::{mpsc, oneshot};

use super::slate::Slate;
use crate::cgroup::{self, Groups, Leaf};

/// Spawns that may wait for the spawning thread. More wait in their callers.
const WAITING: usize = 16;

/// The users of workers begin here: far above what systems and containers give to anyone.
const FIRST_USER: u32 = 0x4000_0000;

/// What to start.
#[derive(Debug, Clone)]
pub struct SpawnPlan {
    /// The worker's program. An absolute path.
    pub worker_binary: PathBuf,
    /// What it is told first. [`spawn`] gives it a user of its own unless it names one.
    pub setup: Setup,
}

/// A process that was started and has its set-up waiting in the socket. It is to be trusted after its
/// greeting and [`super::verify::verify`].
#[derive(Debug)]
pub struct Spawned {
    /// The process. Whoever takes it must reap it.
    pub child: Child,
    /// The set-up as it was sent.
    pub setup: Setup,
    /// The broker's end of the socket, non-blocking.
    pub socket: OwnedFd,
    /// The worker's end once more. While it is open, `socket` does not end with the worker, so that an empty
    /// packet from there is no end; `log` ends.
    pub worker_end: OwnedFd,
    /// What it notes of its runs.
    pub slate: Slate,
    /// What the worker's libraries write last. It ends when the worker does.
    pub log: PipeReader,
    /// Its control group, where there is one. To be kept until the process has ended.
    pub leaf: Option<Leaf>,
}

/// Why no process was started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The worker's program cannot be started.
    #[error("cannot start the worker {}: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path is not absolute: the worker starts in `/`.
    #[error("the path of the worker, {}, is not absolute", .0.display())]
    Relative(PathBuf),
    /// A socket, pipe or thread could not be made, or its set-up not be sent.
    #[error("cannot connect a worker: {0}")]
    Connect(#[from] io::Error),
    /// The spawning thread has ended.
    #[error("the thread that starts workers has ended")]
    Ended,
}

impl From<nix::Error> for SpawnError {
    fn from(errno: nix::Error) -> Self {
        SpawnError::Connect(errno.into())
    }
}

/// Starts one worker. The worker dies with the calling thread: use a [`Spawner`] but in a program that
/// has one thread.
///
/// # Errors
/// When the process cannot be started or connected.
pub fn spawn(plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
    if !plan.worker_binary.is_absolute() {
        return Err(SpawnError::Relative(plan.worker_binary.clone()));
    }
    let setup = Setup { uid: plan.setup.uid.or_else(|| worker_user(&plan.setup)), ..plan.setup.clone() };
    let (socket, worker_end) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    send_setup(&socket, &setup)?;
    let (log, log_writer) = io::pipe()?;
    let slate = Slate::new()?;
    let child = Command::new(&plan.worker_binary)
        .arg0("msgscript-worker")
        .env_clear()
        .current_dir("/")
        .stdin(worker_end.try_clone()?)
        .stdout(slate.share()?)
        .stderr(log_writer)
        .spawn()
        .map_err(|source| SpawnError::Start { path: plan.worker_binary.clone(), source })?;
    Ok(Spawned { child, setup, socket, worker_end, slate, log, leaf: None })
}

/// Memory that a control group has above what the process may have by its own limits: those come first.
const MEMORY_ABOVE: u64 = 128 << 20;

/// Puts a process that was just started into a group, before anything of a tenant reaches it. One that
/// cannot be put in is held by its other limits as well.
fn enclose(spawned: &mut Spawned, groups: &mut Groups) {
    // A command and its watcher have a limit of processes of their own, which this one is behind.
    let processes = if spawned.setup.engine == Engine::Command { 128 } else { 2 };
    let limits = cgroup::Limits { memory: spawned.setup.memory.saturating_add(MEMORY_ABOVE), processes };
    let enclosed = groups.leaf(limits).and_then(|leaf| leaf.enter(spawned.child.id()).map(|()| leaf));
    match enclosed {
        Ok(leaf) => spawned.leaf = Some(leaf),
        Err(error) => tracing::warn!(worker = spawned.child.id(), %error, "no control group for a worker"),
    }
}

/// A user of its own for each worker, where the broker may give one: no two of them can signal or trace
/// each other, whatever else fails. The numbers come round after 65,536 workers.
pub(crate) fn worker_user(setup: &Setup) -> Option<u32> {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    if !Uid::effective().is_root() || setup.without.contains(&Layer::Uid) {
        return None;
    }
    let count = STARTED.fetch_add(1, Ordering::Relaxed) & 0xffff;
    let broker = (std::process::id() & 0x3fff) << 16;
    Some(FIRST_USER | broker | count)
}

/// The set-up, before the worker exists: it fits the empty socket.
fn send_setup(socket: &OwnedFd, setup: &Setup) -> Result<(), SpawnError> {
    let mut buffer = Vec::new();
    packet::start(&mut buffer);
    codec::encode(&ToWorker::Setup(setup.clone()), &mut buffer).map_err(io::Error::other)?;
    let mut packets = packet::Packets::new(&mut buffer);
    while let Some(packet) = packets.next_packet() {
        send(socket.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?;
    }
    Ok(())
}

struct Request {
    plan: Arc<SpawnPlan>,
    reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// The one thread that starts workers. The kernel kills a worker when the thread that started it ends, so
/// that thread must live as long as the broker: dropping the last copy of it kills every worker it started.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> Result<Spawner, SpawnError> {
        Spawner::start_with(None)
    }

    /// Starts the thread; what it starts goes into these control groups.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_with(groups: Option<Groups>) -> Result<Spawner, SpawnError> {
        let (requests, waiting) = mpsc::channel(WAITING);
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || serve(waiting, groups))?;
        Ok(Spawner { requests })
    }

    /// Starts one worker. A caller that goes away leaves none behind.
    ///
    /// # Errors
    /// When the process cannot be started or connected.
    pub async fn spawn(&self, plan: Arc<SpawnPlan>) -> Result<Spawned, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { plan, reply }).await.map_err(|_| SpawnError::Ended)?;
        answer.await.map_err(|_| SpawnError::Ended)?
    }
}

fn serve(mut waiting: mpsc::Receiver<Request>, mut groups: Option<Groups>) {
    while let Some(Request { plan, reply }) = waiting.blocking_recv() {
        if reply.is_closed() {
            continue;
        }
        let mut spawned = spawn(&plan);
        if let (Ok(spawned), Some(groups)) = (&mut spawned, &mut groups) {
            enclose(spawned, groups);
        }
        if let Err(Ok(mut unwanted)) = reply.send(spawned) {
            // Both can only fail because the process is gone.
            let _ = unwanted.child.kill();
            let _ = unwanted.child.wait();
        }
    }
}
