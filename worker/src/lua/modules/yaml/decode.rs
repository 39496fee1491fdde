//! YAML text to Lua values: the parser's events become nodes, and these go straight into [`Ret`].
//!
//! Takes hostile bytes, gives the value's tokens or an error text. Nesting is bounded, and so is what
//! aliases may add.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::super::super::value::Ret;
use super::super::json::MAX_NESTING;
use super::scalar::{Meaning, meaning};

/// A document that was read.
pub(super) struct Document {
    /// Where the next one begins, in bytes; where this one does if it cannot be read.
    pub(super) next: usize,
    /// How many lines are in front of that.
    pub(super) lines: usize,
    /// Whether there was one.
    pub(super) found: bool,
    /// What is wrong with it, for scripts.
    pub(super) problem: Option<String>,
}

/// Appends the value of the first document of a text, or nil. `lines` were in front of it.
pub(super) fn document(bytes: &[u8], lines: usize, strict: bool, ret: &mut Ret) -> Document {
    let mut document = Document { next: 0, lines, found: false, problem: None };
    let start = ret.position();
    let written = nodes(bytes, &mut document).and_then(|nodes| {
        if nodes.is_empty() {
            ret.nil();
            return Ok(());
        }
        write(&nodes, strict, ret)
    });
    if let Err(problem) = written {
        ret.truncate(start);
        ret.nil();
        document.problem = Some(problem);
    }
    document
}

/// Parses the first document; the root is the first node.
fn nodes(bytes: &[u8], document: &mut Document) -> Result<Vec<Node>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    if text.chars().any(is_forbidden) {
        return Err("yaml: control characters are not allowed".into());
    }
    let lines = document.lines;
    let mut reader = Reader { nodes: Vec::new(), open: Vec::new(), anchors: HashMap::new(), lines };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(&error, text, lines))?;
        if matches!(event, Event::DocumentEnd) {
            let start = text.char_indices().nth(span.start.index()).map_or(text.len(), |(at, _)| at);
            document.next = if text[start..].starts_with("...") { start + 3 } else { start };
            document.lines = lines + text[..document.next].matches('\n').count();
            document.found = true;
            return Ok(reader.nodes);
        }
        reader.event(event, span.start.line())?;
    }
    document.next = text.len();
    Ok(reader.nodes)
}

fn write(nodes: &[Node], strict: bool, ret: &mut Ret) -> Result<(), String> {
    let mut writer = Writer {
        nodes,
        ret,
        strict,
        problems: Vec::new(),
        expanding: HashSet::new(),
        decoded: 0,
        aliased: 0,
    };
    if !writer.value(ROOT, 0)? {
        writer.ret.nil();
    }
    match writer.problems.as_slice() {
        [] => Ok(()),
        problems => Err(format!("yaml: unmarshal errors:\n  {}", problems.join("\n  "))),
    }
}

fn is_forbidden(letter: char) -> bool {
    !matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn syntax(error: &ScanError, text: &str, lines: usize) -> String {
    if error.info().ends_with("unknown anchor") {
        let alias = text.chars().skip(error.marker().index() + 1);
        let name: String =
            alias.take_while(|letter| !letter.is_whitespace() && !",]}".contains(*letter)).collect();
        return format!("yaml: unknown anchor '{name}' referenced");
    }
    format!("yaml: line {}: {}", lines + error.marker().line(), error.info())
}

type Id = usize;
const ROOT: Id = 0;

struct Node {
    /// From 1.
    line: usize,
    kind: Kind,
}

enum Kind {
    /// Null, and what has no number in Lua.
    Nil,
    Bool(bool),
    Num(f64),
    Str(Vec<u8>),
    Merge,
    Seq(Vec<Id>),
    Map(Vec<Id>),
    Alias(Id),
}

struct Reader {
    nodes: Vec<Node>,
    /// Collections that have not ended, and what they hold so far.
    open: Vec<(Id, Vec<Id>)>,
    anchors: HashMap<usize, Id>,
    lines: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar(&text, style, tag.as_deref())?;
                self.add(kind, anchor, line);
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied().ok_or("yaml: unknown anchor referenced")?;
                self.add(Kind::Alias(target), 0, line);
            }
            Event::SequenceStart(anchor, _) => self.begin(Kind::Seq(Vec::new()), anchor, line)?,
            Event::MappingStart(anchor, _) => self.begin(Kind::Map(Vec::new()), anchor, line)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((id, held)) = self.open.pop() {
                    match &mut self.nodes[id].kind {
                        Kind::Seq(items) | Kind::Map(items) => *items = held,
                        _ => {}
                    }
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind, anchor: usize, line: usize) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node { line: self.lines + line, kind });
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        if let Some((_, held)) = self.open.last_mut() {
            held.push(id);
        }
        id
    }

    fn begin(&mut self, kind: Kind, anchor: usize, line: usize) -> Result<(), String> {
        if self.open.len() >= MAX_NESTING {
            return Err(format!("yaml: exceeded max depth of {MAX_NESTING}"));
        }
        let id = self.add(kind, anchor, line);
        self.open.push((id, Vec::new()));
        Ok(())
    }
}

