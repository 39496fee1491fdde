//! Who subscribes to what: patterns to subscribers.
//!
//! Pure. Literal subjects are one hash lookup; patterns with wildcards stand in a tree of tokens. What
//! matches is handed out as shared leaves, so that a delivery may change the list while it goes on.

use std::collections::HashMap;
use std::rc::Rc;

use super::subject::{has_wildcard, tokens};

/// The most tokens of a pattern with wildcards: each is a level of the tree.
pub(super) const MAX_TOKENS: usize = 128;

/// The subscribers of one pattern.
#[derive(Debug)]
pub(super) struct Leaf<S> {
    /// Those that get every message.
    pub(super) plain: Vec<S>,
    /// Queue groups: one member of each gets the message.
    pub(super) groups: Vec<(Rc<str>, Vec<S>)>,
}

/// All subscriptions. `S` is a cheap handle; two that are equal are the same subscription.
#[derive(Debug)]
pub(super) struct Sublist<S> {
    literal: HashMap<Box<str>, Rc<Leaf<S>>>,
    root: Node<S>,
}

#[derive(Debug)]
struct Node<S> {
    tokens: HashMap<Box<str>, Node<S>>,
    any: Option<Box<Node<S>>>,
    /// `>` at this place.
    rest: Option<Rc<Leaf<S>>>,
    /// The pattern that ends here.
    here: Option<Rc<Leaf<S>>>,
}

impl<S: Clone + PartialEq> Sublist<S> {
    /// Nobody subscribes.
    pub(super) fn new() -> Self {
        Self { literal: HashMap::new(), root: Node::new() }
    }

    /// Adds a subscriber of the valid pattern `pattern`; false if the pattern has too many tokens.
    pub(super) fn insert(&mut self, pattern: &str, queue: Option<&Rc<str>>, subscriber: S) -> bool {
        if !has_wildcard(pattern) {
            let leaf = self.literal.entry(pattern.into()).or_default();
            Rc::make_mut(leaf).add(queue, subscriber);
            return true;
        }
        if pattern.split('.').count() > MAX_TOKENS {
            return false;
        }
        let mut node = &mut self.root;
        for token in pattern.split('.') {
            node = match token {
                ">" => {
                    Rc::make_mut(node.rest.get_or_insert_default()).add(queue, subscriber);
                    return true;
                }
                "*" => node.any.get_or_insert_with(|| Box::new(Node::new())),
                token => node.tokens.entry(token.into()).or_insert_with(Node::new),
            };
        }
        Rc::make_mut(node.here.get_or_insert_default()).add(queue, subscriber);
        true
    }

    /// Removes what [`Self::insert`] added with the same arguments.
    pub(super) fn remove(&mut self, pattern: &str, queue: Option<&Rc<str>>, subscriber: &S) {
        if has_wildcard(pattern) {
            self.root.remove(Some(pattern), queue, subscriber);
        } else if let Some(leaf) = self.literal.get_mut(pattern)
            && Rc::make_mut(leaf).take(queue, subscriber)
        {
            self.literal.remove(pattern);
        }
    }

    /// Appends the leaf of each pattern that `subject` matches. A subject with an empty token or a wildcard
    /// matches nothing.
    pub(super) fn matching(&self, subject: &str, found: &mut Vec<Rc<Leaf<S>>>) {
        // Only subjects that are valid were ever inserted, so a hit needs no check.
        found.extend(self.literal.get(subject).cloned());
        if self.root.is_empty() || has_wildcard(subject) || tokens(subject).any(<[u8]>::is_empty) {
            return;
        }
        self.root.matching(Some(subject), found);
    }
}

impl<S> Default for Leaf<S> {
    fn default() -> Self {
        Self { plain: Vec::new(), groups: Vec::new() }
    }
}

impl<S: Clone> Clone for Leaf<S> {
    fn clone(&self) -> Self {
        Self { plain: self.plain.clone(), groups: self.groups.clone() }
    }
}

impl<S: PartialEq> Leaf<S> {
    fn add(&mut self, queue: Option<&Rc<str>>, subscriber: S) {
        let Some(queue) = queue else { return self.plain.push(subscriber) };
        match self.groups.iter_mut().find(|(name, _)| name == queue) {
            Some((_, members)) => members.push(subscriber),
            None => self.groups.push((queue.clone(), vec![subscriber])),
        }
    }

    /// Removes; true if nobody is left.
    fn take(&mut self, queue: Option<&Rc<str>>, subscriber: &S) -> bool {
        match queue {
            None => self.plain.retain(|known| known != subscriber),
            Some(queue) => {
                if let Some((_, members)) = self.groups.iter_mut().find(|(name, _)| name == queue) {
                    members.retain(|known| known != subscriber);
                }
                self.groups.retain(|(_, members)| !members.is_empty());
            }
        }
        self.plain.is_empty() && self.groups.is_empty()
    }
}

impl<S: Clone + PartialEq> Node<S> {
    fn new() -> Self {
        Self { tokens: HashMap::new(), any: None, rest: None, here: None }
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.any.is_none() && self.rest.is_none() && self.here.is_none()
    }

