//! R16, R17, R24, R25, R30: memory that runs, memory without end, time without end, and crashes.

use msgscript_proto::sandbox::Probe;

use super::Arg::{N, P};
use super::{Arg, EVERYONE as NO_DESCRIPTOR, Expect, SIGSYS, Signal, ZEROS, call, case, killed, n};
use crate::doctor::row::{MEMORY, Row};
use nix::errno::Errno;

const R: i32 = libc::PROT_READ;
const W: i32 = libc::PROT_WRITE;
const X: i32 = libc::PROT_EXEC;
const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const PAGE: u64 = 4096;
const TERABYTE: u64 = 1 << 40;

/// A place where nothing is mapped: a call that gets through finds nothing.
const NOWHERE: Arg<'static> = N(0x1000_0000_0000);

pub(super) fn rows() -> Vec<Row> {
    vec![executable(), other_kinds(), other_calls(), run_data(), too_much(), for_ever(), crashes()]
}

fn map(size: u64, protection: i32, flags: i32) -> Probe {
    call(libc::SYS_mmap, &[N(0), N(size), n(protection), n(flags), NO_DESCRIPTOR, N(0)])
}

fn executable() -> Row {
    let protect = |protection| call(libc::SYS_mprotect, &[NOWHERE, N(PAGE), n(protection)]);
    killed(
        "R16",
        "memory that can run",
        vec![
            ("mmap rwx", map(PAGE, R | W | X, PRIVATE)),
            ("mmap r-x", map(PAGE, R | X, PRIVATE)),
            ("mmap --x", map(PAGE, X, PRIVATE)),
            ("mprotect rwx", protect(R | W | X)),
            ("mprotect r-x", protect(R | X)),
            ("mprotect --x", protect(X)),
            ("mprotect growing down", protect(R | W | libc::PROT_GROWSDOWN)),
            ("pkey_mprotect", call(libc::SYS_pkey_mprotect, &[NOWHERE, N(PAGE), n(R | X), NO_DESCRIPTOR])),
        ],
    )
}

fn other_kinds() -> Row {
    let file = [N(0), N(PAGE), n(R), n(libc::MAP_PRIVATE), N(0), N(0)];
    killed(
        "R16",
        "memory at a forced place, shared, of a file, or of odd kinds",
        vec![
            ("fixed", map(PAGE, R | W, PRIVATE | libc::MAP_FIXED)),
            ("shared", map(PAGE, R | W, libc::MAP_SHARED | libc::MAP_ANONYMOUS)),
            ("of a descriptor", call(libc::SYS_mmap, &file)),
            ("populated", map(PAGE, R | W, PRIVATE | libc::MAP_POPULATE)),
            ("locked", map(PAGE, R | W, PRIVATE | libc::MAP_LOCKED)),
            ("huge", map(PAGE, R | W, PRIVATE | libc::MAP_HUGETLB)),
            ("growing down", map(PAGE, R | W, PRIVATE | libc::MAP_GROWSDOWN)),
        ],
    )
}

fn other_calls() -> Row {
    let remap = |flags| call(libc::SYS_mremap, &[NOWHERE, N(PAGE), N(PAGE), n(flags), NOWHERE]);
    let advise = |advice| call(libc::SYS_madvise, &[NOWHERE, N(PAGE), n(advice)]);
    killed(
        "R16",
        "other calls about memory",
        vec![
            ("mremap fixed", remap(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED)),
            ("mremap leaving the old", remap(libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP)),
            ("madvise normal", advise(libc::MADV_NORMAL)),
            ("madvise free", advise(libc::MADV_FREE)),
            ("madvise huge pages", advise(libc::MADV_HUGEPAGE)),
            ("madvise merge", advise(libc::MADV_MERGEABLE)),
            ("madvise poison", advise(libc::MADV_HWPOISON)),
            ("mlock", call(libc::SYS_mlock, &[NOWHERE, N(PAGE)])),
            ("mincore", call(libc::SYS_mincore, &[NOWHERE, N(PAGE), P(ZEROS)])),
            ("msync", call(libc::SYS_msync, &[NOWHERE, N(PAGE), N(4)])),
            ("remap_file_pages", call(libc::SYS_remap_file_pages, &[NOWHERE, N(PAGE), N(0), N(0), N(0)])),
            ("pkey_alloc", call(libc::SYS_pkey_alloc, &[N(0), N(0)])),
            ("mseal", call(462, &[NOWHERE, N(PAGE), N(0)])),
        ],
    )
}

fn run_data() -> Row {
    let fault = Expect::Killed(&[Signal::SIGSEGV]);
    Row::of_all_layers("R17", "a jump into data", vec![case("heap", vec![Probe::JumpToHeap], fault)])
}

fn too_much() -> Row {
    let no_memory = Expect::Fails(&[Errno::ENOMEM]);
    let sparse = PRIVATE | libc::MAP_NORESERVE;
    // The prisoner may use as much as an engine, and 64 MiB for itself.
    let fits = Expect::AtMost(MEMORY + (64 << 20));
    Row::of_all_layers(
        "R24",
        "more memory than there is",
        vec![
            case("a terabyte to write", vec![map(TERABYTE, R | W, sparse)], no_memory),
            case("a terabyte to read", vec![map(TERABYTE, R, sparse)], no_memory),
            case("a terabyte of addresses", vec![map(TERABYTE, 0, sparse)], no_memory),
            case("all that is given", vec![Probe::EatMemory], fits),
        ],
    )
}

fn for_ever() -> Row {
    const WAIT: u64 = 128;
    let sleep = call(libc::SYS_futex, &[P(ZEROS), N(WAIT), N(0), N(0), N(0), N(0)]);
    let listen = call(libc::SYS_recvfrom, &[N(0), P(ZEROS), N(1), N(0), N(0), N(0)]);
    Row::of_all_layers(
        "R25",
        "never to answer, until it is killed",
        vec![
            case("spin", vec![Probe::Spin], Expect::NeverEnds),
            case("sleep", vec![sleep], Expect::NeverEnds),
            case("wait for a message", vec![listen], Expect::NeverEnds),
        ],
    )
}

/// Crashes look like what they are, so that none is taken for a forbidden call.
fn crashes() -> Row {
    Row::of_all_layers(
        "R30",
        "crashes are told from escapes",
        vec![
            case("fault", vec![Probe::Segfault], Expect::Killed(&[Signal::SIGSEGV])),
            case("abort", vec![Probe::Abort], Expect::Killed(&[Signal::SIGABRT])),
            case("exit", vec![Probe::Exit], Expect::Exits(0)),
            case("a forbidden call", vec![call(libc::SYS_getuid, &[])], SIGSYS),
        ],
    )
}
