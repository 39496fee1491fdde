//! Where the control socket is: the broker's side makes the folder, the command line's looks for the socket.
//!
//! Edge: the file system.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// Where the broker of this machine's service manager has it.
const SERVICE: [&str; 2] = ["/run/msgscript", "/var/lib/msgscript"];

/// The folder that a broker uses by itself: `$RUNTIME_DIRECTORY`, else its own folder, else the user's.
#[must_use]
pub fn folder(env: &dyn Fn(&str) -> Option<String>, state: Option<&Path>) -> PathBuf {
    let runtime = env("RUNTIME_DIRECTORY").and_then(|list| Some(list.split(':').next()?.to_owned()));
    match runtime.filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => state.map_or_else(|| of_user(env), Path::to_owned),
    }
}

/// The folder of a user's own.
fn of_user(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    match env("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/')) {
        Some(path) => Path::new(&path).join("msgscript"),
        None => std::env::temp_dir().join(format!("msgscript-{}", Uid::effective())),
    }
}

/// The socket's name, by the port of the broker's HTTP door: several brokers have one folder.
#[must_use]
pub fn name(port: u16) -> String {
    format!("control-{port}.sock")
}

/// Makes the folder if it is not there, and refuses one that others could have put there or may write to.
///
/// # Errors
/// As the text says.
pub fn own(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let is = fs::metadata(folder)?;
    let (ours, shared) = (is.uid() == Uid::effective().as_raw(), is.mode() & 0o022 != 0);
    if !ours || shared {
        let text = format!("{} belongs to another user, or others may write to it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// The sockets in the folders where a broker has one by itself.
#[must_use]
pub fn find(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let state = env("STATE_DIRECTORY").map(PathBuf::from);
    let mut folders = vec![folder(env, state.as_deref()), of_user(env)];
    folders.extend(SERVICE.map(PathBuf::from));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_socket = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let named = name.starts_with("control-") && name.ends_with(".sock");
        named && entry.file_type().is_ok_and(|kind| kind.is_socket())
    };
    let mut found: Vec<PathBuf> = entries.filter(is_socket).map(|entry| entry.path()).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folders_in_their_order() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned())
        };
        let all = env(&[("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/run/user/1")]);
        assert_eq!(folder(&all, Some(Path::new("/state"))), Path::new("/run/a"));
        let user = env(&[("XDG_RUNTIME_DIR", "/run/user/1")]);
        assert_eq!(folder(&user, Some(Path::new("/state"))), Path::new("/state"));
        assert_eq!(folder(&user, None), Path::new("/run/user/1/msgscript"));
        assert!(folder(&env(&[]), None).to_string_lossy().contains("msgscript-"));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        own(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own(&folder).is_err());
    }
}
