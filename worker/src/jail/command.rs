//! The jail of a command: programs run in it, and what they start, so it is wider than a worker's own. No
//! network, no socket, no other process within reach, files only as the set-up says, and limits on all that
//! a process can take.
//!
//! Takes the set-up, gives what is closed. The filter lists what is refused, since programs use most of the
//! kernel; whoever watches over the command (`command.rs`) is within it, so nothing in it may signal that
//! process.

use std::io;

use msgscript_proto::message::Setup;
use msgscript_proto::sandbox::{Layer, Report};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, getppid};
use seccompiler::SeccompAction;

use super::syscalls::{Arg, Row, bits, compile, row};
use super::{JailError, Of, Plan, close_surroundings, files, user};

/// Processes and threads that a command may have at once.
const PROCESSES: u64 = 64;

/// Descriptors of one process.
const DESCRIPTORS: u64 = 256;

/// What a command has no use for at all.
const NOTHING: [Resource; 5] = [
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_NICE,
];

/// Closes every layer, in order.
///
/// # Errors
/// The first layer that does not close.
pub(super) fn close(setup: &Setup) -> Result<Report, JailError> {
    let plan = Plan::new(setup, setup.memory);
    close_surroundings().of(Layer::Rlimits)?;
    files::require_one_thread().of(Layer::Landlock)?;
    if plan.has(Layer::Uid) {
        user::close(plan.uid).of(Layer::Uid)?;
    }
    prctl::set_dumpable(false).of(Layer::Uid)?;
    if plan.has(Layer::Rlimits) {
        limit(setup).of(Layer::Rlimits)?;
    }
    if plan.has(Layer::NoNewPrivs) {
        prctl::set_no_new_privs().of(Layer::NoNewPrivs)?;
    }
    let landlock_abi = if plan.has(Layer::Landlock) {
        files::close(plan.landlock_abi, &plan.paths).of(Layer::Landlock)?
    } else {
        0
    };
    if plan.has(Layer::Uid) {
        user::check(plan.uid).of(Layer::Uid)?;
    }
    if plan.has(Layer::Seccomp) {
        filter().of(Layer::Seccomp)?;
    }
    let layers = Layer::ALL.into_iter().filter(|layer| plan.has(*layer)).collect();
    Ok(Report { landlock_abi, layers })
}

fn limit(setup: &Setup) -> io::Result<()> {
    let lower = |resource, to: u64| -> io::Result<()> {
        let (_, hard) = getrlimit(resource)?;
        Ok(setrlimit(resource, to.min(hard), to.min(hard))?)
    };
    for resource in NOTHING {
        lower(resource, 0)?;
    }
    // The kernel counts all that the user has, not what this command has.
    let others = if setup.uid.is_some() { 0 } else { tasks_of_user()? };
    lower(Resource::RLIMIT_NPROC, others + PROCESSES)?;
    lower(Resource::RLIMIT_FSIZE, setup.memory)?;
    lower(Resource::RLIMIT_DATA, setup.memory)?;
    lower(Resource::RLIMIT_NOFILE, DESCRIPTORS)
}

/// How many processes and threads this user has.
fn tasks_of_user() -> io::Result<u64> {
    let own = Uid::current().to_string();
    let mut tasks = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // Those that are no processes, or have just ended, have no status.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        if field("Uid:").and_then(|ids| ids.split_whitespace().next()) == Some(&own) {
            tasks += field("Threads:").and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(1);
        }
    }
    Ok(tasks)
}

/// What fails as if the kernel did not have it: programs then do without.
fn unknown() -> Vec<Row> {
    let calls = [
        (libc::SYS_clone3, "flags that a filter cannot see; `clone` is tried then"),
        (libc::SYS_io_uring_setup, "system calls that a filter cannot see"),
        (libc::SYS_io_uring_enter, "system calls that a filter cannot see"),
        (libc::SYS_io_uring_register, "system calls that a filter cannot see"),
        (libc::SYS_pidfd_open, "signals by another name"),
        (libc::SYS_pidfd_send_signal, "signals by another name"),
        (libc::SYS_pidfd_getfd, "descriptors of others"),
    ];
    calls.into_iter().map(|(number, reason)| row(number, &[], reason)).collect()
}

