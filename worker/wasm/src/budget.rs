//! What an instance may have: bytes of memory and tables, all in all.
//!
//! Takes the engine's questions, gives its answers; remembers the first refusal, so that a run that fails
//! by it can say so. Pure.

use wasmtime::{ResourceLimiter, Result};

/// What an element of a table costs, in bytes.
const ELEMENT: u64 = 16;

/// What is used, and what may be.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: u64,
    refused: Option<u64>,
}

impl Budget {
    /// Nothing used of so many bytes.
    pub fn new(limit: u64) -> Budget {
        Budget { limit, used: 0, refused: None }
    }

    /// The bytes that would have been used, had the limit not refused them.
    pub fn refused(&self) -> Option<u64> {
        self.refused
    }

    fn grow(&mut self, by: u64) -> bool {
        let wanted = self.used.saturating_add(by);
        if wanted > self.limit {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used = wanted;
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

    #[test]
    fn memories_and_tables_share_the_limit() {
        let mut budget = Budget::new(1000);
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
