//! The file store: a folder of scripts, kept current.
//!
//! Takes a folder, gives a [`Catalog`] that follows what is in it. Edge: the file system. A file that is
//! bad, unreadable or half written costs itself only: its last good version stays in service.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::versions::{Text, Versions};
use super::{Catalog, Problem, Script, Snapshot};
use scan::{Folder, Known, scan};
use watch::Watch;

mod scan;
mod watch;

/// Where scripts and libraries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The folder of scripts.
    pub scripts: PathBuf,
    /// The folder of libraries. It need not exist if it is `libs` in the folder of scripts.
    pub libraries: PathBuf,
}

impl Folders {
    /// These folders; without one for libraries, `libs` in the folder of scripts.
    #[must_use]
    pub fn new(scripts: &Path, libraries: Option<&Path>) -> Folders {
        let libraries = libraries.map_or_else(|| scripts.join("libs"), Path::to_owned);
        Folders { scripts: scripts.to_owned(), libraries }
    }

    /// Whether there is no folder of libraries, and none was asked for.
    fn may_lack_libraries(&self) -> bool {
        self.libraries == self.scripts.join("libs") && !self.libraries.exists()
    }

    /// Refuses folders that are not there.
    ///
    /// # Errors
    /// As the type says.
    fn check(&self) -> Result<(), StoreError> {
        let real = |folder: &Path| {
            let result = folder.canonicalize().and_then(|path| path.read_dir().map(|_| path));
            result.map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })
        };
        let scripts = real(&self.scripts)?;
        if self.may_lack_libraries() {
            return Ok(());
        }
        if scripts == real(&self.libraries)? {
            return Err(StoreError::Same(self.scripts.clone()));
        }
        Ok(())
    }
}

/// The text of one script's or library's file.
///
/// # Errors
/// When it is no regular file, larger than 4 MiB, or cannot be read.
pub fn read_text(path: &Path) -> std::io::Result<Vec<u8>> {
    scan::read(path).map(|(text, _)| text)
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder cannot be read.
    #[error("cannot read the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Scripts and libraries in one folder.
    #[error("{} cannot be both the folder of scripts and that of libraries", .0.display())]
    Same(PathBuf),
}

/// Keeps a [`Catalog`] current with a folder.
///
/// `check` asks a jailed worker whether a script's Lua compiles; its error is the compiler's message. It
/// is called for new and changed Lua scripts, up to 16 at a time, before they go into service.
pub struct FileStore<C> {
    folders: Folders,
    catalog: Catalog,
    check: C,
    watch: Watch,
    versions: Versions,
    scripts: Known,
    libraries: Known,
}

impl<C: AsyncFn(&Rc<Script>) -> Result<(), String>> FileStore<C> {
    /// Reads the folders and puts what is there in service in `catalog`.
    ///
    /// # Errors
    /// When a folder is not there or cannot be read. Bad files are no error: see [`Snapshot::problems`].
    pub async fn open(folders: Folders, catalog: Catalog, check: C) -> Result<Self, StoreError> {
        folders.check()?;
        let watch = Watch::new(vec![folders.scripts.clone(), folders.libraries.clone()]);
        let mut store = FileStore {
            folders,
            catalog,
            check,
            watch,
            versions: Versions::default(),
            scripts: Known::new(),
            libraries: Known::new(),
        };
        store.refresh().await;
        Ok(store)
    }

    /// What is in service.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// Follows the folders for ever: a change is in service within a second. Drop it to stop.
    pub async fn follow(mut self) {
        loop {
            self.watch.changed().await;
            self.refresh().await;
        }
    }

    /// Reads again what changed, and puts it in service if anything did.
    pub async fn refresh(&mut self) {
        let Some((scripts, libraries)) = self.scan().await else { return };
        let mut notes = notes(&scripts);
        notes.extend(self.library_notes(&libraries));
        for change in changes(&mut self.scripts, scripts) {
            match change {
                (name, Some(text)) => self.versions.put_script(&name, text),
                (name, None) => self.versions.remove_script(&name),
            }
        }
        for (name, change) in changes(&mut self.libraries, libraries) {
            let name = name.strip_suffix(".lua").unwrap_or(&name);
            match change {
                Some(text) => self.versions.put_library(name, text),
                None => self.versions.remove_library(name),
            }
        }
        self.versions.build(&self.check).await;
        let mut snapshot = self.versions.snapshot();
        snapshot.problems.splice(0..0, notes);
        self.publish(snapshot);
    }

    /// The state of both folders; none if reading them failed as a whole.
    async fn scan(&self) -> Option<(Folder, Folder)> {
        let folders = self.folders.clone();
        let (scripts, libraries) = (self.scripts.clone(), self.libraries.clone());
        let read = tokio::task::spawn_blocking(move || {
            let found = scan(&folders.scripts, Some(&folders.libraries), true, &scripts);
            (found, scan(&folders.libraries, None, false, &libraries))
        });
        match read.await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::error!(%error, "reading the script folder failed");
                None
            }
        }
    }

    /// What is wrong with the folder of libraries; it need not be there if it is the usual one.
    fn library_notes(&self, folder: &Folder) -> Vec<Problem> {
        if self.folders.may_lack_libraries() { Vec::new() } else { notes(folder) }
    }

    /// Puts this in service if it differs from what is, and tells of what is newly wrong.
    fn publish(&self, snapshot: Snapshot) {
        let old = self.catalog.current();
        let known: HashSet<&Problem> = old.problems.iter().collect();
        for problem in snapshot.problems.iter().filter(|problem| !known.contains(problem)) {
            if problem.rejects {
                tracing::error!(file = %problem.file, "rejected: {problem}");
            } else {
                tracing::warn!(file = %problem.file, "{problem}");
            }
        }
        let scripts = (old.index.list(), snapshot.index.list());
        let same_scripts = scripts.0.len() == scripts.1.len()
            && scripts.0.iter().zip(scripts.1).all(|(old, new)| Rc::ptr_eq(old, new));
        let same_libraries = Rc::ptr_eq(&old.libraries, &snapshot.libraries);
        if !(same_scripts && same_libraries && old.problems == snapshot.problems) {
            tracing::info!(scripts = snapshot.index.list().len(), "the catalogue changed");
            self.catalog.replace(snapshot);
        }
    }
}

/// What the scan says is new (with its text) or gone (without), and what is known from now on.
fn changes(known: &mut Known, folder: Folder) -> Vec<(String, Option<Text>)> {
    let unread = |name: &str| folder.unread.iter().any(|(below, _)| name.starts_with(below.as_str()));
    let gone: Vec<String> =
        known.keys().filter(|name| !folder.files.contains_key(*name) && !unread(name)).cloned().collect();
    let mut changes = Vec::new();
    for name in gone {
        known.remove(&name);
        changes.push((name, None));
    }
    for (name, found) in folder.files {
        known.insert(name.clone(), found.stamp);
        changes.extend(found.text.map(|text| (name, Some(text))));
    }
    changes
}

/// What is wrong with the folder itself.
fn notes(folder: &Folder) -> Vec<Problem> {
    let all = folder.unread.iter().chain(&folder.left_out);
    let note = |(file, text): &(String, String)| Problem {
        file: if file.is_empty() { ".".into() } else { file.as_str().into() },
        line: None,
        text: text.clone(),
        rejects: true,
    };
    all.map(note).collect()
}

#[cfg(test)]
mod tests;
