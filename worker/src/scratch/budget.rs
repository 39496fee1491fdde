//! What the scratch folder has used: of the run's memory, and of what may be stored in it.

use super::{MAX_FILES, Reason};

/// A limit that a script ran into and may live with: its error is catchable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// In bytes: the limit, and what was wanted.
    Bytes(u64, u64),
    /// In numbers: the same.
    Count(u64, u64),
}

/// Bytes in use and their limits.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
    stored: usize,
    most_stored: usize,
    most_files: usize,
    reached: Option<Reached>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { used: 0, limit, stored: 0, most_stored: limit, most_files: MAX_FILES, reached: None }
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

    /// The limit of the folder itself that was last reached.
    #[must_use]
    pub fn reached(&self) -> Option<Reached> {
        self.reached
    }

    pub(super) fn set_limits(&mut self, memory: usize, stored: usize, files: usize) {
        (self.limit, self.most_stored) = (memory, stored);
        self.most_files = files.min(MAX_FILES);
        self.reached = None;
    }

    pub(super) fn set_memory(&mut self, memory: usize) {
        self.limit = memory;
    }

    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Bytes that may still be stored.
    pub(super) fn room(&self) -> usize {
        self.left().min(self.most_stored.saturating_sub(self.stored))
    }

    /// One more file, folder or link beside so many.
    pub(super) fn one_more(&mut self, files: usize) -> Result<(), Reason> {
        if files < self.most_files {
            return Ok(());
        }
        self.reached = Some(Reached::Count(self.most_files as u64, files as u64 + 1));
        Err(Reason::Full)
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

    /// Charges what is stored in the folder.
    pub(super) fn store(&mut self, bytes: usize) -> Result<(), Reason> {
        let stored = self.stored.saturating_add(bytes);
        // Where the memory is the narrower limit, it is memory that lacks.
        if stored > self.most_stored && self.most_stored < self.limit {
            self.reached = Some(Reached::Bytes(self.most_stored as u64, stored as u64));
            return Err(Reason::Full);
        }
        self.charge(bytes)?;
        self.stored = stored;
        Ok(())
    }

    /// Something of that size is no longer stored.
    pub(super) fn drop_stored(&mut self, bytes: usize) {
        self.refund(bytes);
        self.stored = self.stored.saturating_sub(bytes);
    }
}
