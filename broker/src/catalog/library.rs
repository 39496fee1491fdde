//! Libraries: what `require` headers put in front of a script.
//!
//! Takes the libraries of a store, gives the parts of a chunk in order. Pure.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::Part;
use crate::invocation::Tenant;

/// How deep libraries may require each other.
const MAX_DEPTH: usize = 64;

/// The largest text that libraries may add up to in one chunk, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// One library.
#[derive(Debug, Clone)]
pub struct Library {
    /// Its text, named `<name>.lua` in error messages.
    pub part: Part,
    /// Its own `require` headers, in order.
    pub requires: Vec<Rc<str>>,
}

/// All libraries, by name. Immutable: a change makes a new one.
#[derive(Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<Rc<str>, Library>,
}

/// The libraries that each tenant's scripts find: the operator's, and the tenant's own before these.
#[derive(Debug, Clone, Default)]
pub struct Shelves {
    /// The operator's.
    pub shared: Rc<Libraries>,
    /// Of tenants that have own ones: all that they find.
    pub own: HashMap<Tenant, Rc<Libraries>>,
}

impl Shelves {
    /// Those that a tenant's scripts find.
    #[must_use]
    pub fn of(&self, tenant: &str) -> &Rc<Libraries> {
        self.own.get(tenant).unwrap_or(&self.shared)
    }

    /// Whether nothing changed since these.
    #[must_use]
    pub fn same(&self, old: &Shelves) -> bool {
        let same = |(tenant, libraries)| old.own.get(tenant).is_some_and(|old| Rc::ptr_eq(old, libraries));
        Rc::ptr_eq(&self.shared, &old.shared) && self.own.len() == old.own.len() && self.own.iter().all(same)
    }
}

/// Why libraries cannot be put in front of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// There is no such library.
    #[error("library `{name}`, required by {by}, does not exist")]
    Missing {
        /// The library.
        name: Rc<str>,
        /// The script or library that requires it.
        by: Rc<str>,
    },
    /// They require each other.
    #[error("libraries require each other: {0}")]
    Cycle(String),
    /// A longer chain than we follow.
    #[error("libraries require each other more than {MAX_DEPTH} deep")]
    Deep,
    /// Too much text.
    #[error("libraries add up to more than {} MiB", MAX_TEXT >> 20)]
    Large,
}

impl Libraries {
    /// The libraries of these names.
    #[must_use]
    pub fn new(by_name: BTreeMap<Rc<str>, Library>) -> Self {
        Libraries { by_name }
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&Rc<str>, &Library)> {
        self.by_name.iter()
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Rc<str>> {
        self.by_name.keys()
    }

    /// The libraries that `by` requires, and those that they require: each once, before what needs it.
    ///
    /// # Errors
    /// When one is missing, or they require each other, or there is too much of it.
    pub fn resolve(&self, requires: &[Rc<str>], by: &Rc<str>) -> Result<Vec<Part>, LibraryError> {
        let mut walk = Walk { libraries: self, done: Vec::new(), path: Vec::new(), size: 0 };
        walk.all(requires, by)?;
        Ok(walk.done.into_iter().map(|(_, part)| part.clone()).collect())
    }

    /// One library with all that it requires, itself last; none if there is no such library.
    ///
    /// # Errors
    /// As for [`Libraries::resolve`].
    pub fn get(&self, name: &str) -> Result<Option<Vec<Part>>, LibraryError> {
        let Some((name, _)) = self.by_name.get_key_value(name) else { return Ok(None) };
        self.resolve(std::slice::from_ref(name), name).map(Some)
    }
}

struct Walk<'a> {
    libraries: &'a Libraries,
    done: Vec<(&'a Rc<str>, &'a Part)>,
    /// From the script's own library down to the one being looked at.
    path: Vec<&'a Rc<str>>,
    size: usize,
}

impl<'a> Walk<'a> {
    fn all(&mut self, requires: &[Rc<str>], by: &Rc<str>) -> Result<(), LibraryError> {
        requires.iter().try_for_each(|name| self.one(name, by))
    }

