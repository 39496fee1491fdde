//! R20 to R22: the kernel's own doors, the jail's settings, users and capabilities.

use super::Arg::{N, P};
use super::{EVERYONE, Row, ZEROS, call, killed, n};

const NOWHERE: super::Arg<'static> = P(b"/msgscript-escape\0");

pub(super) fn rows() -> Vec<Row> {
    vec![namespaces(), doors(), settings(), user()]
}

fn namespaces() -> Row {
    killed(
        "R20",
        "namespaces and mounts",
        vec![
            ("unshare user", call(libc::SYS_unshare, &[n(libc::CLONE_NEWUSER)])),
            ("unshare net", call(libc::SYS_unshare, &[n(libc::CLONE_NEWNET)])),
            ("setns", call(libc::SYS_setns, &[N(0), N(0)])),
            ("mount", call(libc::SYS_mount, &[P(b"none\0"), NOWHERE, P(b"tmpfs\0"), N(0), N(0)])),
            ("umount2", call(libc::SYS_umount2, &[NOWHERE, N(0)])),
            ("pivot_root", call(libc::SYS_pivot_root, &[NOWHERE, NOWHERE])),
            ("chroot", call(libc::SYS_chroot, &[P(b"/\0")])),
            ("fsopen", call(libc::SYS_fsopen, &[P(b"tmpfs\0"), N(0)])),
        ],
    )
}

fn doors() -> Row {
    const LARGE: &[u8] = &[0; 512];
    killed(
        "R20",
        "the kernel's own doors",
        vec![
            ("keyctl", call(libc::SYS_keyctl, &[N(0), N(0), N(0)])),
            ("add_key", call(libc::SYS_add_key, &[P(b"user\0"), P(b"x\0"), P(b"x"), N(1), N(0)])),
            ("bpf", call(libc::SYS_bpf, &[N(0), P(ZEROS), N(64)])),
            ("perf_event_open", call(libc::SYS_perf_event_open, &[P(ZEROS), N(0), N(0), EVERYONE, N(0)])),
            ("userfaultfd", call(libc::SYS_userfaultfd, &[N(1)])),
            ("reboot", call(libc::SYS_reboot, &[N(0), N(0), N(0), N(0)])),
            ("init_module", call(libc::SYS_init_module, &[N(0), N(0), N(0)])),
            ("syslog", call(libc::SYS_syslog, &[N(10), N(0), N(0)])),
            ("quotactl", call(libc::SYS_quotactl, &[EVERYONE, N(0), N(0), N(0)])),
            ("uname", call(libc::SYS_uname, &[P(LARGE)])),
            ("sysinfo", call(libc::SYS_sysinfo, &[P(LARGE)])),
            ("membarrier", call(libc::SYS_membarrier, &[N(0), N(0), N(0)])),
            ("personality", call(libc::SYS_personality, &[N(0xffff_ffff)])),
            #[cfg(target_arch = "x86_64")]
            ("arch_prctl", call(libc::SYS_arch_prctl, &[N(0x1003), P(ZEROS)])),
            #[cfg(target_arch = "x86_64")]
            ("modify_ldt", call(libc::SYS_modify_ldt, &[N(0), P(ZEROS), N(8)])),
        ],
    )
}

fn settings() -> Row {
    let prctl = |option, value| call(libc::SYS_prctl, &[N(option), N(value), N(0), N(0), N(0)]);
    killed(
        "R21",
        "the jail's own settings",
        vec![
            ("parent-death signal", prctl(1, 0)),
            ("dumpable", prctl(4, 1)),
            ("name", call(libc::SYS_prctl, &[N(15), P(b"init\0")])),
            ("no_new_privs", prctl(38, 1)),
            ("syscall user dispatch", prctl(59, 1)),
            ("memory-deny-write-execute", prctl(65, 0)),
            ("seccomp", call(libc::SYS_seccomp, &[N(0), N(0), N(0)])),
            ("landlock_create_ruleset", call(libc::SYS_landlock_create_ruleset, &[N(0), N(0), N(1)])),
            ("landlock_restrict_self", call(libc::SYS_landlock_restrict_self, &[N(3), N(0)])),
        ],
    )
}

fn user() -> Row {
    killed(
        "R22",
        "users, groups and capabilities",
        vec![
            ("setuid", call(libc::SYS_setuid, &[N(0)])),
            ("setgid", call(libc::SYS_setgid, &[N(0)])),
            ("setresuid", call(libc::SYS_setresuid, &[N(0), N(0), N(0)])),
            ("setfsuid", call(libc::SYS_setfsuid, &[N(0)])),
            ("setgroups", call(libc::SYS_setgroups, &[N(0), N(0)])),
            ("capset", call(libc::SYS_capset, &[N(0), N(0)])),
            ("capget", call(libc::SYS_capget, &[N(0), N(0)])),
            ("getuid", call(libc::SYS_getuid, &[])),
        ],
    )
}
