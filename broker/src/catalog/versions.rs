//! Which version of each script is in service: the last good one.
//!
//! Takes the texts of a store's files as they change, gives a [`Snapshot`]. Pure, but for the compiler
//! that it asks. A store tells it what changed, then calls [`Versions::build`].

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_util::StreamExt;

use super::build::Source;
use super::library::{Libraries, Library};
use super::{Executor, Part, Problem, Script, Snapshot};
use crate::route::Index;

/// How many scripts are with the compiler at a time.
const CHECKS: usize = 16;

/// A file's text, or why there is none.
pub(crate) type Text = Result<Vec<u8>, String>;

/// The files of a store, and what is in service of them.
#[derive(Default)]
pub(crate) struct Versions {
    scripts: BTreeMap<Rc<str>, ScriptFile>,
    libraries: BTreeMap<Rc<str>, LibraryFile>,
    library_problems: Vec<Problem>,
    gathered: Rc<Libraries>,
    libraries_changed: bool,
    last_id: u64,
}

/// A script's file.
#[derive(Default)]
struct ScriptFile {
    content: Option<Content>,
    /// Whether it changed since the last build.
    changed: bool,
    /// What is wrong with the text as it is now.
    problems: Vec<Problem>,
    /// The last good version.
    good: Option<Rc<Script>>,
    /// Without a good version: one that tells why.
    broken: Option<Rc<Script>>,
}

/// A library's file.
#[derive(Default)]
struct LibraryFile {
    content: Option<Content>,
    problems: Vec<Problem>,
    /// The last good version, with its name.
    good: Option<(Rc<str>, Library)>,
}

/// What reading a file gave.
#[allow(clippy::large_enum_variant, reason = "nearly all are texts")]
enum Content {
    Text(Source),
    Unreadable(String),
}

impl Content {
    fn new(name: &str, text: Text) -> Content {
        match text {
            Ok(text) => Content::Text(Source::new(name, &text)),
            Err(why) => Content::Unreadable(why),
        }
    }

    fn is(&self, text: &Text) -> bool {
        match (self, text) {
            (Content::Text(source), Ok(text)) => *source.part.text == *super::header::lua_text(text),
            (Content::Unreadable(why), Err(new)) => why == new,
            _ => false,
        }
    }
}

impl Versions {
    /// A script's file is new or was read again. `name` is its name in error messages.
    pub(crate) fn put_script(&mut self, name: &str, text: Text) {
        let file = self.scripts.entry(name.into()).or_default();
        if file.content.as_ref().is_none_or(|content| !content.is(&text)) {
            file.content = Some(Content::new(name, text));
            file.changed = true;
        }
    }

    /// A script's file is gone.
    pub(crate) fn remove_script(&mut self, name: &str) {
        self.scripts.remove(name);
    }

    /// A library's file is new or was read again. `name` is what it is called unless it says otherwise.
    pub(crate) fn put_library(&mut self, name: &str, text: Text) {
        let file = self.libraries.entry(name.into()).or_default();
        if file.content.as_ref().is_none_or(|content| !content.is(&text)) {
            file.put(name, Content::new(&format!("{name}.lua"), text));
            self.libraries_changed = true;
        }
    }

    /// A library's file is gone.
    pub(crate) fn remove_library(&mut self, name: &str) {
        self.libraries_changed |= self.libraries.remove(name).is_some();
    }

    /// Settles what is in service of everything that changed. `check` tells whether a script compiles.
    pub(crate) async fn build(&mut self, check: &impl AsyncFn(&Rc<Script>) -> Result<(), String>) {
        let all = std::mem::take(&mut self.libraries_changed);
        if all {
            self.gather();
        }
        let mut candidates = Vec::new();
        for (name, file) in &mut self.scripts {
            if std::mem::take(&mut file.changed) || all {
                let candidate = file.candidate(name, &mut self.last_id, &self.gathered);
                candidates.extend(candidate.map(|script| (name.clone(), script)));
            }
        }
        let checks = candidates.into_iter().map(async |(name, script)| {
            let result = check(&script).await;
            (name, script, result)
        });
        let mut checked = std::pin::pin!(futures_util::stream::iter(checks).buffer_unordered(CHECKS));
        while let Some((name, script, result)) = checked.next().await {
            let Some(file) = self.scripts.get_mut(&name) else { continue };
            match result {
                Ok(()) => file.accept(script),
                Err(text) => file.fail(&mut self.last_id, &text),
            }
        }
    }