/// What is refused whatever its arguments are.
const REFUSED: &[(libc::c_long, &str)] = &[
    (libc::SYS_socket, "no network, no socket of a local service"),
    (libc::SYS_connect, "no network"),
    (libc::SYS_bind, "no network"),
    (libc::SYS_listen, "no network"),
    (libc::SYS_accept, "no network"),
    (libc::SYS_accept4, "no network"),
    (libc::SYS_ptrace, "other processes"),
    (libc::SYS_process_vm_readv, "other processes"),
    (libc::SYS_process_vm_writev, "other processes"),
    (libc::SYS_process_madvise, "other processes"),
    (libc::SYS_kcmp, "other processes"),
    (libc::SYS_shmget, "memory shared with others"),
    (libc::SYS_semget, "semaphores shared with others"),
    (libc::SYS_msgget, "queues shared with others"),
    (libc::SYS_mq_open, "queues shared with others"),
    (libc::SYS_bpf, "the kernel's insides"),
    (libc::SYS_perf_event_open, "the kernel's insides"),
    (libc::SYS_userfaultfd, "the kernel's insides"),
    (libc::SYS_add_key, "the kernel's keys"),
    (libc::SYS_request_key, "the kernel's keys"),
    (libc::SYS_keyctl, "the kernel's keys"),
    (libc::SYS_unshare, "namespaces open much of the kernel"),
    (libc::SYS_setns, "namespaces"),
    (libc::SYS_mount, "mounts"),
    (libc::SYS_umount2, "mounts"),
    (libc::SYS_pivot_root, "mounts"),
    (libc::SYS_chroot, "mounts"),
    (libc::SYS_open_tree, "mounts"),
    (libc::SYS_move_mount, "mounts"),
    (libc::SYS_fsopen, "mounts"),
    (libc::SYS_fsconfig, "mounts"),
    (libc::SYS_fsmount, "mounts"),
    (libc::SYS_fspick, "mounts"),
    (libc::SYS_mount_setattr, "mounts"),
    (libc::SYS_open_by_handle_at, "files past their folders"),
    (libc::SYS_name_to_handle_at, "files past their folders"),
    (libc::SYS_fanotify_init, "what others do with files"),
    (libc::SYS_swapon, "the machine"),
    (libc::SYS_swapoff, "the machine"),
    (libc::SYS_reboot, "the machine"),
    (libc::SYS_kexec_load, "the machine"),
    (libc::SYS_init_module, "the machine"),
    (libc::SYS_finit_module, "the machine"),
    (libc::SYS_delete_module, "the machine"),
    (libc::SYS_acct, "the machine"),
    (libc::SYS_quotactl, "the machine"),
    (libc::SYS_settimeofday, "the machine"),
    (libc::SYS_clock_settime, "the machine"),
    (libc::SYS_sethostname, "the machine"),
    (libc::SYS_setdomainname, "the machine"),
    (libc::SYS_syslog, "the machine"),
    (libc::SYS_vhangup, "the machine"),
];

/// Flags of `clone` that make namespaces.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];

/// What is refused for some arguments.
fn refused(own: u32, parent: u32) -> Vec<Row> {
    let mut rows: Vec<Row> = REFUSED.iter().map(|(number, reason)| row(*number, &[], reason)).collect();
    for flag in NAMESPACES {
        rows.push(row(libc::SYS_clone, &[Arg::LongHas(0, bits(flag))], "namespaces"));
    }
    // Whoever ends the command at its time, and the broker; by their ids, their group, and all at once.
    for target in [own, own.wrapping_neg(), parent, u32::MAX] {
        for number in [
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_tgkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
        ] {
            rows.push(row(number, &[Arg::Int(0, u64::from(target))], "signals to whoever watches"));
        }
    }
    rows.push(row(libc::SYS_setpgid, &[Arg::Int(1, u64::from(own))], "that group"));
    rows.push(row(libc::SYS_prlimit64, &[Arg::IntNot(0, 0)], "limits of others end them too"));
    for command in [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX] {
        rows.push(row(libc::SYS_fcntl, &[Arg::Int(1, bits(command))], "signals by way of a descriptor"));
    }
    for request in [FIOSETOWN, SIOCSPGRP, TIOCSTI] {
        rows.push(row(libc::SYS_ioctl, &[Arg::Int(1, request)], "signals and keys by way of a descriptor"));
    }
    rows
}

/// `fcntl(2)`: which signal tells of a descriptor.
const F_SETSIG: libc::c_int = 10;
/// `fcntl(2)`: whom it tells.
const F_SETOWN_EX: libc::c_int = 15;
/// `ioctl`: whom it tells.
const FIOSETOWN: u64 = 0x8901;
/// `ioctl`: whom it tells.
const SIOCSPGRP: u64 = 0x8902;
/// `ioctl`: keys as if typed.
const TIOCSTI: u64 = 0x5412;

/// The same calls in the table of the x32 ABI, where there is one: no program needs any of them.
fn other_tables(rows: &[Row]) -> Vec<Row> {
    const X32: libc::c_long = 0x4000_0000;
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let numbers = rows.iter().map(Row::number).chain(512..548);
    numbers.map(|number| row(X32 | number, &[], "the x32 ABI")).collect()
}

/// Puts both filters in force.
fn filter() -> io::Result<()> {
    let parent = u32::try_from(getppid().as_raw()).map_err(io::Error::other)?;
    let (unknown, mut refused) = (unknown(), refused(std::process::id(), parent));
    refused.extend(other_tables(&refused));
    refused.extend(other_tables(&unknown));
    for (rows, errno) in [(unknown, libc::ENOSYS), (refused, libc::EPERM)] {
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let program = compile(rows, SeccompAction::Allow, action).map_err(io::Error::other)?;
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}
