//! The file store: a folder of scripts, kept current.
//!
//! Takes a folder, gives a [`Catalog`] that follows what is in it. Edge: the file system. A file that is
//! bad, unreadable or half written costs itself only: its last good version stays in service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::watch;

use super::build::Source;
use super::library::Libraries;
use super::tenancy::Tenancy;
use super::versions::{Text, Versions};
use super::{Catalog, Problem, Script, Snapshot};
use crate::invocation::Tenant;
use scan::{Folder, Known, scan};
use watching::Watch;

mod scan;
mod watching;

/// Where scripts and libraries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The folder of scripts.
    pub scripts: PathBuf,
    /// The folder of libraries. It need not exist if it is `libs` in the folder of scripts.
    pub libraries: PathBuf,
    /// The folder outside of these into which links may lead: the Nix store, where each file is for everybody
    /// to read and never changes. So scripts can be deployed as links, and a link reveals nothing.
    pub store: PathBuf,
}

/// Where the links in a folder may lead.
#[derive(Debug, Clone)]
struct Links {
    /// As in [`Folders`].
    store: PathBuf,
    /// Folders below whose links stay in them, the store or not: those of named tenants. An empty path is
    /// the folder itself.
    confined: Vec<PathBuf>,
    /// What the folder itself must be in, if it is a link.
    within: Option<PathBuf>,
}

impl Links {
    /// For a folder of the operator.
    fn outside(&self) -> Links {
        Links { confined: Vec::new(), ..self.clone() }
    }

    /// For a folder in this one, which is a named tenant's.
    fn within(&self, folder: &Path) -> Links {
        let confined = vec![PathBuf::new()];
        Links { confined, within: Some(folder.to_owned()), ..self.clone() }
    }
}

impl Folders {
    /// These folders; without one for libraries, `libs` in the folder of scripts.
    #[must_use]
    pub fn new(scripts: &Path, libraries: Option<&Path>) -> Folders {
        let libraries = libraries.map_or_else(|| scripts.join("libs"), Path::to_owned);
        Folders { scripts: scripts.to_owned(), libraries, store: "/nix/store".into() }
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

/// Reads folders once, without a compiler: for a look at them.
///
/// # Errors
/// When a folder is not there or cannot be read.
pub async fn load(folders: &Folders) -> Result<Snapshot, StoreError> {
    folders.check()?;
    let mut contents = Contents::default();
    let found = contents.scan(folders);
    contents.take(found());
    Ok(contents.settle(&async |_: &Rc<Script>| Ok(())).await)
}

/// What a store would say of one file with these libraries, without a compiler.
#[must_use]
pub fn check_file(path: &Path, is_library: bool, libraries: &Libraries) -> Vec<Problem> {
    let name = path.display().to_string();
    match scan::read(path) {
        Ok((text, _)) => Source::new(&name, &text).all_problems(!is_library, libraries),
        Err(error) => vec![Problem { file: name.into(), line: None, text: error.to_string(), rejects: true }],
    }
}

/// A file's text.
///
/// # Errors
/// When it is no regular file, too large, or cannot be read.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    scan::read(path).map(|(text, _)| text)
}

/// The libraries below a folder as they are now: path without the extension, and text or what is wrong with it.
pub(crate) fn libraries(folder: &Path) -> Vec<(String, Text)> {
    let links = Links { store: Folders::new(folder, None).store, confined: Vec::new(), within: None };
    let found = scan(folder, None, false, &links, &Known::default());
    let name = |file: String| file.strip_suffix(".lua").map_or(file.clone(), str::to_owned);
    found.files.into_iter().filter_map(|(file, found)| Some((name(file), found.text?))).collect()
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
    contents: Contents,
    tenancy: watch::Receiver<Rc<Tenancy>>,
}

/// What is known of the folders.
#[derive(Default)]
struct Contents {
    versions: Versions,
    scripts: Known,
    libraries: Known,
    /// Of tenants' own libraries.
    own: BTreeMap<Tenant, Known>,
    tenancy: Rc<Tenancy>,
    /// What is wrong with the folders themselves.
    notes: Vec<Problem>,
}

impl Contents {
    /// A function that finds what the folders hold now. It blocks.
    fn scan(&self, folders: &Folders) -> impl FnOnce() -> Found + Send + use<> {
        let folders = folders.clone();
        let (scripts, libraries) = (self.scripts.clone(), self.libraries.clone());
        let own = self.tenancy.folders().map(|(tenant, folder)| {
            let known = self.own.get(tenant).cloned().unwrap_or_default();
            (tenant.to_string(), folders.scripts.join(folder), known)
        });
        let own: Vec<_> = own.collect();
        let confined = self.tenancy.folders().map(|(_, folder)| folder.into()).collect();
        let links = Links { store: folders.store.clone(), confined, within: None };
        move || Found {
            scripts: scan(&folders.scripts, Some(&folders.libraries), true, &links, &scripts),
            libraries: scan(&folders.libraries, None, false, &links.outside(), &libraries),
            own: own
                .into_iter()
                .filter(|(_, folder, known)| !known.is_empty() || folder.join("libs").is_dir())
                .map(|(tenant, folder, known)| {
                    let links = links.within(&folder);
                    (tenant, scan(&folder.join("libs"), None, false, &links, &known))
                })
                .collect(),
            may_lack_libraries: folders.may_lack_libraries(),
        }
    }

