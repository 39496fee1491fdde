//! One command of the host: run in a jail of its own, watched, and ended with all that it started.
//!
//! Takes the set-up and a [`Command`]; gives what the command writes, piece by piece, and its exit status.
//! Whatever it leaves behind (a daemon, a process in another session) becomes this process's child when
//! its parent ends, and is killed: at the command's end, or when the broker closes the socket.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Stdio};

use msgscript_proto::codec;
use msgscript_proto::message::{Command, Setup, ToBroker, ToWorker};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::jail;
use crate::link::Link;
use crate::serve::PROTOCOL;

/// Bytes of output handed over at once.
const PIECE: usize = 32 << 10;

/// How long to wait for output before looking whether the command has ended, in milliseconds.
const LOOK: u8 = 10;

/// Exit status of a shell that cannot run a command.
const NOT_RUN: i32 = 126;

/// Closes the jail, runs the command, ends.
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    if let Err(status) = jail::enter_for_command(link, setup) {
        return status;
    }
    let mut out = Link::new();
    match link.recv().map(|bytes| bytes.map(codec::decode)) {
        Ok(Some(Ok(ToWorker::Command(command)))) => match run(&command, &mut out) {
            // Should the broker be gone, there is nobody to tell.
            Some(status) => out.send(&ToBroker::Exited { status }).map_or(PROTOCOL, |()| 0),
            None => 0,
        },
        Ok(None) => 0,
        _ => PROTOCOL,
    }
}

/// Runs it to its end; `None` if the broker wants no more of it.
fn run(command: &Command<'_>, out: &mut Link) -> Option<i32> {
    // Without this, what a command leaves behind would be somebody else's child. Linux has it since 3.4.
    let _ = prctl::set_child_subreaper(true);
    let _ = setrlimit(Resource::RLIMIT_CPU, command.cpu, command.cpu);
    let mut child = match start(command) {
        Ok(child) => child,
        Err(error) => {
            let text = format!("cannot run /bin/sh: {error}\n");
            out.send(&ToBroker::Output { error: true, bytes: text.as_bytes() }).ok()?;
            return Some(NOT_RUN);
        }
    };
    let status = watch(&mut child, command.input, out);
    end_all(&child);
    let status = status?;
    // All who could write are gone: what is left in the pipes is finite.
    drain(child.stdout.as_mut(), false, out)?;
    drain(child.stderr.as_mut(), true, out)?;
    Some(status)
}

fn start(command: &Command<'_>) -> std::io::Result<Child> {
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(OsStr::from_bytes(command.line)).current_dir(command.folder).env_clear();
    for (name, value) in &command.env {
        shell.env(name, OsStr::from_bytes(value));
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.process_group(0).spawn()
}

/// Passes on what the command reads and writes until it ends; `None` when the broker closes the socket.
fn watch(child: &mut Child, input: &[u8], out: &mut Link) -> Option<i32> {
    let (mut stdin, mut input) = (child.stdin.take(), input);
    if let Some(pipe) = &stdin {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    }
    loop {
        if input.is_empty() {
            stdin = None;
        }
        let [socket, stdout, stderr, room] = ready(child, stdin.as_ref())?;
        if socket {
            return None;
        }
        if stdout && !pass(child.stdout.as_mut(), false, out)? {
            child.stdout = None;
        }
        if stderr && !pass(child.stderr.as_mut(), true, out)? {
            child.stderr = None;
        }
        if room && let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(size) => input = &input[size..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => stdin = None,
            }
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Some(if status.signal().is_some() { -1 } else { status.code().unwrap_or(-1) });
        }
    }
}

/// Waits a moment; says whether the socket has closed, whether there is output of either kind, and whether
/// there is room for input.
fn ready(child: &Child, stdin: Option<&ChildStdin>) -> Option<[bool; 4]> {
    let socket = std::io::stdin();
    // Nothing more is expected of the broker, so its end is all that is looked for.
    let mut fds = vec![(0, PollFd::new(socket.as_fd(), PollFlags::POLLIN))];
    let outputs = [(1, child.stdout.as_ref().map(AsFd::as_fd)), (2, child.stderr.as_ref().map(AsFd::as_fd))];
    for (index, fd) in outputs {
        fds.extend(fd.map(|fd| (index, PollFd::new(fd, PollFlags::POLLIN))));
    }
    fds.extend(stdin.map(|pipe| (3, PollFd::new(pipe.as_fd(), PollFlags::POLLOUT))));
    let (indexes, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = fds.into_iter().unzip();
    match poll(&mut fds, PollTimeout::from(LOOK)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(_) => return None,
    }
    let mut ready = [false; 4];
    for (index, fd) in indexes.into_iter().zip(&fds) {
        ready[index] = fd.any().unwrap_or(false);
    }
    Some(ready)
}

/// Passes on what is there; false at the end, `None` when the broker takes no more.
fn pass(pipe: Option<&mut impl Read>, error: bool, out: &mut Link) -> Option<bool> {
    let mut piece = [0; PIECE];
    let size = pipe.and_then(|pipe| pipe.read(&mut piece).ok()).unwrap_or(0);
    if size > 0 {
        out.send(&ToBroker::Output { error, bytes: &piece[..size] }).ok()?;
    }
    Some(size > 0)
}

fn drain(mut pipe: Option<&mut impl Read>, error: bool, out: &mut Link) -> Option<()> {
    while pass(pipe.as_deref_mut(), error, out)? {}
    Some(())
}

/// Kills all that descends from this process, and waits for it.
fn end_all(child: &Child) {
    // At once, what did not care to leave the group; the rest as it becomes ours.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(-group), Signal::SIGKILL);
    }
    loop {
        let Ok(children) = std::fs::read_to_string("/proc/thread-self/children") else { return };
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
