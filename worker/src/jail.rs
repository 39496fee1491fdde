//! The jail: how a worker gives up everything but its memory and its socket.
//!
//! Takes the broker's [`Setup`], gives what is closed. Called once, by the only thread, when the engine
//! is built and before the first byte of a tenant. There is no way back: each layer holds the process
//! for the rest of its life.
//!
//! Each layer is a file: [`limits`], [`user`], [`files`], [`syscalls`]. They close in this order, because
//! each takes away what the ones before it needed.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use msgscript_proto::message::{Engine, PathRule, Setup, ToBroker};
use msgscript_proto::sandbox::{Layer, Report};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::setsid;

use crate::link::Link;

mod command;
mod files;
mod limits;
mod loading;
mod role;
mod syscalls;
mod user;

pub mod sys;

use role::Role;

/// The exit status of a worker that could not close its jail (`EX_CONFIG`).
pub const NOT_JAILED: i32 = 78;

/// A layer that would not close.
#[derive(Debug, thiserror::Error)]
#[error("the layer {} does not close: {source}", layer.name())]
pub struct JailError {
    /// Which. What belongs to no layer of its own is told of the nearest: descriptors of `rlimits`, the
    /// process's own settings of `uid`.
    pub layer: Layer,
    /// What the kernel said.
    pub source: io::Error,
}

/// Says of which layer an error is.
trait Of<T> {
    fn of(self, layer: Layer) -> Result<T, JailError>;
}

impl<T, E: Into<io::Error>> Of<T> for Result<T, E> {
    fn of(self, layer: Layer) -> Result<T, JailError> {
        self.map_err(|error| JailError { layer, source: error.into() })
    }
}

/// What is to be closed.
#[derive(Debug)]
pub struct Plan {
    engine: Engine,
    without: Vec<Layer>,
    landlock_abi: Option<u8>,
    uid: Option<u32>,
    paths: Vec<PathRule>,
    data: u64,
}

impl Plan {
    /// The plan of this set-up. `data` is the limit of writable memory, in bytes, with everything that
    /// the engine has mapped already.
    #[must_use]
    pub fn new(setup: &Setup, data: u64) -> Plan {
        Plan {
            engine: setup.engine,
            without: setup.without.clone(),
            landlock_abi: setup.landlock_abi,
            uid: setup.uid,
            paths: setup.paths.clone(),
            data,
        }
    }

    fn role(&self) -> Role {
        Role::of(self.engine)
    }

    fn has(&self, layer: Layer) -> bool {
        !self.without.contains(&layer)
    }

    /// Closes every layer, in order, and tries them. `load` is called when all is closed but what loading
    /// the operator's modules takes: see [`loading`].
    fn close(&self, load: Option<&mut dyn FnMut()>) -> Result<Report, JailError> {
        close_surroundings().of(Layer::Rlimits)?;
        files::require_one_thread().of(Layer::Landlock)?;
        // A WebAssembly engine handles faults itself: they are traps of the module.
        if self.engine != Engine::Wasm {
            sys::default_fault_signals();
        }
        sys::name_forbidden_calls();
        if self.has(Layer::Rlimits) {
            limits::close(self.data, self.role()).of(Layer::Rlimits)?;
        }
        if self.has(Layer::Uid) {
            user::close(self.uid).of(Layer::Uid)?;
        }
        user::close_process().of(Layer::Uid)?;
        sys::harden(!self.role().makes_code);
        if self.has(Layer::NoNewPrivs) {
            prctl::set_no_new_privs().of(Layer::NoNewPrivs)?;
        }
        if let Some(load) = load {
            self.load(load)?;
        }
        let open = if self.role().keeps_paths { &*self.paths } else { &[] };
        let landlock_abi = if self.has(Layer::Landlock) {
            files::close(self.landlock_abi, open).of(Layer::Landlock)?
        } else {
            0
        };
        self.check_files()?;
        if self.has(Layer::Rlimits) {
            limits::close_descriptors(self.role().descriptors).of(Layer::Rlimits)?;
        }
        self.check()?;
        if self.has(Layer::Seccomp) {
            // A probe of a bound worker becomes one as that does.
            let first = if self.engine == Engine::ProbeWasmBound { Engine::ProbeWasm } else { self.engine };
            syscalls::close(first).of(Layer::Seccomp)?;
        }
        if self.engine == Engine::ProbeWasmBound {
            self.narrow()?;
        }
        let layers = Layer::ALL.into_iter().filter(|layer| self.has(*layer)).collect();
        Ok(Report { landlock_abi, layers })
    }

