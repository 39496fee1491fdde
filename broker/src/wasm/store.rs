//! Compiled modules on disk: so that a second start of the broker runs warm.
//!
//! Takes keys and artifacts, gives back what it wrote itself and nothing else: each file is authenticated with a
//! key that only the broker's user can read, since a worker runs it as machine code. Bounded in size; the
//! least recently used goes first. Blocks: to be called on a thread of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use msgscript_proto::MAX_MESSAGE;
use sha2::Sha256;

use super::Key;

/// Bytes of artifacts that are kept.
const MOST: u64 = 1 << 30;

/// Bytes of the authentication tag at a file's beginning.
const TAG: usize = 32;

/// The end of an artifact's file name.
const SUFFIX: &str = ".artifact";

/// A folder of artifacts.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    secret: [u8; 32],
    most: u64,
}

impl Store {
    /// The store in this folder of the broker's own.
    ///
    /// # Errors
    /// When the folder or the key cannot be made or read.
    pub fn open(state: &Path) -> io::Result<Store> {
        let folder = state.join("wasm");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let secret = secret(&folder)?;
        Ok(Store { folder, secret, most: MOST })
    }

    /// The artifact of this key, if there is one and it is as it was written.
    #[must_use]
    pub fn load(&self, key: &Key) -> Option<Bytes> {
        let path = self.path(key);
        let file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        (&file).take((TAG + MAX_MESSAGE) as u64).read_to_end(&mut bytes).ok()?;
        let bytes = Bytes::from(bytes);
        let genuine = bytes.len() > TAG && self.mac(key, &bytes[TAG..]).verify_slice(&bytes[..TAG]).is_ok();
        if !genuine {
            tracing::warn!(file = %path.display(), "a compiled module is damaged or foreign: compiled again");
            self.remove(key);
            return None;
        }
        // For the order of use; a file system that refuses costs nothing else.
        let _ = file.set_modified(SystemTime::now());
        Some(bytes.slice(TAG..))
    }

    /// Keeps an artifact, and drops others to make room.
    ///
    /// # Errors
    /// When it cannot be written; nothing is there then.
    pub fn save(&self, key: &Key, artifact: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let unfinished = self.folder.join(format!("{}.{}.new", hex(key), std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let tag = self.mac(key, artifact).finalize().into_bytes();
        let written = file.write_all(&tag).and_then(|()| file.write_all(artifact));
        // What is there under its name is whole.
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &path)) {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        self.make_room(&path)
    }

    /// Drops an artifact.
    pub fn remove(&self, key: &Key) {
        let _ = fs::remove_file(self.path(key));
    }

    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Ok(metadata) = fs::metadata(&path)
                && (name.ends_with(SUFFIX) || name.ends_with(".new"))
            {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files.iter().filter(|(_, _, path)| path != newest) {
            if total <= self.most {
                break;
            }
            total -= size;
            // Another broker with the same folder may have been first.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn mac(&self, key: &Key, artifact: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(key);
        mac.update(artifact);
        mac
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", hex(key)))
    }
}

/// The folder's own secret; made when there is none. Two brokers that start at once agree on one.
fn secret(folder: &Path) -> io::Result<[u8; 32]> {
    let path = folder.join("key");
    let mut secret = [0; 32];
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            File::open("/dev/urandom")?.read_exact(&mut secret)?;
            file.write_all(&secret)?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::open(&path)?.read_exact(&mut secret).map_err(|error| {
                io::Error::new(error.kind(), format!("{} is no key (delete it): {error}", path.display()))
            })?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const A: Key = [0xa; 32];
    const B: Key = [0xb; 32];
    const C: Key = [0xc; 32];

    #[test]
    fn what_was_kept_is_there_for_the_next_start() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        store.save(&A, b"code").unwrap();
        drop(store);
        let store = Store::open(state.path()).unwrap();
        assert_eq!(store.load(&A).as_deref(), Some(&b"code"[..]));
        assert_eq!(store.load(&B), None);
        let mode =
            |path| fs::metadata(state.path().join("wasm").join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("key")), (0o700, 0o600));
        store.remove(&A);
        assert_eq!(store.load(&A), None);
    }

    /// Any bit of a file, its length, its name and the secret count.
    #[test]
    fn damaged_and_foreign_files_are_dropped() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let path = store.path(&A);
        store.save(&A, b"code").unwrap();
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert_eq!(store.load(&A), None, "bit {bit}");
            assert!(!path.exists());
        }
        for size in 0..whole.len() {
            fs::write(&path, &whole[..size]).unwrap();
            assert_eq!(store.load(&A), None, "{size} bytes");
        }
        fs::write(store.path(&B), &whole).unwrap();
        assert_eq!(store.load(&B), None, "under another key");
        fs::write(&path, &whole).unwrap();
        assert!(store.load(&A).is_some());
        fs::write(state.path().join("wasm/key"), [7; 32]).unwrap();
        assert_eq!(Store::open(state.path()).unwrap().load(&A), None, "of another broker");
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::open(state.path()).unwrap();
        store.most = 250;
        let age = |key, seconds| {
            let then = SystemTime::now() - std::time::Duration::from_secs(seconds);
            File::options().append(true).open(store.path(key)).unwrap().set_modified(then).unwrap();
        };
        store.save(&A, &[1; 68]).unwrap();
        store.save(&B, &[1; 68]).unwrap();
        age(&A, 200);
        age(&B, 100);
        assert!(store.load(&A).is_some(), "used just now");
        store.save(&C, &[1; 68]).unwrap();
        assert!(store.load(&A).is_some() && store.load(&B).is_none() && store.load(&C).is_some());
    }
}
