//! Scripts and libraries by subject and name.
//!
//! `header` reads `--*` lines, `library` puts libraries in front; `file` keeps a folder's scripts
//! current, `etcd` those of an etcd. What is in service is an immutable [`Snapshot`] that is replaced as a whole.

pub mod cron;
pub mod header;
pub mod library;
pub mod tenancy;
pub mod timer;
pub mod trigger;

pub(crate) mod build;
mod shelf;
pub(crate) mod versions;

pub mod etcd;
pub mod file;
pub mod record;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use crate::audit;
use crate::invocation::Tenant;
use crate::route::Index;
use library::Shelves;
pub use record::{LOCKS, SCHEDULES};

/// One version of a script.
#[derive(Debug)]
pub struct Script {
    /// Unique for this version within the broker's life; workers know it by this.
    pub id: u64,
    /// Its subject: literal, or with NATS wildcards.
    pub subject: Rc<str>,
    /// Its name. Subject and name are its identity.
    pub name: Rc<str>,
    /// Who owns it.
    pub tenant: Tenant,
    /// The lock under which it runs, if it asks for one.
    pub lock: Option<header::Lock>,
    /// The stream that triggers it, instead of plain messages.
    pub trigger: Option<trigger::Trigger>,
    /// When it is due, if it has a schedule.
    pub timer: Option<timer::Timer>,
    /// `http: true`.
    pub http: bool,
    /// What runs it.
    pub executor: Executor,
    /// Whether it asks for LuaJIT's compiler.
    pub jit: bool,
    /// Its own limit on a run, if it has one.
    pub timeout: Option<Duration>,
    /// Its own limit on memory, in bytes, if it has one.
    pub memory: Option<u64>,
    /// Its own text, under the author's name for it: the path below the script folder.
    pub source: Part,
    /// The chunk: libraries in order, then the script itself, each under the author's name for it.
    pub parts: Vec<Part>,
    /// The libraries that its header requires, as written.
    pub requires: Vec<Rc<str>>,
    /// Why it cannot run (there is no good version): each call answers with this. File and line first.
    pub broken: Option<String>,
    /// The lines of its header, as written.
    pub headers: Vec<(String, String)>,
    /// Those among them whose key means nothing to us.
    pub unknown: Vec<(String, String)>,
}

#[cfg(test)]
impl Script {
    /// A Lua script without text.
    pub(crate) fn for_test(subject: &str, name: &str) -> Script {
        let source = Part { name: format!("{name}.lua").into(), text: [].into() };
        Script {
            id: 1,
            subject: subject.into(),
            name: name.into(),
            tenant: crate::invocation::DEFAULT_TENANT.into(),
            http: false,
            executor: Executor::Lua,
            jit: false,
            lock: None,
            trigger: None,
            timer: None,
            timeout: None,
            memory: None,
            parts: vec![source.clone()],
            source,
            requires: Vec::new(),
            broken: None,
            headers: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// One file's part of a chunk.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in error messages.
    pub name: Rc<str>,
    /// Its text, header lines included (they are Lua comments, so lines keep their numbers).
    pub text: Rc<[u8]>,
}

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// Lua.
    Lua,
    /// A WASM module.
    Wasm,
    /// A container.
    Podman,
}

impl Executor {
    /// Its name in headers, in etcd and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Executor::Lua => "lua",
            Executor::Wasm => "wasm",
            Executor::Podman => "podman",
        }
    }

    /// The executor of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Executor> {
        [Executor::Lua, Executor::Wasm, Executor::Podman].into_iter().find(|it| it.name() == name)
    }
}

/// Something that is wrong in a store. It prints as `file:line: text`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The file, as the author knows it.
    pub file: Rc<str>,
    /// The line, from 1, if it is one line's fault.
    pub line: Option<usize>,
    /// What it is.
    pub text: String,
    /// Whether the script or library is rejected for it.
    pub rejects: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

/// All that is in service at one time.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The scripts, by subject.
    pub index: Index,
    /// The libraries, by name.
    pub libraries: Shelves,
    /// What is wrong, sorted by file.
    pub problems: Vec<Problem>,
}

/// The catalogue: a handle to what is in service now. Copies share it.
#[derive(Debug, Clone)]
pub struct Catalog {
    current: Rc<watch::Sender<Rc<Snapshot>>>,
    away: Rc<RefCell<Option<String>>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::new(Snapshot::default())
    }
}

impl Catalog {
    /// A catalogue with this in service.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Catalog { current: Rc::new(watch::Sender::new(Rc::new(snapshot))), away: Rc::default() }
    }

    /// What is in service now. Keep it for the time of one message, not longer.
    #[must_use]
    pub fn current(&self) -> Rc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Puts another state in service, at once and as a whole.
    pub fn replace(&self, snapshot: Snapshot) {
        audit::catalog_changed(&self.current(), &snapshot);
        self.current.send_replace(Rc::new(snapshot));
    }

    /// Puts this in service if it differs from what is, and tells of what is newly wrong.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let old = self.current();
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
        let same_libraries = snapshot.libraries.same(&old.libraries);
        if !(same_scripts && same_libraries && old.problems == snapshot.problems) {
            tracing::info!(scripts = snapshot.index.list().len(), "the catalogue changed");
            self.replace(snapshot);
        }
    }

    /// Why the store cannot be asked at the moment, if so: what is in service may be old.
    #[must_use]
    pub fn away(&self) -> Option<String> {
        self.away.borrow().clone()
    }

    /// The store cannot be asked, or can again.
    pub(crate) fn set_away(&self, why: Option<String>) {
        *self.away.borrow_mut() = why;
    }

    /// Tells of each change from now on. Several changes in a row may be told as one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Rc<Snapshot>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_as_a_whole() {
        let catalog = Catalog::default();
        let mut changes = catalog.changes();
        let before = catalog.current();
        let scripts = vec![Rc::new(Script::for_test("a", "n"))];
        catalog.replace(Snapshot { index: Index::new(scripts), ..Snapshot::default() });
        changes.changed().await.unwrap();
        assert_eq!(changes.borrow_and_update().index.list().len(), 1);
        assert_eq!(before.index.list().len(), 0, "who holds the old state keeps it");
    }

    #[test]
    fn problems_print_with_their_place() {
        let mut problem = Problem { file: "a/b.lua".into(), line: Some(3), text: "no".into(), rejects: true };
        assert_eq!(problem.to_string(), "a/b.lua:3: no");
        problem.line = None;
        assert_eq!(problem.to_string(), "a/b.lua: no");
    }
}
