//! A page as a flat tree: nodes refer to each other by number, so that nothing recurses, not even the drop.
//!
//! Takes hostile bytes, gives elements. Must never hold a page that nests past [`MAX_DEPTH`] or has a tag of
//! more than [`MAX_ATTRIBUTES`]: the parser's work grows with their square.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, ExpandedName, ParseOpts, QualName, local_name, ns, parse_document};

/// How deep elements may nest; browsers stop at 512.
const MAX_DEPTH: usize = 2000;
/// How many attributes a tag may have.
const MAX_ATTRIBUTES: usize = 10_000;
/// Bytes that are parsed between two looks at the depth.
const CHUNK: usize = 8 << 10;

/// A node's number.
pub(super) type Id = usize;
/// The document's number.
pub(super) const ROOT: Id = 0;

#[derive(Debug, Default)]
struct Node {
    parent: Option<Id>,
    children: Vec<Id>,
    depth: usize,
    name: Option<Rc<QualName>>,
    attributes: Vec<Attribute>,
    /// Of a text node.
    text: Option<String>,
}

/// A parsed page.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// Parses a page.
    ///
    /// # Errors
    /// With a message for the script if it passes a limit.
    pub(super) fn parse(page: &[u8]) -> Result<Tree, &'static str> {
        let text = String::from_utf8_lossy(page);
        if has_endless_tag(text.as_bytes()) {
            return Err("html: a tag has too many attributes");
        }
        let too_deep = Rc::new(Cell::new(false));
        let sink = Sink {
            nodes: RefCell::new(vec![Node::default()]),
            no_name: Rc::new(QualName::new(None, ns!(), local_name!(""))),
            too_deep: Rc::clone(&too_deep),
        };
        let mut parser = parse_document(sink, ParseOpts::default());
        let mut rest = &*text;
        while !rest.is_empty() {
            let mut cut = CHUNK.min(rest.len());
            while !rest.is_char_boundary(cut) {
                cut += 1;
            }
            let (chunk, behind) = rest.split_at(cut);
            parser.process(chunk.into());
            if too_deep.get() {
                return Err("html: elements nest too deeply");
            }
            rest = behind;
        }
        Ok(Tree { nodes: parser.finish() })
    }

    /// The tag of an element.
    pub(super) fn tag(&self, id: Id) -> Option<&str> {
        self.nodes[id].name.as_ref().map(|name| &*name.local)
    }

    /// The attribute of that name, or "".
    pub(super) fn attribute(&self, id: Id, name: &str) -> &str {
        let attributes = &self.nodes[id].attributes;
        attributes.iter().find(|attribute| &*attribute.name.local == name).map_or("", |found| &*found.value)
    }

    /// The nodes that match, in order; not those within them.
    pub(super) fn find(&self, matches: impl Fn(Id) -> bool) -> Vec<Id> {
        let mut found = Vec::new();
        self.walk(ROOT, |id| {
            let hit = matches(id);
            if hit {
                found.push(id);
            }
            !hit
        });
        found
    }

    /// All text below a node: each piece trimmed, joined by spaces.
    pub(super) fn text(&self, id: Id) -> String {
        let mut joined = String::new();
        self.walk(id, |id| {
            let piece = self.nodes[id].text.as_deref().unwrap_or("").trim();
            if !piece.is_empty() {
                if !joined.is_empty() {
                    joined.push(' ');
                }
                joined.push_str(piece);
            }
            true
        });
        joined
    }

    /// Visits a node and, where that gives true, its children.
    fn walk(&self, from: Id, mut visit: impl FnMut(Id) -> bool) {
        let mut rest = vec![from];
        while let Some(id) = rest.pop() {
            if visit(id) {
                rest.extend(self.nodes[id].children.iter().rev());
            }
        }
    }
}

/// Whether more words than a tag may have attributes stand between a `<` and the next `>`.
fn has_endless_tag(page: &[u8]) -> bool {
    let (mut inside, mut words) = (false, 0_usize);
    for pair in page.windows(2) {
        match pair {
            [b'<', next] if next.is_ascii_alphabetic() => (inside, words) = (true, 0),
            [b'>', _] => inside = false,
            [byte, next] if inside && !byte.is_ascii_alphanumeric() && next.is_ascii_alphanumeric() => {
                words += 1
            }
            _ => {}
        }
        // A word may be a value; so may what looks like a word in one.
        if words > 4 * MAX_ATTRIBUTES && inside {
            return true;
        }
    }
    false
}

