//! Compiled patterns, a bounded number of bytes of them.

use std::rc::Rc;

use regex::bytes::{Regex, RegexBuilder};

use super::super::super::value::Fail;
use super::translate::{self, Translated};

/// What a pattern that compiles to little, and one that compiles to much, may take, in bytes.
const SMALL: usize = 128 << 10;
const LARGE: usize = 4 << 20;
/// What matching with one pattern may take besides, in bytes.
const MATCHING: usize = 256 << 10;
/// What all patterns that are kept may take, in bytes.
const BUDGET: usize = 16 << 20;

/// A pattern ready to match.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    /// The names of its groups, the first for group 1.
    pub(super) names: Vec<Option<String>>,
}

#[derive(Debug)]
struct Entry {
    pattern: Box<[u8]>,
    compiled: Rc<Compiled>,
    weight: usize,
}

/// Patterns that were used lately.
#[derive(Debug, Default)]
pub struct Patterns {
    /// The last used one last.
    entries: Vec<Entry>,
    weight: usize,
}

impl Patterns {
    /// A pattern compiled, from the cache if it is there.
    pub(super) fn get(&mut self, pattern: &[u8]) -> Result<Rc<Compiled>, Fail> {
        if let Some(at) = self.entries.iter().rposition(|entry| *entry.pattern == *pattern) {
            let last = self.entries.len() - 1;
            self.entries[at..].rotate_left(1);
            return Ok(self.entries[last].compiled.clone());
        }
        let (compiled, weight) = compile(pattern).map_err(|error| Fail::here(error.to_string()))?;
        self.weight += weight;
        while self.weight > BUDGET && !self.entries.is_empty() {
            self.weight -= self.entries.remove(0).weight;
        }
        let compiled = Rc::new(compiled);
        self.entries.push(Entry { pattern: pattern.into(), compiled: compiled.clone(), weight });
        Ok(compiled)
    }
}

fn compile(pattern: &[u8]) -> Result<(Compiled, usize), translate::Error> {
    let Translated { regex, names } = translate::pattern(pattern)?;
    let build = |size| RegexBuilder::new(&regex).size_limit(size).dfa_size_limit(MATCHING).build();
    let (size, built) = match build(SMALL) {
        Err(regex::Error::CompiledTooBig(_)) => (LARGE, build(LARGE)),
        built => (SMALL, built),
    };
    match built {
        Ok(regex) => Ok((Compiled { regex, names }, size + MATCHING)),
        Err(regex::Error::CompiledTooBig(_)) => Err(translate::Error::new("expression too large", pattern)),
        Err(_) => Err(translate::Error::new("invalid or unsupported syntax", pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_forgets_the_oldest() {
        let mut patterns = Patterns::default();
        let first = patterns.get(b"first").unwrap();
        for n in 0..1000 {
            patterns.get(format!("x{n}").as_bytes()).unwrap();
            assert!(Rc::ptr_eq(&first, &patterns.get(b"first").unwrap()), "in use");
        }
        assert!(patterns.entries.len() <= BUDGET / SMALL);
        assert!(patterns.weight <= BUDGET);
        assert!(!patterns.entries.iter().any(|entry| *entry.pattern == *b"x1"));
    }

    #[test]
    fn what_compiles_to_too_much_is_refused() {
        let Err(Fail::Here(text)) = Patterns::default().get(br"(\pL{1000}){1000}") else {
            panic!("must fail")
        };
        assert!(text.starts_with("error parsing regexp: expression too large"), "{text}");
    }
}
