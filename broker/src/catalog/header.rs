//! `--* key: value` lines: what a script says of itself.
//!
//! Takes a file's bytes, gives a [`Header`] with all that is wrong in it. Pure. Any bytes may come: it
//! never panics, and what it keeps is bounded. The lines themselves stay in the text (they are Lua
//! comments), so that line numbers stay the author's.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::{Executor, timer, trigger};
use crate::{route, units};

mod lines;

/// How many header lines, errors and warnings of one file are kept; more are not looked at.
const MAX_KEPT: usize = 64;

/// How many libraries one file may require.
const MAX_REQUIRES: usize = 256;

/// The least that `memory` may be, in bytes.
const MIN_MEMORY: u64 = 1 << 20;

/// What a file's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `subject`, if there is a valid one.
    pub subject: Option<Rc<str>>,
    /// `name`, if there is a valid one.
    pub name: Option<Rc<str>>,
    /// `http` or `html`.
    pub http: bool,
    /// `require` lines in order.
    pub requires: Vec<Rc<str>>,
    /// The line of each of them, from 1.
    pub require_lines: Vec<usize>,
    /// `executor`.
    pub executor: Executor,
    /// `timeout`, above zero.
    pub timeout: Option<Duration>,
    /// `memory`, in bytes, at least 1 MiB.
    pub memory: Option<u64>,
    /// `jit`.
    pub jit: bool,
    /// `lock`.
    pub lock: Option<Lock>,
    /// `stream` and what goes with it.
    pub trigger: trigger::Lines,
    /// `schedule` and what goes with it.
    pub timer: timer::Lines,
    /// Every header line that counted, as written, in order.
    pub lines: Vec<(String, String)>,
    /// Those among them whose key does nothing.
    pub unknown: Vec<(String, String)>,
    /// What is wrong, by line. Any of these rejects the script.
    pub errors: Vec<HeaderError>,
    /// What looks wrong, by line.
    pub warnings: Vec<Warning>,
}

/// What a store keeps of a header beside the text. It wins over what the text says.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// The subject.
    pub subject: &'a str,
    /// The name.
    pub name: &'a str,
    /// The executor; none is Lua.
    pub executor: &'a str,
    /// `http`.
    pub http: bool,
    /// The libraries that it requires.
    pub requires: &'a [String],
}

impl Header {
    /// Gives the script another subject and name.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn call(&mut self, subject: &str, name: &str) -> Result<(), String> {
        route::check_script_subject(subject).map_err(|error| format!("bad `subject`: {error}"))?;
        self.subject = Some(subject.into());
        self.name = Some(self::name(name).map_err(|why| format!("bad `name`: {why}"))?);
        Ok(())
    }

    /// Takes over what a store keeps.
    ///
    /// # Errors
    /// What makes no sense in it.
    pub fn keep(&mut self, kept: &Kept<'_>) -> Result<(), String> {
        self.call(kept.subject, kept.name)?;
        if kept.requires.len() > MAX_REQUIRES {
            return Err(format!("more than {MAX_REQUIRES} libraries"));
        }
        let requires = kept.requires.iter().map(|library| name(library));
        self.requires = requires.collect::<Result<_, _>>().map_err(|why| format!("bad library: {why}"))?;
        self.require_lines.clear();
        self.http = kept.http;
        let executor = if kept.executor.is_empty() { "lua" } else { kept.executor };
        let by_name = Executor::by_name(executor);
        self.executor =
            by_name.ok_or_else(|| format!("`{}` is none of lua, wasm, podman", shorten(executor)))?;
        let mut lines =
            vec![("subject".to_owned(), kept.subject.into()), ("name".to_owned(), kept.name.into())];
        if kept.http {
            lines.push(("http".to_owned(), "true".to_owned()));
        }
        lines.extend(kept.requires.iter().map(|name| ("require".to_owned(), name.clone())));
        let is_kept = |key: &str| Key::by_name(key.as_bytes()).is_some_and(|(_, key)| key.is_kept());
        lines.extend(std::mem::take(&mut self.lines).into_iter().filter(|(key, _)| !is_kept(key)));
        self.lines = lines;
        Ok(())
    }
}

