//! A01 to A08: what each layer holds when others are left out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use msgscript_proto::sandbox::{Layer, Probe};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::Arg::{N, Own, P};
use super::{EVERYONE, Expect, LOOPBACK, ZEROS, call, case, n};
use crate::doctor::row::{Case, Row};

pub(super) fn rows(broker: u32) -> Vec<Row> {
    let broker = u64::from(broker);
    vec![files(), network(), signals(broker), descriptors(), processes(), user(), hidden(), no_new_privs()]
}

const DENIED: &[Errno] = &[Errno::EACCES];
const FORBIDDEN: &[Errno] = &[Errno::EPERM];

/// A row without the filter, and without these layers.
fn row(id: &'static str, title: &'static str, and_without: &[Layer], cases: Vec<Case>) -> Row {
    let without = [&[Layer::Seccomp], and_without].concat();
    Row { without, ..Row::of_all_layers(id, title, cases) }
}

fn fails(name: &str, errors: &'static [Errno], steps: Vec<Probe>) -> Case {
    case(name, steps, Expect::Fails(errors))
}

/// A name that no other run of the table uses.
fn new_path() -> PathBuf {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    let table = TABLES.fetch_add(1, Ordering::Relaxed);
    folder().join(format!("msgscript-escape-{}-{table}", std::process::id()))
}

/// A folder that anybody may write to: a read-only one would refuse before Landlock does.
fn folder() -> PathBuf {
    let may_write = |folder: &PathBuf| access(folder, AccessFlags::W_OK).is_ok();
    [std::env::temp_dir(), "/dev/shm".into()].into_iter().find(may_write).unwrap_or_else(std::env::temp_dir)
}

