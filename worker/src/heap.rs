//! The Rust side's memory, counted: what host functions allocate for a script falls under its limit too.
//!
//! The arena counts for itself; this is the backstop for all else. Past the limit the process ends, and so
//! it does during a run when the kernel has no more to give.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static USED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a count.
#[derive(Debug)]
pub struct Counting;

/// Lets `more` bytes be allocated beyond what is now; `None`: no limit.
pub fn limit(more: Option<usize>) {
    LIMIT.store(more.map_or(usize::MAX, |more| USED.load(Relaxed).saturating_add(more)), Relaxed);
}

/// Whether `more` bytes can be allocated within the limit: for a library that can do without.
pub fn fits(more: usize) -> bool {
    USED.load(Relaxed).saturating_add(more) <= LIMIT.load(Relaxed)
}

fn count(old: usize, new: usize) {
    let used = USED.fetch_add(new.wrapping_sub(old), Relaxed).wrapping_add(new).wrapping_sub(old);
    if used > LIMIT.load(Relaxed) && new > old {
        LIMIT.store(usize::MAX, Relaxed);
        crate::serve::exhausted(used as u64);
    }
}

// SAFETY: every call is handed to the system's allocator unchanged; counting allocates nothing, and what
// happens past the limit does not return.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: the caller's promises are those of `System`.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() && crate::serve::is_running() {
            crate::serve::exhausted(USED.load(Relaxed) as u64);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() && crate::serve::is_running() {
            crate::serve::exhausted(USED.load(Relaxed) as u64);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(layout.size(), new);
        // SAFETY: as above.
        let block = unsafe { System.realloc(block, layout, new) };
        if block.is_null() && crate::serve::is_running() {
            crate::serve::exhausted(USED.load(Relaxed) as u64);
        }
        block
    }
}
