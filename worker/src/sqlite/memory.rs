//! SQLite's memory, from the allocator that counts: what it takes for a script falls under the script's limit.
//!
//! SQLite gets no block that would pass the limit, and says so; a block is of Rust's allocator, behind a head
//! that holds its size.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::SqlError;
use crate::heap;

/// Bytes in front of each block: its size, and its alignment kept.
const HEAD: usize = 16;

/// Has SQLite use it. Before any other use of SQLite.
pub(super) fn count() -> Result<(), SqlError> {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(malloc),
        xFree: Some(free),
        xRealloc: Some(resize),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(init),
        xShutdown: Some(shut_down),
        pAppData: ptr::null_mut(),
    };
    // SAFETY: SQLite is not initialized yet, else it refuses; it copies the table.
    let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    check(code)
}

/// An error for what is not `SQLITE_OK`.
pub(super) fn check(code: c_int) -> Result<(), SqlError> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(SqlError::Sqlite(ffi::code_to_str(code).to_owned())) }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEAD)?, HEAD).ok()
}

/// Writes the head; gives what SQLite may use.
///
/// # Safety
/// `block` must be null, or a block of [`layout`] of that size.
unsafe fn finish(block: *mut u8, size: usize) -> *mut c_void {
    if block.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the block begins with HEAD bytes of ours, aligned for a usize.
    unsafe {
        block.cast::<usize>().write(size);
        block.add(HEAD).cast()
    }
}

/// The size of a block that [`finish`] gave.
unsafe fn size_of_block(block: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { block.cast::<u8>().sub(HEAD).cast::<usize>().read() }
}

unsafe extern "C" fn malloc(wanted: c_int) -> *mut c_void {
    let Ok(wanted) = usize::try_from(wanted) else { return ptr::null_mut() };
    let Some(layout) = layout(wanted).filter(|layout| heap::fits(layout.size())) else {
        return ptr::null_mut();
    };
    // SAFETY: the layout is not empty.
    unsafe { finish(alloc(layout), wanted) }
}

unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: SQLite gives back what it got from us, once.
    unsafe {
        if let Some(layout) = layout(size_of_block(block)) {
            dealloc(block.cast::<u8>().sub(HEAD), layout);
        }
    }
}

unsafe extern "C" fn resize(block: *mut c_void, wanted: c_int) -> *mut c_void {
    let Ok(wanted) = usize::try_from(wanted) else { return ptr::null_mut() };
    // SAFETY: SQLite resizes blocks that it got from us, never null.
    unsafe {
        let old = size_of_block(block);
        let (Some(before), Some(after)) = (layout(old), layout(wanted)) else { return ptr::null_mut() };
        if !heap::fits(wanted.saturating_sub(old)) {
            return ptr::null_mut();
        }
        finish(realloc(block.cast::<u8>().sub(HEAD), before, after.size()), wanted)
    }
}

unsafe extern "C" fn size(block: *mut c_void) -> c_int {
    if block.is_null() {
        return 0;
    }
    // SAFETY: SQLite asks for blocks that it got from us; their sizes came as an int.
    unsafe { c_int::try_from(size_of_block(block)).unwrap_or(c_int::MAX) }
}

unsafe extern "C" fn round_up(wanted: c_int) -> c_int {
    wanted.checked_add(7).map_or(wanted, |size| size & !7)
}

unsafe extern "C" fn init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn shut_down(_: *mut c_void) {}
