//! R11, R13, R14, R19, R23, R34: signals, other processes, new ones, and what processes share.

use super::Arg::{N, Own, P};
use super::{EVERYONE, Row, ZEROS, call, killed, n};

pub(super) fn rows(broker: u32) -> Vec<Row> {
    let broker = u64::from(broker);
    vec![signals(broker), queued_signals(broker), others(broker), limits(broker), new(), shared(), locks()]
}

fn signals(broker: u64) -> Row {
    let abort = n(libc::SIGABRT);
    // musl's abort is a tkill of itself.
    let tkill = if cfg!(target_env = "musl") { N(0) } else { abort };
    killed(
        "R11",
        "signals",
        vec![
            ("to everyone", call(libc::SYS_kill, &[EVERYONE, N(0)])),
            ("to the group", call(libc::SYS_kill, &[N(0), N(0)])),
            ("to the broker", call(libc::SYS_kill, &[N(broker), N(0)])),
            ("to itself", call(libc::SYS_kill, &[Own, N(0)])),
            ("to the broker's thread", call(libc::SYS_tgkill, &[N(broker), N(broker), abort])),
            ("to its own thread, not abort", call(libc::SYS_tgkill, &[Own, Own, N(0)])),
            ("tkill", call(libc::SYS_tkill, &[Own, tkill])),
            ("pidfd_open", call(libc::SYS_pidfd_open, &[N(broker), N(0)])),
            ("pidfd_send_signal", call(libc::SYS_pidfd_send_signal, &[N(3), N(0), N(0), N(0)])),
        ],
    )
}

fn queued_signals(broker: u64) -> Row {
    let to_thread = [N(broker), N(broker), N(0), P(ZEROS)];
    killed(
        "R11",
        "signals with a message, handlers, timers",
        vec![
            ("rt_sigqueueinfo", call(libc::SYS_rt_sigqueueinfo, &[N(broker), N(0), P(ZEROS)])),
            ("rt_tgsigqueueinfo", call(libc::SYS_rt_tgsigqueueinfo, &to_thread)),
            ("rt_sigaction", call(libc::SYS_rt_sigaction, &[n(libc::SIGTERM), N(0), N(0), N(8)])),
            ("timer_create", call(libc::SYS_timer_create, &[N(0), N(0), P(ZEROS)])),
            ("setitimer", call(libc::SYS_setitimer, &[N(0), N(0), N(0)])),
        ],
    )
}

fn others(broker: u64) -> Row {
    const SEIZE: u64 = 0x4206;
    let memory = [N(broker), P(ZEROS), N(1), P(ZEROS), N(1), N(0)];
    killed(
        "R13",
        "into other processes",
        vec![
            ("ptrace the broker", call(libc::SYS_ptrace, &[N(SEIZE), N(broker), N(0), N(0)])),
            ("ptrace traceme", call(libc::SYS_ptrace, &[N(0), N(0), N(0), N(0)])),
            ("process_vm_readv", call(libc::SYS_process_vm_readv, &memory)),
            ("process_vm_writev", call(libc::SYS_process_vm_writev, &memory)),
            ("process_madvise", call(libc::SYS_process_madvise, &[N(3), P(ZEROS), N(1), N(4), N(0)])),
            ("pidfd_getfd", call(libc::SYS_pidfd_getfd, &[N(3), N(0), N(0)])),
            ("kcmp", call(libc::SYS_kcmp, &[N(broker), Own, N(0), N(0), N(0)])),
            ("getppid", call(libc::SYS_getppid, &[])),
        ],
    )
}

fn limits(broker: u64) -> Row {
    let limit = |pid| call(libc::SYS_prlimit64, &[pid, N(7), N(0), P(ZEROS)]);
    killed(
        "R14",
        "limits and priorities, its own and others'",
        vec![
            ("limits of the broker", limit(N(broker))),
            ("limits of its own", limit(N(0))),
            ("getpriority", call(libc::SYS_getpriority, &[N(0), N(broker)])),
            ("setpriority", call(libc::SYS_setpriority, &[N(0), Own, N(19)])),
            ("sched_setaffinity", call(libc::SYS_sched_setaffinity, &[Own, N(8), P(&[0xff; 8])])),
            ("sched_getaffinity", call(libc::SYS_sched_getaffinity, &[Own, N(128), P(ZEROS)])),
            ("sched_setscheduler", call(libc::SYS_sched_setscheduler, &[Own, N(0), P(ZEROS)])),
            ("sched_yield", call(libc::SYS_sched_yield, &[])),
            ("ioprio_set", call(libc::SYS_ioprio_set, &[N(1), Own, N(0)])),
        ],
    )
}

fn new() -> Row {
    killed(
        "R19",
        "processes, threads, groups",
        vec![
            ("clone", call(libc::SYS_clone, &[n(libc::SIGCHLD), N(0), N(0), N(0), N(0)])),
            ("clone3", call(libc::SYS_clone3, &[P(ZEROS), N(64)])),
            #[cfg(target_arch = "x86_64")]
            ("fork", call(libc::SYS_fork, &[])),
            ("wait4", call(libc::SYS_wait4, &[EVERYONE, N(0), n(libc::WNOHANG), N(0)])),
            ("setsid", call(libc::SYS_setsid, &[])),
            ("setpgid", call(libc::SYS_setpgid, &[N(0), N(0)])),
        ],
    )
}

fn shared() -> Row {
    const KEY: u64 = 0x6d73;
    killed(
        "R23",
        "memory and messages shared by key",
        vec![
            ("shmget", call(libc::SYS_shmget, &[N(KEY), N(4096), N(0)])),
            ("shmat executable", call(libc::SYS_shmat, &[N(0), N(0), n(libc::SHM_EXEC)])),
            ("msgget", call(libc::SYS_msgget, &[N(KEY), N(0)])),
            ("semget", call(libc::SYS_semget, &[N(KEY), N(1), N(0)])),
            ("mq_open", call(libc::SYS_mq_open, &[P(b"msgscript\0"), N(0), N(0), N(0)])),
        ],
    )
}

/// Of the many operations of futex, only waiting and waking within the process are allowed.
fn locks() -> Row {
    const PRIVATE: u64 = 128;
    const REAL_TIME: u64 = 256;
    let futex = |operation: u64| call(libc::SYS_futex, &[P(ZEROS), N(operation), N(1), N(0), P(ZEROS), N(1)]);
    killed(
        "R34",
        "locks that the kernel keeps",
        vec![
            ("wait, shared", futex(0)),
            ("wake, shared", futex(1)),
            ("requeue", futex(3 | PRIVATE)),
            ("wake_op", futex(5 | PRIVATE)),
            ("lock_pi", futex(6 | PRIVATE)),
            ("cmp_requeue_pi", futex(12 | PRIVATE)),
            ("wait by real time", futex(PRIVATE | REAL_TIME)),
            ("futex_waitv", call(449, &[P(ZEROS), N(1), N(0), N(0), N(0)])),
            ("set_robust_list", call(libc::SYS_set_robust_list, &[P(ZEROS), N(24)])),
            ("rseq", call(libc::SYS_rseq, &[P(ZEROS), N(32), N(0), N(0)])),
        ],
    )
}
