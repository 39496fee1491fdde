//! The worker's end of the socket: whole messages in and out, blocking.
//!
//! Takes and gives message values. Answers to what came in one packet leave in one packet as well, by way of the
//! [`slate`]; whatever else is sent, and each wait for the broker, sends them before. Allocates nothing per
//! message once its buffers have their size, and gives memory back after a large message.

use std::io;
use std::os::fd::RawFd;

use msgscript_proto::MAX_MESSAGE;
use msgscript_proto::codec;
use msgscript_proto::message::ToBroker;
use msgscript_proto::packet::{self, Assembler, MAX_PACKET, MOST_BUNDLED, Packets};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::slate;

/// The socket.
const SOCKET: RawFd = 0;

/// Buffers above this size, in bytes, are given back after their message.
const KEEP: usize = 256 << 10;

/// The size of the buffer for packets, in bytes: so many that the allocator asks the kernel for them, whose pages
/// take no memory before a packet comes that is as long.
const ROOM: usize = if MAX_PACKET > 256 << 10 { MAX_PACKET } else { 256 << 10 };

/// The worker's end of the socket. There is one in a worker.
#[derive(Debug)]
pub struct Link {
    packet: Vec<u8>,
    /// The length of the bundle in `packet` that is being read (0: none), and how far.
    bundle: usize,
    read: usize,
    assembler: Assembler,
    assembled: usize,
    outgoing: Vec<u8>,
}

/// A message that came.
#[derive(Debug)]
pub struct Received<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether another one came with it: that one is there without waiting.
    pub more: bool,
}

impl Default for Link {
    fn default() -> Self {
        Link::new()
    }
}

impl Link {
    /// The link over descriptor 0.
    #[must_use]
    pub fn new() -> Link {
        Link { packet: vec![0; ROOM], ..Link::to_send() }
    }

    /// The same for sending: without the buffer that receiving takes.
    #[must_use]
    pub fn to_send() -> Link {
        Link {
            packet: Vec::new(),
            bundle: 0,
            read: 0,
            assembler: Assembler::new(MAX_MESSAGE),
            assembled: 0,
            outgoing: Vec::new(),
        }
    }

    /// Waits for a message; gives its bytes, or `None` when the broker has closed its end.
    ///
    /// # Errors
    /// What the kernel says, or `InvalidData` for packets that make no message.
    pub fn recv(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(self.receive()?.map(|received| received.bytes))
    }

    /// The same, with whether another message came along.
    ///
    /// # Errors
    /// As for [`Self::recv`].
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        if self.read == self.bundle {
            (self.bundle, self.read) = (0, 0);
            send_kept()?;
            if std::mem::take(&mut self.assembled) > KEEP {
                self.assembler.shrink();
            }
            loop {
                let size = self.recv_packet()?;
                if size == 0 {
                    return Ok(None);
                }
                let packet = &self.packet[..size];
                if packet::is_bundle(packet) && !self.assembler.is_open() {
                    self.bundle = size;
                    break;
                }
                if packet::is_last(packet) {
                    let message = self.assembler.push(&self.packet[..size]).map_err(invalid)?;
                    return Ok(message.map(|bytes| Received { bytes, more: false }));
                }
                self.assembler.push(packet).map_err(invalid)?;
                self.assembled += size;
            }
        }
        let message = packet::bundled(&self.packet[..self.bundle], &mut self.read).map_err(invalid)?;
        Ok(message.map(|bytes| Received { bytes, more: self.read < self.bundle }))
    }

    /// The size of the next packet, now in the buffer; 0 at the end.
    fn recv_packet(&mut self) -> io::Result<usize> {
        if self.packet.is_empty() {
            self.packet = vec![0; ROOM];
        }
        loop {
            match recv(SOCKET, &mut self.packet[..MAX_PACKET], MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(0),
                other => return Ok(other?),
            }
        }
    }

    /// Sends a message; waits while the socket is full.
    ///
    /// # Errors
    /// What the kernel says (the broker is gone), or `InvalidData` for a message over the limit.
    pub fn send(&mut self, message: &ToBroker<'_>) -> io::Result<()> {
        self.encode(message)?;
        self.send_encoded()
    }

    /// Sends an answer; one that may wait leaves with those that follow.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub fn answer(&mut self, message: &ToBroker<'_>, may_wait: bool) -> io::Result<()> {
        self.encode(message)?;
        let encoded = &self.outgoing[1..];
        let bundled =
            (may_wait || slate::has_kept()) && encoded.len() <= MOST_BUNDLED && slate::keep(encoded);
        match (bundled, may_wait) {
            (true, true) => Ok(()),
            (true, false) => send_kept(),
            (false, _) => self.send_encoded(),
        }
    }

    fn encode(&mut self, message: &ToBroker<'_>) -> io::Result<()> {
        packet::start(&mut self.outgoing);
        codec::encode(message, &mut self.outgoing).map_err(invalid)
    }

    fn send_encoded(&mut self) -> io::Result<()> {
        send_kept()?;
        let mut packets = Packets::new(&mut self.outgoing);
        while let Some(packet) = packets.next_packet() {
            send_packet(packet)?;
        }
        if self.outgoing.capacity() > KEEP {
            self.outgoing = Vec::new();
        }
        Ok(())
    }
}

/// Sends the answers that wait.
///
/// # Errors
/// What the kernel says.
pub fn send_kept() -> io::Result<()> {
    slate::send_kept(send_packet)
}

/// Sends one packet whole.
///
/// # Errors
/// What the kernel says.
pub(crate) fn send_packet(packet: &[u8]) -> io::Result<()> {
    loop {
        match send(SOCKET, packet, MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EINTR) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
