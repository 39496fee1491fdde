//! Nodes and names of the scratch folder.
//!
//! Nodes sit in a list and refer to each other by index; a node lives while it has a name or is held
//! (open, or the working directory). Every change is charged before it is made.

use std::collections::BTreeMap;

use super::{Budget, HOME, Reason, TMP, now};

/// How many files, folders and links may exist at once.
pub const MAX_FILES: usize = 10_000;

/// The longest path and the longest target of a link, in bytes.
pub(super) const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
const MAX_LINKS_FOLLOWED: u32 = 40;

const ROOT: u32 = 0;
/// The folders that are there from the start.
const FIRST: usize = 3;
/// What a node costs besides its content, and a name besides its bytes.
const NODE_COST: usize = 192;
const NAME_COST: usize = 64;

/// What kind of thing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Whether it is of the host: numbers of the one tell nothing about the other's.
    pub host: bool,
    /// Its number.
    pub inode: u32,
    /// What it is.
    pub kind: NodeKind,
    /// How many bytes it holds.
    pub size: usize,
    /// How many names it has.
    pub links: u32,
    /// Seconds since 1970 of the last access, as far as it is kept.
    pub accessed: f64,
    /// Seconds since 1970 of the last write.
    pub modified: f64,
    /// Seconds since 1970 of the last change of any kind.
    pub changed: f64,
}

/// Where a path leads: the directory it ends in, the last name, and what is there. The name is empty
/// where the path ends in a directory itself (`/`, `..`).
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parent: u32,
    pub(super) name: Vec<u8>,
    pub(super) node: Option<u32>,
}

type Entries = BTreeMap<Vec<u8>, u32>;

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Dir {
        entries: Entries,
        parent: u32,
    },
    Link(Vec<u8>),
    /// The place in the list is unused.
    Free,
}

#[derive(Debug)]
struct Node {
    content: Content,
    names: u32,
    held: u32,
    accessed: f64,
    modified: f64,
    changed: f64,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<u32>,
}

