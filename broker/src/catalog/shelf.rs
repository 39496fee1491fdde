//! The libraries of one folder: the last good version of each. Pure.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::Problem;
use super::library::Library;
use super::versions::{Content, Text, problem};

/// The files of a folder of libraries, by path without the extension.
#[derive(Default)]
pub(super) struct Shelf {
    files: BTreeMap<Rc<str>, LibraryFile>,
    /// Names that two files claim.
    doubles: Vec<Problem>,
    changed: bool,
}

/// A library's file.
#[derive(Default)]
struct LibraryFile {
    content: Option<Content>,
    problems: Vec<Problem>,
    /// The last good version, with its name.
    good: Option<(Rc<str>, Library)>,
}

impl Shelf {
    /// A file's text, or why there is none.
    pub(super) fn put(&mut self, name: &str, text: Text) {
        let file = self.files.entry(name.into()).or_default();
        if file.content.as_ref().is_none_or(|content| !content.is(&text)) {
            file.put(name, Content::new(&format!("{name}.lua"), text));
            self.changed = true;
        }
    }

    /// A file is gone.
    pub(super) fn remove(&mut self, name: &str) {
        self.changed |= self.files.remove(name).is_some();
    }

    /// Whether it changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether there is no file.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What is wrong with the files.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.files.values().flat_map(|file| &file.problems).chain(&self.doubles)
    }

    /// The good libraries by name. Of two with one name the first by path counts. Problems are shown with
    /// `folder` before their files.
    pub(super) fn gather(&mut self, folder: &str) -> BTreeMap<Rc<str>, Library> {
        let mut by_name: BTreeMap<Rc<str>, Library> = BTreeMap::new();
        let mut owners: HashMap<Rc<str>, Rc<str>> = HashMap::new();
        self.doubles.clear();
        for (path, file) in &self.files {
            let Some((name, library)) = &file.good else { continue };
            if let Some(other) = owners.get(name) {
                let text = format!("library `{name}` is already in {other}.lua; this one is left out");
                self.doubles.push(problem(&format!("{folder}{path}.lua"), text));
            } else {
                owners.insert(name.clone(), path.clone());
                by_name.insert(name.clone(), library.clone());
            }
        }
        by_name
    }
}

impl LibraryFile {
    fn put(&mut self, name: &str, content: Content) {
        match &content {
            Content::Unreadable(why) => self.problems = vec![problem(&format!("{name}.lua"), why.clone())],
            Content::Text(source) => {
                self.problems = source.problems(false);
                if self.problems.iter().all(|problem| !problem.rejects) {
                    self.good = Some(source.library(name));
                }
            }
        }
        self.content = Some(content);
    }
}