    /// Names the libraries. Of two with one name the first by path counts.
    fn gather(&mut self) {
        let mut by_name: BTreeMap<Rc<str>, Library> = BTreeMap::new();
        let mut owners: HashMap<Rc<str>, Rc<str>> = HashMap::new();
        self.library_problems.clear();
        for (path, file) in &self.libraries {
            self.library_problems.extend(file.problems.iter().cloned());
            let Some((name, library)) = &file.good else { continue };
            if let Some(other) = owners.get(name) {
                let text = format!("library `{name}` is already in {other}.lua; this one is left out");
                self.library_problems.push(problem(&format!("{path}.lua"), text));
            } else {
                owners.insert(name.clone(), path.clone());
                by_name.insert(name.clone(), library.clone());
            }
        }
        self.gathered = Rc::new(Libraries::new(by_name));
    }

    /// What is in service now. Of two scripts with one subject and name the first by path counts.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut problems = self.library_problems.clone();
        let mut owners: HashMap<(&str, &str), &str> = HashMap::new();
        let mut scripts = Vec::new();
        for (path, file) in &self.scripts {
            problems.extend(file.problems.iter().cloned());
            let Some(script) = file.in_service() else { continue };
            if let Some(other) = owners.get(&(&*script.subject, &*script.name)) {
                let (subject, name) = (&script.subject, &script.name);
                let text = format!("subject `{subject}` and name `{name}` are already those of {other}");
                problems.push(problem(path, text));
            } else {
                owners.insert((&script.subject, &script.name), path);
                scripts.push(script.clone());
            }
        }
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Snapshot { index: Index::new(scripts), libraries: self.gathered.clone(), problems }
    }
}

impl ScriptFile {
    fn in_service(&self) -> Option<&Rc<Script>> {
        self.good.as_ref().or(self.broken.as_ref())
    }

    /// The version that needs a check, if there is one; everything else is settled here.
    fn candidate(&mut self, name: &str, last_id: &mut u64, libraries: &Libraries) -> Option<Rc<Script>> {
        let source = match self.content.as_ref()? {
            Content::Text(source) => source,
            Content::Unreadable(why) => {
                self.problems = vec![problem(name, why.clone())];
                return None;
            }
        };
        self.problems = source.problems(true);
        if self.problems.iter().any(|problem| problem.rejects) {
            self.reject(last_id);
            return None;
        }
        let script = match source.script(*last_id + 1, libraries) {
            Ok(script) => script,
            Err(problem) => {
                self.problems.push(problem);
                self.reject(last_id);
                return None;
            }
        };
        if self.good.as_ref().is_some_and(|good| same_parts(&good.parts, &script.parts)) {
            return None;
        }
        *last_id += 1;
        let script = Rc::new(script);
        if script.executor == Executor::Lua {
            return Some(script);
        }
        self.accept(script);
        None
    }

    fn accept(&mut self, script: Rc<Script>) {
        self.good = Some(script);
        self.broken = None;
    }

    /// What the compiler said of the text as it is now.
    fn fail(&mut self, last_id: &mut u64, text: &str) {
        if let Some(Content::Text(source)) = &self.content {
            self.problems.push(source.compiler_problem(text));
            self.reject(last_id);
        }
    }

    /// Without a good version, one that tells why takes its place, if it has a subject and a name.
    fn reject(&mut self, last_id: &mut u64) {
        let why = self.problems.iter().find(|problem| problem.rejects);
        let (None, Some(Content::Text(source)), Some(why)) = (&self.good, &self.content, why) else { return };
        if !source.has_identity() {
            self.broken = None;
            return;
        }
        let script = source.broken(*last_id + 1, why);
        let same = |old: &Rc<Script>| old.broken == script.broken && same_parts(&old.parts, &script.parts);
        if !self.broken.as_ref().is_some_and(same) {
            *last_id += 1;
            self.broken = Some(Rc::new(script));
        }
    }
}

fn same_parts(one: &[Part], other: &[Part]) -> bool {
    let same =
        |(a, b): (&Part, &Part)| a.name == b.name && (Rc::ptr_eq(&a.text, &b.text) || a.text == b.text);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

fn problem(file: &str, text: String) -> Problem {
    Problem { file: file.into(), line: None, text, rejects: true }
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