    /// Runs what the operator's modules run when they are loaded, behind a first stage of the jail: nothing
    /// but reading the modules and the system's libraries.
    fn load(&self, load: &mut dyn FnMut()) -> Result<(), JailError> {
        if self.has(Layer::Landlock) {
            files::close(self.landlock_abi, &self.paths).of(Layer::Landlock)?;
        }
        if self.has(Layer::Seccomp) {
            loading::close(self.engine).of(Layer::Seccomp)?;
        }
        load();
        Ok(())
    }

    /// See [`narrow`].
    fn narrow(&self) -> Result<(), JailError> {
        sys::deny_executable_memory();
        if self.has(Layer::Rlimits) {
            limits::close_descriptors(0).of(Layer::Rlimits)?;
        }
        if self.has(Layer::Seccomp) {
            syscalls::close_bound().of(Layer::Seccomp)?;
        }
        Ok(())
    }

    /// Before descriptors are out, which would hide whether files are.
    fn check_files(&self) -> Result<(), JailError> {
        if self.has(Layer::Landlock) { files::check().of(Layer::Landlock) } else { Ok(()) }
    }

    /// Tries the layers that can be tried without dying; the broker looks at the filter from outside.
    fn check(&self) -> Result<(), JailError> {
        if self.has(Layer::Rlimits) {
            limits::check(self.data, self.role()).of(Layer::Rlimits)?;
        }
        if self.has(Layer::Uid) {
            user::check(self.uid).of(Layer::Uid)?;
        }
        if self.has(Layer::NoNewPrivs) && !prctl::get_no_new_privs().of(Layer::NoNewPrivs)? {
            return Err(io::Error::other("no_new_privs reads back as unset")).of(Layer::NoNewPrivs);
        }
        Ok(())
    }
}

/// Closes the jail of this set-up; in the middle of it, `load` may open shared objects beneath the paths of
/// the set-up, and whatever they do then finds itself jailed. The process must have one thread, and own no descriptor but its socket
/// and its log pipe. `data` as in [`Plan::new`].
///
/// # Errors
/// The first layer that does not close. The process must end then.
pub fn close(setup: &Setup, data: u64, load: Option<&mut dyn FnMut()>) -> Result<Report, JailError> {
    Plan::new(setup, data).close(load)
}

/// Closes the jail of a WebAssembly worker further, once it is bound to its module and before any of that
/// runs: no memory becomes executable from here on, no descriptor comes to be, and there is no way to change
/// the rules.
///
/// # Errors
/// When the second filter does not close. The process must end then.
pub fn narrow(setup: &Setup) -> Result<(), JailError> {
    Plan::new(setup, 0).narrow()
}

/// Closes the jail and greets the broker, or tells it what failed.
///
/// # Errors
/// With the status to exit with; the broker has been told.
pub fn enter(link: &mut Link, setup: &Setup, data: u64, load: Option<&mut dyn FnMut()>) -> Result<(), i32> {
    greet(link, close(setup, data, load))
}

/// The same for a worker that runs one command: its jail lets programs run, on the set-up's paths only.
///
/// # Errors
/// As for [`enter`].
pub fn enter_for_command(link: &mut Link, setup: &Setup) -> Result<(), i32> {
    greet(link, command::close(setup))
}

fn greet(link: &mut Link, closed: Result<Report, JailError>) -> Result<(), i32> {
    let greeting = match closed {
        Ok(report) => link.send(&ToBroker::Ready { version: msgscript_proto::VERSION, report }),
        Err(JailError { layer, source }) => {
            // Whether or not the broker hears it, the status says it too.
            let _ = link.send(&ToBroker::NotJailed { layer, error: &source.to_string() });
            return Err(NOT_JAILED);
        }
    };
    greeting.map_err(|_| 0)
}

/// What is around the process: descriptors, session, created files' mode, the time zone, and which
/// process dies first when memory runs out.
fn close_surroundings() -> io::Result<()> {
    sys::close_from(3)?;
    check_descriptors()?;
    match setsid() {
        // A process that leads its group already is out of every other.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    umask(Mode::from_bits_truncate(0o077));
    // Best effort: `/proc` may be read-only. Before the user changes, who may no longer write there.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    sys::read_time_zone();
    Ok(())
}

/// Descriptor 0 is the socket, 1 and 2 are the log pipe.
fn check_descriptors() -> io::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    if getsockopt(&stdin, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Err(io::Error::other("descriptor 0 is not the broker's socket"));
    }
    check_pipe(stdout.as_fd(), 1)?;
    check_pipe(stderr.as_fd(), 2)
}

fn check_pipe(descriptor: BorrowedFd<'_>, number: impl fmt::Display) -> io::Result<()> {
    let mode = SFlag::from_bits_truncate(fstat(descriptor)?.st_mode);
    if mode & SFlag::S_IFMT == SFlag::S_IFIFO {
        return Ok(());
    }
    Err(io::Error::other(format!("descriptor {number} is not the log pipe")))
}
