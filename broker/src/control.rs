//! The control socket: what the operator asks of a broker that runs.
//!
//! Takes connections on a Unix socket that only the broker's own user and root may open, gives answers. One
//! request a connection (see [`wire`]). Must never wait for a client with anything but the client's own task:
//! requests are bounded in size and time, connections in number, and a slow reader loses lines.

pub mod feed;
pub mod place;
pub mod report;
pub mod wire;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use nix::unistd::Uid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::app::{self, Core};
use feed::Follower;
use wire::{Filter, Request, Word};

/// Connections at a time.
const MOST: usize = 32;

/// How long a client may take to ask, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Off,
    /// In this folder, by the port of the HTTP door.
    In(PathBuf),
    /// Here.
    At(PathBuf),
}

/// What clients ordered that the broker's own life depends on.
#[derive(Debug, Default)]
pub struct Orders {
    draining: Cell<bool>,
    told: Notify,
}

impl Orders {
    /// To stop.
    pub fn drain(&self) {
        self.draining.set(true);
        self.told.notify_one();
    }

    /// The broker stops, whoever ordered it.
    pub fn stopping(&self) {
        self.draining.set(true);
    }

    /// Whether the broker is to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends when it is ordered to stop.
    pub async fn stop(&self) {
        self.told.notified().await;
    }
}

/// A socket that is open. Its file goes when this is dropped.
pub struct Control {
    listener: Listener,
    /// Where it is.
    pub path: PathBuf,
}

impl Control {
    /// Opens the socket; `None` if there is to be none. `port` is that of the HTTP door.
    ///
    /// # Errors
    /// When it cannot be opened, or another broker has it.
    pub fn open(place: &Place, port: u16) -> io::Result<Option<Control>> {
        let path = match place {
            Place::Off => return Ok(None),
            Place::At(path) => path.clone(),
            Place::In(folder) => {
                place::own(folder)?;
                folder.join(place::name(port))
            }
        };
        let listener = match listen(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_left(&path)?;
                listen(&path)?
            }
            result => result?,
        };
        Ok(Some(Control { listener, path }))
    }

    /// Answers until it is dropped.
    pub async fn serve(self, core: Rc<Core>) {
        let places = Rc::new(());
        loop {
            let stream = match self.listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !is_operator(&stream) || Rc::strong_count(&places) > MOST {
                continue;
            }
            let (core, place) = (core.clone(), places.clone());
            tokio::task::spawn_local(async move {
                // A client that goes away is nobody's error.
                let _ = converse(&core, &stream).await;
                drop(place);
            });
        }
    }
}

fn listen(path: &Path) -> io::Result<Listener> {
    ListenerOptions::new().name(path.to_fs_name::<GenericFilePath>()?).mode(0o600).create_tokio()
}

/// Removes the socket of a broker that was killed; that of one which lives stays.
fn remove_left(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let in_use =
        |text: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} {text}", path.display())));
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("is there and no socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => in_use("is another broker's"),
    }
}

/// Whether a client is the broker's own user, or root. The socket's mode says so already.
fn is_operator(stream: &Stream) -> bool {
    let user = stream.peer_creds().ok().and_then(|peer| peer.euid());
    user.is_some_and(|user| user == 0 || user == Uid::effective().as_raw())
}

/// One request and its answer.
async fn converse(core: &Rc<Core>, stream: &Stream) -> io::Result<()> {
    let asked = tokio::time::timeout(PATIENCE, wire::read(&mut &*stream)).await;
    let request = match asked.map_err(|_| "no request came in time".to_owned()).and_then(|asked| asked) {
        Ok(request) => request,
        Err(text) => return say(stream, &wire::line(&Word::Error(text))).await,
    };
    match request {
        Request::Status {} => say(stream, &wire::line(&report::status(core))).await,
        Request::Logs { follow: true, filter } => follow(stream, filter).await,
        Request::Logs { follow: false, filter } => {
            for line in core.records.lines(&filter) {
                say(stream, &line).await?;
            }
            Ok(())
        }
        Request::Reload {} => {
            let word = match app::reload(core) {
                Ok(()) => Word::Done("configuration reloaded".to_owned()),
                Err(text) => Word::Error(text),
            };
            say(stream, &wire::line(&word)).await
        }
        Request::Drain {} => {
            tracing::info!("told to stop over the control socket");
            core.orders.drain();
            say(stream, &wire::line(&Word::Done("draining".to_owned()))).await?;
            // Held until the broker ends, or the client has enough.
            let _ = (&*stream).read(&mut [0]).await;
            Ok(())
        }
    }
}

async fn say(mut stream: &Stream, line: &[u8]) -> io::Result<()> {
    tokio::time::timeout(PATIENCE, stream.write_all(line)).await?
}

/// Lines until the client goes. It may take its time: only its own queue fills.
async fn follow(stream: &Stream, filter: Filter) -> io::Result<()> {
    let follower = Follower::new(filter);
    let gone = async {
        let mut byte = [0];
        while matches!((&*stream).read(&mut byte).await, Ok(1)) {}
    };
    let telling = async {
        let mut out = stream;
        out.write_all(&wire::line(&Word::Done("following".to_owned()))).await?;
        loop {
            let line = follower.next().await.unwrap_or_else(|lost| wire::line(&Word::Lost(lost)));
            out.write_all(&line).await?;
        }
    };
    tokio::select! {
        () = gone => Ok(()),
        result = telling => result,
    }
}
