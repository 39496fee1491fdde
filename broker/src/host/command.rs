//! `cmd.exec`, `os.execute` and `io.popen`: a command of the host, in a sandboxed process of its own.
//!
//! Takes a command and has it judged; starts a worker that does nothing but run it (`worker/src/command.rs`),
//! verifies its jail, collects what it writes and ends it in time. What that process says is hostile. Must
//! never run anything in the broker, nor give a command more than: the system's programs to read and run, a
//! folder of its own, the granted folders.

mod folder;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msgscript_proto::message::{self, Engine, PathAccess, PathRule, Setup, ToBroker, ToWorker};
use msgscript_proto::packet::{self, Assembler, MAX_PACKET, Packets};
use msgscript_proto::{MAX_MESSAGE, codec};
use nix::sys::socket::{MsgFlags, send};
use tokio::net::UnixDatagram;

use super::{Answer, Caller};
use crate::app::Core;
use crate::policy::{Permitted, Policy};
use crate::pool::spawn::{SpawnPlan, Spawned, worker_user};
use crate::pool::verify::verify;
use folder::Folder;

/// How long the process that ran a command may take to end all that the command started.
const ENDING: Duration = Duration::from_secs(5);

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command may read and run, as far as it is there.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What a command may read, as far as it is there: what programs need to know of a system. Not all of `/etc`,
/// where secrets are kept that the broker's own user may be able to read.
const READABLE: &[&str] = &[
    "/proc",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What `/bin/sh -c` is to run; nothing, to see whether it may.
    pub line: Vec<u8>,
    /// Its standard input.
    pub input: Bytes,
    /// How long it may take; never longer than the invocation.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; -1 if a signal ended it.
    pub status: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// Why a command has no ending.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// It took too long.
    #[error("execute timeout")]
    Timeout,
    /// It wrote more than the run may still bring in.
    #[error("limit of bytes that host calls may bring in reached")]
    TooMuch,
    /// It did not start, or its process broke off.
    #[error("cannot run a command: {0}")]
    Start(String),
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        CommandError::Start(error.to_string())
    }
}

