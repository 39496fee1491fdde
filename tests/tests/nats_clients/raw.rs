//! A client made of a plain socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What the official clients send, less their names.
pub(crate) const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

/// A connection whose bytes are all in the test's hand.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    /// Connects and reads the `INFO` line.
    pub(crate) fn open(address: SocketAddr) -> (Self, serde_json::Value) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self { stream, seen: Vec::new() };
        let line = raw.line();
        let info = line.strip_prefix("INFO ").unwrap_or_else(|| panic!("no INFO: {line:?}"));
        (raw, serde_json::from_str(info).unwrap())
    }

    /// Connects as the official clients do.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut raw = Self::open(address).0;
        raw.send(CONNECT);
        raw
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads more; false at the end. Panics after 5 s of silence.
    fn more(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut room = [0; 65536];
        match self.stream.read(&mut room) {
            Ok(count) => {
                self.seen.extend_from_slice(&room[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.seen)),
        }
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.seen.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&self.seen[..end]).into_owned();
                self.seen.drain(..end + 2);
                return line;
            }
            assert!(self.more(), "the server closed, after {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// All lines up to the answer to a `PING` sent now: what the server had to say so far.
    pub(crate) fn flush(&mut self) -> Vec<String> {
        self.send("PING\r\n");
        std::iter::from_fn(|| Some(self.line()).filter(|line| line != "PONG")).collect()
    }

    /// All bytes up to the end, which must come.
    pub(crate) fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned()
    }

    /// All bytes until the connection ends or nothing came for `quiet`; and whether it ended.
    pub(crate) fn settle(&mut self, quiet: Duration) -> (String, bool) {
        self.stream.set_read_timeout(Some(quiet)).unwrap();
        let mut room = [0; 65536];
        let limit = Instant::now() + Duration::from_secs(10);
        let ended = loop {
            match self.stream.read(&mut room) {
                Ok(0) => break true,
                Ok(count) => self.seen.extend_from_slice(&room[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break false;
                }
                Err(_) => break true,
            }
            assert!(Instant::now() < limit, "the server does not stop talking");
        };
        (String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned(), ended)
    }
}