fn files() -> Row {
    let leaves = new_path();
    // A program that is surely there.
    let program = std::env::current_exe().unwrap_or_default();
    let program = [program.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let new = [leaves.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let here = n(libc::AT_FDCWD);
    let open = |name, path, flags| {
        fails(name, DENIED, vec![call(libc::SYS_openat, &[here, P(path), n(flags), N(0o600)])])
    };
    let make = |name, number, args: &[super::Arg<'_>]| fails(name, DENIED, vec![call(number, args)]);
    let cases = vec![
        open("read", b"/etc/passwd\0", libc::O_RDONLY),
        open("read a folder", b"/\0", libc::O_RDONLY),
        open("write", b"/dev/null\0", libc::O_WRONLY),
        open("create", &new, libc::O_CREAT | libc::O_WRONLY),
        open("own memory", b"/proc/self/maps\0", libc::O_RDONLY),
        make("folder", libc::SYS_mkdirat, &[here, P(&new), N(0o700)]),
        make("fifo", libc::SYS_mknodat, &[here, P(&new), N(u64::from(libc::S_IFIFO | 0o600)), N(0)]),
        make("link", libc::SYS_symlinkat, &[P(b"/etc/passwd\0"), here, P(&new)]),
        make("exec", libc::SYS_execve, &[P(&program), N(0), N(0)]),
    ];
    Row { from_abi: 1, leaves: Some(leaves), ..row("A01", "Landlock alone: files", &[Layer::Rlimits], cases) }
}

fn network() -> Row {
    let socket = || call(libc::SYS_socket, &[n(libc::AF_INET), n(libc::SOCK_STREAM), N(0)]);
    // The socket is descriptor 3: 0 to 2 are all there were.
    let with = |number| call(number, &[N(3), P(LOOPBACK), N(LOOPBACK.len() as u64)]);
    let cases = vec![
        fails("connect", DENIED, vec![socket(), with(libc::SYS_connect)]),
        fails("bind", DENIED, vec![socket(), with(libc::SYS_bind)]),
    ];
    Row { from_abi: 4, ..row("A02", "Landlock alone: TCP", &[Layer::Rlimits], cases) }
}

/// Even root may not reach out by a signal.
fn signals(broker: u64) -> Row {
    let cases = vec![
        fails("kill", FORBIDDEN, vec![call(libc::SYS_kill, &[N(broker), N(0)])]),
        fails("queue", FORBIDDEN, vec![call(libc::SYS_rt_sigqueueinfo, &[N(broker), N(0), P(ZEROS)])]),
    ];
    let without = &[Layer::Rlimits, Layer::Uid];
    Row { from_abi: 6, ..row("A03", "Landlock alone: signals", without, cases) }
}

fn descriptors() -> Row {
    const FULL: &[Errno] = &[Errno::EMFILE];
    let dup = || call(libc::SYS_dup, &[N(0)]);
    let full = |name, act| fails(name, FULL, vec![act]);
    let cases = vec![
        full("open", call(libc::SYS_openat, &[n(libc::AT_FDCWD), P(b"/\0"), N(0)])),
        full("dup", dup()),
        fails("in place of a closed one", FULL, vec![call(libc::SYS_close, &[N(1)]), dup()]),
        full("socket", call(libc::SYS_socket, &[n(libc::AF_INET), n(libc::SOCK_STREAM), N(0)])),
        full("memfd_create", call(libc::SYS_memfd_create, &[P(b"x\0"), N(0)])),
        fails("raise the limit", FORBIDDEN, vec![raise_descriptors()]),
    ];
    row("A04", "limits alone: no new descriptor", &[Layer::Landlock], cases)
}

/// Sets the limit of descriptors to 64, soft and hard.
fn raise_descriptors() -> Probe {
    let limit = [64_u64.to_ne_bytes(), 64_u64.to_ne_bytes()].concat();
    call(libc::SYS_prlimit64, &[N(0), N(7), P(&limit), N(0)])
}

fn processes() -> Row {
    let fork = call(libc::SYS_clone, &[n(libc::SIGCHLD), N(0), N(0), N(0), N(0)]);
    let cases = vec![fails("fork", &[Errno::EAGAIN], vec![fork])];
    row("A05", "limits alone: no new process", &[Layer::Landlock], cases)
}

fn user() -> Row {
    // A user that is not mapped is invalid rather than forbidden.
    let refused = |name, act| fails(name, &[Errno::EPERM, Errno::EINVAL], vec![act]);
    let cases = vec![
        case("getuid", vec![call(libc::SYS_getuid, &[])], Expect::GivesNot(0)),
        refused("setuid", call(libc::SYS_setuid, &[N(0)])),
        refused("setgid", call(libc::SYS_setgid, &[N(0)])),
        refused("setgroups", call(libc::SYS_setgroups, &[N(0), N(0)])),
        refused("chroot", call(libc::SYS_chroot, &[P(b"/\0")])),
        refused("umount2", call(libc::SYS_umount2, &[P(b"/\0"), n(libc::MNT_EXPIRE | libc::MNT_FORCE)])),
        refused("sethostname", call(libc::SYS_sethostname, &[P(b"x"), EVERYONE])),
    ];
    row("A06", "the user alone", &[Layer::Landlock, Layer::Rlimits], cases)
}

/// Equals of the same user cannot look into it, and no core dump is made of it.
fn hidden() -> Row {
    const GET_DUMPABLE: u64 = 3;
    let cases = vec![
        case("dumpable", vec![call(libc::SYS_prctl, &[N(GET_DUMPABLE)])], Expect::Gives(0)),
        fails("setsid", FORBIDDEN, vec![call(libc::SYS_setsid, &[])]),
        fails("setpgid", FORBIDDEN, vec![call(libc::SYS_setpgid, &[Own, N(0)])]),
    ];
    row("A07", "the process: hidden, in a session of its own", &[Layer::Landlock, Layer::Rlimits], cases)
}

fn no_new_privs() -> Row {
    const GET_NO_NEW_PRIVS: u64 = 39;
    let get = call(libc::SYS_prctl, &[N(GET_NO_NEW_PRIVS)]);
    let cases = vec![case("is set", vec![get], Expect::Gives(1))];
    row("A08", "no_new_privs alone", &[Layer::Landlock], cases)
}
