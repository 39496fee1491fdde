//! R06 to R10, R15: sockets, the worker's own one turned elsewhere, `io_uring`.

use super::Arg::{N, P};
use super::{LOOPBACK, Row, ZEROS, call, killed, n};

/// An abstract address as `sockaddr_un`.
const ABSTRACT: &[u8] = b"\x01\0\0msgscript";

pub(super) fn rows() -> Vec<Row> {
    vec![new(), turned(), messages(), sending(), receiving(), writing(), io_uring()]
}

fn new() -> Row {
    let socket = |family, kind| call(libc::SYS_socket, &[n(family), n(kind), N(0)]);
    let pair = [n(libc::AF_UNIX), n(libc::SOCK_STREAM), N(0), P(ZEROS)];
    killed(
        "R06",
        "new sockets, pipes and queues",
        vec![
            ("inet", socket(libc::AF_INET, libc::SOCK_STREAM)),
            ("inet6", socket(libc::AF_INET6, libc::SOCK_STREAM)),
            ("inet, datagrams", socket(libc::AF_INET, libc::SOCK_DGRAM)),
            ("unix", socket(libc::AF_UNIX, libc::SOCK_STREAM)),
            ("netlink", socket(libc::AF_NETLINK, libc::SOCK_RAW)),
            ("packet", socket(libc::AF_PACKET, libc::SOCK_RAW)),
            ("vsock", socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
            ("alg", socket(libc::AF_ALG, libc::SOCK_SEQPACKET)),
            ("socketpair", call(libc::SYS_socketpair, &pair)),
            ("pipe2", call(libc::SYS_pipe2, &[P(ZEROS), N(0)])),
            ("epoll_create1", call(libc::SYS_epoll_create1, &[N(0)])),
            ("eventfd2", call(libc::SYS_eventfd2, &[N(0), N(0)])),
        ],
    )
}

fn turned() -> Row {
    let with = |number, address: &[u8]| call(number, &[N(0), P(address), N(address.len() as u64)]);
    let option = |number, name| call(number, &[N(0), n(libc::SOL_SOCKET), n(name), P(ZEROS), N(4)]);
    killed(
        "R07",
        "the socket turned elsewhere, by TCP or by name",
        vec![
            ("connect inet", with(libc::SYS_connect, LOOPBACK)),
            ("connect unix", with(libc::SYS_connect, ABSTRACT)),
            ("bind inet", with(libc::SYS_bind, LOOPBACK)),
            ("bind unix", with(libc::SYS_bind, ABSTRACT)),
            ("listen", call(libc::SYS_listen, &[N(0), N(1)])),
            ("accept4", call(libc::SYS_accept4, &[N(0), N(0), N(0), N(0)])),
            ("shutdown", call(libc::SYS_shutdown, &[N(0), N(2)])),
            ("setsockopt", option(libc::SYS_setsockopt, libc::SO_SNDBUF)),
            ("getsockopt", option(libc::SYS_getsockopt, libc::SO_PEERCRED)),
            ("getpeername", call(libc::SYS_getpeername, &[N(0), P(ZEROS), P(ZEROS)])),
        ],
    )
}

fn messages() -> Row {
    killed(
        "R09",
        "descriptors passed by the socket",
        vec![
            ("sendmsg", call(libc::SYS_sendmsg, &[N(0), P(ZEROS), N(0)])),
            ("recvmsg", call(libc::SYS_recvmsg, &[N(0), P(ZEROS), N(0)])),
            ("sendmmsg", call(libc::SYS_sendmmsg, &[N(0), P(ZEROS), N(1), N(0)])),
            ("recvmmsg", call(libc::SYS_recvmmsg, &[N(0), P(ZEROS), N(1), N(0), N(0)])),
        ],
    )
}

fn sending() -> Row {
    let to = |fd, flags, address, length| {
        let flags = n(flags | libc::MSG_DONTWAIT);
        call(libc::SYS_sendto, &[N(fd), P(b"x"), N(1), flags, address, N(length)])
    };
    killed(
        "R10",
        "sending with forbidden arguments",
        vec![
            ("to an address", to(0, 0, P(LOOPBACK), 16)),
            ("to an address without length", to(0, 0, P(LOOPBACK), 0)),
            ("to a length without address", to(0, 0, N(0), 16)),
            ("MSG_FASTOPEN", to(0, libc::MSG_FASTOPEN, N(0), 0)),
            ("MSG_OOB", to(0, libc::MSG_OOB, N(0), 0)),
            ("MSG_ZEROCOPY", to(0, 0x400_0000, N(0), 0)),
            ("another descriptor", to(1, 0, N(0), 0)),
        ],
    )
}

fn receiving() -> Row {
    let from = |fd, flags, address, length| {
        let flags = n(flags | libc::MSG_DONTWAIT);
        call(libc::SYS_recvfrom, &[N(fd), P(ZEROS), N(1), flags, address, length])
    };
    killed(
        "R10",
        "receiving with forbidden arguments",
        vec![
            ("MSG_ERRQUEUE", from(0, libc::MSG_ERRQUEUE, N(0), N(0))),
            ("MSG_OOB", from(0, libc::MSG_OOB, N(0), N(0))),
            ("another descriptor", from(1, 0, N(0), N(0))),
            ("who sent it", from(0, 0, P(ZEROS), P(ZEROS))),
            ("the length of who sent it", from(0, 0, N(0), P(ZEROS))),
        ],
    )
}

fn writing() -> Row {
    let one = |number, fd| call(number, &[N(fd), P(b"x"), N(1)]);
    killed(
        "R10",
        "reading and writing elsewhere than the log pipe",
        vec![
            ("write to the socket", one(libc::SYS_write, 0)),
            ("write to a third descriptor", one(libc::SYS_write, 3)),
            ("write to descriptor 2^32", one(libc::SYS_write, 1 << 32)),
            ("read", one(libc::SYS_read, 0)),
            ("pwrite64", one(libc::SYS_pwrite64, 1)),
            ("writev", one(libc::SYS_writev, 1)),
            ("readv", one(libc::SYS_readv, 0)),
            ("vmsplice", call(libc::SYS_vmsplice, &[N(1), P(ZEROS), N(1), N(0)])),
            ("splice", call(libc::SYS_splice, &[N(0), N(0), N(1), N(0), N(1), N(0)])),
            ("sendfile", call(libc::SYS_sendfile, &[N(0), N(0), N(0), N(1)])),
        ],
    )
}

fn io_uring() -> Row {
    killed(
        "R15",
        "io_uring and its forerunner",
        vec![
            ("setup", call(libc::SYS_io_uring_setup, &[N(1), P(ZEROS)])),
            ("enter", call(libc::SYS_io_uring_enter, &[N(3), N(0), N(0), N(0), N(0), N(0)])),
            ("register", call(libc::SYS_io_uring_register, &[N(3), N(0), N(0), N(0)])),
            ("io_setup", call(libc::SYS_io_setup, &[N(1), P(ZEROS)])),
        ],
    )
}
