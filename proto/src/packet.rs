//! Message ↔ packets: what one `send` on a `SOCK_SEQPACKET` socket carries.
//!
//! The kernel keeps packets whole, so a small message is one packet and is either read or not read:
//! a packet is either read or not. Larger messages are cut into several. The first byte of a packet says whether
//! it begins and whether it ends a message, or that it is a bundle: several small messages, each with its
//! length before it.

/// The largest packet, in bytes: a payload of 64 KiB with all that is around it is one. Well below the default socket
/// buffer (`net.core.wmem_default`, 212,992 bytes), so that a packet always fits an empty one; and no more than Linux
/// takes without a large block of memory (16 KiB in one piece and 17 pages, `unix_dgram_sendmsg`).
pub const MAX_PACKET: usize = 80 << 10;

const FIRST: u8 = 1;
const LAST: u8 = 2;
const BUNDLE: u8 = 4;

/// Bytes of a length within a bundle.
const PREFIX: usize = 2;

/// The largest message in a bundle, in bytes.
pub const MOST_BUNDLED: usize = 16 << 10;

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

/// Adds a message to the bundle in the first `used` bytes of `room` (0: none yet); gives how many it takes then,
/// or `None` if the message does not fit or is over [`MOST_BUNDLED`].
#[must_use]
pub fn bundle(room: &mut [u8], used: usize, message: &[u8]) -> Option<usize> {
    let start = used.max(1) + PREFIX;
    let end = start + message.len();
    let length = u16::try_from(message.len()).ok().filter(|_| message.len() <= MOST_BUNDLED)?;
    room.get_mut(start..end)?.copy_from_slice(message);
    room[start - PREFIX..start].copy_from_slice(&length.to_le_bytes());
    room[0] = BUNDLE;
    Some(end)
}

/// The messages of a bundle, for one who can't borrow it while it reads: hand each call the packet and a
/// position, which begins at 0.
///
/// # Errors
/// When a length is larger than what follows, or no message is in the bundle.
pub fn bundled<'a>(packet: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, PacketError> {
    if *at > 0 && *at >= packet.len() {
        return Ok(None);
    }
    let start = (*at).max(1) + PREFIX;
    let prefix = packet.get(start - PREFIX..start).ok_or(PacketError::Malformed)?;
    let size = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
    let message = packet.get(start..start + size).ok_or(PacketError::Malformed)?;
    *at = start + size;
    Ok(Some(message))
}

/// Whether this packet is a bundle: for [`bundled`], not for an [`Assembler`].
#[must_use]
pub fn is_bundle(packet: &[u8]) -> bool {
    packet.first() == Some(&BUNDLE)
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
