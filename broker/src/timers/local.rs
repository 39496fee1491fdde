//! States of schedules of a broker that shares them with none: in memory, and in files of its own if it has a folder
//! for them. Files are small and written seldom, so this does not leave the broker's thread for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::state::Key;
use super::store::{Entry, NOTHING};

/// The longest file that is read, in bytes.
const MOST: u64 = 64 << 10;

/// The end of a file's name.
const SUFFIX: &str = "json";

/// The states.
#[derive(Debug, Default)]
pub struct Local {
    folder: Option<PathBuf>,
    known: RefCell<HashMap<Key, Entry>>,
}

impl Local {
    /// Those that are kept in the broker's folder, if it has one that can be used.
    #[must_use]
    pub fn open(state: Option<&Path>) -> Local {
        let folder = state.map(|state| state.join("schedules"));
        let made =
            folder.as_ref().map(|folder| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
        match made {
            Some(Err(error)) => {
                tracing::warn!(%error, "schedules are not kept over restarts: what was missed is not known then");
                Local::default()
            }
            Some(Ok(())) | None => Local { folder, known: RefCell::default() },
        }
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(key.digest()).with_extension(SUFFIX))
    }

    /// What is kept.
    #[must_use]
    pub fn read(&self, key: &Key) -> Option<Entry> {
        if let Some(entry) = self.known.borrow().get(key) {
            return Some(entry.clone());
        }
        let mut value = Vec::new();
        File::open(self.path(key)?).ok()?.take(MOST).read_to_end(&mut value).ok()?;
        let entry = (value, NOTHING + 1);
        self.known.borrow_mut().insert(key.clone(), entry.clone());
        Some(entry)
    }

    /// Keeps a value if what is kept has this revision.
    pub fn write(&self, key: &Key, value: Vec<u8>, expected: u64) -> bool {
        let revision = self.read(key).map_or(NOTHING, |(_, revision)| revision);
        if revision != expected {
            return false;
        }
        if let Some(path) = self.path(key)
            && let Err(error) = save(&path, &value)
        {
            tracing::warn!(file = %path.display(), %error, "a schedule is not kept over a restart");
        }
        self.known.borrow_mut().insert(key.clone(), (value, revision + 1));
        true
    }

    /// Forgets a value.
    pub fn remove(&self, key: &Key, expected: u64) {
        let is_same = self.known.borrow().get(key).is_some_and(|(_, revision)| *revision == expected);
        if is_same {
            self.known.borrow_mut().remove(key);
            if let Some(path) = self.path(key) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Whatever happens meanwhile, the file is the old one or the new one.
fn save(path: &Path, value: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(value)?;
    file.sync_data()?;
    fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Script;
    use crate::catalog::timer::{Lines, schedule};

    fn key() -> Key {
        let mut script = Script::for_test("s", "n");
        let lines = Lines { schedule: Some(schedule("@daily").unwrap()), ..Lines::default() };
        script.timer = lines.timer();
        Key::of(&script).unwrap()
    }

    #[test]
    fn only_the_first_write_of_a_revision_counts() {
        let (local, key) = (Local::default(), key());
        assert_eq!(local.read(&key), None);
        assert!(local.write(&key, b"a".to_vec(), NOTHING) && !local.write(&key, b"b".to_vec(), NOTHING));
        let (value, revision) = local.read(&key).unwrap();
        assert_eq!(value, b"a");
        assert!(local.write(&key, b"c".to_vec(), revision) && !local.write(&key, b"d".to_vec(), revision));
        local.remove(&key, revision);
        assert_eq!(local.read(&key).unwrap().0, b"c", "it has changed since");
        local.remove(&key, revision + 1);
        assert_eq!(local.read(&key), None);
    }

    #[test]
    fn a_folder_keeps_them() {
        let (folder, key) = (tempfile::tempdir().unwrap(), key());
        assert!(Local::open(Some(folder.path())).write(&key, b"a".to_vec(), NOTHING));
        let again = Local::open(Some(folder.path()));
        let (value, revision) = again.read(&key).unwrap();
        assert_eq!(value, b"a");
        assert!(again.write(&key, b"b".to_vec(), revision));
        again.remove(&key, revision + 1);
        assert_eq!(Local::open(Some(folder.path())).read(&key), None);
        // A folder that cannot be one.
        fs::write(folder.path().join("file"), "").unwrap();
        let none = Local::open(Some(&folder.path().join("file")));
        assert!(none.write(&key, b"a".to_vec(), NOTHING) && none.read(&key).is_some());
    }
}
