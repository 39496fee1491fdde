//! A jailed process with a role other than running scripts, held by whoever started it.
//!
//! Takes a plan, gives a process whose jail was looked at from outside, and messages both ways. What it says is
//! hostile until decoded. The process never outlives its value.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use msgscript_proto::message::{Setup, ToBroker, ToWorker};
use msgscript_proto::packet::{self, Assembler, MAX_PACKET, Packets};
use msgscript_proto::sandbox::{Layer, Report};
use msgscript_proto::{MAX_MESSAGE, codec};
use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::pool::spawn::{SpawnError, SpawnPlan, Spawned, Spawner};
use crate::pool::verify::{VerifyError, verify};

/// The longest a child may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Why there is no child to ask.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
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

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By this signal.
    Killed(i32),
    /// With this status.
    Exited(i32),
}

/// The process, jailed and verified.
#[derive(Debug)]
pub struct Child {
    process: Option<std::process::Child>,
    /// A stream by name only: the socket keeps packets whole, and is read and written packet by packet.
    socket: UnixStream,
    assembler: Assembler,
    pid: u32,
    /// What it reported of its jail.
    pub report: Report,
}

impl Child {
    /// Starts one and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or its jail does not close.
    pub async fn start(spawner: &Spawner, plan: Arc<SpawnPlan>) -> Result<Child, ChildError> {
        // The second copy of the worker's end is dropped here, so that the socket ends with the worker.
        let Spawned { child: mut process, setup, socket, .. } = spawner.spawn(plan).await?;
        let pid = process.id();
        let socket = UnixStream::from_std(socket.into()).inspect_err(|_| end(&mut process))?;
        // From here on, dropping the value ends the process.
        let (report, assembler) =
            (Report { landlock_abi: 0, layers: Vec::new() }, Assembler::new(MAX_MESSAGE));
        let mut child = Child { process: Some(process), socket, assembler, pid, report };
        child.report = child.greeting(&setup).await?;
        Ok(child)
    }

    async fn greeting(&mut self, setup: &Setup) -> Result<Report, ChildError> {
        let received = timeout(GREETING, self.recv()).await;
        let Ok(Some(bytes)) = received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) else {
            return Err(ChildError::Silent(format!("{:?}", self.kill()?)));
        };
        match codec::decode(&bytes) {
            Ok(ToBroker::Ready { version, report }) => {
                verify(self.pid, setup, version, &report)?;
                Ok(report)
            }
            Ok(ToBroker::NotJailed { layer, error }) => {
                Err(ChildError::NotJailed { layer, error: error.to_owned() })
            }
            Ok(other) => Err(ChildError::Silent(format!("it said {other:?}"))),
            Err(error) => Err(ChildError::Silent(error.to_string())),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it; gives how it ended. A process that is ending already keeps its own reason, so this is
    /// right behind the end of the socket too, where waiting is not: an empty packet looks the same.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kill(&mut self) -> io::Result<End> {
        let Some(process) = &mut self.process else { return Err(io::ErrorKind::NotFound.into()) };
        process.kill()?;
        let status = process.wait()?;
        Ok(match (status.signal(), status.code()) {
            (Some(signal), _) => End::Killed(signal),
            (None, code) => End::Exited(code.unwrap_or(-1)),
        })
    }

    /// Sends a message whole. To one that is gone, nothing: the next [`Self::recv`] finds out.
    ///
    /// # Errors
    /// When the socket fails, or the message is larger than [`MAX_MESSAGE`].
    pub async fn send(&mut self, message: &ToWorker<'_>) -> io::Result<()> {
        let mut buffer = Vec::new();
        packet::start(&mut buffer);
        codec::encode(message, &mut buffer).map_err(io::Error::other)?;
        let mut packets = Packets::new(&mut buffer);
        while let Some(packet) = packets.next_packet() {
            let fd = self.socket.as_raw_fd();
            let send = || Ok(send(fd, packet, MsgFlags::MSG_NOSIGNAL)?);
            match self.socket.async_io(Interest::WRITABLE, send).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                other => other?,
            };
        }
        Ok(())
    }

    /// One message's bytes, [`MAX_MESSAGE`] at most; `None` when the worker's end is closed.
    ///
    /// # Errors
    /// When the socket fails, or packets make no message.
    pub async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let fd = self.socket.as_raw_fd();
            let recv = || Ok(recv(fd, &mut buffer, MsgFlags::empty())?);
            let size = match self.socket.async_io(Interest::READABLE, recv).await {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                other => other?,
            };
            if let Some(message) = self.assembler.push(&buffer[..size]).map_err(io::Error::other)? {
                return Ok(Some(message.to_vec()));
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The kernel may take a moment to free its memory: nobody waits for that here.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || end(&mut process))),
            Err(_) => end(&mut process),
        }
    }
}

/// Kills and reaps a process; both fail only for one that has been reaped.
fn end(process: &mut std::process::Child) {
    let _ = process.kill();
    let _ = process.wait();
}
