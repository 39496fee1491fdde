//! The worker's side of the slate (see [`msgscript_proto::slate`]): notes which run begins, and keeps answers
//! until they are sent together.
//!
//! Takes invocations and encoded answers, gives bundles of them. There is one in a process. The only file that
//! touches that memory; the broker reads it at any time, and writes one byte of it.

#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use msgscript_proto::packet;
use msgscript_proto::slate::{BUNDLE, EPOCH, LENGTH, MOST, RUNNING, SIZE};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::unistd::dup2_stdout;

/// Where it is mapped; null before [`open`].
static SLATE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Maps the slate, which is descriptor 1, and makes that one the log pipe, as 2 is. To be called once, before
/// anything else.
///
/// # Errors
/// What the kernel says: descriptor 1 is no slate.
pub fn open() -> io::Result<()> {
    let size = NonZeroUsize::new(SIZE).unwrap_or(NonZeroUsize::MIN);
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
    let mapped = unsafe { mmap(None, size, rights, MapFlags::MAP_SHARED, io::stdout(), 0)? };
    dup2_stdout(io::stderr())?;
    SLATE.store(mapped.as_ptr().cast(), Relaxed);
    Ok(())
}

/// The place of a field, if the slate is open.
fn field<T>(offset: usize) -> Option<NonNull<T>> {
    // SAFETY: the offsets of `msgscript_proto::slate` lie within the mapping, and each suits its type: they are
    // multiples of 8 from the start of a page.
    NonNull::new(SLATE.load(Relaxed)).map(|slate| unsafe { slate.add(offset) }.cast())
}

fn epoch() -> Option<&'static AtomicU8> {
    // SAFETY: see `field`; lives as long as the process, and is only used as an atomic.
    field(EPOCH).map(|place| unsafe { place.as_ref() })
}

fn running() -> Option<&'static AtomicU64> {
    // SAFETY: as for `epoch`.
    field(RUNNING).map(|place| unsafe { place.as_ref() })
}

fn length() -> Option<&'static AtomicU32> {
    // SAFETY: as for `epoch`.
    field(LENGTH).map(|place| unsafe { place.as_ref() })
}

/// Notes that this invocation begins; false if it must not, since its epoch is over.
#[must_use]
pub fn begin(invocation: u64, of: u8) -> bool {
    let (Some(running), Some(epoch)) = (running(), epoch()) else { return true };
    // The order of these two decides: see `msgscript_proto::slate`.
    running.store(invocation, SeqCst);
    epoch.load(SeqCst) == of
}

/// Keeps an encoded answer; false if there is no room or it is too large.
#[must_use]
pub fn keep(message: &[u8]) -> bool {
    let (Some(length), Some(bundle)) = (length(), field::<u8>(BUNDLE)) else { return false };
    // SAFETY: `MOST` bytes of the mapping begin there. No other reference into them lives in this process (`kept` hands
    // its out for the time of one call), and the broker does not write there.
    let room = unsafe { std::slice::from_raw_parts_mut(bundle.as_ptr(), MOST) };
    let used = usize::try_from(length.load(Relaxed)).unwrap_or(MOST);
    let Some(size) = packet::bundle(room, used.min(MOST), message).and_then(|used| u32::try_from(used).ok())
    else {
        return false;
    };
    length.store(size, Release);
    true
}

/// Whether answers are kept.
#[must_use]
pub fn has_kept() -> bool {
    length().is_some_and(|length| length.load(Relaxed) > 0)
}

/// Hands what is kept to `send`, as a packet, and forgets it then.
///
/// # Errors
/// Those of `send`.
pub fn send_kept(send: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (Some(length), Some(bundle)) = (length(), field::<u8>(BUNDLE)) else { return Ok(()) };
    let used = usize::try_from(length.load(Relaxed)).unwrap_or(MOST).min(MOST);
    if used == 0 {
        return Ok(());
    }
    // SAFETY: as for `keep`, which `send` must not and does not call: it makes one system call.
    send(unsafe { std::slice::from_raw_parts(bundle.as_ptr(), used) })?;
    // Whoever dies in between has sent them and has them kept: the broker counts them once.
    length.store(0, Release);
    Ok(())
}
