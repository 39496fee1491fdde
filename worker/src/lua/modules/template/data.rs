//! A context: the flattened table, indexed by name.
//!
//! Takes tokens, gives nodes that refer to each other by number (a table that appears twice, or in itself,
//! is one node). Depth is bounded by that of tokens.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::super::number;
use super::super::super::value::{MAX_DEPTH, Token, Tokens};
use super::render::Failure;

/// A value's number.
pub(super) type Id = usize;

/// The root's number.
pub(super) const ROOT: Id = 0;

/// The first index that the Go engine would not keep in a table's array part.
const MAX_INDEX: f64 = 67_108_864.0;

/// One value.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A hole in a list.
    Nil,
    Bool(bool),
    Num(f64),
    Str(&'a [u8]),
    /// Items by index from 1, in order, and the length, which counts the holes.
    List(Vec<(usize, Id)>, usize),
    /// Members by name, in order.
    Map(Vec<(Cow<'a, [u8]>, Id)>),
    /// A value of this Lua type, which has no text.
    Other(&'static str),
}

/// All values of a context.
#[derive(Debug)]
pub(super) struct Data<'a> {
    nodes: Vec<Node<'a>>,
    /// The hole.
    nil: Id,
}

impl<'a> Data<'a> {
    /// Indexes a table; `None` if the table is a list.
    pub(super) fn new(mut tokens: Tokens<'a>) -> Option<Data<'a>> {
        let mut reader = Reader { nodes: Vec::new(), tables: HashMap::new() };
        reader.table(&mut tokens);
        let nil = reader.push(Node::Nil);
        matches!(reader.nodes.first(), Some(Node::Map(_))).then_some(Data { nodes: reader.nodes, nil })
    }

    /// The value of that number.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id]
    }

    /// Item `index` (from 1) of a list's items.
    pub(super) fn item(&self, items: &[(usize, Id)], index: usize) -> Id {
        items.binary_search_by_key(&index, |(at, _)| *at).map_or(self.nil, |found| items[found].1)
    }

    /// The member of that name, if the value is a map that has one.
    pub(super) fn member(&self, id: Id, name: &[u8]) -> Option<Id> {
        let Node::Map(members) = &self.nodes[id] else { return None };
        let found = members.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(members[found].1)
    }

    /// Whether a section on the value is left out.
    pub(super) fn is_false(&self, id: Id) -> bool {
        match &self.nodes[id] {
            Node::Nil => true,
            Node::Bool(value) => !value,
            Node::Str(text) => super::parse::trim(text, 0..text.len()).is_empty(),
            Node::List(_, length) => *length == 0,
            _ => false,
        }
    }

    /// Appends the value as Go prints it.
    pub(super) fn print(&self, id: Id, out: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
        self.print_at(id, out, limit, 0)
    }

    fn print_at(&self, id: Id, out: &mut Vec<u8>, limit: usize, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::Error(b"context nests too deeply".to_vec()));
        }
        if out.len() > limit {
            return Err(Failure::Memory);
        }
        match &self.nodes[id] {
            Node::Nil => out.extend_from_slice(b"<nil>"),
            Node::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Node::Num(value) => out.extend_from_slice(print_number(*value).as_bytes()),
            Node::Str(text) => out.extend_from_slice(text),
            Node::Other(name) => {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": 0x00000000");
            }
            Node::List(items, length) => {
                out.push(b'[');
                for index in 1..=*length {
                    if index > 1 {
                        out.push(b' ');
                    }
                    self.print_at(self.item(items, index), out, limit, depth + 1)?;
                }
                out.push(b']');
            }
            Node::Map(members) => {
                out.extend_from_slice(b"map[");
                for (number, (name, id)) in members.iter().enumerate() {
                    if number > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(name);
                    out.push(b':');
                    self.print_at(*id, out, limit, depth + 1)?;
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}

/// Whole numbers in full, others as Go does.
fn print_number(value: f64) -> String {
    number::whole(value).map_or_else(|| number::to_go_string(value), |whole| whole.to_string())
}

struct Reader<'a> {
    nodes: Vec<Node<'a>>,
    /// Tables by where their tokens begin.
    tables: HashMap<usize, Id>,
}

impl<'a> Reader<'a> {
    fn push(&mut self, node: Node<'a>) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn value(&mut self, token: Token<'a>, tokens: &mut Tokens<'a>) -> Id {
        let node = match token {
            Token::Table => return self.table(tokens),
            Token::Seen(at) => match self.tables.get(&at) {
                Some(id) => return *id,
                None => Node::Nil,
            },
            Token::Nil | Token::End => Node::Nil,
            Token::Bool(value) => Node::Bool(value),
            Token::Num(value) => Node::Num(value),
            Token::Str(text) => Node::Str(text),
            Token::Handle(_) => Node::Other("userdata"),
            Token::Other(name) => Node::Other(name),
        };
        self.push(node)
    }

    /// A table whose begin was taken. One with positive whole keys is a list, and other keys are dropped.
    fn table(&mut self, tokens: &mut Tokens<'a>) -> Id {
        let id = self.push(Node::Nil);
        self.tables.insert(Tokens::position(tokens), id);
        let (mut items, mut members) = (Vec::new(), Vec::new());
        while let Some(key) = tokens.next().filter(|key| !matches!(key, Token::End)) {
            let name = match key {
                Token::Num(index) => match whole_index(index) {
                    Some(index) => Err(index),
                    None => Ok(Cow::Owned(print_number(index).into_bytes())),
                },
                Token::Str(name) => Ok(Cow::Borrowed(name)),
                Token::Bool(value) => Ok(Cow::Borrowed(if value { &b"true"[..] } else { b"false" })),
                other => {
                    self.value(other, tokens);
                    Ok(Cow::Borrowed(&b""[..]))
                }
            };
            let value = tokens.next().unwrap_or(Token::Nil);
            let value = self.value(value, tokens);
            match name {
                Err(index) => items.push((index, value)),
                Ok(name) => members.push((name, value)),
            }
        }
        self.nodes[id] = if items.is_empty() {
            members.sort_unstable();
            Node::Map(members)
        } else {
            items.sort_unstable();
            let length = items.last().map_or(0, |(index, _)| *index);
            Node::List(items, length)
        };
        id
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn whole_index(key: f64) -> Option<usize> {
    ((1.0..MAX_INDEX).contains(&key) && key.fract() == 0.0).then_some(key as usize)
}
