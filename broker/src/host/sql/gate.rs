//! The way between the SQL client and a connection that we made: the client library resolves and dials by itself,
//! so it is given a socket of this process instead, behind which stands the judged address. What comes in is
//! counted: a server cannot send more than a query may take.

use std::cell::Cell;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// How long the library may take to come to its socket.
const COMING: Duration = Duration::from_secs(5);

/// Bytes that a connection may bring in: for its greeting, then what each query sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Rc<Cell<u64>>);

impl Meter {
    /// From now on so many bytes may come in.
    pub(super) fn allow(&self, bytes: u64) {
        self.0.set(bytes);
    }

    /// Whether that was not enough.
    pub(super) fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }
}

/// Opens a socket of the abstract namespace that leads to this connection, for one caller from this process. Its
/// name ends with `suffix`.
pub(super) fn open(stream: TcpStream, name: &str, meter: Meter) -> io::Result<()> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::task::spawn_local(async move {
        let Ok(Ok(mut inner)) = tokio::time::timeout(COMING, accept(listener)).await else { return };
        let mut outer = Metered { stream, meter };
        // Either side's end ends both; the library tells of it.
        let _ = copy_bidirectional(&mut inner, &mut outer).await;
    });
    Ok(())
}

/// The first caller that is this process itself. Nobody else is served: names of this space are open to all.
async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred()?.pid() == i32::try_from(std::process::id()).ok() {
            return Ok(stream);
        }
    }
}

/// A name that nobody guesses.
pub(super) fn new_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("msgscript-sql-{:016x}{:016x}", random(), random())
}

/// A connection whose incoming bytes are counted.
struct Metered {
    stream: TcpStream,
    meter: Meter,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = (buffer.filled().len() - before) as u64;
        let left = self.meter.0.get().saturating_sub(came);
        self.meter.0.set(left);
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
