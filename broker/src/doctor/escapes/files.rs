//! R03 to R05, R18: files, what `/proc` shows, exec, files in memory.

use super::Arg::{N, P};
use super::{Row, ZEROS, call, killed, n};

const HERE: super::Arg<'static> = n(libc::AT_FDCWD);
const PASSWD: &[u8] = b"/etc/passwd\0";
const NEW: &[u8] = b"/tmp/msgscript-escape\0";
const TRUE: &[u8] = b"/bin/true\0";

pub(super) fn rows(broker: u32) -> Vec<Row> {
    vec![
        by_path(),
        by_descriptor(),
        #[cfg(target_arch = "x86_64")]
        by_old_calls(),
        in_proc(broker),
        exec(),
        in_memory(),
    ]
}

fn by_path() -> Row {
    let open = |flags| call(libc::SYS_openat, &[HERE, P(PASSWD), n(flags)]);
    killed(
        "R03",
        "files by path: open, look, change, watch",
        vec![
            ("openat", open(libc::O_RDONLY)),
            ("openat O_PATH", open(libc::O_PATH)),
            ("openat2", call(libc::SYS_openat2, &[HERE, P(PASSWD), P(ZEROS), N(24)])),
            ("newfstatat", call(libc::SYS_newfstatat, &[HERE, P(PASSWD), P(ZEROS), N(0)])),
            ("statx", call(libc::SYS_statx, &[HERE, P(PASSWD), N(0), N(0xfff), P(ZEROS)])),
            ("faccessat", call(libc::SYS_faccessat, &[HERE, P(PASSWD), N(4)])),
            ("readlinkat", call(libc::SYS_readlinkat, &[HERE, P(PASSWD), P(ZEROS), N(64)])),
            ("chdir", call(libc::SYS_chdir, &[P(b"/tmp\0")])),
            ("mkdirat", call(libc::SYS_mkdirat, &[HERE, P(NEW), N(0o700)])),
            ("unlinkat", call(libc::SYS_unlinkat, &[HERE, P(NEW), N(0)])),
            ("renameat2", call(libc::SYS_renameat2, &[HERE, P(NEW), HERE, P(NEW), N(0)])),
            ("fchmodat", call(libc::SYS_fchmodat, &[HERE, P(NEW), N(0)])),
            ("inotify_init1", call(libc::SYS_inotify_init1, &[N(0)])),
            ("fanotify_init", call(libc::SYS_fanotify_init, &[N(0), N(0)])),
            ("getcwd", call(libc::SYS_getcwd, &[P(ZEROS), N(256)])),
            ("open_tree", call(libc::SYS_open_tree, &[HERE, P(b"/\0"), N(1)])),
        ],
    )
}

fn by_descriptor() -> Row {
    let fcntl = |command, value| call(libc::SYS_fcntl, &[N(0), n(command), value]);
    killed(
        "R12",
        "descriptors: look, copy, close, make them signal",
        vec![
            ("fstat", call(libc::SYS_fstat, &[N(0), P(ZEROS)])),
            ("close", call(libc::SYS_close, &[N(1)])),
            ("dup", call(libc::SYS_dup, &[N(0)])),
            ("dup3", call(libc::SYS_dup3, &[N(0), N(1), N(0)])),
            ("F_DUPFD", fcntl(libc::F_DUPFD, N(3))),
            ("F_GETFL", fcntl(libc::F_GETFL, N(0))),
            ("F_SETOWN", fcntl(libc::F_SETOWN, N(1))),
            ("F_SETSIG", fcntl(10, n(libc::SIGIO))),
            ("O_ASYNC", fcntl(libc::F_SETFL, n(libc::O_ASYNC))),
            ("ioctl FIOASYNC", call(libc::SYS_ioctl, &[N(0), N(0x5452), P(ZEROS)])),
            ("ioctl TIOCSTI", call(libc::SYS_ioctl, &[N(1), N(0x5412), P(ZEROS)])),
        ],
    )
}

/// Calls that newer machines do without.
#[cfg(target_arch = "x86_64")]
fn by_old_calls() -> Row {
    killed(
        "R03",
        "files, by the calls of old",
        vec![
            ("open", call(libc::SYS_open, &[P(PASSWD), N(0), N(0)])),
            ("creat", call(libc::SYS_creat, &[P(NEW), N(0o600)])),
            ("stat", call(libc::SYS_stat, &[P(PASSWD), P(ZEROS)])),
            ("access", call(libc::SYS_access, &[P(PASSWD), N(4)])),
            ("readlink", call(libc::SYS_readlink, &[P(PASSWD), P(ZEROS), N(64)])),
            ("poll", call(libc::SYS_poll, &[N(0), N(0), N(0)])),
        ],
    )
}

fn in_proc(broker: u32) -> Row {
    let open = |path: &str| call(libc::SYS_openat, &[HERE, P(path.as_bytes()), N(0)]);
    killed(
        "R04",
        "memory, environment and descriptors in /proc",
        vec![
            ("own memory", open("/proc/self/mem\0")),
            ("the broker's memory", open(&format!("/proc/{broker}/mem\0"))),
            ("the broker's environment", open(&format!("/proc/{broker}/environ\0"))),
            ("the broker's descriptor", open(&format!("/proc/{broker}/fd/0\0"))),
        ],
    )
}

fn exec() -> Row {
    let at = |fd, path, flags| call(libc::SYS_execveat, &[fd, P(path), N(0), N(0), n(flags)]);
    killed(
        "R05",
        "exec",
        vec![
            ("execve", call(libc::SYS_execve, &[P(TRUE), N(0), N(0)])),
            ("execveat", at(HERE, TRUE, 0)),
            ("execveat of the socket", at(N(0), b"\0", libc::AT_EMPTY_PATH)),
        ],
    )
}

fn in_memory() -> Row {
    killed(
        "R18",
        "files in memory",
        vec![
            ("memfd_create", call(libc::SYS_memfd_create, &[P(b"x\0"), N(0)])),
            ("memfd_create executable", call(libc::SYS_memfd_create, &[P(b"x\0"), N(0x10)])),
            ("memfd_secret", call(libc::SYS_memfd_secret, &[N(0)])),
        ],
    )
}
