//! The escape table: every act that a worker under foreign control could try, and what must come of it.
//!
//! Pure data. It names system calls by itself instead of sharing the worker's table, so that a mistake
//! there shows here. Every act is harmless where it gets through: it asks with signal 0, magic 0 or
//! empty arguments.

use msgscript_proto::sandbox::{Probe, ProbeArg};
use nix::sys::signal::Signal;

use super::row::{Case, Expect, Row};

mod alone;
mod files;
mod kernel;
mod memory;
mod processes;
mod sockets;
mod sweep;

/// Every row, the sweeps first. `broker` is the process that workers must not reach.
#[must_use]
pub fn table(broker: u32) -> Vec<Row> {
    let mut rows = sweep::rows();
    rows.extend(named(broker));
    rows
}

/// Every row but the sweeps.
#[must_use]
pub fn named(broker: u32) -> Vec<Row> {
    let mut rows = files::rows(broker);
    rows.extend(sockets::rows());
    rows.extend(processes::rows(broker));
    rows.extend(kernel::rows());
    rows.extend(memory::rows());
    rows.extend(alone::rows(broker));
    rows
}

/// The filter's answer.
const SIGSYS: Expect = Expect::Killed(&[Signal::SIGSYS]);

/// A block of zeros, larger than any structure that is named.
const ZEROS: &[u8] = &[0; 256];

/// 127.0.0.1:9 as `sockaddr_in`.
const LOOPBACK: &[u8] = &[2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// -1: any process, no descriptor, no key.
const EVERYONE: Arg<'static> = Arg::N(u64::MAX);

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
enum Arg<'a> {
    /// A number.
    N(u64),
    /// The address of these bytes.
    P(&'a [u8]),
    /// The worker's own process id.
    Own,
}

/// A constant or flags of the C library.
const fn n(value: i32) -> Arg<'static> {
    Arg::N(value as i64 as u64)
}

/// The act of making this call. Arguments that are not given are 0.
fn call(number: libc::c_long, args: &[Arg<'_>]) -> Probe {
    let mut values = [ProbeArg::Value(0); 6];
    let mut buffers = Vec::new();
    for (value, arg) in values.iter_mut().zip(args) {
        *value = match *arg {
            Arg::N(number) => ProbeArg::Value(number),
            Arg::Own => ProbeArg::OwnPid,
            Arg::P(bytes) => {
                buffers.push(bytes.to_vec());
                // There are six arguments at most.
                ProbeArg::Buffer((buffers.len() - 1) as u8)
            }
        };
    }
    Probe::Syscall { number, args: values, buffers }
}

/// A row that all layers hold together, each case killed by the filter.
fn killed(id: &'static str, title: &'static str, acts: Vec<(&str, Probe)>) -> Row {
    let cases = acts.into_iter().map(|(name, act)| case(name, vec![act], SIGSYS)).collect();
    Row::of_all_layers(id, title, cases)
}

fn case(name: &str, steps: Vec<Probe>, expect: Expect) -> Case {
    Case { name: name.to_owned(), steps, expect }
}
