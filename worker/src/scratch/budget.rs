//! What the scratch folder has used of its memory.

use super::Reason;

/// Bytes in use and their limit.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { used: 0, limit }
    }

    /// How many bytes are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// How many bytes may be in use.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Reason> {
        if bytes > self.left() {
            return Err(Reason::Memory);
        }
        self.used += bytes;
        Ok(())
    }

    pub(super) fn refund(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}
