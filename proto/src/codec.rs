//! Value ↔ bytes: the only file that names the serializer, so that swapping it is one file's work.
//!
//! bincode is unmaintained (RUSTSEC-2025-0141) and its version 2 sound for flat types decoded under a
//! size limit: without one, nine bytes that claim a huge vector would abort the process.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use crate::MAX_MESSAGE;

type Config = Configuration<LittleEndian, Varint, Limit<MAX_MESSAGE>>;

const CONFIG: Config = bincode::config::standard().with_limit::<MAX_MESSAGE>();

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not decode as this type within the limit.
    #[error("not a message: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// A message is followed by bytes that belong to none.
    #[error("{0} bytes behind the end of the message")]
    Trailing(usize),
    /// The value does not fit [`MAX_MESSAGE`].
    #[error("cannot encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// The encoded value is larger than [`MAX_MESSAGE`].
    #[error("message of {0} bytes is over the limit of {MAX_MESSAGE}")]
    TooLarge(usize),
}

/// Appends the bytes of a message.
///
/// # Errors
/// When the message is larger than [`MAX_MESSAGE`]; the buffer then holds part of it.
pub fn encode<T: Encode>(message: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = buffer.len();
    bincode::encode_into_std_write(message, buffer, CONFIG)?;
    let size = buffer.len() - before;
    if size > MAX_MESSAGE {
        return Err(CodecError::TooLarge(size));
    }
    Ok(())
}

/// The message that these bytes are; it borrows from them.
///
/// # Errors
/// When they are not exactly one message. Never panics, and allocates no more than the limit.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let (message, used) = bincode::borrow_decode_from_slice(bytes, CONFIG)?;
    if used != bytes.len() {
        return Err(CodecError::Trailing(bytes.len() - used));
    }
    Ok(message)
}
