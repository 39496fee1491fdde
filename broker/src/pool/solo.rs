//! A worker that one task talks to alone: a message out, a message in.
//!
//! Takes a plan, gives a jailed and verified process. The process never outlives its value. For short work
//! outside of the pool: probes, and compiling.

use std::io;
use std::os::fd::AsRawFd;
use std::process::{Child, ExitStatus};
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

use super::spawn::{SpawnError, SpawnPlan, Spawned, Spawner};
use super::verify::{VerifyError, verify};
use crate::cgroup::Leaf;

/// The longest a worker may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Why there is no worker to talk to.
#[derive(Debug, thiserror::Error)]
pub enum SoloError {
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

/// A worker, jailed and verified.
#[derive(Debug)]
pub struct Solo {
    child: Child,
    /// Its control group, free again behind the end of the process.
    _leaf: Option<Leaf>,
    /// A stream by name only: the socket keeps packets whole, and is read and written packet by packet.
    socket: UnixStream,
    /// What it reported of its jail.
    pub report: Report,
}

impl Solo {
    /// Starts one and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or its jail does not close.
    pub async fn start(spawner: &Spawner, plan: Arc<SpawnPlan>) -> Result<Solo, SoloError> {
        // The second copy of the worker's end is dropped here, so that the socket ends with the worker.
        let Spawned { mut child, setup, socket, leaf, .. } = spawner.spawn(plan).await?;
        let socket = UnixStream::from_std(socket.into()).inspect_err(|_| end(&mut child))?;
        // From here on, dropping the value ends the process.
        let report = Report { landlock_abi: 0, layers: Vec::new() };
        let mut solo = Solo { child, _leaf: leaf, socket, report };
        solo.report = solo.greeting(&setup).await?;
        Ok(solo)
    }

    async fn greeting(&mut self, setup: &Setup) -> Result<Report, SoloError> {
        let received = timeout(GREETING, self.recv()).await;
        let Ok(Some(bytes)) = received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) else {
            return Err(SoloError::Silent(format!("{:?}", self.kill()?)));
        };
        match codec::decode(&bytes) {
            Ok(ToBroker::Ready { version, report }) => {
                verify(self.child.id(), setup, version, &report)?;
                Ok(report)
            }
            Ok(ToBroker::NotJailed { layer, error }) => {
                Err(SoloError::NotJailed { layer, error: error.to_owned() })
            }
            Ok(other) => Err(SoloError::Silent(format!("it said {other:?}"))),
            Err(error) => Err(SoloError::Silent(error.to_string())),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it; gives how it ended. A process that is ending already keeps its own reason, so this is
    /// right behind the end of the socket too, where waiting is not: an empty packet looks the same.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Sends a message; waits while the socket is full.
    ///
    /// # Errors
    /// When the socket fails, but not when the worker is gone.
    pub async fn send(&mut self, message: &ToWorker<'_>) -> Result<(), SoloError> {
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
    ///
    /// # Errors
    /// When the socket fails, or packets make no message.
    pub async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
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

impl Drop for Solo {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills and reaps a process; both fail only for one that has been reaped.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