/// The value of a scalar with that tag.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Kind, String> {
    let string = || Kind::Str(text.as_bytes().to_vec());
    let wanted = match tag {
        None if style != ScalarStyle::Plain => return Ok(string()),
        None if text == "<<" => return Ok(Kind::Merge),
        None => "",
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "binary" => {
                let compact: String = text.chars().filter(|letter| !matches!(letter, '\n' | '\r')).collect();
                let invalid = |_| "yaml: !!binary value contains invalid base64 data".to_owned();
                return STANDARD.decode(compact).map(Kind::Str).map_err(invalid);
            }
            suffix @ ("bool" | "int" | "float" | "null" | "timestamp") => suffix,
            "merge" if text == "<<" => return Ok(Kind::Merge),
            _ => return Ok(string()),
        },
        Some(_) => return Ok(string()),
    };
    let meaning = meaning(text);
    let fits = wanted.is_empty()
        || meaning.tag() == format!("!!{wanted}")
        || (wanted == "float" && matches!(meaning, Meaning::Int(_)));
    if !fits {
        return Err(format!("yaml: cannot decode {} `{text}` as a !!{wanted}", meaning.tag()));
    }
    Ok(match meaning {
        Meaning::Null | Meaning::Huge => Kind::Nil,
        Meaning::Bool(value) => Kind::Bool(value),
        #[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
        Meaning::Int(value) => Kind::Num(value as f64),
        Meaning::Float(value) => Kind::Num(value),
        Meaning::Time | Meaning::Text => string(),
    })
}

struct Writer<'r> {
    nodes: &'r [Node],
    ret: &'r mut Ret,
    strict: bool,
    problems: Vec<String>,
    /// Aliases whose value is being written.
    expanding: HashSet<Id>,
    /// Values that were written, and how many of them for an alias.
    decoded: u64,
    aliased: u64,
}

