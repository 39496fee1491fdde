//! The few system calls of the jail that no safe wrapper offers.
//!
//! Takes plain numbers, gives `io::Result`. The only file of the jail with unsafe code; none of these
//! calls touches memory of ours but what is said at its block.

#![allow(unsafe_code)]

use std::io;

unsafe extern "C" {
    fn tzset();
}

/// The largest capability number to try; the kernel says `EINVAL` behind its last (40 in Linux 6.18).
const MAX_CAPABILITY: libc::c_ulong = 63;

/// `prctl` that says how memory may become executable, and its value for: not at all.
pub(super) const SET_MDWE: libc::c_int = 65;
pub(super) const MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;

/// The first word of the kernel's version 3 `capset` header.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A `prctl` whose arguments are all numbers.
fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: the callers below only name options that take numbers, so the kernel reads and writes no
    // memory of ours.
    check(libc::c_long::from(unsafe { libc::prctl(option, a, b, NONE, NONE) }))
}

/// Closes every descriptor from `first` on.
///
/// # Errors
/// When the kernel is older than 5.9.
pub(super) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no memory is named. A descriptor of a live Rust object could be closed under it; the
    // worker is called here before it owns any besides 0, 1 and 2.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Reads the local time zone now, while files can be opened; `localtime` would do so later.
pub(super) fn read_time_zone() {
    // SAFETY: the process has one thread, so nobody reads the environment or the zone meanwhile.
    unsafe { tzset() }
}

/// Empties the ambient and the bounding set of capabilities. To be called before the user changes: the
/// bounding set needs `CAP_SETPCAP`; without it, it stays as it is, which matters to an exec only.
pub(super) fn drop_inherited_capabilities() {
    // Kernels before 4.3 have no ambient set.
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0);
    for capability in 0..=MAX_CAPABILITY {
        if prctl(libc::PR_CAPBSET_DROP, capability, 0).is_err() {
            break;
        }
    }
}

/// Empties the permitted, effective and inheritable sets of capabilities.
///
/// # Errors
/// What the kernel says.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let mut header = [CAPABILITY_VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: version 3 reads two words of header (and may write the first) and six of data; both
    // arrays are that long and live.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), none.as_ptr()) })
}

/// Best effort: no speculative store bypass, no indirect branch speculation; and memory that is not
/// executable never becomes so (`deny_exec`). Kernels and machines differ in what they offer.
pub(super) fn harden(deny_exec: bool) {
    const FORCE_DISABLE: libc::c_ulong = 1 << 3;
    const STORE_BYPASS: libc::c_ulong = 0;
    const INDIRECT_BRANCH: libc::c_ulong = 1;
    const SET_SPECULATION_CTRL: libc::c_int = 53;
    let _ = prctl(SET_SPECULATION_CTRL, STORE_BYPASS, FORCE_DISABLE);
    let _ = prctl(SET_SPECULATION_CTRL, INDIRECT_BRANCH, FORCE_DISABLE);
    if deny_exec {
        deny_executable_memory();
    }
}

/// Memory that is not executable never becomes so. Best effort: Linux has it since 6.3.
pub(super) fn deny_executable_memory() {
    let _ = prctl(SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0);
}

/// Lets a memory fault end the process at once with its own signal. Rust's handler for stack overflows
/// calls `sigaction`, which the filter answers with `SIGSYS`: a crash would look like an escape.
pub(super) fn default_fault_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// A call that the filter forbids shall be named: its `SIGSYS` is handled by [`forbidden`].
pub(super) fn name_forbidden_calls() {
    // SAFETY: `sigaction` is plain data; the handler has the form that `SA_SIGINFO` promises, and is sound at any
    // point of the program: it makes system calls only, and does not return.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = forbidden as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
}

/// Writes the number of the forbidden call to the log pipe and dies of another forbidden call: `SIGSYS` is
/// blocked meanwhile, so that the kernel ends the process.
extern "C" fn forbidden(_signal: libc::c_int, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    /// Where `si_syscall` lies in `siginfo_t`, behind three numbers and an address.
    const NUMBER: usize = 24;
    // SAFETY: the kernel hands over a whole `siginfo_t`, which is longer.
    let number = unsafe { info.cast::<u8>().add(NUMBER).cast::<i32>().read_unaligned() };
    let (line, length) = forbidden_line(number);
    // SAFETY: the text is ours and as long as said. The second call takes nothing.
    unsafe {
        libc::write(2, line.as_ptr().cast(), length);
        libc::syscall(NEVER_ALLOWED);
        libc::_exit(0);
    }
}

/// A call that no filter of ours allows, and that does nothing where there is none.
pub(crate) const NEVER_ALLOWED: libc::c_long = libc::SYS_sched_yield;

/// The line about a forbidden call, and its length. Without allocation.
fn forbidden_line(number: i32) -> ([u8; 48], usize) {
    use std::io::Write;
    let mut line = [0; 48];
    let mut rest = &mut line[..];
    // It fits.
    let _ = writeln!(rest, "{}{number}", msgscript_proto::FORBIDDEN_CALL);
    let left = rest.len();
    (line, 48 - left)
}

/// Ends the process without running anything else of it.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` returns to nobody.
    unsafe { libc::_exit(status) }
}