/// The lock under which a script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// `script`: its own.
    Script,
    /// A name, shared by all scripts of the tenant that give it.
    Key(Rc<str>),
}

/// Something that looks wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1.
    pub line: usize,
    /// What it is.
    pub text: String,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct HeaderError {
    /// The line, from 1.
    pub line: usize,
    /// What it is.
    pub problem: HeaderProblem,
}

/// What is wrong with a header line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Compiled Lua.
    #[error("this is compiled code; only source text is accepted")]
    Bytecode,
    /// The value is not UTF-8.
    #[error("the value of `{0}` is not UTF-8")]
    NotUtf8(&'static str),
    /// A key that may appear once.
    #[error("`{key}` is given twice, here and on line {first}")]
    Duplicate {
        /// The key.
        key: &'static str,
        /// The line that has it first.
        first: usize,
    },
    /// The value makes no sense.
    #[error("bad `{key}`: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it and what to write.
        why: String,
    },
}

/// The keys that mean something, by their place in [`Key::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Subject,
    Name,
    Http,
    Require,
    Executor,
    Timeout,
    Memory,
    Jit,
    Lock,
    Stream,
    Durable,
    Retries,
    Backoff,
    AckWait,
    Schedule,
    Timezone,
    Missed,
}

impl Key {
    const NAMES: [(&'static str, Key); 18] = [
        ("subject", Key::Subject),
        ("name", Key::Name),
        ("http", Key::Http),
        ("html", Key::Http),
        ("require", Key::Require),
        ("executor", Key::Executor),
        ("timeout", Key::Timeout),
        ("memory", Key::Memory),
        ("jit", Key::Jit),
        ("lock", Key::Lock),
        ("stream", Key::Stream),
        ("durable", Key::Durable),
        ("retries", Key::Retries),
        ("backoff", Key::Backoff),
        ("ack-wait", Key::AckWait),
        ("schedule", Key::Schedule),
        ("timezone", Key::Timezone),
        ("missed", Key::Missed),
    ];

    fn by_name(name: &[u8]) -> Option<(&'static str, Key)> {
        Key::NAMES.into_iter().find(|(known, _)| known.as_bytes() == name)
    }

    /// Whether a store keeps it beside the text: those that the Go server knows.
    fn is_kept(self) -> bool {
        self.anywhere()
    }

    /// Whether it counts in the whole file, as in the Go server.
    fn anywhere(self) -> bool {
        matches!(self, Key::Subject | Key::Name | Key::Http | Key::Require | Key::Executor)
    }
}

/// The text as Lua is to see it: without a byte order mark, and with nothing on a first line that begins
/// with `#` (Lua itself skips these in files only). Lines keep their numbers.
#[must_use]
pub fn lua_text(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if !text.starts_with(b"#") {
        return Cow::Borrowed(text);
    }
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    Cow::Borrowed(text.get(end..).unwrap_or_default())
}

/// Whether `require` lines stay in a text: a library's do, since nothing else keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requires {
    /// They stay.
    Stay,
    /// They are kept beside it.
    Go,
}

/// The text with nothing on the lines whose keys a store keeps beside it, so that the others keep their numbers.
#[must_use]
pub fn without_kept(text: &[u8], requires: Requires) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    let mut end = 0;
    for line in lines::Lines::new(text) {
        let is_kept = split(&line)
            .and_then(|(key, _)| Key::by_name(key))
            .is_some_and(|(_, key)| key.is_kept() && (key != Key::Require || requires == Requires::Go));
        if is_kept {
            // A line is a part of the text.
            let start = line.bytes.as_ptr().addr() - text.as_ptr().addr();
            rest.extend_from_slice(text.get(end..start).unwrap_or_default());
            end = start + line.bytes.len();
        }
    }
    rest.extend_from_slice(text.get(end..).unwrap_or_default());
    rest
}