/// A node while the page is parsed: its number, and its name, which is empty if it is no element.
#[derive(Debug, Clone)]
struct Handle {
    id: Id,
    name: Rc<QualName>,
}

/// What the parser builds the tree with.
struct Sink {
    nodes: RefCell<Vec<Node>>,
    no_name: Rc<QualName>,
    too_deep: Rc<Cell<bool>>,
}

impl Sink {
    fn add(&self, node: Node) -> Handle {
        let mut nodes = self.nodes.borrow_mut();
        let name = node.name.clone().unwrap_or_else(|| Rc::clone(&self.no_name));
        let handle = Handle { id: nodes.len(), name };
        nodes.push(node);
        handle
    }

    /// Puts something at that place among a node's children.
    fn insert(&self, parent: Id, at: usize, child: NodeOrText<Handle>) {
        let id = match child {
            NodeOrText::AppendNode(child) => {
                self.detach(child.id);
                child.id
            }
            NodeOrText::AppendText(text) => {
                let before =
                    at.checked_sub(1).and_then(|at| self.nodes.borrow()[parent].children.get(at).copied());
                if let Some(before) = before
                    && let Some(there) = &mut self.nodes.borrow_mut()[before].text
                {
                    there.push_str(&text);
                    return;
                }
                self.add(Node { text: Some(text.to_string()), ..Node::default() }).id
            }
        };
        let mut nodes = self.nodes.borrow_mut();
        let depth = nodes[parent].depth + 1;
        (nodes[id].parent, nodes[id].depth) = (Some(parent), depth);
        let at = at.min(nodes[parent].children.len());
        nodes[parent].children.insert(at, id);
        if depth > MAX_DEPTH {
            self.too_deep.set(true);
        }
    }

    fn detach(&self, id: Id) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(parent) = nodes[id].parent.take() {
            nodes[parent].children.retain(|child| *child != id);
        }
    }
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = Vec<Node>;
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) -> Vec<Node> {
        self.nodes.into_inner()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Handle {
        Handle { id: ROOT, name: Rc::clone(&self.no_name) }
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> Handle {
        self.add(Node { name: Some(Rc::new(name)), attributes, ..Node::default() })
    }

    fn create_comment(&self, _: StrTendril) -> Handle {
        self.add(Node::default())
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Handle {
        self.add(Node::default())
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        let end = self.nodes.borrow()[parent.id].children.len();
        self.insert(parent.id, end, child);
    }

    fn append_based_on_parent_node(&self, element: &Handle, previous: &Handle, child: NodeOrText<Handle>) {
        if self.nodes.borrow()[element.id].parent.is_some() {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// A template's content counts as its children.
    fn get_template_contents(&self, target: &Handle) -> Handle {
        target.clone()
    }

    fn same_node(&self, one: &Handle, two: &Handle) -> bool {
        one.id == two.id
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        if let NodeOrText::AppendNode(child) = &child {
            self.detach(child.id);
        }
        let place = {
            let nodes = self.nodes.borrow();
            nodes[sibling.id].parent.and_then(|parent| {
                let at = nodes[parent].children.iter().position(|id| *id == sibling.id)?;
                Some((parent, at))
            })
        };
        if let Some((parent, at)) = place {
            self.insert(parent, at, child);
        }
    }

    fn add_attrs_if_missing(&self, target: &Handle, more: Vec<Attribute>) {
        let there = &mut self.nodes.borrow_mut()[target.id].attributes;
        for attribute in more {
            if there.len() < MAX_ATTRIBUTES && there.iter().all(|known| known.name != attribute.name) {
                there.push(attribute);
            }
        }
    }

    fn remove_from_parent(&self, target: &Handle) {
        self.detach(target.id);
    }

    fn reparent_children(&self, node: &Handle, parent: &Handle) {
        let mut nodes = self.nodes.borrow_mut();
        let children = std::mem::take(&mut nodes[node.id].children);
        let depth = nodes[parent.id].depth + 1;
        for child in &children {
            (nodes[*child].parent, nodes[*child].depth) = (Some(parent.id), depth);
        }
        nodes[parent.id].children.extend(children);
    }
}