    /// Takes in what was found.
    fn take(&mut self, found: Found) {
        self.notes = notes(&found.scripts);
        if !found.may_lack_libraries {
            self.notes.extend(notes(&found.libraries));
        }
        for (name, change) in changes(&mut self.scripts, found.scripts) {
            match change {
                Some(text) => self.versions.put_script(&name, text),
                None => self.versions.remove_script(&name),
            }
        }
        put_libraries(&mut self.versions, None, changes(&mut self.libraries, found.libraries));
        for (tenant, folder) in found.own {
            self.notes.extend(notes(&folder));
            let tenant = Tenant::from(tenant);
            let changes = changes(self.own.entry(tenant.clone()).or_default(), folder);
            put_libraries(&mut self.versions, Some(&tenant), changes);
        }
    }

    /// What is to be in service of it.
    fn set_tenancy(&mut self, tenancy: Rc<Tenancy>) {
        self.own.retain(|tenant, _| tenancy.folders().any(|(known, _)| known == tenant));
        self.versions.set_tenancy(tenancy.clone());
        self.tenancy = tenancy;
    }

    async fn settle(&mut self, check: &impl AsyncFn(&Rc<Script>) -> Result<(), String>) -> Snapshot {
        self.versions.build(check).await;
        let mut snapshot = self.versions.snapshot();
        snapshot.problems.splice(0..0, self.notes.iter().cloned());
        snapshot
    }
}

/// What a look at the folders gave.
struct Found {
    scripts: Folder,
    libraries: Folder,
    /// Tenants' own libraries.
    own: Vec<(String, Folder)>,
    /// Whether there is no folder of libraries, and need not be.
    may_lack_libraries: bool,
}

impl<C: AsyncFn(&Rc<Script>) -> Result<(), String>> FileStore<C> {
    /// Reads the folders and puts what is there in service.
    ///
    /// # Errors
    /// When a folder is not there or cannot be read. Bad files are no error: see [`Snapshot::problems`].
    pub async fn open(
        folders: Folders,
        catalog: Catalog,
        tenancy: watch::Receiver<Rc<Tenancy>>,
        check: C,
    ) -> Result<Self, StoreError> {
        folders.check()?;
        let watch = Watch::new(vec![folders.scripts.clone(), folders.libraries.clone()]);
        let contents = Contents::default();
        let mut store = FileStore { folders, catalog, check, watch, contents, tenancy };
        store.refresh().await;
        Ok(store)
    }

    /// Follows the folders for ever: a change is in service within a second. Drop it to stop.
    pub async fn follow(mut self) {
        loop {
            tokio::select! {
                () = self.watch.changed() => {}
                changed = self.tenancy.changed() => if changed.is_err() { return },
            }
            self.refresh().await;
        }
    }

    /// Reads again what changed, and puts it in service if anything did.
    pub async fn refresh(&mut self) {
        let tenancy = self.tenancy.borrow_and_update().clone();
        self.contents.set_tenancy(tenancy);
        // On a thread of its own: file systems may block.
        match tokio::task::spawn_blocking(self.contents.scan(&self.folders)).await {
            Ok(mut found) => {
                let links = [&mut found.scripts.links, &mut found.libraries.links];
                self.watch.look_at(links.into_iter().flat_map(std::mem::take).collect());
                self.contents.take(found);
            }
            Err(error) => return tracing::error!(%error, "reading the script folder failed"),
        }
        let snapshot = self.contents.settle(&self.check).await;
        self.catalog.publish(snapshot);
    }
}

fn put_libraries(versions: &mut Versions, owner: Option<&Tenant>, changes: Vec<(String, Option<Text>)>) {
    for (name, change) in changes {
        let name = name.strip_suffix(".lua").unwrap_or(&name);
        match change {
            Some(text) => versions.put_library(owner, name, text),
            None => versions.remove_library(owner, name),
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
