//! seccomp: the system calls that a worker may make, as a table with a reason per row. Everything else
//! kills the process. [`files`] has those of the engines that open files.
//!
//! Takes the engine, gives a filter, and puts it in force. The last layer: nothing of the set-up is
//! possible behind it.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use msgscript_proto::message::Engine;
use nix::sys::resource::Resource;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What one argument must be. The kernel reads an `int` argument's low 32 bits and a `long` one whole,
/// and so does the filter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg {
    /// An `int` of this value.
    Int(u8, u64),
    /// A pointer or `long` of this value.
    Long(u8, u64),
    /// An `int` of another value.
    IntNot(u8, u64),
    /// A `long` that has all bits of this mask.
    LongHas(u8, u64),
    /// An `int` without bits outside this mask.
    IntWithin(u8, u64),
    /// A `long` without bits outside this mask.
    LongWithin(u8, u64),
    /// A `long` whose bits, but those of the mask, are exactly this value.
    LongBut(u8, u64, u64),
}

/// One way in which a system call is allowed. A call may have several.
#[derive(Debug)]
pub(super) struct Row {
    /// The system call.
    number: i64,
    /// What its arguments must be, all of them.
    args: Vec<Arg>,
    /// Why a worker needs it. For readers only.
    _reason: &'static str,
}

impl Row {
    /// The system call's number.
    pub(super) fn number(&self) -> i64 {
        self.number
    }
}

pub(super) fn row(number: libc::c_long, args: &[Arg], reason: &'static str) -> Row {
    Row { number, args: args.to_vec(), _reason: reason }
}

pub(super) const fn bits(flags: libc::c_int) -> u64 {
    flags as u32 as u64
}