impl Tree {
    /// The first folders, free of charge; gives the one to start in.
    pub(super) fn new() -> (Tree, u32) {
        let time = now();
        let dir = |entries| Node::new(Content::Dir { entries, parent: ROOT }, time);
        let name = |path: &str| path.trim_start_matches('/').as_bytes().to_vec();
        let root = dir(Entries::from([(name(HOME), 1), (name(TMP), 2)]));
        let mut nodes = vec![root, dir(Entries::new()), dir(Entries::new())];
        nodes.iter_mut().for_each(|node| node.names = 1);
        nodes[1].held = 1;
        (Tree { nodes, free: Vec::new() }, 1)
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub(super) fn stat(&self, inode: u32) -> Stat {
        let node = self.node(inode);
        let (kind, size) = match &node.content {
            Content::File(content) => (NodeKind::File, content.len()),
            Content::Link(target) => (NodeKind::Link, target.len()),
            Content::Dir { .. } | Content::Free => (NodeKind::Directory, 0),
        };
        let Node { names, accessed, modified, changed, .. } = *node;
        Stat { host: false, inode, kind, size, links: names, accessed, modified, changed }
    }

    pub(super) fn entries(&self, node: u32) -> Result<&Entries, Reason> {
        match &self.node(node).content {
            Content::Dir { entries, .. } => Ok(entries),
            _ => Err(Reason::NotDir),
        }
    }

    pub(super) fn content(&self, node: u32) -> Result<&[u8], Reason> {
        match &self.node(node).content {
            Content::File(content) => Ok(content),
            _ => Err(Reason::IsDir),
        }
    }

    pub(super) fn size(&self, node: u32) -> usize {
        self.content(node).map_or(0, <[u8]>::len)
    }

    pub(super) fn target(&self, node: u32) -> Option<&[u8]> {
        match &self.node(node).content {
            Content::Link(target) => Some(target),
            _ => None,
        }
    }

    fn parent(&self, node: u32) -> u32 {
        match self.node(node).content {
            Content::Dir { parent, .. } => parent,
            _ => ROOT,
        }
    }

    /// Whether a directory is `top` or beneath it.
    pub(super) fn is_within(&self, mut dir: u32, top: u32) -> bool {
        while dir != top && dir != ROOT {
            dir = self.parent(dir);
        }
        dir == top
    }

    /// A directory's path from the root.
    pub(super) fn path(&self, mut dir: u32) -> Vec<u8> {
        let mut names = Vec::new();
        while dir != ROOT {
            let parent = self.parent(dir);
            let name =
                self.entries(parent).ok().and_then(|entries| entries.iter().find(|(_, node)| **node == dir));
            names.push(name.map_or(&b"(deleted)"[..], |(name, _)| name));
            dir = parent;
        }
        names.push(b"");
        names.reverse();
        if names.len() == 1 { b"/".to_vec() } else { names.join(&b'/') }
    }

    /// Follows a path. What it passes through must exist; what it leads to need not.
    pub(super) fn resolve(&self, start: u32, path: &[u8], follow: bool) -> Result<Place, Reason> {
        if path.is_empty() {
            return Err(Reason::NotFound);
        }
        if path.contains(&0) {
            return Err(Reason::Invalid);
        }
        if path.len() > MAX_PATH {
            return Err(Reason::NameTooLong);
        }
        let size = path.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
        let slash = size < path.len();
        let mut walk = Walk { tree: self, dir: start, ahead: Vec::new(), links: 0 };
        walk.enter(&path[..size]);
        let place = walk.run(follow || slash)?;
        match place.node {
            Some(node) if slash => self.entries(node).map(|_| place),
            _ => Ok(place),
        }
    }

    pub(super) fn add_file(&mut self, dir: u32, name: &[u8], budget: &mut Budget) -> Result<u32, Reason> {
        self.add(dir, name, Content::File(Vec::new()), budget)
    }

    pub(super) fn add_dir(&mut self, dir: u32, name: &[u8], budget: &mut Budget) -> Result<u32, Reason> {
        self.add(dir, name, Content::Dir { entries: Entries::new(), parent: dir }, budget)
    }

    pub(super) fn add_link(
        &mut self,
        dir: u32,
        name: &[u8],
        target: &[u8],
        budget: &mut Budget,
    ) -> Result<u32, Reason> {
        self.add(dir, name, Content::Link(target.to_vec()), budget)
    }

    fn add(&mut self, dir: u32, name: &[u8], content: Content, budget: &mut Budget) -> Result<u32, Reason> {
        let node = Node::new(content, now());
        budget.one_more(self.nodes.len() - self.free.len() - FIRST)?;
        let cost = node.cost();
        budget.store(cost)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::new(Content::Free, 0.0));
            #[allow(clippy::cast_possible_truncation, reason = "at most MAX_FILES nodes and what is held")]
            let last = (self.nodes.len() - 1) as u32;
            last
        });
        *self.node_mut(index) = node;
        if let Err(reason) = self.enter(dir, name, index, budget) {
            self.discard_if_unused(index, budget);
            return Err(reason);
        }
        Ok(index)
    }

    /// Gives a node a name.
    pub(super) fn enter(
        &mut self,
        dir: u32,
        name: &[u8],
        node: u32,
        budget: &mut Budget,
    ) -> Result<(), Reason> {
        if name.len() > MAX_NAME {
            return Err(Reason::NameTooLong);
        }
        let time = now();
        let folder = self.node_mut(dir);
        if folder.names == 0 {
            return Err(Reason::NotFound);
        }
        let Content::Dir { entries, .. } = &mut folder.content else { return Err(Reason::NotDir) };
        budget.store(NAME_COST + name.len())?;
        entries.insert(name.to_vec(), node);
        folder.modified = time;
        let entered = self.node_mut(node);
        entered.names += 1;
        entered.changed = time;
        if let Content::Dir { parent, .. } = &mut entered.content {
            *parent = dir;
        }
        Ok(())
    }

    /// Takes a name away, and the node with its last one.
    pub(super) fn unlink(&mut self, dir: u32, name: &[u8], budget: &mut Budget) -> Result<(), Reason> {
        let folder = self.node_mut(dir);
        let Content::Dir { entries, .. } = &mut folder.content else { return Err(Reason::NotDir) };
        let node = entries.remove(name).ok_or(Reason::NotFound)?;
        folder.modified = now();
        budget.drop_stored(NAME_COST + name.len());
        let gone = self.node_mut(node);
        gone.names -= 1;
        // A folder without a name may still be the working directory: its way up must stay valid.
        if let Content::Dir { parent, .. } = &mut gone.content {
            *parent = ROOT;
        }
        self.discard_if_unused(node, budget);
        Ok(())
    }

    /// Moves a node from one name to another.
    pub(super) fn relink(
        &mut self,
        old: &Place,
        new: &Place,
        node: u32,
        budget: &mut Budget,
    ) -> Result<(), Reason> {
        self.hold(node);
        if new.node.is_some() {
            self.unlink(new.parent, &new.name, budget)?;
        }
        let entered = self.enter(new.parent, &new.name, node, budget);
        if entered.is_ok() {
            self.unlink(old.parent, &old.name, budget)?;
            if let Content::Dir { parent, .. } = &mut self.node_mut(node).content {
                *parent = new.parent;
            }
        }
        self.release(node, budget);
        entered
    }

    /// Keeps a node, with or without a name.
    pub(super) fn hold(&mut self, node: u32) {
        self.node_mut(node).held += 1;
    }

    /// Ends a hold.
    pub(super) fn release(&mut self, node: u32, budget: &mut Budget) {
        self.node_mut(node).held -= 1;
        self.discard_if_unused(node, budget);
    }

    fn discard_if_unused(&mut self, index: u32, budget: &mut Budget) {
        let node = self.node_mut(index);
        if node.names == 0 && node.held == 0 {
            budget.drop_stored(node.cost());
            node.content = Content::Free;
            self.free.push(index);
        }
    }

    pub(super) fn truncate(&mut self, node: u32, budget: &mut Budget) {
        if let Content::File(content) = &mut self.node_mut(node).content {
            budget.drop_stored(content.capacity());
            *content = Vec::new();
        }
        self.node_mut(node).modified = now();
    }

    /// Writes into a file; what lies between its end and `at` becomes zeros.
    pub(super) fn write(
        &mut self,
        node: u32,
        at: usize,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<(), Reason> {
        let node = self.node_mut(node);
        let Content::File(content) = &mut node.content else { return Err(Reason::IsDir) };
        if bytes.is_empty() {
            return Ok(());
        }
        let end = at.checked_add(bytes.len()).ok_or(Reason::Memory)?;
        grow(content, end, budget)?;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(bytes);
        node.modified = now();
        Ok(())
    }

    /// Cuts a file short, or adds zeros at its end.
    pub(super) fn resize(&mut self, node: u32, size: usize, budget: &mut Budget) -> Result<(), Reason> {
        let node = self.node_mut(node);
        let Content::File(content) = &mut node.content else { return Err(Reason::IsDir) };
        grow(content, size, budget)?;
        content.resize(size, 0);
        node.modified = now();
        Ok(())
    }

    pub(super) fn set_times(&mut self, node: u32, accessed: f64, modified: f64) {
        let node = self.node_mut(node);
        (node.accessed, node.modified, node.changed) = (accessed, modified, now());
    }
}

