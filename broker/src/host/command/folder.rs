//! A command's own folder: made before it starts, removed after its end, whatever it left there.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, chown, unlinkat};

/// The folder. Remove it with [`Folder::remove`].
pub(super) struct Folder(String);

impl Folder {
    /// Makes an empty one that only this user may use.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn make(uid: Option<u32>) -> io::Result<Folder> {
        tokio::task::spawn_blocking(move || make(uid)).await.map_err(io::Error::other)?
    }

    /// Its path.
    pub(super) fn path(&self) -> &str {
        &self.0
    }

    /// Removes it and all that is in it.
    pub(super) async fn remove(self) {
        let removed =
            tokio::task::spawn_blocking(move || remove(Path::new(&self.0)).map_err(|error| (self.0, error)));
        if let Ok(Err((folder, error))) = removed.await {
            tracing::error!(folder, %error, "the folder of a command stays");
        }
    }
}

fn make(uid: Option<u32>) -> io::Result<Folder> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let base = std::env::temp_dir();
    loop {
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("msgscript-cmd-{}-{count}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        }
        if let Some(uid) = uid {
            chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
        }
        let text = path.into_os_string().into_string();
        return text.map(Folder).map_err(|_| io::Error::other("the path of the temporary folder is no text"));
    }
}

/// Empties a folder and removes it. Whoever filled it may have nested folders without end, so folders within
/// are first brought up beside it, one at a time: neither stack nor descriptors are used up.
fn remove(folder: &Path) -> io::Result<()> {
    let parent = open(
        folder.parent().unwrap_or(Path::new("/")),
        OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let name = folder.file_name().map(PathBuf::from).unwrap_or_default();
    let mut waiting = vec![name.clone()];
    let mut count = 0_u64;
    while let Some(next) = waiting.pop() {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = match openat(&parent, &next, flags, Mode::empty()) {
            // Its owner may have closed it to everybody.
            Err(Errno::EACCES) => open_closed(&parent, &next)?,
            other => other?,
        };
        for entry in names(&opened)? {
            match unlinkat(&opened, entry.as_path(), UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR | Errno::EPERM) => {
                    count += 1;
                    let mut up = name.clone().into_os_string();
                    up.push(format!("-{count}"));
                    renameat(&opened, entry.as_path(), &parent, Path::new(&up))?;
                    waiting.push(up.into());
                }
                other => other?,
            }
        }
        unlinkat(&parent, next.as_path(), UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}

/// Opens a folder whose owner, ourselves, may not read it.
fn open_closed(parent: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::sys::stat::fchmodat(parent, name, Mode::S_IRWXU, nix::sys::stat::FchmodatFlags::NoFollowSymlink)?;
    let opened = openat(parent, name, flags, Mode::empty())?;
    fchmod(&opened, Mode::S_IRWXU)?;
    Ok(opened)
}

fn names(folder: &OwnedFd) -> nix::Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    // Renames need a folder that may be written, whatever its owner left it as.
    let _ = fchmod(folder, Mode::S_IRWXU);
    let mut names = Vec::new();
    for entry in Dir::from_fd(folder.try_clone().map_err(|_| Errno::EMFILE)?)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{make, remove};
    use std::path::Path;

    #[test]
    fn whatever_is_left_in_it_goes() {
        let folder = make(None).unwrap();
        let path = Path::new(&folder.0);
        let mut deep = path.to_owned();
        for _ in 0..300 {
            deep.push("nested");
        }
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        remove(path).unwrap();
        assert!(!path.exists() && Path::new("/etc/passwd").exists());
    }
}
