//! Who a worker is: a user that owns nothing, without capabilities and beyond the reach of its equals.
//!
//! Takes the user to become, gives nothing back.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::{Gid, Uid, getresuid, setgroups, setresgid, setresuid};

use super::sys;

/// `nobody`, where the user namespace does not map the user that was asked for.
const NOBODY: u32 = 65534;

/// Becomes `uid` (and the group of the same number), and gives up every capability.
///
/// # Errors
/// What the kernel says.
pub(super) fn close(uid: Option<u32>) -> io::Result<()> {
    sys::drop_inherited_capabilities();
    // The change of user needs capabilities; what it leaves of them goes after it.
    if let Some(uid) = uid {
        match become_user(uid) {
            Err(Errno::EINVAL) => become_user(NOBODY)?,
            other => other?,
        }
    }
    sys::drop_capabilities()
}

fn become_user(uid: u32) -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    // The group first, and alone in its list: a process that is no longer root could not.
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

/// Whether there is no way back to root.
///
/// # Errors
/// When there is.
pub(super) fn check(uid: Option<u32>) -> io::Result<()> {
    // Root on purpose, without capabilities: the folder that this worker serves is root's.
    if uid.is_none_or(|uid| uid == 0) {
        return Ok(());
    }
    let ids = getresuid()?;
    if [ids.real, ids.effective, ids.saved].iter().any(|id| id.is_root()) {
        return Err(io::Error::other("still root after the change of user"));
    }
    match setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)) {
        Err(Errno::EPERM | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(()) => Err(io::Error::other("could become root again")),
    }
}

/// Hidden from processes of the same user, without core dump (a limit of 0 does not stop a piped one),
/// and dead when the broker's spawning thread is. Both settings are lost when the user changes, so they
/// come after it.
///
/// # Errors
/// What the kernel says, or that the broker is gone already.
pub(super) fn close_process() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // A broker that died before that left no signal, but a closed socket.
    match recv(0, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Err(io::Error::other("the broker is gone")),
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
