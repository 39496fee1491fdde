//! Templates and a context to text.
//!
//! Takes parsed templates, reads partials from the scratch folder, gives text of at most the memory limit.
//! Must never recurse: open sections, their contexts and open partials are lists.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use super::data::{Data, Id, Node, ROOT};
use super::parse::{Parsed, Step};
use crate::lua::Scratch;

/// How deep partials may include each other.
const MAX_PARTIALS: usize = 500;

/// Why there is no text.
#[derive(Debug)]
pub(super) enum Failure {
    /// The message for the script.
    Error(Vec<u8>),
    /// The text outgrows the memory limit.
    Memory,
}

/// Renders a template.
///
/// # Errors
/// For a broken partial, a context that nests too deeply, or a text past `limit` bytes.
pub(super) fn template<'a>(
    parsed: Parsed<'a>,
    data: &Data<'a>,
    scratch: &mut Scratch,
    limit: usize,
) -> Result<Vec<u8>, Failure> {
    let mut renderer = Renderer {
        data,
        scratch,
        limit,
        out: Vec::new(),
        printed: Vec::new(),
        chain: vec![ROOT],
        sections: Vec::new(),
        frames: vec![Frame { parsed: Rc::new(parsed), next: 0, sections: 0 }],
        partials: HashMap::new(),
    };
    renderer.run()?;
    Ok(renderer.out)
}

/// A template that is being rendered.
struct Frame<'a> {
    parsed: Rc<Parsed<'a>>,
    /// Its next step.
    next: usize,
    /// How many sections were open when it began.
    sections: usize,
}

/// A section that is being rendered.
struct Section {
    /// Its first step.
    first: usize,
    /// The list it runs over, and the index of the item at hand; nothing for a section that runs once.
    list: Option<(Id, usize)>,
}

/// What was made of a partial; an error is the message.
type Partial<'a> = Result<Rc<Parsed<'a>>, Vec<u8>>;

struct Renderer<'r, 'a> {
    data: &'r Data<'a>,
    scratch: &'r mut Scratch,
    limit: usize,
    out: Vec<u8>,
    /// A value's text before it is escaped.
    printed: Vec<u8>,
    /// Contexts, the innermost last.
    chain: Vec<Id>,
    sections: Vec<Section>,
    frames: Vec<Frame<'a>>,
    /// By name and indentation.
    partials: HashMap<(Vec<u8>, Vec<u8>), Partial<'a>>,
}