impl Node {
    fn new(content: Content, time: f64) -> Node {
        Node { content, names: 0, held: 0, accessed: time, modified: time, changed: time }
    }

    fn cost(&self) -> usize {
        NODE_COST
            + match &self.content {
                Content::File(content) | Content::Link(content) => content.capacity(),
                Content::Dir { .. } | Content::Free => 0,
            }
    }
}

/// Makes room for `size` bytes, by doubling where the budget has that much.
fn grow(content: &mut Vec<u8>, size: usize, budget: &mut Budget) -> Result<(), Reason> {
    let before = content.capacity();
    if size <= before {
        return Ok(());
    }
    let doubled = before.saturating_mul(2).max(size);
    let capacity = if doubled - before <= budget.room() { doubled } else { size };
    budget.store(capacity - before)?;
    content.reserve_exact(capacity - content.len());
    // The allocator may have given more than was asked.
    let extra = content.capacity().saturating_sub(capacity);
    budget.store(extra.min(budget.room()))
}

/// A path being followed.
struct Walk<'t> {
    tree: &'t Tree,
    dir: u32,
    /// Names still to come, the next one last.
    ahead: Vec<Vec<u8>>,
    links: u32,
}

impl Walk<'_> {
    /// Goes on with this path.
    fn enter(&mut self, path: &[u8]) {
        if path.starts_with(b"/") {
            self.dir = ROOT;
        }
        // A link's trailing slash reads as `.`: what is before it must be a directory.
        let names = path.split(|byte| *byte == b'/').rev().enumerate();
        let names = names.filter(|(behind, name)| !name.is_empty() || (*behind == 0 && path.len() > 1));
        self.ahead.extend(names.map(|(_, name)| if name.is_empty() { b".".to_vec() } else { name.to_vec() }));
    }

    fn run(mut self, follow: bool) -> Result<Place, Reason> {
        while let Some(name) = self.ahead.pop() {
            let entries = self.tree.entries(self.dir)?;
            match &name[..] {
                b"." => continue,
                b".." => {
                    self.dir = self.tree.parent(self.dir);
                    continue;
                }
                _ if name.len() > MAX_NAME => return Err(Reason::NameTooLong),
                _ => {}
            }
            let last = self.ahead.is_empty();
            let Some(node) = entries.get(&name).copied() else {
                return if last {
                    Ok(Place { parent: self.dir, name, node: None })
                } else {
                    Err(Reason::NotFound)
                };
            };
            match self.tree.target(node) {
                Some(target) if follow || !last => self.follow(target)?,
                _ if last => return Ok(Place { parent: self.dir, name, node: Some(node) }),
                _ => self.dir = node,
            }
        }
        Ok(Place { parent: self.tree.parent(self.dir), name: Vec::new(), node: Some(self.dir) })
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), Reason> {
        self.links += 1;
        if self.links > MAX_LINKS_FOLLOWED {
            return Err(Reason::Loop);
        }
        self.enter(target);
        Ok(())
    }
}
