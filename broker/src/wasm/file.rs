//! The file that a WebAssembly script names: which it is, and its bytes.
//!
//! Takes a script's text and where it may look, gives a file's stamp, bytes and digest. Blocks: to be called on
//! a thread of its own. Errors name the file as its author wrote it, never a path of the host.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use sha2::{Digest as _, Sha256};

/// The largest module, in bytes: its compiled form must fit a message.
pub const MOST: u64 = 32 << 20;

/// How a module or a component begins.
const MAGIC: &[u8] = b"\0asm";

/// A digest of bytes.
pub type Digest = [u8; 32];

/// Where a script's file may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The script's own folder: relative paths start here.
    pub folder: PathBuf,
    /// Folders beside that one that the file may be in; `None`: anywhere.
    pub beside: Option<Vec<PathBuf>>,
}

/// A file that a script names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spot {
    /// Where to look.
    pub place: Place,
    /// Its path as written.
    pub written: String,
}

/// Which file, in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file's bytes.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The file's state when they were read.
    pub stamp: Stamp,
    /// What it holds: it begins as a module does.
    pub bytes: Vec<u8>,
    /// SHA-256 of them.
    pub digest: Digest,
}

/// Why there is no module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The script's text is not one path.
    #[error("the script must hold one line besides its header and comments: the path of a module")]
    NoPath,
    /// It cannot be opened or read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// As written.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It is out of bounds.
    #[error("cannot read {0}: it is not in the script's own folder nor in a granted one")]
    Outside(String),
    /// A folder, a device or the like.
    #[error("{0} is not a file")]
    NotAFile(String),
    /// Larger than [`MOST`].
    #[error("{0} is too large: a module may have 32 MiB")]
    TooLarge(String),
    /// Something else than a module.
    #[error("{0} is not a WebAssembly module or component in binary form")]
    NotWasm(String),
}

/// The path that a script's text holds: its one line that is no comment.
///
/// # Errors
/// When there is none, or more than one.
pub fn written(text: &[u8]) -> Result<String, FileError> {
    let text = std::str::from_utf8(text).map_err(|_| FileError::NoPath)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
    match (lines.next(), lines.next()) {
        (Some(path), None) if !path.contains('\0') => Ok(path.to_owned()),
        _ => Err(FileError::NoPath),
    }
}

impl Spot {
    /// The file's state, and its bytes unless it is still as it was.
    ///
    /// # Errors
    /// When there is no such file, or it is no module.
    pub fn read(&self, known: Option<Stamp>) -> Result<Option<Contents>, FileError> {
        let file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.unreadable(&error))?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile(self.written.clone()));
        }
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        if known == Some(stamp) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| self.unreadable(&error))?;
        if bytes.len() as u64 > MOST {
            return Err(FileError::TooLarge(self.written.clone()));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(FileError::NotWasm(self.written.clone()));
        }
        let digest = Sha256::digest(&bytes).into();
        Ok(Some(Contents { stamp, bytes, digest }))
    }

    /// Never waits for a pipe or a device.
    fn open(&self) -> Result<File, FileError> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let Some(beside) = &self.place.beside else {
            let path = self.place.folder.join(&self.written);
            let opened = open(&path, flags, Mode::empty());
            return opened.map(File::from).map_err(|errno| self.unreadable(&errno.into()));
        };
        let path = Path::new(&self.written);
        let below = std::iter::once(&self.place.folder).chain(beside).filter_map(|root| {
            let relative = if path.is_absolute() { path.strip_prefix(root).ok()? } else { path };
            Some((root, relative))
        });
        // A relative path means the script's own folder only.
        for (root, relative) in below.take(if path.is_absolute() { usize::MAX } else { 1 }) {
            match open_beneath(root, relative, flags) {
                Ok(file) => return Ok(file),
                Err(Errno::EXDEV | Errno::ELOOP) => {}
                Err(errno) => return Err(self.unreadable(&errno.into())),
            }
        }
        Err(FileError::Outside(self.written.clone()))
    }

    fn unreadable(&self, error: &io::Error) -> FileError {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        FileError::Unreadable { path: self.written.clone(), why }
    }
}

