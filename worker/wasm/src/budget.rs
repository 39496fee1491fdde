//! What an instance may have: bytes of memory, tables and scratch folder, all in all.
//!
//! Takes the engine's questions, gives its answers; remembers the first refusal, so that a run that fails
//! by it can say so. Pure.

use wasmtime::{ResourceLimiter, Result};

use crate::files::Files;

/// What an element of a table costs, in bytes.
const ELEMENT: u64 = 16;

/// What is used, and what may be.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: u64,
    refused: Option<u64>,
    files: Files,
}

impl Budget {
    /// Nothing used of so many bytes, which these folders share.
    pub fn new(limit: u64, files: Files) -> Budget {
        Budget { limit, used: 0, refused: None, files }
    }

    /// The bytes that would have been used, had the limit not refused them.
    pub fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// Notes that the scratch folder refused what would have been over the limit.
    pub fn note_refusal(&mut self) {
        self.refused.get_or_insert(self.limit.saturating_add(1));
    }

    fn grow(&mut self, by: u64) -> bool {
        let mut tree = self.files.tree();
        let wanted = self.used.saturating_add(by).saturating_add(tree.used() as u64);
        if wanted > self.limit {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used += by;
        tree.set_memory(usize::try_from(self.limit - self.used).unwrap_or(usize::MAX));
        true
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        Ok(self.grow(ELEMENT * desired.saturating_sub(current) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msgscript_proto::message::Limits;

    fn budget(limit: u64) -> Budget {
        let (scratch, scratch_files) = (limit, 100);
        let limits = Limits {
            memory: limit,
            output: 0,
            log: 0,
            host_calls: 0,
            folders: false,
            scratch,
            scratch_files,
        };
        Budget::new(limit, Files::new(&limits, std::sync::Arc::default()))
    }

    #[test]
    fn the_scratch_folder_shares_the_limit() {
        let mut budget = budget(10_000);
        let tree = budget.files.clone();
        assert!(budget.memory_growing(0, 5000, None).unwrap());
        let before = tree.tree().used();
        tree.tree().write_file(b"f", &[0; 2000]).unwrap();
        assert!(tree.tree().write_file(b"g", &[0; 3000]).is_err(), "5000 are left");
        let used = tree.tree().used();
        assert!(used > before + 2000);
        assert!(!budget.memory_growing(5000, 10_001 - used, None).unwrap());
        assert!(budget.memory_growing(5000, 10_000 - used, None).unwrap());
        assert!(tree.tree().write_file(b"h", b"").is_err(), "nothing is left");
    }

    #[test]
    fn memories_and_tables_share_the_limit() {
        let mut budget = budget(1000);
        assert!(budget.memory_growing(0, 600, None).unwrap());
        assert!(budget.table_growing(0, 10, Some(10)).unwrap());
        assert!(!budget.table_growing(10, 11, Some(10)).unwrap(), "past its own maximum");
        assert_eq!(budget.refused(), None, "which is not ours");
        assert!(!budget.memory_growing(600, 841, None).unwrap());
        assert_eq!(budget.refused(), Some(1001));
        assert!(!budget.memory_growing(600, usize::MAX, None).unwrap());
        assert!(budget.memory_growing(600, 840, None).unwrap());
    }
}
