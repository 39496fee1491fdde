//! The system calls of engines that open files. Which files is for Landlock and the file modes to say.

use super::Arg::{Int, IntWithin, Long, LongWithin};
use super::{READ_WRITE, Row, bits, row};

/// How SQLite opens files.
const OPEN: u64 = bits(
    libc::O_RDWR
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_NOFOLLOW
        | libc::O_CLOEXEC
        | libc::O_DIRECTORY
        | libc::O_LARGEFILE,
);

/// `O_LARGEFILE` as the kernel of x86-64 knows it; libc says 0 there.
const LARGE_FILE: u64 = 0o100_000;

/// What SQLite needs for a database, its journal and its locks.
pub(super) fn sqlite() -> Vec<Row> {
    let mut rows = vec![
        row(
            libc::SYS_openat,
            &[Int(0, bits(libc::AT_FDCWD)), IntWithin(2, OPEN | LARGE_FILE)],
            "databases and journals",
        ),
        row(libc::SYS_close, &[], "files that are done with"),
        row(libc::SYS_read, &[], "databases and journals"),
        row(libc::SYS_pread64, &[], "databases and journals"),
        row(libc::SYS_write, &[], "databases and journals: descriptors are files or its own"),
        row(libc::SYS_pwrite64, &[], "databases and journals"),
        row(libc::SYS_lseek, &[], "where to read and write"),
        row(libc::SYS_ftruncate, &[], "journals that are done with, databases that shrink"),
        row(libc::SYS_fsync, &[], "durability"),
        row(libc::SYS_fdatasync, &[], "durability"),
        row(libc::SYS_fstat, &[], "whether a file is still the one that was opened"),
        row(libc::SYS_newfstatat, &[], "whether a file is there, and which it is"),
        row(libc::SYS_getcwd, &[], "full paths"),
        row(libc::SYS_geteuid, &[], "whether a journal's owner would have to change"),
        row(libc::SYS_fchown, &[], "a journal gets its database's owner, if that is another"),
        row(libc::SYS_fchmod, &[], "a journal gets its database's mode"),
        row(libc::SYS_clock_nanosleep, &[], "waiting for a lock"),
    ];
    rows.extend(LOCKS.map(|command| row(libc::SYS_fcntl, &[Int(1, bits(command))], "locks, close-on-exec")));
    rows.push(row(
        libc::SYS_mmap,
        &[Long(0, 0), LongWithin(2, READ_WRITE), Int(3, bits(libc::MAP_SHARED))],
        "the index of a write-ahead log",
    ));
    rows.extend(by_name());
    rows
}

const LOCKS: [libc::c_int; 5] = [libc::F_GETLK, libc::F_SETLK, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];

/// Calls that have other names on other machines.
#[cfg(target_arch = "x86_64")]
fn by_name() -> Vec<Row> {
    vec![
        row(libc::SYS_unlink, &[], "journals that are done with"),
        row(libc::SYS_access, &[], "whether a journal is there"),
        row(libc::SYS_stat, &[], "whether a file is there"),
        row(libc::SYS_lstat, &[], "whether a path is a link"),
        row(libc::SYS_readlink, &[], "where a link leads"),
    ]
}

/// Calls that have other names on other machines.
#[cfg(not(target_arch = "x86_64"))]
fn by_name() -> Vec<Row> {
    vec![
        row(libc::SYS_unlinkat, &[Int(0, bits(libc::AT_FDCWD)), Int(2, 0)], "journals that are done with"),
        row(libc::SYS_faccessat, &[Int(0, bits(libc::AT_FDCWD))], "whether a journal is there"),
        row(libc::SYS_readlinkat, &[Int(0, bits(libc::AT_FDCWD))], "where a link leads"),
    ]
}
