//! One container, from its making to its removal.
//!
//! Takes the body of a request and a payload, gives what the container wrote and its exit status. Whatever
//! happens in between, [`Container::remove`] leaves nothing behind; it must be called.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::gate::Place;
use super::wire::{Frames, Stream, WireError};

/// How long Podman may take to make or remove a container before it is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses between attempts to remove a container, first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Attempts to remove a container: the next start's sweep is the last.
const ATTEMPTS: u32 = 200;

/// A container of ours.
#[derive(Debug)]
pub struct Container {
    client: Client,
    name: String,
    /// Its making. Never dropped half-way: Podman would go on with it, and nobody would know.
    making: Making,
    /// Given back when the container is gone.
    _place: Place,
}

#[derive(Debug)]
enum Making {
    UnderWay(JoinHandle<Result<(), WireError>>),
    /// Whether there may be one.
    Done(bool),
}

/// What a container came to.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: i64,
    /// What it wrote to standard output.
    pub stdout: Bytes,
    /// What it wrote to standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether standard error was longer.
    pub cut: bool,
}

/// Bytes that a container may write.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// To standard output; more is an error.
    pub stdout: usize,
    /// To standard error; more is left out.
    pub stderr: usize,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Podman could not make it.
    #[error(transparent)]
    Create(WireError),
    /// Podman could not run it.
    #[error(transparent)]
    Run(#[from] WireError),
    /// It wrote more than it may; so much had come by then.
    #[error("the result is too large")]
    TooLong(usize),
}

impl Container {
    /// Begins to make a container of this name.
    #[must_use]
    pub fn begin(client: &Client, name: String, body: Value, place: Place) -> Container {
        let own = client.clone();
        let making = Making::UnderWay(tokio::task::spawn_local(async move { own.create(&body).await }));
        Container { client: client.clone(), name, making, _place: place }
    }

    /// Waits until it is made.
    async fn made(&mut self) -> Result<(), WireError> {
        let Making::UnderWay(task) = &mut self.making else { return Ok(()) };
        let result = task.await.unwrap_or_else(|error| Err(WireError::Broken(error.to_string())));
        // Only a clear no means that there is none.
        self.making =
            Making::Done(!matches!(result, Err(WireError::Refused { .. } | WireError::Absent { .. })));
        result
    }

    /// Runs it with this payload at standard input, to its end.
    ///
    /// # Errors
    /// See [`ContainerError`].
    pub async fn run(&mut self, payload: Bytes, room: Room) -> Result<Output, ContainerError> {
        self.made().await.map_err(ContainerError::Create)?;
        // Attached before it starts, so that nothing of what it writes is lost.
        let (read, write) = tokio::io::split(self.client.attach(&self.name).await?);
        self.client.start(&self.name).await?;
        let ended = async { self.client.wait(&self.name).await.map_err(ContainerError::Run) };
        let (written, status) = tokio::select! {
            both = async { tokio::try_join!(gather(read, room), ended) } => both?,
            never = feed(write, payload) => match never {},
        };
        Ok(Output { status, ..written })
    }

    /// Kills and removes it. Tries again for as long as Podman is away.
    pub async fn remove(mut self) {
        if timeout(PATIENCE, self.made()).await.is_ok() && matches!(self.making, Making::Done(false)) {
            return;
        }
        let mut pause = RETRY.0;
        for _ in 0..ATTEMPTS {
            match timeout(PATIENCE, self.client.remove(&self.name)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::warn!(container = self.name, %error, "container not removed yet"),
                Err(_) => tracing::warn!(container = self.name, "container not removed yet: no answer"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
        tracing::error!(container = self.name, "container left behind; the next start will remove it");
    }
}

/// Writes the payload and closes standard input. A container that does not read it is none of our concern.
async fn feed(mut to: impl AsyncWrite + Unpin, payload: Bytes) -> Infallible {
    if to.write_all(&payload).await.is_ok() {
        let _ = to.shutdown().await;
    }
    std::future::pending().await
}

/// Reads both streams to their end.
async fn gather(mut from: impl AsyncRead + Unpin, room: Room) -> Result<Output, ContainerError> {
    let (mut frames, mut buffer) = (Frames::default(), vec![0; 32 << 10]);
    let (mut stdout, mut stderr, mut cut, mut over) = (Vec::new(), Vec::new(), false, 0);
    loop {
        let size = match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(size) => size,
            Err(error) => return Err(WireError::Broken(error.to_string()).into()),
        };
        frames.push(&buffer[..size], |stream, data| match stream {
            Stream::Out if stdout.len() + data.len() > room.stdout => over = stdout.len() + data.len(),
            Stream::Out => stdout.extend_from_slice(data),
            Stream::Err | Stream::Other => {
                let kept = data.len().min(room.stderr - stderr.len());
                stderr.extend_from_slice(&data[..kept]);
                cut |= kept < data.len();
            }
        });
        if over > 0 {
            return Err(ContainerError::TooLong(over));
        }
    }
    Ok(Output { status: 0, stdout: stdout.into(), stderr, cut })
}
