//! Which version of each script is in service: the last good one.
//!
//! Takes the texts of a store's files as they change, gives a [`Snapshot`]. Pure, but for the compiler
//! that it asks. A store tells it what changed, then calls [`Versions::build`].

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_util::StreamExt;

use super::build::Source;
use super::library::{Libraries, Shelves};
use super::shelf::Shelf;
use super::tenancy::Tenancy;
use super::{Executor, Part, Problem, Script, Snapshot};
use crate::invocation::Tenant;
use crate::route::Index;

/// How many scripts are with the compiler at a time.
const CHECKS: usize = 16;

/// A file's text, or why there is none.
pub(crate) type Text = Result<Vec<u8>, String>;

/// The files of a store, and what is in service of them.
#[derive(Default)]
pub(crate) struct Versions {
    scripts: BTreeMap<Rc<str>, ScriptFile>,
    /// The operator's libraries.
    shared: Shelf,
    /// Tenants' own.
    own: BTreeMap<Tenant, Shelf>,
    gathered: Shelves,
    tenancy: Rc<Tenancy>,
    owners: Owners,
    /// Whether every script must be looked at anew.
    all_changed: bool,
    last_id: u64,
}

/// What says whose a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Owners {
    /// Its folder.
    #[default]
    Folders,
    /// Its subject: there are no folders.
    Subjects,
}

impl Owners {
    fn of<'a>(self, tenancy: &'a Tenancy, path: &str, content: Option<&Content>) -> &'a Tenant {
        match (self, content) {
            (Owners::Subjects, Some(Content::Text(source))) => {
                tenancy.of_subject(source.header.subject.as_deref().unwrap_or(""))
            }
            _ => tenancy.of_file(path),
        }
    }
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

/// What reading a file gave.
#[allow(clippy::large_enum_variant, reason = "nearly all are texts")]
pub(super) enum Content {
    Text(Source),
    Unreadable(String),
}

impl Content {
    /// What reading the file of this name gave.
    pub(super) fn new(name: &str, text: Text) -> Content {
        match text {
            Ok(text) => Content::Text(Source::new(name, &text)),
            Err(why) => Content::Unreadable(why),
        }
    }

    fn is_same(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Text(one), Content::Text(other)) => {
                one.part.text == other.part.text && one.header == other.header
            }
            (Content::Unreadable(one), Content::Unreadable(other)) => one == other,
            _ => false,
        }
    }

    pub(super) fn is(&self, text: &Text) -> bool {
        match (self, text) {
            (Content::Text(source), Ok(text)) => *source.part.text == *super::header::lua_text(text),
            (Content::Unreadable(why), Err(new)) => why == new,
            _ => false,
        }
    }
}

impl Versions {
    /// No files yet, and this says whose they are.
    pub(crate) fn new(owners: Owners) -> Versions {
        Versions { owners, ..Versions::default() }
    }

    /// A script that its store has read already, or why it could not. `name` is its name in error messages.
    pub(crate) fn put_source(&mut self, name: &str, source: Result<Source, String>) {
        let file = self.scripts.entry(name.into()).or_default();
        let content = source.map_or_else(Content::Unreadable, Content::Text);
        if file.content.as_ref().is_none_or(|old| !old.is_same(&content)) {
            file.content = Some(content);
            file.changed = true;
        }
    }

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

    /// A library's text, under its path below its folder without the extension: the operator's, or one of a
    /// tenant's own.
    pub(crate) fn put_library(&mut self, owner: Option<&Tenant>, name: &str, text: Text) {
        self.shelf(owner).put(name, text);
    }

    /// A library is gone.
    pub(crate) fn remove_library(&mut self, owner: Option<&Tenant>, name: &str) {
        self.shelf(owner).remove(name);
    }

    fn shelf(&mut self, owner: Option<&Tenant>) -> &mut Shelf {
        match owner {
            None => &mut self.shared,
            Some(tenant) => self.own.entry(tenant.clone()).or_default(),
        }
    }

    /// Other tenants, or other claims: every script is looked at anew, and none stays in service under a
    /// tenant that is not its own any more.
    pub(crate) fn set_tenancy(&mut self, tenancy: Rc<Tenancy>) {
        if *tenancy == *self.tenancy {
            return;
        }
        self.own.retain(|tenant, _| tenancy.folders().any(|(known, _)| known == tenant));
        self.tenancy = tenancy;
        self.all_changed = true;
    }

