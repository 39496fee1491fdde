//! One worker that obeys probes, and what became of it.
//!
//! Takes acts, gives what was seen. The process never outlives its value.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use msgscript_proto::message::{Setup, ToBroker, ToWorker};
use msgscript_proto::packet::{self, Assembler, MAX_PACKET, Packets};
use msgscript_proto::sandbox::{Layer, Probe, Report};
use msgscript_proto::{MAX_MESSAGE, codec};
use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::pool::spawn::{SpawnError, SpawnPlan, Spawned, Spawner};
use crate::pool::verify::{VerifyError, verify};

/// The longest a worker may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Why there is no prisoner to ask.
#[derive(Debug, thiserror::Error)]
pub enum PrisonerError {
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It could not close a layer.
    #[error("the layer {} does not close: {error}", layer.name())]
    NotJailed {
        /// The layer.
        layer: Layer,
        /// What the kernel said.
        error: String,
    },
    /// What is seen from outside differs from what it says.
    #[error(transparent)]
    NotVerified(#[from] VerifyError),
    /// It ended, or said something else, before its greeting.
    #[error("the worker did not greet: {0}")]
    Silent(String),
    /// The socket failed.
    #[error("the worker's socket: {0}")]
    Socket(#[from] io::Error),
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The worker lives and the call gave this: a value, or a negated `errno`.
    Returned(i64),
    /// The worker was killed by this signal.
    Killed(i32),
    /// The worker ended with this status.
    Exited(i32),
    /// The worker was still at it when the time was over.
    Running,
}

/// A worker set up as `Engine::Probe`, jailed and verified.
#[derive(Debug)]
pub struct Prisoner {
    child: Child,
    /// A stream by name only: the socket keeps packets whole, and is read and written packet by packet.
    socket: UnixStream,
    /// What it reported of its jail.
    pub report: Report,
}

impl Prisoner {
    /// Starts one and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or its jail does not close.
    pub async fn start(spawner: &Spawner, plan: Arc<SpawnPlan>) -> Result<Prisoner, PrisonerError> {
        // The second copy of the worker's end is dropped here, so that the socket ends with the worker.
        let Spawned { mut child, setup, socket, .. } = spawner.spawn(plan).await?;
        let socket = UnixStream::from_std(socket.into()).inspect_err(|_| end(&mut child))?;
        // From here on, dropping the value ends the process.
        let report = Report { landlock_abi: 0, layers: Vec::new() };
        let mut prisoner = Prisoner { child, socket, report };
        prisoner.report = prisoner.greeting(&setup).await?;
        Ok(prisoner)
    }

    async fn greeting(&mut self, setup: &Setup) -> Result<Report, PrisonerError> {
        let received = timeout(GREETING, self.recv()).await;
        let Ok(Some(bytes)) = received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) else {
            let _ = self.child.kill();
            return Err(PrisonerError::Silent(format!("{:?}", self.ended()?)));
        };
        match codec::decode(&bytes) {
            Ok(ToBroker::Ready { version, report }) => {
                verify(self.child.id(), setup, version, &report)?;
                Ok(report)
            }
            Ok(ToBroker::NotJailed { layer, error }) => {
                Err(PrisonerError::NotJailed { layer, error: error.to_owned() })
            }
            Ok(other) => Err(PrisonerError::Silent(format!("it said {other:?}"))),
            Err(error) => Err(PrisonerError::Silent(error.to_string())),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it try this for at most so long.
    ///
    /// # Errors
    /// When the socket fails, or it answers with something else.
    pub async fn act(&mut self, probe: &Probe, longest: Duration) -> Result<Seen, PrisonerError> {
        self.send(&ToWorker::Probe(probe.clone())).await?;
        match timeout(longest, self.recv()).await {
            Err(_) => Ok(Seen::Running),
            Ok(Ok(Some(bytes))) => match codec::decode(&bytes) {
                Ok(ToBroker::Probed { result }) => Ok(Seen::Returned(result)),
                other => Err(PrisonerError::Silent(format!("{other:?}"))),
            },
            Ok(Ok(None)) => Ok(self.ended()?),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Kills it; gives how it ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kill(&mut self) -> io::Result<Seen> {
        self.child.kill()?;
        self.ended()
    }

    /// How it ended, once its socket has: the process is a matter of microseconds then.
    fn ended(&mut self) -> io::Result<Seen> {
        let status = self.child.wait()?;
        Ok(match (status.signal(), status.code()) {
            (Some(signal), _) => Seen::Killed(signal),
            (None, code) => Seen::Exited(code.unwrap_or(-1)),
        })
    }

    async fn send(&mut self, message: &ToWorker<'_>) -> Result<(), PrisonerError> {
        let mut buffer = Vec::new();
        packet::start(&mut buffer);
        codec::encode(message, &mut buffer).map_err(io::Error::other)?;
        let mut packets = Packets::new(&mut buffer);
        while let Some(packet) = packets.next_packet() {
            let fd = self.socket.as_raw_fd();
            let send = || Ok(send(fd, packet, MsgFlags::MSG_NOSIGNAL)?);
            match self.socket.async_io(Interest::WRITABLE, send).await {
                // A worker that is gone already is found by the next receive.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                other => other?,
            };
        }
        Ok(())
    }

    /// One message; `None` when the worker's end is closed.
    async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut assembler = Assembler::new(MAX_MESSAGE);
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let fd = self.socket.as_raw_fd();
            let recv = || Ok(recv(fd, &mut buffer, MsgFlags::empty())?);
            let size = match self.socket.async_io(Interest::READABLE, recv).await {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                other => other?,
            };
            if let Some(message) = assembler.push(&buffer[..size]).map_err(io::Error::other)? {
                return Ok(Some(message.to_vec()));
            }
        }
    }
}

impl Drop for Prisoner {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills and reaps a process; both fail only for one that has been reaped.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
