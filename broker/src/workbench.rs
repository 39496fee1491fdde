//! One script while it is being written: its file and its libraries are read anew whenever somebody asks, and run
//! as the server would run them.
//!
//! Takes a file, gives a catalogue with one script in it. The rooms, workers and sandbox are the server's own.

pub mod fault;
pub mod front;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures_util::FutureExt;

use crate::catalog::build::Source;
use crate::catalog::versions::Versions;
use crate::catalog::{Catalog, Executor, Problem, Script, file};

/// What the command line says of a script besides its file.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Its subject, instead of the header's.
    pub subject: Option<String>,
    /// Its name, instead of the header's.
    pub name: Option<String>,
    /// What runs it, instead of the header's.
    pub executor: Option<Executor>,
}

/// The subject of a script that says none.
const SUBJECT: &str = "dev";

/// A script while it is being written.
pub struct Workbench {
    file: PathBuf,
    libraries: Option<PathBuf>,
    given: Given,
    catalog: Catalog,
    versions: RefCell<Versions>,
    /// The libraries that were there.
    known: RefCell<BTreeSet<String>>,
}

impl Workbench {
    /// This file, with the libraries of this folder; without one, of `libs` beside the file if it is there. What
    /// is read goes into this catalogue.
    #[must_use]
    pub fn new(file: &Path, libraries: Option<PathBuf>, given: Given, catalog: Catalog) -> Workbench {
        let beside = file.parent().map(|folder| folder.join("libs")).filter(|folder| folder.is_dir());
        Workbench {
            file: file.to_owned(),
            libraries: libraries.or(beside),
            given,
            catalog,
            versions: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// Reads the files again. Gives the script, and what is wrong with the files.
    pub fn refresh(&self) -> (Option<Rc<Script>>, Vec<Problem>) {
        let mut versions = self.versions.borrow_mut();
        if let Some(folder) = &self.libraries {
            let found = file::libraries(folder);
            let names = found.iter().map(|(name, _)| name.clone()).collect();
            for gone in self.known.replace(names).difference(&self.known.borrow()) {
                versions.remove_library(None, gone);
            }
            for (name, text) in found {
                versions.put_library(None, &name, text);
            }
        }
        let source = file::read(&self.file).map_err(|error| error.to_string());
        versions.put_source(&self.place(), source.and_then(|text| self.source(&text)));
        // Nothing is asked of a compiler: what it says comes with the run.
        let _ = versions.build(&async |_: &Rc<Script>| Ok(())).now_or_never();
        let snapshot = versions.snapshot();
        let (script, problems) = (snapshot.index.list().first().cloned(), snapshot.problems.clone());
        self.catalog.replace(snapshot);
        (script, problems)
    }

    fn place(&self) -> String {
        self.file.display().to_string()
    }

    fn source(&self, text: &[u8]) -> Result<Source, String> {
        let mut source = Source::new(&self.place(), text);
        let header = &mut source.header;
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let subject = self.given.subject.clone().or_else(|| header.subject.as_ref().map(ToString::to_string));
        let name = self.given.name.clone().or_else(|| header.name.as_ref().map(ToString::to_string));
        header.call(subject.as_deref().unwrap_or(SUBJECT), &name.or(stem).unwrap_or_default())?;
        header.executor = self.given.executor.unwrap_or(header.executor);
        Ok(source)
    }
}
