//! The slate: memory that one worker writes and the broker looks at, and where things lie in it.
//!
//! The broker hands a worker several invocations at once, and the worker answers several at once. Who then
//! dies, or takes long, must not leave the others in doubt. So the worker notes on its slate which run it
//! begins and what it has finished but not sent, and the broker notes there from which epoch on invocations
//! count: those handed over in an earlier one are not to be begun any more.
//!
//! Either side first writes its own note and then reads the other's. So whatever the order, an invocation
//! that the broker takes back has not begun and will not: either the worker sees the new epoch, or the broker
//! sees that it has begun. The broker reads and writes with `pread` and `pwrite`, never through a mapping;
//! what a worker writes there is as hostile as what it sends.

/// Where the epoch is: one byte, written by the broker, so that it is never half a number.
pub const EPOCH: usize = 0;

/// Where the invocation begun last is: eight bytes, in the machine's order, written by the worker.
pub const RUNNING: usize = 64;

/// Where the length of the bundle is, in bytes: four, in the machine's order, written by the worker.
pub const LENGTH: usize = 72;

/// Where the bundle of messages (see [`crate::packet`]) is that were not sent yet.
pub const BUNDLE: usize = 128;

/// The slate's size, in bytes. Only what is used takes memory.
pub const SIZE: usize = 64 << 10;

/// The longest bundle, in bytes.
pub const MOST: usize = SIZE - BUNDLE;
