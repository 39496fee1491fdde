//! Resource limits: what a worker may use of the kernel, and that it can open nothing new.
//!
//! Takes the limit of the data segment, gives nothing back. Lowers soft and hard limits alike, so that
//! they cannot rise again.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::role::Role;

/// Deep recursion in a script is to end in a Lua error, not in a fault: a full Lua stack of calls through
/// `string.gsub` takes some 90 MiB, more than any other way. The stack may grow to this, in
/// bytes, where the hard limit allows it.
const STACK: u64 = 128 << 20;

/// Address space beyond what the engine holds already and may still write to, in bytes: the stack, and
/// read-only or reserved pages.
const SPARE_ADDRESSES: u64 = 192 << 20;

/// What a worker has no use for at all.
const NOTHING: [Resource; 6] = [
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NPROC,
];

/// Sets every limit but that of descriptors. `data` is the limit of writable private memory, in bytes,
/// all that is mapped already included; `file` that of a file, in bytes.
///
/// # Errors
/// What the kernel says.
pub(super) fn close(data: u64, role: Role) -> io::Result<()> {
    for resource in NOTHING {
        lower(resource, 0)?;
    }
    lower(Resource::RLIMIT_FSIZE, role.file_size)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_STACK)?;
    lower(Resource::RLIMIT_STACK, STACK.min(hard))?;
    lower(Resource::RLIMIT_DATA, data)?;
    // Page tables are counted nowhere: reading a terabyte of empty pages would cost gigabytes.
    let mapped = mapped_bytes()?;
    lower(Resource::RLIMIT_AS, mapped.saturating_add(data).saturating_add(SPARE_ADDRESSES))
}

/// No descriptor of this number or above (0: none, not even in the place of a closed one). Those that are
/// open stay. To be called when no file needs to be opened any more.
///
/// # Errors
/// What the kernel says.
pub(super) fn close_descriptors(from: u64) -> io::Result<()> {
    lower(Resource::RLIMIT_NOFILE, from)
}

/// Whether the kernel took them all.
///
/// # Errors
/// Names the first limit that reads back otherwise.
pub(super) fn check(data: u64, role: Role) -> io::Result<()> {
    for resource in NOTHING {
        expect(resource, 0)?;
    }
    expect(Resource::RLIMIT_FSIZE, role.file_size)?;
    expect(Resource::RLIMIT_NOFILE, role.descriptors)?;
    expect(Resource::RLIMIT_DATA, data)
}

fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let to = to.min(hard);
    Ok(setrlimit(resource, to, to)?)
}

fn expect(resource: Resource, at_most: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    if soft <= at_most && hard <= at_most {
        return Ok(());
    }
    Err(io::Error::other(format!("{resource:?} reads back as {soft}/{hard}, not {at_most}")))
}

/// The address space in use, in bytes.
fn mapped_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/statm does not begin with a number of pages"))?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
    Ok(pages.saturating_mul(page.unsigned_abs()))
}
