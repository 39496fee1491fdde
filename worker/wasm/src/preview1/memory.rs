//! A module's memory, as its calls point into it.
//!
//! Takes pointers and sizes of any value; gives bytes, or a trap where they lead out of the memory.

use wasmtime::format_err;

use super::errno::Stop;

/// The memory of the instance that calls.
pub struct Memory<'a>(pub &'a mut [u8]);

impl Memory<'_> {
    /// Bytes to read.
    pub fn bytes(&self, at: u32, size: u32) -> Result<&[u8], Stop> {
        self.0.get(range(at, size)).ok_or_else(outside)
    }

    /// Bytes to fill.
    pub fn room(&mut self, at: u32, size: u32) -> Result<&mut [u8], Stop> {
        self.0.get_mut(range(at, size)).ok_or_else(outside)
    }

    /// Writes bytes.
    pub fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Stop> {
        let size = u32::try_from(bytes.len()).map_err(|_| outside())?;
        self.room(at, size)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Where the pointer of that index in a list of them is.
    pub fn place(&self, list: u32, index: u32) -> Result<u32, Stop> {
        index.checked_mul(4).and_then(|offset| list.checked_add(offset)).ok_or_else(outside)
    }

    /// The vector of that index in a list of them: where, and how many bytes.
    pub fn vector(&self, list: u32, index: u32) -> Result<(u32, u32), Stop> {
        let at = index.checked_mul(8).and_then(|offset| list.checked_add(offset)).ok_or_else(outside)?;
        let bytes = self.bytes(at, 8)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Ok((word(0), word(4)))
    }
}

fn range(at: u32, size: u32) -> std::ops::Range<usize> {
    // 64 bits: the sum of two 32-bit numbers fits.
    at as usize..at as usize + size as usize
}

fn outside() -> Stop {
    Stop::Trap(format_err!("a pointer leads out of the module's memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_of_any_value() {
        let mut bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3];
        let mut memory = Memory(&mut bytes);
        assert_eq!(memory.vector(0, 0).ok(), Some((1, 2)));
        assert!(memory.bytes(9, 0).is_ok() && memory.bytes(10, 0).is_err());
        for (at, size) in [(0, 10), (u32::MAX, u32::MAX), (8, u32::MAX), (u32::MAX, 1)] {
            assert!(memory.bytes(at, size).is_err() && memory.room(at, size).is_err());
        }
        assert!(memory.vector(2, 0).is_err() && memory.vector(u32::MAX, u32::MAX).is_err());
        assert!(memory.put(7, &[5, 6]).is_ok() && memory.put(8, &[5, 6]).is_err());
        assert_eq!(bytes[7..], [5, 6]);
    }
}
