//! Message ↔ packets: what one `send` on a `SOCK_SEQPACKET` socket carries.
//!
//! The kernel keeps packets whole, so a small message is one packet and is either read or not read:
//! the broker can take back what a worker has not begun. Larger messages are cut into several. The
//! first byte of a packet says whether it begins and whether it ends a message.

/// The largest packet, in bytes. Well below the default socket buffer (`net.core.wmem_default`,
/// 212,992 bytes), so that a packet always fits an empty one.
pub const MAX_PACKET: usize = 64 << 10;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// A buffer that holds one message behind room for the first packet's head.
///
/// Begin with [`start`], append the message's bytes, then send what [`Packets`] gives.
pub fn start(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.push(0);
}

/// Cuts a started buffer into packets without copying it.
#[derive(Debug)]
pub struct Packets<'a> {
    buffer: &'a mut [u8],
    sent: usize,
}

impl<'a> Packets<'a> {
    /// The packets of the message in `buffer` (see [`start`]).
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Packets { buffer, sent: 0 }
    }

    /// The next packet to send. Each head overwrites a byte that has been sent already.
    pub fn next_packet(&mut self) -> Option<&[u8]> {
        let head = if self.sent == 0 { 0 } else { self.sent - 1 };
        if self.sent >= self.buffer.len() {
            return None;
        }
        let end = (head + MAX_PACKET).min(self.buffer.len());
        let first = if self.sent == 0 { FIRST } else { 0 };
        let last = if end == self.buffer.len() { LAST } else { 0 };
        self.buffer[head] = first | last;
        self.sent = end;
        Some(&self.buffer[head..end])
    }
}

/// Whether this packet ends its message (malformed ones are for [`Assembler::push`] to refuse).
#[must_use]
pub fn is_last(packet: &[u8]) -> bool {
    packet.first().is_some_and(|head| head & LAST != 0)
}

/// Why packets make no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A packet without a head, or with one that does not exist.
    #[error("malformed packet")]
    Malformed,
    /// A packet that goes on with a message that was not begun, or begins one within another.
    #[error("packet out of order")]
    OutOfOrder,
    /// The message is larger than allowed.
    #[error("message over the limit of {0} bytes")]
    TooLarge(usize),
}

/// Puts packets together again. Holds at most `limit` bytes.
#[derive(Debug)]
pub struct Assembler {
    partial: Vec<u8>,
    open: bool,
    limit: usize,
}

impl Assembler {
    /// An assembler of messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Assembler { partial: Vec::new(), open: false, limit }
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes one packet; gives the message if this packet ends it.
    ///
    /// # Errors
    /// When the packet cannot belong here; the peer is broken or hostile then.
    pub fn push<'a>(&'a mut self, packet: &'a [u8]) -> Result<Option<&'a [u8]>, PacketError> {
        let (&head, body) = packet.split_first().ok_or(PacketError::Malformed)?;
        if head & !(FIRST | LAST) != 0 {
            return Err(PacketError::Malformed);
        }
        if (head & FIRST != 0) == self.open {
            return Err(PacketError::OutOfOrder);
        }
        if self.open || head & LAST == 0 {
            if !self.open {
                self.partial.clear();
            }
            if self.partial.len() + body.len() > self.limit {
                return Err(PacketError::TooLarge(self.limit));
            }
            self.partial.extend_from_slice(body);
            self.open = head & LAST == 0;
            return Ok((!self.open).then_some(&self.partial));
        }
        if body.len() > self.limit {
            return Err(PacketError::TooLarge(self.limit));
        }
        Ok(Some(body))
    }

    /// Gives memory back after a large message.
    pub fn shrink(&mut self) {
        if !self.open {
            self.partial = Vec::new();
        }
    }
}
