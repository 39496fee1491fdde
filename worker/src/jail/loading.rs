//! The stage in which the operator's C modules are loaded: their code runs at once (ELF constructors), and so
//! finds no way out already.
//!
//! Takes the engine, puts a filter in force that adds to the engine's own calls what the loader needs: opening
//! to read, mapping what was opened. What else is tried fails with `EPERM`. The engine's filter comes on
//! top of it when all is loaded.

use std::io;

use msgscript_proto::message::Engine;
use seccompiler::SeccompAction;

use super::syscalls::{Arg, Row, bits, compile, row, table};

/// What the loader and the rest of the jail need besides the engine's own calls.
fn rows() -> Vec<Row> {
    use Arg::{IntWithin, LongBut, LongWithin};
    let read_exec = bits(libc::PROT_READ | libc::PROT_EXEC);
    let read_write = bits(libc::PROT_READ | libc::PROT_WRITE);
    let placed = bits(libc::MAP_FIXED | libc::MAP_DENYWRITE | libc::MAP_ANONYMOUS);
    let private = bits(libc::MAP_PRIVATE);
    vec![
        row(
            libc::SYS_openat,
            &[IntWithin(2, bits(libc::O_CLOEXEC | libc::O_DIRECTORY | libc::O_PATH))],
            "opening modules and libraries, to read; where, is Landlock's to say",
        ),
        row(libc::SYS_read, &[], "their heads"),
        row(libc::SYS_pread64, &[], "their heads"),
        row(libc::SYS_close, &[], "the loader is done with one"),
        row(libc::SYS_fstat, &[], "the same file twice?"),
        row(libc::SYS_newfstatat, &[], "the same file twice?"),
        row(libc::SYS_statx, &[], "the same file twice?"),
        row(libc::SYS_mmap, &[LongWithin(2, read_exec), LongBut(3, placed, private)], "their code"),
        row(libc::SYS_mmap, &[LongWithin(2, read_write), LongBut(3, placed, private)], "their data"),
        row(libc::SYS_landlock_create_ruleset, &[], "the next stage of the jail"),
        row(libc::SYS_landlock_restrict_self, &[], "the next stage of the jail"),
        row(libc::SYS_prctl, &[], "the next stage of the jail: numbers about this process only"),
        row(libc::SYS_seccomp, &[], "the next stage of the jail"),
        row(libc::SYS_prlimit64, &[Arg::Int(0, 0)], "limits of this process"),
        row(libc::SYS_setrlimit, &[], "limits of this process"),
        row(libc::SYS_getrlimit, &[], "limits of this process"),
        row(libc::SYS_getresuid, &[], "whether root is out of reach"),
        row(libc::SYS_setresuid, &[], "whether root is out of reach"),
    ]
}

/// Puts the filter in force.
///
/// # Errors
/// What the kernel says.
pub(super) fn close(engine: Engine) -> io::Result<()> {
    let mut rows = rows();
    rows.extend(table(engine, std::process::id()));
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program = compile(rows, refused, SeccompAction::Allow).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
