//! The layers of the jail, by name, and what a worker reports of them.

use bincode::{BorrowDecode, Encode};

/// A layer that holds a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, BorrowDecode)]
pub enum Layer {
    /// Landlock: no file, no TCP, no signal to the outside.
    Landlock,
    /// seccomp: some twenty system calls.
    Seccomp,
    /// `no_new_privs`: no gain by exec.
    NoNewPrivs,
    /// Resource limits.
    Rlimits,
    /// A user of its own, and no capability.
    Uid,
}

impl Layer {
    /// All layers, in the order in which they close.
    pub const ALL: [Layer; 5] =
        [Layer::Rlimits, Layer::Uid, Layer::NoNewPrivs, Layer::Landlock, Layer::Seccomp];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
            Layer::NoNewPrivs => "no-new-privs",
            Layer::Rlimits => "rlimits",
            Layer::Uid => "uid",
        }
    }

    /// The layer of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Layer> {
        Layer::ALL.into_iter().find(|layer| layer.name() == name)
    }
}

/// What a worker saw of its own jail after it closed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Report {
    /// The version of Landlock's interface in force (0: none).
    pub landlock_abi: u8,
    /// The layers that are closed and were tried.
    pub layers: Vec<Layer>,
}

/// An act to try from inside the jail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Probe {
    /// A raw system call. An argument may be the address of one of the `buffers`.
    Syscall {
        /// Its number.
        number: i64,
        /// Its arguments.
        args: [ProbeArg; 6],
        /// Bytes that live in the worker's memory while the call runs; calls may write to them.
        buffers: Vec<Vec<u8>>,
    },
    /// A system call of the 32-bit table by `int 0x80` (x86-64 only), arguments 0.
    Int80 {
        /// Its number in the 32-bit table.
        number: u32,
    },
    /// Writes machine code to the heap and jumps to it.
    JumpToHeap,
    /// Reads address 0.
    Segfault,
    /// `abort()`.
    Abort,
    /// `_exit(0)`.
    Exit,
    /// Never returns, without a system call.
    Spin,
    /// Sends these bytes as one packet, as a compromised worker could.
    SendRaw(Vec<u8>),
    /// Allocates and touches memory until something stops it.
    EatMemory,
}

/// An argument of a raw system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum ProbeArg {
    /// This number.
    Value(u64),
    /// The address of that buffer.
    Buffer(u8),
    /// The worker's own process id.
    OwnPid,
}
