//! R01, R02: every number there is.

use msgscript_proto::sandbox::{Probe, ProbeArg};

use super::{Row, SIGSYS, case};
use crate::doctor::row::Case;

/// Beyond the last number of Linux 6.18 (470), with some to come.
const NUMBERS: i64 = 474;

/// What must be allowed whatever its arguments are. 335 and 336 (`uretprobe`, `uprobe`) the kernel
/// itself exempts on x86-64; they do nothing where no probe is set.
const ALLOWED: &[i64] = &[
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    335,
    #[cfg(target_arch = "x86_64")]
    336,
];

/// A number that is no address, no descriptor, no flag.
const GARBAGE: ProbeArg = ProbeArg::Value(0x5a5a_5a5a_5a5a_5a5a);

pub(super) fn rows() -> Vec<Row> {
    let cases = (0..NUMBERS).filter(|number| !ALLOWED.contains(number)).map(garbage).collect();
    vec![
        Row::of_all_layers("R01", "every system call that is not on the list", cases),
        #[cfg(target_arch = "x86_64")]
        Row::of_all_layers(
            "R02",
            "the 32-bit tables: x32 numbers, int 0x80",
            (0..548).map(|number| garbage(X32 | number)).chain(int80()).collect(),
        ),
    ]
}

fn garbage(number: i64) -> Case {
    let act = Probe::Syscall { number, args: [GARBAGE; 6], buffers: Vec::new() };
    case(&format!("call {number:#x}"), vec![act], SIGSYS)
}

/// The bit of x32 numbers.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Some of the 32-bit table: exit, fork, open, execve, getpid, socketcall, mmap2, openat; and write (4),
/// whose number the 64-bit table gives to another call. A kernel without that door faults.
#[cfg(target_arch = "x86_64")]
fn int80() -> impl Iterator<Item = Case> {
    use super::{Expect, Signal};
    [1, 2, 4, 5, 11, 20, 102, 192, 295].into_iter().map(|number| {
        let expect = Expect::Killed(&[Signal::SIGSYS, Signal::SIGSEGV]);
        case(&format!("int 0x80 {number}"), vec![Probe::Int80 { number }], expect)
    })
}