/// Judges a command and runs it.
pub async fn answer(core: &Core, policy: &Policy, caller: &Caller, command: Command) -> Answer {
    let permitted = match policy.command(command) {
        Ok(permitted) => permitted,
        Err(denied) => return denied.into(),
    };
    match run(core, policy, caller, permitted).await {
        Ok(None) => Answer::Done,
        Ok(Some(ended)) => Answer::Command(ended),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

async fn run(
    core: &Core,
    policy: &Policy,
    caller: &Caller,
    permitted: Permitted<Command>,
) -> Result<Option<Ended>, CommandError> {
    let command = permitted.into_inner();
    if command.line.is_empty() {
        return Ok(None);
    }
    let deadline = caller.invocation.deadline;
    let until = Instant::now().checked_add(command.timeout).map_or(deadline, |until| until.min(deadline));
    let mut plan = core.pool.plan().clone();
    plan.setup.uid = worker_user(&plan.setup);
    let folder = Folder::make(plan.setup.uid).await?;
    prepare(&mut plan, policy, caller, folder.path());
    let spawned = core.pool.start_process(Arc::new(plan)).await;
    let spawned = spawned.map_err(|error| CommandError::Start(error.to_string()))?;
    let ended = converse(spawned, policy, &command, folder.path(), until, caller.room).await;
    folder.remove().await;
    ended.map(Some)
}

/// Says what the process is to be: limits of the run, and files within reach.
fn prepare(plan: &mut SpawnPlan, policy: &Policy, caller: &Caller, folder: &str) {
    let rule = |path: &str, access| PathRule { path: path.to_owned(), access };
    let there = |path: &&&str| Path::new(path).exists();
    let setup: &mut Setup = &mut plan.setup;
    setup.engine = Engine::Command;
    setup.memory = policy.memory(&caller.invocation.script);
    setup.plugins = Vec::new();
    setup.paths = PROGRAMS.iter().filter(there).map(|path| rule(path, PathAccess::Run)).collect();
    setup.paths.extend(READABLE.iter().filter(there).map(|path| rule(path, PathAccess::Read)));
    setup.paths.extend([rule("/dev/null", PathAccess::Write), rule(folder, PathAccess::Write)]);
    for scope in &policy.grants.files {
        let path = scope.path.as_path();
        if let Some(path) = path.to_str().filter(|_| path.exists()) {
            let access = if scope.read_only { PathAccess::Read } else { PathAccess::Write };
            setup.paths.push(rule(path, access));
        }
    }
}

/// Talks to the process until the command has ended, then sees to the process's own end.
async fn converse(
    spawned: Spawned,
    policy: &Policy,
    command: &Command,
    folder: &str,
    until: Instant,
    room: u64,
) -> Result<Ended, CommandError> {
    let Spawned { child, setup, socket, worker_end, log, leaf, .. } = spawned;
    // Without our copy of its end, ours ends when the process does.
    drop((worker_end, log));
    let pid = child.id();
    let talk = async {
        let mut line =
            Line { socket: UnixDatagram::from_std(socket.into())?, assembler: Assembler::new(MAX_MESSAGE) };
        line.greeted(pid, &setup).await?;
        line.tell(&start_message(policy, command, folder, until)).await?;
        line.collect(room).await
    };
    let ended = tokio::time::timeout_at(until.into(), talk).await.unwrap_or(Err(CommandError::Timeout));
    // The socket is closed now: the process kills what still runs, and ends.
    let reaped = tokio::task::spawn_blocking(move || reap(child)).await;
    reaped.map_err(|error| CommandError::Start(error.to_string()))?;
    // Its control group serves another process from here on.
    drop(leaf);
    ended
}

/// Waits for the process's end, which is near; kills it should it not come.
fn reap(mut child: std::process::Child) {
    let until = Instant::now() + ENDING;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    tracing::error!(worker = child.id(), "the process of a command did not end and was killed");
    // Both can only fail because it is gone.
    let _ = child.kill();
    let _ = child.wait();
}

/// The message that starts the command, encoded.
fn start_message(policy: &Policy, command: &Command, folder: &str, until: Instant) -> Vec<u8> {
    let granted = policy.grants.env.iter().map(|name| (name.as_str(), std::env::var_os(name.as_str())));
    let granted: Vec<(&str, Vec<u8>)> =
        granted.filter_map(|(name, value)| Some((name, value?.into_vec()))).collect();
    let mut env: Vec<(&str, &[u8])> =
        vec![("PATH", PATH.as_bytes()), ("HOME", folder.as_bytes()), ("LANG", b"C.UTF-8")];
    env.extend(granted.iter().map(|(name, value)| (*name, value.as_slice())));
    let cpu = until.saturating_duration_since(Instant::now()).as_secs() + 1;
    let (line, input) = (command.line.as_slice(), &*command.input);
    let start = ToWorker::Command(message::Command { line, input, folder, env, cpu });
    let mut buffer = Vec::new();
    packet::start(&mut buffer);
    // What is too large for a message came in none.
    if codec::encode(&start, &mut buffer).is_err() {
        buffer.clear();
    }
    buffer
}

/// The socket to the process.
struct Line {
    socket: UnixDatagram,
    assembler: Assembler,
}

impl Line {
    /// Waits for a message and hands it over.
    async fn hear<T>(&mut self, take: impl FnOnce(ToBroker<'_>) -> T) -> Result<T, CommandError> {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let size = self.socket.recv(&mut buffer).await?;
            if size == 0 {
                return Err(CommandError::Start("its process ended".to_owned()));
            }
            let invalid = |_| CommandError::Start("its process spoke nonsense".to_owned());
            let whole = self.assembler.push(&buffer[..size]).map_err(|error| invalid(error.to_string()))?;
            if let Some(bytes) = whole {
                return codec::decode(bytes).map(take).map_err(|error| invalid(error.to_string()));
            }
        }
    }

    /// Waits for the greeting; the process is trusted with the command once its jail is seen closed.
    async fn greeted(&mut self, pid: u32, setup: &Setup) -> Result<(), CommandError> {
        let greeting = self.hear(|message| match message {
            ToBroker::Ready { version, report } => Ok((version, report)),
            ToBroker::NotJailed { layer, error } => {
                Err(format!("sandbox layer {} cannot be closed: {error}", layer.name()))
            }
            _ => Err("its process did not greet".to_owned()),
        });
        let (version, report) = greeting.await?.map_err(CommandError::Start)?;
        verify(pid, setup, version, &report).map_err(|error| CommandError::Start(error.to_string()))?;
        Ok(())
    }

    /// Sends an encoded message, packet by packet as the socket takes them.
    async fn tell(&self, message: &[u8]) -> Result<(), CommandError> {
        let mut message = message.to_vec();
        let mut packets = Packets::new(&mut message);
        while let Some(packet) = packets.next_packet() {
            loop {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                match send(self.socket.as_raw_fd(), packet, flags) {
                    Ok(_) => break,
                    Err(nix::Error::EAGAIN) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(nix::Error::EINTR) => {}
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            }
        }
        Ok(())
    }

    /// Collects what the command writes until it ends.
    async fn collect(&mut self, room: u64) -> Result<Ended, CommandError> {
        let mut ended = Ended::default();
        loop {
            let status = self.hear(|message| match message {
                ToBroker::Output { error, bytes } => {
                    let kept = if error { &mut ended.stderr } else { &mut ended.stdout };
                    kept.extend_from_slice(bytes);
                    Ok(None)
                }
                ToBroker::Exited { status } => Ok(Some(status)),
                _ => Err(CommandError::Start("its process spoke out of turn".to_owned())),
            });
            if let Some(status) = status.await?? {
                ended.status = status;
                return Ok(ended);
            }
            if (ended.stdout.len() + ended.stderr.len()) as u64 > room {
                return Err(CommandError::TooMuch);
            }
        }
    }
}