/// What the header of a file says; `text` is what [`lua_text`] gave.
#[must_use]
pub fn parse(text: &[u8]) -> Header {
    let mut reader = Reader::default();
    for line in lines::Lines::new(text) {
        if line.first_code && line.bytes.trim_ascii_start().starts_with(b"\x1b") {
            reader.fail(line.number, HeaderProblem::Bytecode);
        }
        if let Some((key, value)) = split(&line) {
            reader.line(line.number, line.in_block, key, value);
        }
    }
    for (key, name) in [(Key::Timezone, "timezone"), (Key::Missed, "missed")] {
        let line = reader.seen[key as usize];
        if line != 0 && reader.seen[Key::Schedule as usize] == 0 {
            reader.warn(line, format!("`{name}` does nothing without `schedule`"));
        }
    }
    reader.header
}

/// Key and value of a header line. Below the block only lines that begin with `--*` are looked at.
fn split<'a>(line: &lines::Line<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let bytes = if line.in_block { line.bytes.trim_ascii_start() } else { line.bytes };
    let rest = bytes.strip_prefix(b"--*")?;
    let colon = memchr::memchr(b':', rest)?;
    let (key, value) = (rest.get(..colon)?.trim_ascii(), rest.get(colon + 1..)?.trim_ascii());
    let word = !key.is_empty() && key.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    word.then_some((key, value))
}

/// Gathers lines into a header.
struct Reader {
    header: Header,
    /// The line of each single-valued key that was seen.
    seen: [usize; Key::NAMES.len()],
    kept_bytes: usize,
}

impl Default for Reader {
    fn default() -> Self {
        let header = Header {
            subject: None,
            name: None,
            http: false,
            requires: Vec::new(),
            require_lines: Vec::new(),
            executor: Executor::Lua,
            timeout: None,
            memory: None,
            jit: false,
            lock: None,
            trigger: trigger::Lines::default(),
            timer: timer::Lines::default(),
            lines: Vec::new(),
            unknown: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        Reader { header, seen: [0; Key::NAMES.len()], kept_bytes: 0 }
    }
}

impl Reader {
    fn fail(&mut self, line: usize, problem: HeaderProblem) {
        if self.header.errors.len() < MAX_KEPT {
            self.header.errors.push(HeaderError { line, problem });
        }
    }

    fn warn(&mut self, line: usize, text: String) {
        if self.header.warnings.len() < MAX_KEPT {
            self.header.warnings.push(Warning { line, text });
        }
    }

    fn line(&mut self, line: usize, in_block: bool, key: &[u8], value: &[u8]) {
        let Some((name, key)) = Key::by_name(key) else {
            if in_block {
                self.unknown(line, &String::from_utf8_lossy(key), &String::from_utf8_lossy(value));
            }
            return;
        };
        if !in_block && !key.anywhere() {
            let text = format!("`{name}` counts only in the block at the top; this line does nothing");
            return self.warn(line, text);
        }
        let Ok(value) = std::str::from_utf8(value) else {
            return self.fail(line, HeaderProblem::NotUtf8(name));
        };
        if !in_block {
            self.warn(
                line,
                format!("`{name}` belongs in the block at the top, before the first line of code"),
            );
        }
        let first = std::mem::replace(&mut self.seen[key as usize], line);
        if first != 0 && key != Key::Require {
            self.seen[key as usize] = first;
            return self.fail(line, HeaderProblem::Duplicate { key: name, first });
        }
        self.keep(name, value);
        match self.value(key, value) {
            Err(why) => self.fail(line, HeaderProblem::Value { key: name, why }),
            Ok(()) if key == Key::Require => self.header.require_lines.push(line),
            Ok(()) => {}
        }
    }