/// Opens what is beneath a folder, whatever links and `..` say: the kernel sees to it.
fn open_beneath(root: &Path, relative: &Path, flags: OFlag) -> nix::Result<File> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(&root, relative, OpenHow::new().flags(flags).resolve(resolve)).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_script_holds_one_path() {
        let text = b"--* subject: a\n--* name: b\n\n-- what it is\n  calc.wasm \n";
        assert_eq!(written(text).unwrap(), "calc.wasm");
        for bad in [&b"-- x"[..], b"a.wasm\nb.wasm", b"\xff", b"a\0b"] {
            assert_eq!(written(bad), Err(FileError::NoPath));
        }
    }

    fn error(place: &Place, written: &str) -> String {
        let spot = Spot { place: place.clone(), written: written.to_owned() };
        spot.read(None).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_tenants_file_stays_in_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, bytes) in [("own/a.wasm", MAGIC), ("granted/b.wasm", MAGIC), ("secret.wasm", MAGIC)] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), bytes).unwrap();
        }
        symlink(at("secret.wasm"), at("own/link.wasm")).unwrap();
        symlink("../secret.wasm", at("own/up.wasm")).unwrap();
        symlink(folder.path(), at("own/out")).unwrap();
        symlink("/proc/self/exe", at("own/magic.wasm")).unwrap();
        symlink("a.wasm", at("own/inside.wasm")).unwrap();
        let place = Place { folder: at("own"), beside: Some(vec![at("granted")]) };
        let text = |name: &str| at(name).to_str().unwrap().to_owned();
        let good = ["a.wasm", "./a.wasm", "../own/a.wasm", "inside.wasm"].map(str::to_owned);
        for written in
            [good[0].clone(), good[1].clone(), good[3].clone(), text("own/a.wasm"), text("granted/b.wasm")]
        {
            let spot = Spot { place: place.clone(), written };
            let read = spot.read(None).unwrap().unwrap();
            assert_eq!(read.bytes, MAGIC);
            assert!(spot.read(Some(read.stamp)).unwrap().is_none(), "as it was");
        }
        let (secret, through) = (text("secret.wasm"), text("granted/../secret.wasm"));
        for bad in
            ["link.wasm", "up.wasm", "out/secret.wasm", "../secret.wasm", "magic.wasm", &secret, &through]
        {
            assert!(error(&place, bad).contains("not in the script's own folder"), "{bad}");
        }
        let anywhere = Place { beside: None, ..place };
        let spot = |written: &str| Spot { place: anywhere.clone(), written: written.to_owned() };
        assert!(spot("link.wasm").read(None).is_ok() && spot(&secret).read(None).is_ok());
    }

    #[test]
    fn what_is_no_module_is_named_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("text.wasm"), "(module)").unwrap();
        std::fs::write(at("elf.wasm"), b"\x7fELF").unwrap();
        std::fs::create_dir(at("folder.wasm")).unwrap();
        nix::unistd::mkfifo(&at("pipe.wasm"), Mode::S_IRWXU).unwrap();
        let huge = File::create(at("huge.wasm")).unwrap();
        huge.set_len(MOST + 1).unwrap();
        let place = Place { folder: folder.path().to_owned(), beside: None };
        assert_eq!(error(&place, "none.wasm"), "cannot read none.wasm: there is no such file");
        for name in ["text.wasm", "elf.wasm"] {
            assert!(error(&place, name).starts_with(&format!("{name} is not a WebAssembly module")));
        }
        for name in ["folder.wasm", "pipe.wasm"] {
            assert_eq!(error(&place, name), format!("{name} is not a file"));
        }
        assert!(error(&place, "huge.wasm").starts_with("huge.wasm is too large"));
    }
}