const READ_WRITE: u64 = bits(libc::PROT_READ | libc::PROT_WRITE);
const READ_EXEC: u64 = bits(libc::PROT_READ | libc::PROT_EXEC);
const PRIVATE: u64 = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
const FIXED: u64 = bits(libc::MAP_FIXED);
const FUTEX_WAIT_BITSET: u64 = bits(libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG);
const FUTEX_WAIT: u64 = bits(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
const FUTEX_WAKE: u64 = bits(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);

/// Every system call that a worker of this engine may make. `pid` is its own process id.
pub(super) fn table(engine: Engine, pid: u32) -> Vec<Row> {
    use Arg::{Int, IntWithin, Long, LongBut, LongWithin};
    let mut rows = vec![
        row(
            libc::SYS_recvfrom,
            &[Int(0, 0), IntWithin(3, bits(libc::MSG_DONTWAIT | libc::MSG_PEEK)), Long(4, 0), Long(5, 0)],
            "messages in, from the socket only",
        ),
        row(
            libc::SYS_sendto,
            &[Int(0, 0), IntWithin(3, bits(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)), Long(4, 0), Int(5, 0)],
            "messages out, by the socket only, to its peer, no TCP Fast Open",
        ),
        row(libc::SYS_write, &[Int(0, 1)], "a library's last words to the log pipe"),
        row(libc::SYS_write, &[Int(0, 2)], "a panic's last words to the log pipe"),
        row(
            libc::SYS_mmap,
            &[LongWithin(2, READ_WRITE), LongBut(3, bits(libc::MAP_NORESERVE), PRIVATE)],
            "the allocator: private memory, never executable, never at a forced place",
        ),
        row(libc::SYS_mprotect, &[LongWithin(2, READ_WRITE)], "the allocator, guard pages"),
        row(
            libc::SYS_mremap,
            &[LongWithin(3, bits(libc::MREMAP_MAYMOVE))],
            "the allocator grows and shrinks large blocks",
        ),
        row(libc::SYS_madvise, &[Int(2, bits(libc::MADV_DONTNEED))], "memory given back"),
        row(libc::SYS_munmap, &[], "memory given back"),
        row(libc::SYS_brk, &[], "the allocator"),
        row(libc::SYS_futex, &[Int(1, FUTEX_WAKE)], "locks of the C and Rust libraries"),
        row(libc::SYS_futex, &[Int(1, FUTEX_WAIT)], "locks of the C and Rust libraries"),
        row(libc::SYS_getrandom, &[], "seeds of hash tables"),
        row(libc::SYS_clock_gettime, &[], "CPU time; wall time where the vDSO cannot tell it"),
        row(libc::SYS_getpid, &[], "abort"),
        row(libc::SYS_gettid, &[], "abort, and the text of a panic"),
        abort(pid),
        row(libc::SYS_rt_sigprocmask, &[], "abort"),
        row(libc::SYS_rt_sigreturn, &[], "return from a signal handler"),
        row(libc::SYS_restart_syscall, &[], "the kernel's own, after a stop"),
        row(libc::SYS_sigaltstack, &[], "the end of Rust's main thread"),
        row(libc::SYS_exit, &[], "the end"),
        row(libc::SYS_exit_group, &[], "the end"),
    ];
    match engine {
        Engine::LuaJit | Engine::ProbeJit => rows.push(row(
            libc::SYS_mprotect,
            &[Long(2, READ_EXEC)],
            "finished machine code becomes executable, and read-only by the same call",
        )),
        Engine::Wasm | Engine::ProbeWasm => {
            rows.extend(wasm());
            rows.extend(binding());
        }
        Engine::ProbeWasmBound => rows.extend(wasm()),
        Engine::Sqlite => rows.extend(files::sqlite()),
        Engine::Lua
        | Engine::Plugin
        | Engine::Command
        | Engine::Probe
        | Engine::WasmCompile
        | Engine::ProbeWasmCompile => {}
    }
    rows
}

/// What the C library's `abort` does. musl names the thread only: the one there is has the process's number.
fn abort(pid: u32) -> Row {
    let (own, signal, reason) = (u64::from(pid), bits(libc::SIGABRT), "abort: that signal, to itself");
    if cfg!(target_env = "musl") {
        row(libc::SYS_tkill, &[Arg::Int(0, own), Arg::Int(1, signal)], reason)
    } else {
        row(libc::SYS_tgkill, &[Arg::Int(0, own), Arg::Int(2, signal)], reason)
    }
}

/// What a worker of WebAssembly needs beside the others, for all of its life.
fn wasm() -> Vec<Row> {
    use Arg::{Int, LongBut, LongWithin};
    vec![
        row(
            libc::SYS_mmap,
            &[LongWithin(2, READ_WRITE), LongBut(3, bits(libc::MAP_NORESERVE), PRIVATE | FIXED)],
            "an instance's memory is wiped in its place; not executable, so it can only harm itself",
        ),
        row(
            libc::SYS_mmap,
            &[LongWithin(2, READ_WRITE), LongBut(3, 0, bits(libc::MAP_PRIVATE) | FIXED)],
            "the module's data, copied on write from the image that was made while binding",
        ),
        row(
            libc::SYS_futex,
            &[Int(1, FUTEX_WAIT_BITSET)],
            "sleep: the module waits for a clock (the wait has a deadline)",
        ),
    ]
}

/// What binding a worker to a module needs: none of it is possible behind the second filter.
fn binding() -> Vec<Row> {
    use Arg::{Int, Long, LongBut};
    let no_new_privs = bits(libc::PR_SET_NO_NEW_PRIVS);
    vec![
        row(libc::SYS_mprotect, &[Long(2, READ_EXEC)], "the module's machine code becomes executable"),
        row(libc::SYS_memfd_create, &[], "the image of the module's data"),
        row(libc::SYS_write, &[Int(0, 3)], "the image of the module's data: descriptors 3 to 31"),
        row(libc::SYS_write, &[LongBut(0, 3, 4)], "the same: 4 to 7"),
        row(libc::SYS_write, &[LongBut(0, 7, 8)], "the same: 8 to 15"),
        row(libc::SYS_write, &[LongBut(0, 15, 16)], "the same: 16 to 31"),
        row(libc::SYS_fcntl, &[Int(1, bits(libc::F_ADD_SEALS))], "the image can never change again"),
        row(
            libc::SYS_prlimit64,
            &[Int(0, 0), Int(1, Resource::RLIMIT_NOFILE as u64)],
            "no more descriptors from then on",
        ),
        row(
            libc::SYS_prctl,
            &[Int(0, bits(super::sys::SET_MDWE)), Long(1, super::sys::MDWE_REFUSE_EXEC_GAIN)],
            "no more memory becomes executable",
        ),
        row(libc::SYS_prctl, &[Int(0, no_new_privs), Long(1, 1)], "goes before a filter"),
        row(
            libc::SYS_seccomp,
            &[Int(0, bits(libc::SECCOMP_SET_MODE_FILTER as i32)), Int(1, 0)],
            "the second filter",
        ),
    ]
}

fn condition(arg: Arg) -> Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let (index, width, operator, value) = match arg {
        Arg::Int(index, value) => (index, Dword, SeccompCmpOp::Eq, value),
        Arg::Long(index, value) => (index, Qword, SeccompCmpOp::Eq, value),
        Arg::IntNot(index, value) => (index, Dword, SeccompCmpOp::Ne, value),
        Arg::LongHas(index, mask) => (index, Qword, SeccompCmpOp::MaskedEq(mask), mask),
        Arg::IntWithin(index, mask) => (index, Dword, SeccompCmpOp::MaskedEq(!mask & u64::from(u32::MAX)), 0),
        Arg::LongWithin(index, mask) => (index, Qword, SeccompCmpOp::MaskedEq(!mask), 0),
        Arg::LongBut(index, mask, value) => (index, Qword, SeccompCmpOp::MaskedEq(!mask), value),
    };
    SeccompCondition::new(index, width, operator, value)
}

/// The filter of a worker of this engine.
fn filter(engine: Engine, pid: u32) -> Result<BpfProgram, seccompiler::BackendError> {
    // `SIGSYS`, whose handler says which call it was and dies of it; a process that blocks the signal, or is
    // in the handler, dies at once.
    compile(table(engine, pid), SeccompAction::Trap, SeccompAction::Allow)
}

/// A filter of rows: what is in none of them, and what is in one.
pub(super) fn compile(
    rows: Vec<Row>,
    others: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let any: BTreeSet<i64> = rows.iter().filter(|row| row.args.is_empty()).map(|row| row.number).collect();
    for row in rows {
        let of_call = rules.entry(row.number).or_default();
        // No rule at all means any arguments to the crate.
        if !any.contains(&row.number) {
            let conditions = row.args.into_iter().map(condition).collect::<Result<_, _>>()?;
            of_call.push(SeccompRule::new(conditions)?);
        }
    }
    let target = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, others, listed, target)?.try_into()
}

/// Puts the filter in force.
///
/// # Errors
/// What the kernel says.
pub(super) fn close(engine: Engine) -> io::Result<()> {
    let program = filter(engine, std::process::id()).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Puts the filter of a bound WebAssembly worker in force, on top of the one that is.
///
/// # Errors
/// What the kernel says.
pub(super) fn close_bound() -> io::Result<()> {
    close(Engine::ProbeWasmBound)
}

#[cfg(test)]
mod tests;