    fn one(&mut self, name: &Rc<str>, by: &Rc<str>) -> Result<(), LibraryError> {
        let found = self.libraries.by_name.get_key_value(name);
        let (name, library) =
            found.ok_or_else(|| LibraryError::Missing { name: name.clone(), by: by.clone() })?;
        if let Some(start) = self.path.iter().position(|other| *other == name) {
            let cycle = self.path.iter().skip(start).chain([&name]);
            let cycle: Vec<_> = cycle.map(|name| &***name).collect();
            return Err(LibraryError::Cycle(cycle.join(" -> ")));
        }
        if self.done.iter().any(|(other, _)| *other == name) {
            return Ok(());
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(LibraryError::Deep);
        }
        self.path.push(name);
        self.all(&library.requires, &library.part.name)?;
        self.path.pop();
        self.size += library.part.text.len();
        if self.size > MAX_TEXT {
            return Err(LibraryError::Large);
        }
        self.done.push((name, &library.part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn libraries(list: &[(&str, &[&str])]) -> Libraries {
        let library = |name: &str, requires: &[&str]| Library {
            part: Part { name: format!("{name}.lua").into(), text: name.as_bytes().into() },
            requires: requires.iter().map(|name| Rc::from(*name)).collect(),
        };
        Libraries::new(
            list.iter().map(|(name, requires)| (Rc::from(*name), library(name, requires))).collect(),
        )
    }

    fn resolve(list: &[(&str, &[&str])], requires: &[&str]) -> Result<Vec<String>, String> {
        let requires: Vec<Rc<str>> = requires.iter().map(|name| Rc::from(*name)).collect();
        let parts = libraries(list).resolve(&requires, &"s.lua".into());
        let parts = parts.map_err(|error| error.to_string())?;
        Ok(parts.iter().map(|part| part.name.to_string()).collect())
    }

    #[test]
    fn each_once_and_before_what_needs_it() {
        let list: &[(&str, &[&str])] = &[("a", &["c"]), ("b", &["c", "a"]), ("c", &[]), ("d", &[])];
        assert_eq!(resolve(list, &["d", "b", "a", "d"]).unwrap(), ["d.lua", "c.lua", "a.lua", "b.lua"]);
        assert_eq!(resolve(list, &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn errors_name_who_and_what() {
        let list: &[(&str, &[&str])] =
            &[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &["x"]), ("e", &["e"])];
        assert_eq!(resolve(list, &["a"]).unwrap_err(), "libraries require each other: b -> c -> b");
        assert_eq!(resolve(list, &["e"]).unwrap_err(), "libraries require each other: e -> e");
        assert_eq!(resolve(list, &["y"]).unwrap_err(), "library `y`, required by s.lua, does not exist");
        assert_eq!(resolve(list, &["d"]).unwrap_err(), "library `x`, required by d.lua, does not exist");
    }

    #[test]
    fn one_library_at_run_time() {
        let libraries = libraries(&[("a", &["b"]), ("b", &[]), ("c", &["c"])]);
        let names = |parts: Vec<Part>| parts.iter().map(|part| part.name.to_string()).collect::<Vec<_>>();
        assert_eq!(libraries.get("a").unwrap().map(names).unwrap(), ["b.lua", "a.lua"]);
        assert!(libraries.get("x").unwrap().is_none());
        assert!(libraries.get("c").is_err());
    }

    #[test]
    fn chains_and_sizes_are_bounded() {
        let names: Vec<String> = (0..100).map(|n| format!("l{n:03}")).collect();
        let nexts: Vec<Vec<&str>> =
            (0..100).map(|n| names.get(n + 1).map(String::as_str).into_iter().collect()).collect();
        let list: Vec<_> =
            names.iter().zip(&nexts).map(|(name, next)| (name.as_str(), next.as_slice())).collect();
        assert_eq!(resolve(&list, &["l000"]).unwrap_err(), LibraryError::Deep.to_string());
        assert_eq!(resolve(&list, &["l050"]).unwrap().len(), 50);
        let big = |name: &str| {
            let text: Rc<[u8]> = vec![b' '; 9 << 20].into();
            (Rc::from(name), Library { part: Part { name: name.into(), text }, requires: Vec::new() })
        };
        let libraries = Libraries::new([big("a"), big("b")].into());
        assert_eq!(
            libraries.resolve(&["a".into(), "b".into()], &"s".into()).unwrap_err(),
            LibraryError::Large
        );
    }

    proptest! {
        #[test]
        fn any_graph_is_ordered_or_refused(edges in proptest::collection::vec((0..6_usize, 0..7_usize), 0..14)) {
            let names = ["a", "b", "c", "d", "e", "f", "missing"];
            let list: Vec<(&str, Vec<&str>)> = (0..6)
                .map(|n| (names[n], edges.iter().filter(|edge| edge.0 == n).map(|edge| names[edge.1]).collect()))
                .collect();
            let list: Vec<_> = list.iter().map(|(name, requires)| (*name, requires.as_slice())).collect();
            if let Ok(order) = resolve(&list, &["a", "b"]) {
                let at = |name: &str| order.iter().position(|part| *part == format!("{name}.lua"));
                for (name, requires) in list.iter().filter(|(name, _)| at(name).is_some()) {
                    prop_assert!(requires.iter().all(|other| at(other) < at(name) && at(other).is_some()));
                }
                prop_assert!(at("a").is_some() && at("b").is_some());
            }
        }
    }
}