    fn remove(&mut self, pattern: Option<&str>, queue: Option<&Rc<str>>, subscriber: &S) {
        match first(pattern) {
            None => take(&mut self.here, queue, subscriber),
            Some((">", _)) => take(&mut self.rest, queue, subscriber),
            Some(("*", after)) => {
                if let Some(node) = &mut self.any {
                    node.remove(after, queue, subscriber);
                    self.any.take_if(|node| node.is_empty());
                }
            }
            Some((token, after)) => {
                if let Some(node) = self.tokens.get_mut(token) {
                    node.remove(after, queue, subscriber);
                    if node.is_empty() {
                        self.tokens.remove(token);
                    }
                }
            }
        }
    }

    fn matching(&self, subject: Option<&str>, found: &mut Vec<Rc<Leaf<S>>>) {
        let Some((token, after)) = first(subject) else {
            found.extend(self.here.clone());
            return;
        };
        found.extend(self.rest.clone());
        if let Some(node) = &self.any {
            node.matching(after, found);
        }
        if let Some(node) = self.tokens.get(token) {
            node.matching(after, found);
        }
    }
}

/// The first token, and what comes after it, if something does.
fn first(subject: Option<&str>) -> Option<(&str, Option<&str>)> {
    let subject = subject?;
    Some(subject.split_once('.').map_or((subject, None), |(token, after)| (token, Some(after))))
}

fn take<S: Clone + PartialEq>(leaf: &mut Option<Rc<Leaf<S>>>, queue: Option<&Rc<str>>, subscriber: &S) {
    leaf.take_if(|leaf| Rc::make_mut(leaf).take(queue, subscriber));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::subject::matches;
    use proptest::prelude::*;

    fn found(list: &Sublist<usize>, subject: &str) -> Vec<usize> {
        let mut leaves = Vec::new();
        list.matching(subject, &mut leaves);
        let members = |leaf: &Rc<Leaf<usize>>| -> Vec<usize> {
            leaf.plain.iter().chain(leaf.groups.iter().flat_map(|(_, members)| members)).copied().collect()
        };
        let mut all: Vec<usize> = leaves.iter().flat_map(members).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn groups_stand_apart() {
        let mut list = Sublist::new();
        let (q, r): (Rc<str>, Rc<str>) = ("q".into(), "r".into());
        list.insert("a", Some(&q), 1);
        list.insert("a", Some(&q), 2);
        list.insert("a", Some(&r), 3);
        list.insert("a", None, 4);
        let mut leaves = Vec::new();
        list.matching("a", &mut leaves);
        assert_eq!(leaves[0].plain, [4]);
        assert_eq!(leaves[0].groups, [(q.clone(), vec![1, 2]), (r, vec![3])]);
        list.remove("a", Some(&q), &1);
        assert_eq!(leaves[0].groups[0].1, [1, 2], "what was handed out stays");
        assert_eq!(found(&list, "a"), [2, 3, 4]);
    }

    #[test]
    fn invalid_subjects_match_nothing() {
        let mut list = Sublist::new();
        for (id, pattern) in [">", "*", "*.*", "a.*", "a.>"].into_iter().enumerate() {
            assert!(list.insert(pattern, None, id));
        }
        for subject in ["", ".", "a.", ".a", "a..b", "*", "a.*", ">"] {
            assert_eq!(found(&list, subject), [0usize; 0], "{subject}");
        }
        assert_eq!(found(&list, "a.b"), [0, 2, 3, 4]);
    }

    #[test]
    fn depth_is_bounded() {
        let mut list = Sublist::new();
        assert!(list.insert(&format!("{}>", "a.".repeat(MAX_TOKENS - 1)), None, 1));
        assert!(!list.insert(&format!("{}>", "a.".repeat(MAX_TOKENS)), None, 1));
        assert_eq!(found(&list, &"a".repeat(5000)), [0usize; 0]);
        assert_eq!(found(&list, &["a"; 2048].join(".")), [1]);
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop_oneof![3 => "[ab]", 1 => Just("*".to_owned())];
        (prop::collection::vec(token, 1..4), any::<bool>())
            .prop_map(|(tokens, rest)| tokens.join(".") + if rest { ".>" } else { "" })
    }

    proptest! {
        #[test]
        fn finds_what_matches_and_forgets_what_is_removed(
            patterns in prop::collection::vec((pattern(), any::<bool>()), 0..12),
            removed in any::<u16>(),
            subjects in prop::collection::vec("[ab](\\.[ab]){0,4}", 1..6),
        ) {
            let queue: Rc<str> = "q".into();
            let mut list = Sublist::new();
            for (id, (pattern, grouped)) in patterns.iter().enumerate() {
                list.insert(pattern, grouped.then_some(&queue), id);
            }
            let gone = |id: usize| removed >> (id % 16) & 1 == 1;
            for (id, (pattern, grouped)) in patterns.iter().enumerate().filter(|(id, _)| gone(*id)) {
                list.remove(pattern, grouped.then_some(&queue), &id);
            }
            for subject in &subjects {
                let wanted: Vec<usize> = (0..patterns.len()).filter(|id| !gone(*id) && matches(&patterns[*id].0, subject)).collect();
                prop_assert_eq!(found(&list, subject), wanted);
            }
            for (id, (pattern, grouped)) in patterns.iter().enumerate() {
                list.remove(pattern, grouped.then_some(&queue), &id);
            }
            prop_assert!(list.literal.is_empty() && list.root.is_empty(), "nothing is left behind");
        }
    }
}