impl<'a> Renderer<'_, 'a> {
    fn run(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.frames.last_mut() {
            let parsed = Rc::clone(&frame.parsed);
            let at = frame.next;
            frame.next += 1;
            let Some(step) = parsed.steps.get(at) else {
                self.frames.pop();
                continue;
            };
            if self.out.len() > self.limit {
                return Err(Failure::Memory);
            }
            match step {
                Step::Text(piece) => self.out.extend_from_slice(&parsed.text[piece.clone()]),
                Step::Variable { name, raw } => self.variable(&parsed.text[name.clone()], *raw)?,
                Step::Open { name, inverted, end } => {
                    if !self.open(&parsed.text[name.clone()], *inverted, at + 1) {
                        self.jump(end + 1);
                    }
                }
                Step::Close => self.close(),
                Step::Partial { name, indent } => {
                    let partial = self.partial(&parsed.text[name.clone()], &parsed.text[indent.clone()]);
                    match partial {
                        Ok(parsed) => self.enter(parsed)?,
                        Err(error) => self.skip(error)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn jump(&mut self, step: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.next = step;
        }
    }

    /// The value of a name, which may be dotted: its first part is looked for in all contexts, the others
    /// only in what that gave.
    fn lookup(&self, name: &[u8]) -> Option<Id> {
        if name == b"." {
            return self.chain.last().copied();
        }
        let mut parts = name.split(|byte| *byte == b'.');
        let first = parts.next().unwrap_or(name);
        let mut found = self.chain.iter().rev().find_map(|id| self.data.member(*id, first))?;
        for part in parts {
            found = self.data.member(found, part)?;
        }
        Some(found)
    }

    fn variable(&mut self, name: &[u8], raw: bool) -> Result<(), Failure> {
        let Some(id) = self.lookup(name) else { return Ok(()) };
        if raw {
            return self.data.print(id, &mut self.out, self.limit);
        }
        self.printed.clear();
        self.data.print(id, &mut self.printed, self.limit)?;
        escape(&self.printed, &mut self.out);
        Ok(())
    }

    /// Begins a section; gives false if it is left out.
    fn open(&mut self, name: &[u8], inverted: bool, first: usize) -> bool {
        let value = self.lookup(name);
        let is_false = value.is_none_or(|id| self.data.is_false(id));
        if is_false != inverted {
            return false;
        }
        let (context, list) = match value.map(|id| (id, self.data.node(id))) {
            Some((id, Node::List(items, _))) => (self.data.item(items, 1), Some((id, 1))),
            Some((id, Node::Map(_))) => (id, None),
            // As the Go engine has it: the outermost context is the innermost, too.
            _ => (ROOT, None),
        };
        self.chain.push(context);
        self.sections.push(Section { first, list });
        true
    }

    /// The end of a section: once more with the next item, or on.
    fn close(&mut self) {
        self.chain.pop();
        let Some(section) = self.sections.last_mut() else { return };
        if let Some((id, index)) = &mut section.list
            && let Node::List(items, length) = self.data.node(*id)
            && *index < *length
        {
            *index += 1;
            self.chain.push(self.data.item(items, *index));
            let first = section.first;
            self.jump(first);
            return;
        }
        self.sections.pop();
    }

    fn enter(&mut self, parsed: Rc<Parsed<'a>>) -> Result<(), Failure> {
        if self.frames.len() > MAX_PARTIALS {
            return Err(Failure::Error(b"partials include each other too deeply".to_vec()));
        }
        self.frames.push(Frame { parsed, next: 0, sections: self.sections.len() });
        Ok(())
    }

    /// A broken partial: the section around it goes on, and what is not in a section ends.
    fn skip(&mut self, error: Vec<u8>) -> Result<(), Failure> {
        while let Some(frame) = self.frames.last() {
            if self.sections.len() > frame.sections {
                return Ok(());
            }
            self.frames.pop();
        }
        Err(Failure::Error(error))
    }

    /// The partial of that name, parsed once for each indentation.
    fn partial(&mut self, name: &[u8], indent: &[u8]) -> Partial<'a> {
        match self.partials.entry((name.to_vec(), indent.to_vec())) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let parsed = read(self.scratch, name)
                    .and_then(|text| Parsed::new(Cow::Owned(indented(&text, indent))).map(Rc::new));
                entry.insert(parsed).clone()
            }
        }
    }
}

/// The text of a partial: the file of that name, with or without a known extension; empty if there is none.
fn read(scratch: &mut Scratch, name: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    for extension in [&b""[..], b".mustache", b".stache"] {
        let path = [name, extension].concat();
        if scratch.stat(&path, true).is_ok() {
            let content = scratch.read_file(&path).map(<[u8]>::to_vec);
            return content.map_err(|error| error.to_string().into_bytes());
        }
    }
    Ok(Vec::new())
}

/// A text with `indent` in front of each line that is not empty.
fn indented(text: &[u8], indent: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line != b"\n" {
            out.extend_from_slice(indent);
        }
        out.extend_from_slice(line);
    }
    out
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, byte) in text.iter().enumerate() {
        let escaped = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&#34;",
            b'\'' => "&#39;",
            0 => "\u{fffd}",
            _ => continue,
        };
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(escaped.as_bytes());
        copied = at + 1;
    }
    out.extend_from_slice(&text[copied..]);
}
