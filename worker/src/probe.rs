//! Acts of a compromised worker, done inside the jail when the broker asks for them.
//!
//! Takes [`ToWorker::Probe`] messages, gives what the kernel answered, if the worker still lives. Only a
//! worker set up as `Engine::Probe` comes here, and that one never sees a tenant. Hostile on purpose:
//! the unsafe code of this file breaks what Rust promises, to show that the jail does not lean on it.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::ptr;

use msgscript_proto::codec;
use msgscript_proto::message::{Setup, ToBroker, ToWorker};
use msgscript_proto::sandbox::{Probe, ProbeArg};

use crate::jail::{self, sys};
use crate::link::{self, Link};

/// What a worker without an engine may write to, in bytes, beside what it was asked for.
const OWN_MEMORY: u64 = 64 << 20;

/// What a piece of [`Probe::EatMemory`] takes, in bytes.
const PIECE: usize = 1 << 20;

/// Where [`Probe::EatMemory`] is sated, so that a jail without limits costs the machine half a gigabyte.
const MOST_PIECES: usize = 512;

/// Closes the jail and obeys until the broker closes its end. Gives the status to exit with.
#[must_use]
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    if let Err(status) = jail::enter(link, setup, setup.memory.saturating_add(OWN_MEMORY), None) {
        return status;
    }
    while let Ok(Some(bytes)) = link.recv() {
        let Ok(ToWorker::Probe(probe)) = codec::decode(bytes) else { return 1 };
        let result = obey(probe);
        if link.send(&ToBroker::Probed { result }).is_err() {
            break;
        }
    }
    0
}

fn obey(probe: Probe) -> i64 {
    match probe {
        Probe::Syscall { number, args, mut buffers } => {
            let value = |arg| match arg {
                ProbeArg::Value(value) => value,
                ProbeArg::OwnPid => u64::from(std::process::id()),
                ProbeArg::Buffer(index) => {
                    buffers.get_mut(usize::from(index)).map_or(0, |buffer| buffer.as_mut_ptr() as u64)
                }
            };
            syscall(number, args.map(value))
        }
        Probe::Int80 { number } => int80(number),
        Probe::JumpToHeap => jump_to_heap(),
        Probe::Segfault => {
            // SAFETY: none: it must fault.
            i64::from(unsafe { ptr::read_volatile(black_box(ptr::null::<u8>())) })
        }
        Probe::Abort => std::process::abort(),
        Probe::Exit => sys::exit_now(0),
        Probe::Spin => loop {
            std::hint::spin_loop();
        },
        Probe::SendRaw(bytes) => match link::send_packet(&bytes) {
            Ok(()) => 0,
            Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
        },
        Probe::EatMemory => eat_memory(),
    }
}

/// A raw system call: its value, or the negated `errno`.
fn syscall(number: i64, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: none: the broker names any call with any arguments, as stolen control would.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    result
}

/// A system call by the door of 32-bit programs, which has numbers of its own.
#[cfg(target_arch = "x86_64")]
fn int80(number: u32) -> i64 {
    let result: u64;
    // SAFETY: none. The registers that the compiler keeps to itself (rbx, rbp) are restored.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "push rbp",
            "xor ebx, ebx",
            "xor ebp, ebp",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inlateout("rax") u64::from(number) => result,
            inout("rcx") 0_u64 => _,
            inout("rdx") 0_u64 => _,
            inout("rsi") 0_u64 => _,
            inout("rdi") 0_u64 => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as u32 as i32)
}

/// Other machines have no such door.
#[cfg(not(target_arch = "x86_64"))]
fn int80(_number: u32) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Runs bytes of the heap as machine code.
fn jump_to_heap() -> i64 {
    #[cfg(target_arch = "x86_64")]
    let code: &[u8] = &[0xc3];
    #[cfg(target_arch = "aarch64")]
    let code: &[u8] = &[0xc0, 0x03, 0x5f, 0xd6];
    let heap = black_box(code.to_vec());
    // SAFETY: none: the bytes are a return instruction, and must not be executable.
    let run: extern "C" fn() = unsafe { std::mem::transmute(heap.as_ptr()) };
    run();
    0
}

/// Takes memory until it gets no more, and writes to every page of it; gives how much it got.
fn eat_memory() -> i64 {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    while pieces.len() < MOST_PIECES {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            break;
        }
        piece.resize(PIECE, 1);
        pieces.push(black_box(piece));
    }
    (pieces.len() * PIECE) as i64
}