    fn unknown(&mut self, line: usize, key: &str, value: &str) {
        if !self.keep(key, value) {
            return;
        }
        if self.header.unknown.iter().all(|(known, _)| known != key) {
            self.warn(line, format!("unknown key `{key}` does nothing"));
        }
        self.header.unknown.push((key.to_owned(), value.to_owned()));
    }

    /// Keeps the line for the information page, within bounds.
    fn keep(&mut self, key: &str, value: &str) -> bool {
        let size = key.len() + value.len();
        let fits = self.header.lines.len() < MAX_KEPT && self.kept_bytes + size <= 64 << 10;
        if fits {
            self.kept_bytes += size;
            self.header.lines.push((key.to_owned(), value.to_owned()));
        }
        fits
    }

    fn value(&mut self, key: Key, value: &str) -> Result<(), String> {
        let header = &mut self.header;
        match key {
            Key::Subject => {
                route::check_script_subject(value).map_err(|error| error.to_string())?;
                header.subject = Some(value.into());
            }
            Key::Name => header.name = Some(name(value)?),
            Key::Http => header.http = boolean(value)?,
            Key::Require if header.requires.len() >= MAX_REQUIRES => {
                return Err(format!("more than {MAX_REQUIRES} libraries"));
            }
            Key::Require => header.requires.push(name(value)?),
            Key::Executor => {
                header.executor = Executor::by_name(value)
                    .ok_or_else(|| format!("`{}` is none of lua, wasm, podman", shorten(value)))?;
            }
            Key::Timeout => header.timeout = Some(timeout(value)?),
            Key::Memory => header.memory = Some(memory(value)?),
            Key::Jit => header.jit = boolean(value)?,
            Key::Lock => header.lock = Some(lock(value)?),
            Key::Stream => header.trigger.stream = Some(trigger::server_name(value)?),
            Key::Durable => header.trigger.durable = Some(trigger::server_name(value)?),
            Key::Retries => header.trigger.retries = Some(trigger::retries(value)?),
            Key::Backoff => header.trigger.backoff = Some(trigger::backoff(value)?),
            Key::AckWait => header.trigger.ack_wait = Some(trigger::ack_wait(value)?),
            Key::Schedule => header.timer.schedule = Some(timer::schedule(value)?),
            Key::Timezone => header.timer.timezone = Some(timer::timezone(value)?),
            Key::Missed => header.timer.missed = Some(timer::missed(value)?),
        }
        Ok(())
    }
}

fn name(value: &str) -> Result<Rc<str>, String> {
    if value.is_empty() {
        return Err("it is empty".to_owned());
    }
    if value.len() > 255 {
        return Err("it is longer than 255 bytes".to_owned());
    }
    if value.contains(char::is_control) {
        return Err("it has a control character".to_owned());
    }
    Ok(value.into())
}

/// The spellings are those of the Go server.
fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{}` is neither true nor false", shorten(value))),
    }
}

fn lock(value: &str) -> Result<Lock, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match value {
        "script" => Ok(Lock::Script),
        "" => Err("write `script`, or a name".to_owned()),
        _ if value.len() > 128 => Err("the name is longer than 128 bytes".to_owned()),
        _ if !value.chars().all(is_plain) => {
            Err(format!("`{}`: a name has letters, digits, `-`, `_` and `.` only", shorten(value)))
        }
        _ => Ok(Lock::Key(value.into())),
    }
}

fn timeout(value: &str) -> Result<Duration, String> {
    match units::parse_duration(value) {
        Ok(Duration::ZERO) => Err("it must be more than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("`{}` is {error}", shorten(value))),
    }
}

fn memory(value: &str) -> Result<u64, String> {
    match units::parse_size(value) {
        Ok(size) if size < MIN_MEMORY => {
            Err(format!("it must be at least {}", units::print_size(MIN_MEMORY)))
        }
        Ok(size) => Ok(size),
        Err(error) => Err(format!("`{}` is {error}", shorten(value))),
    }
}

/// A value for a message: no control characters, not longer than a line.
fn shorten(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests;
