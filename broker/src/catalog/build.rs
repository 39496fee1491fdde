//! A file's text becomes a script or a library.
//!
//! Takes texts and the libraries, gives values and problems. Pure. Which version is in service is for
//! the store to decide.

use std::rc::Rc;

use super::header::{self, Header};
use super::library::{Libraries, Library};
use super::tenancy::Tenancy;
use super::{Part, Problem, Script};
use crate::invocation::{DEFAULT_TENANT, Tenant};

/// A file's text with what its header says.
#[derive(Debug)]
pub(crate) struct Source {
    /// The text for Lua, under the author's name for it.
    pub(crate) part: Part,
    /// What its header says.
    pub(crate) header: Header,
}

impl Source {
    /// Reads a file's text; `name` is its name in error messages.
    pub(crate) fn new(name: &str, text: &[u8]) -> Source {
        let text = header::lua_text(text);
        let header = header::parse(&text);
        Source { part: Part { name: name.into(), text: text.into() }, header }
    }

    /// Whether subject and name could be read.
    pub(crate) fn has_identity(&self) -> bool {
        self.header.subject.is_some() && self.header.name.is_some()
    }

    /// What is wrong with the header, in the order of lines: first what rejects it.
    pub(crate) fn problems(&self, is_script: bool) -> Vec<Problem> {
        let header = &self.header;
        let errors = header.errors.iter().map(|error| self.problem(Some(error.line), &error.to_string()));
        let mut problems: Vec<_> = errors.collect();
        if is_script && problems.is_empty() {
            let missing = [("subject", header.subject.is_none()), ("name", header.name.is_none())];
            for (key, _) in missing.into_iter().filter(|(_, missing)| *missing) {
                let text = format!("there is no `{key}`; add a line `--* {key}: …` at the top");
                problems.push(self.problem(Some(1), &text));
            }
        }
        problems.extend(
            header
                .warnings
                .iter()
                .map(|warning| Problem { rejects: false, ..self.problem(Some(warning.line), &warning.text) }),
        );
        problems
    }

    /// The same, and what is wrong with the libraries it requires.
    pub(crate) fn all_problems(&self, is_script: bool, libraries: &Libraries) -> Vec<Problem> {
        let mut problems = self.problems(is_script);
        if problems.iter().all(|problem| !problem.rejects) {
            problems.extend(self.script(0, &DEFAULT_TENANT.into(), libraries).err());
        }
        problems
    }

    /// Why a script of this tenant may not have its subject.
    pub(crate) fn foreign(&self, tenant: &str, tenancy: &Tenancy) -> Option<Problem> {
        let subject = self.header.subject.as_ref()?;
        tenancy.check(tenant, subject).err().map(|error| self.problem(None, &error.to_string()))
    }

    fn problem(&self, line: Option<usize>, text: &str) -> Problem {
        Problem { file: self.part.name.clone(), line, text: text.to_owned(), rejects: true }
    }

    /// What a compiler said of it: a message that begins with this file's name and a line is put there.
    pub(crate) fn compiler_problem(&self, text: &str) -> Problem {
        let own = text.strip_prefix(&*self.part.name).and_then(|rest| rest.strip_prefix(':'));
        let place = own.and_then(|rest| rest.split_once(':'));
        match place.and_then(|(line, rest)| Some((line.parse().ok()?, rest))) {
            Some((line, rest)) => self.problem(Some(line), rest.trim_start()),
            None => self.problem(None, text),
        }
    }

    /// The script with its libraries in front, under that id.
    ///
    /// # Errors
    /// When a library is missing, or libraries require each other.
    pub(crate) fn script(&self, id: u64, tenant: &Tenant, libraries: &Libraries) -> Result<Script, Problem> {
        let resolved = libraries.resolve(&self.header.requires, &self.part.name);
        let mut parts = resolved
            .map_err(|error| self.problem(self.line_of_bad_require(libraries), &error.to_string()))?;
        parts.push(self.part.clone());
        Ok(self.with_parts(id, tenant, parts))
    }

    /// The line of the first `require` that leads to what is missing or wrong.
    fn line_of_bad_require(&self, libraries: &Libraries) -> Option<usize> {
        let mut requires = self.header.requires.iter().zip(&self.header.require_lines);
        let bad = |name: &Rc<str>| libraries.resolve(std::slice::from_ref(name), &self.part.name).is_err();
        requires.find_map(|(name, line)| bad(name).then_some(*line))
    }

    /// A script that only tells why it cannot run.
    pub(crate) fn broken(&self, id: u64, tenant: &Tenant, why: &Problem) -> Script {
        Script { broken: Some(why.to_string()), ..self.with_parts(id, tenant, vec![self.part.clone()]) }
    }

    fn with_parts(&self, id: u64, tenant: &Tenant, parts: Vec<Part>) -> Script {
        let header = &self.header;
        Script {
            id,
            // A script without these never gets into service: see `has_identity`.
            subject: header.subject.clone().unwrap_or_default(),
            name: header.name.clone().unwrap_or_default(),
            tenant: tenant.clone(),
            lock: header.lock.clone(),
            trigger: header.trigger.trigger(header.name.as_deref().unwrap_or_default()),
            timer: header.timer.timer(),
            http: header.http,
            executor: header.executor,
            jit: header.jit,
            timeout: header.timeout,
            memory: header.memory,
            source: self.part.clone(),
            parts,
            requires: header.requires.clone(),
            broken: None,
            headers: header.lines.clone(),
            unknown: header.unknown.clone(),
        }
    }

    /// The library that the file is, under its own name or this one.
    pub(crate) fn library(&self, name: &str) -> (Rc<str>, Library) {
        let name = self.header.name.clone().unwrap_or_else(|| name.into());
        let part = Part { name: format!("{name}.lua").into(), text: self.part.text.clone() };
        (name, Library { part, requires: self.header.requires.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let source = Source::new("a.lua", b"x = 1\n");
        let problems: Vec<_> = source.problems(true).iter().map(ToString::to_string).collect();
        let expected = [
            "a.lua:1: there is no `subject`; add a line `--* subject: …` at the top",
            "a.lua:1: there is no `name`; add a line `--* name: …` at the top",
        ];
        assert_eq!(problems, expected);
        assert!(source.problems(false).is_empty(), "a library needs neither");
    }

    #[test]
    fn compilers_places_become_ours() {
        let source = Source::new("a/b.lua", b"");
        let problem = |text| source.compiler_problem(text).to_string();
        assert_eq!(problem("a/b.lua:7: '=' expected"), "a/b.lua:7: '=' expected");
        assert_eq!(problem("util.lua:7: '=' expected"), "a/b.lua: util.lua:7: '=' expected");
        assert_eq!(problem("worker died"), "a/b.lua: worker died");
    }

    #[test]
    fn libraries_are_named_by_header_or_path() {
        let (name, library) = Source::new("net/http.lua", b"--* require: base\n").library("net/http");
        assert_eq!(
            (&*name, &*library.part.name, &*library.requires[0]),
            ("net/http", "net/http.lua", "base")
        );
        let (name, library) = Source::new("web2.lua", b"--* name: web\n").library("web2");
        assert_eq!((&*name, &*library.part.name), ("web", "web.lua"));
    }
}