    /// Settles what is in service of everything that changed. `check` tells whether a script compiles.
    pub(crate) async fn build(&mut self, check: &impl AsyncFn(&Rc<Script>) -> Result<(), String>) {
        let mut libraries_changed = false;
        for shelf in std::iter::once(&mut self.shared).chain(self.own.values_mut()) {
            libraries_changed |= shelf.take_changed();
        }
        let all = std::mem::take(&mut self.all_changed) || libraries_changed;
        if all {
            self.gather();
        }
        let mut candidates = Vec::new();
        for (name, file) in &mut self.scripts {
            if std::mem::take(&mut file.changed) || all {
                let tenant = self.owners.of(&self.tenancy, name, file.content.as_ref());
                let libraries = self.gathered.of(tenant);
                let owner = Owner { tenant, tenancy: &self.tenancy, libraries };
                let candidate = file.candidate(name, &mut self.last_id, &owner);
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
                Err(text) => file.fail(&mut self.last_id, &script.tenant, &text),
            }
        }
    }

    /// Names the libraries. A tenant's own come before the operator's of the same name.
    fn gather(&mut self) {
        let shared = self.shared.gather("");
        let mut own = HashMap::new();
        for (tenant, folder) in self.tenancy.folders() {
            let Some(shelf) = self.own.get_mut(tenant).filter(|shelf| !shelf.is_empty()) else { continue };
            let mut all = shared.clone();
            all.extend(shelf.gather(&format!("{folder}libs/")));
            own.insert(tenant.clone(), Rc::new(Libraries::new(all)));
        }
        self.gathered = Shelves { shared: Rc::new(Libraries::new(shared)), own };
    }

    /// What is in service now. Of two scripts with one subject and name the first by path counts.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let shelves = std::iter::once(&self.shared).chain(self.own.values());
        let mut problems: Vec<Problem> = shelves.flat_map(|shelf| shelf.problems().cloned()).collect();
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

/// Whose a file is, and what follows from that.
struct Owner<'a> {
    tenant: &'a Tenant,
    tenancy: &'a Tenancy,
    libraries: &'a Libraries,
}

impl Owner<'_> {
    /// Whether a version that is in service may stay so.
    fn may_have(&self, script: &Script) -> bool {
        script.tenant == *self.tenant && self.tenancy.check(self.tenant, &script.subject).is_ok()
    }
}

impl ScriptFile {
    fn in_service(&self) -> Option<&Rc<Script>> {
        self.good.as_ref().or(self.broken.as_ref())
    }

    /// The version that needs a check, if there is one; everything else is settled here.
    fn candidate(&mut self, name: &str, last_id: &mut u64, owner: &Owner<'_>) -> Option<Rc<Script>> {
        self.good.take_if(|good| !owner.may_have(good));
        self.broken.take_if(|broken| !owner.may_have(broken));
        let source = match self.content.as_ref()? {
            Content::Text(source) => source,
            Content::Unreadable(why) => {
                self.problems = vec![problem(name, why.clone())];
                return None;
            }
        };
        self.problems = source.problems(true);
        if let Some(problem) = source.foreign(owner.tenant, owner.tenancy) {
            // Nothing may answer on a subject that is not its own, not even with an error.
            self.problems.push(problem);
            return None;
        }
        if self.problems.iter().any(|problem| problem.rejects) {
            self.reject(last_id, owner.tenant);
            return None;
        }
        let script = match source.script(*last_id + 1, owner.tenant, owner.libraries) {
            Ok(script) => script,
            Err(problem) => {
                self.problems.push(problem);
                self.reject(last_id, owner.tenant);
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
    fn fail(&mut self, last_id: &mut u64, tenant: &Tenant, text: &str) {
        if let Some(Content::Text(source)) = &self.content {
            self.problems.push(source.compiler_problem(text));
            self.reject(last_id, tenant);
        }
    }

    /// Without a good version, one that tells why takes its place, if it has a subject and a name.
    fn reject(&mut self, last_id: &mut u64, tenant: &Tenant) {
        let why = self.problems.iter().find(|problem| problem.rejects);
        let (None, Some(Content::Text(source)), Some(why)) = (&self.good, &self.content, why) else { return };
        if !source.has_identity() {
            self.broken = None;
            return;
        }
        let script = source.broken(*last_id + 1, tenant, why);
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

pub(super) fn problem(file: &str, text: String) -> Problem {
    Problem { file: file.into(), line: None, text, rejects: true }
}
