//! Where a message goes: subjects to scripts.
//!
//! Takes the scripts in service, gives an immutable [`Index`] over them. Pure. Subjects of messages are
//! hostile: looking one up takes time and memory bounded by its length and the number of patterns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use crate::catalog::Script;

/// The longest subject of a script, in bytes.
pub const MAX_SUBJECT: usize = 1024;

/// Why a text is no subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing at all.
    #[error("the subject is empty")]
    Empty,
    /// Over [`MAX_SUBJECT`].
    #[error("the subject is longer than {MAX_SUBJECT} bytes")]
    TooLong,
    /// A dot at the start or end, or two in a row.
    #[error("the subject has an empty part; dots stand between parts only")]
    EmptyToken,
    /// Whitespace or control characters.
    #[error("the subject has whitespace or a control character")]
    Character,
    /// `*` or `>` beside other characters, or `>` before the end.
    #[error("in a subject `*` stands for a whole part, and `>` for all parts at the end")]
    Wildcard,
    /// A subject that never runs a script.
    #[error("subjects that start with `_INBOX.` or `$` never run a script")]
    Reserved,
}

/// Whether a text is a NATS subject, literal or with the wildcards `*` and a trailing `>`.
///
/// # Errors
/// When it is not.
pub fn check_pattern(text: &str) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > MAX_SUBJECT {
        return Err(SubjectError::TooLong);
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SubjectError::Character);
    }
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(SubjectError::EmptyToken),
            ">" if tokens.peek().is_some() => return Err(SubjectError::Wildcard),
            "*" | ">" => {}
            token if token.contains(['*', '>']) => return Err(SubjectError::Wildcard),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a script may have this subject.
///
/// # Errors
/// When it is no pattern, or starts with `_INBOX.` or `$`.
pub fn check_script_subject(text: &str) -> Result<(), SubjectError> {
    check_pattern(text)?;
    if text.starts_with("_INBOX.") || text.starts_with('$') {
        return Err(SubjectError::Reserved);
    }
    Ok(())
}

/// Whether a valid pattern has a wildcard.
fn is_wild(pattern: &str) -> bool {
    pattern.split('.').any(|token| matches!(token, "*" | ">"))
}

/// Whether some subject matches both patterns.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Whether every subject that matches `inner` matches `outer`, too.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// The scripts in service, by subject. Immutable: a change makes a new one.
#[derive(Debug, Default)]
pub struct Index {
    /// Sorted by subject, then name.
    scripts: Vec<Rc<Script>>,
    /// Each pattern's scripts.
    patterns: HashMap<Rc<str>, Range<usize>>,
    /// The patterns with wildcards.
    wild: Tree,
}

impl Index {
    /// An index over these scripts. Of two with one subject and name the first is kept.
    #[must_use]
    pub fn new(mut scripts: Vec<Rc<Script>>) -> Self {
        scripts.sort_by(|a, b| (&a.subject, &a.name).cmp(&(&b.subject, &b.name)));
        scripts.dedup_by(|a, b| a.subject == b.subject && a.name == b.name);
        let (mut patterns, mut wild) = (HashMap::new(), Tree::default());
        let mut start = 0;
        for run in scripts.chunk_by(|a, b| a.subject == b.subject) {
            let range = start..start + run.len();
            start = range.end;
            if let Some(script) = run.first() {
                if is_wild(&script.subject) {
                    wild.insert(&script.subject, range.clone());
                }
                patterns.insert(script.subject.clone(), range);
            }
        }
        Index { scripts, patterns, wild }
    }

    /// All scripts, by subject, then name.
    #[must_use]
    pub fn list(&self) -> &[Rc<Script>] {
        &self.scripts
    }

    /// The distinct subject patterns, sorted: what to subscribe to.
    pub fn patterns(&self) -> impl Iterator<Item = &Rc<str>> {
        self.scripts.chunk_by(|a, b| a.subject == b.subject).filter_map(|run| Some(&run.first()?.subject))
    }

    /// The scripts whose subject is exactly this pattern, by name.
    #[must_use]
    pub fn by_pattern(&self, pattern: &str) -> &[Rc<Script>] {
        self.patterns.get(pattern).map_or(&[], |range| self.slice(range))
    }

    /// The scripts whose subject matches this literal subject, by name (by subject within a name).
    /// Borrowed, unless a pattern with wildcards takes part.
    #[must_use]
    pub fn matching(&self, subject: &str) -> Cow<'_, [Rc<Script>]> {
        if is_wild(subject) {
            return Cow::Borrowed(&[]);
        }
        let exact = self.by_pattern(subject);
        let mut wild = Vec::new();
        self.wild.find(subject, &mut wild);
        match wild.as_slice() {
            [] => Cow::Borrowed(exact),
            [only] if exact.is_empty() => Cow::Borrowed(self.slice(only)),
            _ => {
                let parts = wild.iter().flat_map(|range| self.slice(range));
                let mut all: Vec<_> = exact.iter().chain(parts).cloned().collect();
                all.sort_by(|a, b| (&a.name, &a.subject).cmp(&(&b.name, &b.subject)));
                Cow::Owned(all)
            }
        }
    }

    /// Whether any script answers this literal subject.
    #[must_use]
    pub fn answers(&self, subject: &str) -> bool {
        !self.matching(subject).is_empty()
    }

    /// The script of that subject (exactly) and name.
    #[must_use]
    pub fn get(&self, subject: &str, name: &str) -> Option<&Rc<Script>> {
        let scripts = self.by_pattern(subject);
        scripts.get(scripts.binary_search_by(|script| (*script.name).cmp(name)).ok()?)
    }

    fn slice(&self, range: &Range<usize>) -> &[Rc<Script>] {
        self.scripts.get(range.clone()).unwrap_or_default()
    }
}

/// Patterns with wildcards, by token. Nodes stand in one list and refer to each other by index.
#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
}

/// What may follow a run of tokens.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, usize>,
    star: Option<usize>,
    /// Scripts of the pattern that ends here.
    here: Option<Range<usize>>,
    /// Scripts of the pattern that goes on with `>`.
    rest: Option<Range<usize>>,
}

impl Tree {
    fn insert(&mut self, pattern: &str, scripts: Range<usize>) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for token in pattern.split('.') {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match token {
                ">" => {
                    node.rest = Some(scripts);
                    return;
                }
                "*" => *node.star.get_or_insert(next),
                token => *node.literal.entry(token.into()).or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.here = Some(scripts);
        }
    }

    /// Adds the scripts of every pattern that matches a literal subject.
    fn find(&self, subject: &str, found: &mut Vec<Range<usize>>) {
        if self.nodes.is_empty() {
            return;
        }
        let mut level = vec![0];
        for token in subject.split('.') {
            let mut next = Vec::new();
            for node in level.iter().filter_map(|at| self.nodes.get(*at)) {
                found.extend(node.rest.clone());
                next.extend(node.literal.get(token));
                next.extend(node.star);
            }
            if next.is_empty() {
                return;
            }
            level = next;
        }
        let ends = level.iter().filter_map(|at| self.nodes.get(*at));
        found.extend(ends.filter_map(|node| node.here.clone()));
    }
}

#[cfg(test)]
mod tests;
