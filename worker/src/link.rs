//! The worker's end of the socket: whole messages in and out, blocking.
//!
//! Takes and gives message values. Allocates nothing per message once its buffers have their size, and
//! gives memory back after a large message.

use std::io;
use std::os::fd::RawFd;

use msgscript_proto::MAX_MESSAGE;
use msgscript_proto::codec;
use msgscript_proto::message::ToBroker;
use msgscript_proto::packet::{self, Assembler, MAX_PACKET, Packets};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

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
    assembler: Assembler,
    assembled: usize,
    outgoing: Vec<u8>,
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
        if std::mem::take(&mut self.assembled) > KEEP {
            self.assembler.shrink();
        }
        let last = loop {
            let size = self.recv_packet()?;
            if size == 0 {
                return Ok(None);
            }
            if packet::is_last(&self.packet[..size]) {
                break size;
            }
            self.assembler.push(&self.packet[..size]).map_err(invalid)?;
            self.assembled += size;
        };
        self.assembler.push(&self.packet[..last]).map_err(invalid)
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
        packet::start(&mut self.outgoing);
        codec::encode(message, &mut self.outgoing).map_err(invalid)?;
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
