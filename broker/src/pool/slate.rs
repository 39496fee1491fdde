//! The broker's side of a worker's slate (see [`msgscript_proto::slate`]).
//!
//! Takes and gives numbers and bytes, by `pread` and `pwrite`: what a worker does to that memory meanwhile can
//! change what is read, nothing else.

use std::io;
use std::os::fd::OwnedFd;

use msgscript_proto::slate::{BUNDLE, EPOCH, LENGTH, MOST, RUNNING, SIZE};
use nix::errno::Errno;
use nix::libc::off_t;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;

use crate::schedule::DEPTH;

/// `MFD_NOEXEC_SEAL` (Linux 6.3): never executable, which some systems demand (`vm.memfd_noexec`).
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(8);

/// One worker's.
#[derive(Debug)]
pub struct Slate {
    memory: OwnedFd,
}

impl Slate {
    /// An empty one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Slate> {
        let flags = MFdFlags::MFD_CLOEXEC;
        let memory = match memfd_create("slate", flags | NOEXEC_SEAL) {
            Err(Errno::EINVAL) => memfd_create("slate", flags),
            other => other,
        }?;
        ftruncate(&memory, at(SIZE))?;
        Ok(Slate { memory })
    }

    /// A descriptor for the worker.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.memory.try_clone()
    }

    /// From now on only invocations of this epoch may begin.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_epoch(&self, epoch: u8) -> io::Result<()> {
        pwrite(&self.memory, &[epoch], at(EPOCH))?;
        Ok(())
    }

    /// The invocation that began last, as the worker says. With the epoch set before, no other one of an earlier
    /// epoch begins.
    ///
    /// # Errors
    /// When it changes more often than an honest worker's does.
    pub fn running(&self) -> io::Result<u64> {
        let read = || {
            let mut number = [0; 8];
            pread(&self.memory, &mut number, at(RUNNING)).map_or(0, |_| u64::from_ne_bytes(number))
        };
        // The kernel does not promise to copy a number in one piece.
        settled(read).ok_or_else(|| io::Error::other("its slate does not settle"))
    }

    /// The bundle of messages that the worker has not sent, or had not a moment ago. Empty if there is none, or if it
    /// does not settle: what it has is then on its way.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        let read = || {
            let mut length = [0; 4];
            let size = pread(&self.memory, &mut length, at(LENGTH)).map_or(0, |_| u32::from_ne_bytes(length));
            let mut bundle = vec![0; usize::try_from(size).unwrap_or(MOST).min(MOST)];
            let read = if bundle.is_empty() { Ok(0) } else { pread(&self.memory, &mut bundle, at(BUNDLE)) };
            bundle.truncate(read.unwrap_or(0));
            bundle
        };
        // The worker may send what it has and keep the next, while this is copied.
        settled(read).unwrap_or_default()
    }
}

/// Looks that are taken at what changes, at most. It can only change with each invocation that is in the worker's
/// hands, or with each answer that it keeps; one that changes it on and on must not hold the broker.
const LOOKS: usize = 4 * DEPTH;

/// What is read the same twice running.
fn settled<T: PartialEq>(read: impl Fn() -> T) -> Option<T> {
    let mut last = read();
    for _ in 0..LOOKS {
        let again = read();
        if again == last {
            return Some(last);
        }
        last = again;
    }
    None
}

/// A place on the slate, for the kernel.
fn at(offset: usize) -> off_t {
    off_t::try_from(offset).unwrap_or(off_t::MAX)
}