impl Writer<'_> {
    /// Writes a value; gives false, and writes nothing, for nil. Depth is bounded.
    fn value(&mut self, id: Id, depth: usize) -> Result<bool, String> {
        self.count()?;
        if depth > MAX_NESTING {
            return Err(format!("yaml: exceeded max depth of {MAX_NESTING}"));
        }
        match &self.nodes[id].kind {
            Kind::Nil => return Ok(false),
            Kind::Bool(value) => self.ret.bool(*value),
            Kind::Num(value) => self.ret.num(*value),
            Kind::Str(text) => self.ret.str(text),
            Kind::Merge => self.ret.str("<<"),
            Kind::Alias(target) => {
                self.expand(id)?;
                let written = self.value(*target, depth + 1);
                self.expanding.remove(&id);
                return written;
            }
            Kind::Seq(items) => {
                self.ret.begin_table();
                let mut index = 1;
                for item in items {
                    let undo = self.ret.position();
                    self.ret.num(f64::from(index));
                    if self.value(*item, depth + 1)? {
                        index += 1;
                    } else {
                        self.ret.truncate(undo);
                    }
                }
                self.ret.end_table();
            }
            Kind::Map(_) => {
                self.ret.begin_table();
                self.members(id, depth + 1, &mut HashSet::new())?;
                self.ret.end_table();
            }
        }
        Ok(true)
    }

    fn count(&mut self) -> Result<(), String> {
        self.decoded += 1;
        self.aliased += u64::from(!self.expanding.is_empty());
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let (decoded, aliased) = (self.decoded as f64, self.aliased as f64);
        // yaml.v2's measure: up to 400,000 values nearly all may come from aliases, past 4,000,000 a tenth.
        let allowed = (0.99 - 0.89 * (decoded - 400_000.0) / 3_600_000.0).clamp(0.10, 0.99);
        if self.aliased > 100 && self.decoded > 1000 && aliased / decoded > allowed {
            return Err("yaml: document contains excessive aliasing".into());
        }
        Ok(())
    }

    fn expand(&mut self, alias: Id) -> Result<(), String> {
        if self.expanding.insert(alias) { Ok(()) } else { Err("yaml: anchor value contains itself".into()) }
    }

    /// What stands behind an alias.
    fn behind(&self, id: Id) -> &Node {
        match self.nodes[id].kind {
            Kind::Alias(target) => &self.nodes[target],
            _ => &self.nodes[id],
        }
    }

    /// Writes the members of a map, and of those that it merges. A later one of the same name wins.
    fn members(&mut self, id: Id, depth: usize, seen: &mut HashSet<Vec<u8>>) -> Result<(), String> {
        if depth > MAX_NESTING {
            return Err(format!("yaml: exceeded max depth of {MAX_NESTING}"));
        }
        let nodes = self.nodes;
        let Kind::Map(members) = &nodes[id].kind else { return Ok(()) };
        for pair in members.chunks_exact(2) {
            let (key, value) = (pair[0], pair[1]);
            match &self.behind(key).kind {
                Kind::Merge if matches!(nodes[key].kind, Kind::Merge) => self.merge(value, depth, seen)?,
                Kind::Seq(_) | Kind::Map(_) => return Err("yaml: invalid map key".into()),
                _ => self.member(key, value, depth, seen)?,
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        key: Id,
        value: Id,
        depth: usize,
        seen: &mut HashSet<Vec<u8>>,
    ) -> Result<(), String> {
        let undo = self.ret.position();
        if !self.value(key, depth)? || matches!(self.behind(key).kind, Kind::Num(number) if number.is_nan()) {
            self.ret.truncate(undo);
            return Ok(());
        }
        if self.strict {
            let name = go_literal(&self.behind(key).kind);
            if !seen.insert(name.clone().into_bytes()) {
                let line = self.nodes[value].line;
                self.problems.push(format!("line {line}: key {name} already set in map"));
            }
        }
        if !self.value(value, depth)? {
            self.ret.nil();
        }
        Ok(())
    }

    /// Writes what `<<` takes over: a map's members, or those of maps in a list, the first one last.
    fn merge(&mut self, id: Id, depth: usize, seen: &mut HashSet<Vec<u8>>) -> Result<(), String> {
        let sources: Vec<Id> = match &self.nodes[id].kind {
            Kind::Seq(items) => items.iter().rev().copied().collect(),
            _ => vec![id],
        };
        for source in sources {
            if !matches!(self.behind(source).kind, Kind::Map(_)) {
                return Err("yaml: map merge requires map or sequence of maps as the value".into());
            }
            self.count()?;
            match self.nodes[source].kind {
                Kind::Alias(target) => {
                    self.expand(source)?;
                    self.members(target, depth + 1, seen)?;
                    self.expanding.remove(&source);
                }
                _ => self.members(source, depth + 1, seen)?,
            }
        }
        Ok(())
    }
}

/// A key as Go's `%#v` prints it.
fn go_literal(key: &Kind) -> String {
    match key {
        Kind::Bool(value) => value.to_string(),
        Kind::Num(value) => super::super::super::number::to_go_string(*value),
        Kind::Str(text) => format!("{:?}", String::from_utf8_lossy(text)),
        _ => "\"<<\"".into(),
    }
}
