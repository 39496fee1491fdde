//! What crosses between Lua and our functions: plain data, no Lua state.
//!
//! A host function is safe Rust of the type [`HostFn`]. It gets its arguments as [`Args`] (strings
//! borrowed from the Lua heap, tables as flat [`tokens`](Token)), appends its results to [`Ret`], or
//! fails with a [`Fail`]. It never calls Lua: where a module takes a Lua function, its loop is Lua (see
//! `prelude/`) and the host function does one step. Objects live in `Ctx`, and Lua holds only a
//! [`Handle`] to them. `vm/glue.rs` builds and reads all of this.

use std::borrow::Cow;

use super::Ctx;
use crate::scratch::{FsError, Reason};

/// A function that scripts can call.
pub type HostFn = fn(&mut Ctx, &Args<'_>, &mut Ret) -> Result<(), Fail>;

/// A module: a table of host functions, which a chunk of Lua may complete.
#[derive(Clone, Copy)]
pub struct Module {
    /// What `require` knows it by.
    pub name: &'static str,
    /// Its host functions.
    pub functions: &'static [(&'static str, HostFn)],
    /// Lua source that is called with the table of host functions and the prelude's table `host`, and
    /// returns the module (`None`: the table is the module). It runs at the first `require` of each
    /// invocation, so keep it short.
    pub lua: Option<&'static str>,
}

/// A kind of object that Lua holds a handle to. The number is the index of its metatable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// An open file of the scratch folder.
    File = 0,
    /// A key of etcd with its value.
    EtcdKv = 20,
    /// A client of `mysql` or `postgres`.
    SqlClient = 21,
    /// A client of `sqlite3`.
    SqliteClient = 22,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::File, Kind::EtcdKv, Kind::SqlClient, Kind::SqliteClient];

    /// The kind of that number.
    #[must_use]
    pub fn of(number: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|known| *known as u32 == number)
    }
}

/// Lua's reference to an object in `Ctx`: nothing else crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// What it refers to.
    pub kind: Kind,
    /// Which one.
    pub index: u32,
}

/// One argument.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// `nil`, or missing.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Num(f64),
    /// A string, borrowed for the call.
    Str(&'a [u8]),
    /// A table, flattened: the tokens between its begin and its end (see [`Tokens`]).
    Table(Tokens<'a>),
    /// One of our objects.
    Handle(Handle),
    /// Anything else, by its Lua type name (`function`, `thread`, `userdata`).
    Other(&'static str),
}

impl Arg<'_> {
    /// Its Lua type name.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Arg::Nil => "nil",
            Arg::Bool(_) => "boolean",
            Arg::Num(_) => "number",
            Arg::Str(_) => "string",
            Arg::Table(_) => "table",
            Arg::Handle(_) => "userdata",
            Arg::Other(name) => name,
        }
    }
}

/// The arguments of one call. Numbered from 1, as Lua's messages number them; a missing one is nil.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    /// The function's own name, for messages.
    pub function: &'static str,
    /// The arguments.
    pub list: &'a [Arg<'a>],
}

impl<'a> Args<'a> {
    /// Argument `n` (from 1).
    #[must_use]
    pub fn get(&self, n: usize) -> Arg<'a> {
        self.list.get(n.wrapping_sub(1)).copied().unwrap_or(Arg::Nil)
    }

    /// How many arguments were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The error of a wrong argument: `bad argument #N to NAME (EXPECTED expected, got TYPE)`.
    #[must_use]
    pub fn expected(&self, n: usize, expected: &str) -> Fail {
        Fail::here(format!(
            "bad argument #{n} to {} ({expected} expected, got {})",
            self.function,
            self.get(n).type_name()
        ))
    }

    /// The error of an argument that is wrong for another reason: `bad argument #N to NAME (WHY)`.
    #[must_use]
    pub fn bad(&self, n: usize, why: &str) -> Fail {
        Fail::here(format!("bad argument #{n} to {} ({why})", self.function))
    }

    /// A string; a number is converted.
    ///
    /// # Errors
    /// For any other type.
    pub fn string(&self, n: usize) -> Result<Cow<'a, [u8]>, Fail> {
        match self.get(n) {
            Arg::Str(bytes) => Ok(Cow::Borrowed(bytes)),
            Arg::Num(number) => Ok(Cow::Owned(super::number::to_string(number).into_bytes())),
            _ => Err(self.expected(n, "string")),
        }
    }

    /// A string or nothing; never an error (`loose` in the modules' documentation).
    #[must_use]
    pub fn loose_string(&self, n: usize) -> Cow<'a, [u8]> {
        self.string(n).unwrap_or(Cow::Borrowed(b""))
    }

    /// A number; a numeric string is converted.
    ///
    /// # Errors
    /// For anything else.
    pub fn number(&self, n: usize) -> Result<f64, Fail> {
        match self.get(n) {
            Arg::Num(number) => Ok(number),
            Arg::Str(bytes) => super::number::parse(bytes).ok_or_else(|| self.expected(n, "number")),
            _ => Err(self.expected(n, "number")),
        }
    }

    /// A number, or `default` for nil.
    ///
    /// # Errors
    /// For anything that is neither.
    pub fn number_or(&self, n: usize, default: f64) -> Result<f64, Fail> {
        match self.get(n) {
            Arg::Nil => Ok(default),
            _ => self.number(n),
        }
    }

    /// An integer: only a number will do, its fraction is cut off; `default` for nil.
    ///
    /// # Errors
    /// For anything else.
    pub fn int_or(&self, n: usize, default: i64) -> Result<i64, Fail> {
        match self.get(n) {
            Arg::Nil => Ok(default),
            #[allow(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
            Arg::Num(number) => Ok(number as i64),
            _ => Err(self.expected(n, "number")),
        }
    }

    /// A table.
    ///
    /// # Errors
    /// For anything else.
    pub fn table(&self, n: usize) -> Result<Tokens<'a>, Fail> {
        match self.get(n) {
            Arg::Table(tokens) => Ok(tokens),
            _ => Err(self.expected(n, "table")),
        }
    }

    /// A handle of that kind.
    ///
    /// # Errors
    /// For anything else; `expected` is the type's name for the message.
    pub fn handle(&self, n: usize, kind: Kind, expected: &str) -> Result<u32, Fail> {
        match self.get(n) {
            Arg::Handle(handle) if handle.kind == kind => Ok(handle.index),
            _ => Err(self.expected(n, expected)),
        }
    }
}

/// Why a host function raises an error in the script.
#[derive(Debug)]
pub enum Fail {
    /// With the place of the caller in front: `hello.lua:3: …`.
    Here(String),
    /// As it is.
    Plain(String),
    /// The memory limit is reached: ends the invocation; no `pcall` catches it.
    Memory,
    /// The script asked to end (`os.exit`): ends the invocation; no `pcall` catches it.
    Exit,
}

impl Fail {
    /// An error with the caller's place in front.
    pub fn here(text: impl Into<String>) -> Fail {
        Fail::Here(text.into())
    }
}

/// One token of a flattened value.
#[derive(Debug, Clone, Copy)]
pub enum Token<'a> {
    /// `nil` (only at the top: tables hold none).
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Num(f64),
    /// A string.
    Str(&'a [u8]),
    /// A table begins: keys and values follow in turn, in `next` order, up to [`Token::End`]. What room it
    /// wants is told by [`Tokens::room`].
    Table,
    /// A table ends.
    End,
    /// A table that appeared before in this value (shared or a cycle). The tokens are those of its first
    /// appearance; [`Tokens::resolve`] gives them.
    Seen(usize),
    /// A handle.
    Handle(Handle),
    /// A value of this Lua type, which cannot cross.
    Other(&'static str),
}

/// A flattened table: an iterator over its tokens. Made by the glue, read by the modules.
///
/// Tables nest at most [`MAX_DEPTH`] deep; the glue raises an error for deeper ones.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// How deep tables may nest to cross.
pub const MAX_DEPTH: usize = 200;

const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUM: u8 = 3;
const STR: u8 = 4;
const TABLE: u8 = 5;
const END: u8 = 6;
const SEEN: u8 = 7;
const HANDLE: u8 = 8;
const OTHER: u8 = 9;

/// Bytes of two counts behind a `TABLE`.
const ROOM: usize = 8;

const OTHER_NAMES: [&str; 5] = ["function", "userdata", "thread", "lightuserdata", "cdata"];

impl<'a> Tokens<'a> {
    /// The tokens in these bytes from that offset on.
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Tokens { bytes, at }
    }

    /// The tokens of the table that a [`Token::Seen`] refers to, behind its [`Token::Table`].
    #[must_use]
    pub fn resolve(&self, seen: usize) -> Tokens<'a> {
        Tokens { bytes: self.bytes, at: seen }
    }

    /// What the table that has just begun was said to hold: items, other entries (see [`Ret::set_room`]).
    #[must_use]
    pub fn room(&self) -> (u32, u32) {
        let mut before = Tokens { bytes: self.bytes, at: self.at.saturating_sub(ROOM) };
        let mut number = || Tokens::take(&mut before).map_or(0, u32::from_le_bytes);
        (number(), number())
    }

    /// Bytes that are left, other values' included.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Where the next token begins: what a `Seen` of the table that has just begun would hold.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    // A token that is handed over in memory costs more than to read it.
    #[inline(always)]
    fn next(&mut self) -> Option<Token<'a>> {
        let [tag] = self.take()?;
        Some(match tag {
            NIL => Token::Nil,
            FALSE => Token::Bool(false),
            TRUE => Token::Bool(true),
            NUM => Token::Num(f64::from_le_bytes(self.take()?)),
            STR => {
                let size = u32::from_le_bytes(self.take()?) as usize;
                let bytes = self.bytes.get(self.at..self.at + size)?;
                self.at += size;
                Token::Str(bytes)
            }
            TABLE => {
                self.at += ROOM;
                Token::Table
            }
            END => Token::End,
            SEEN => Token::Seen(u32::from_le_bytes(self.take()?) as usize),
            HANDLE => {
                let [kind] = self.take()?;
                let kind = Kind::of(kind.into())?;
                Token::Handle(Handle { kind, index: u32::from_le_bytes(self.take()?) })
            }
            _ => {
                let [name] = self.take()?;
                Token::Other(OTHER_NAMES.get(name as usize).copied().unwrap_or("userdata"))
            }
        })
    }
}

/// Flattened values: what a host function returns, in order, and how tables are handed to it.
///
/// A table is `begin_table`, then keys and values in turn, then `end_table`.
#[derive(Debug, Default)]
pub struct Ret {
    bytes: Vec<u8>,
}

impl Ret {
    /// Adds `nil`.
    pub fn nil(&mut self) {
        self.bytes.push(NIL);
    }

    /// Adds a boolean.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { TRUE } else { FALSE });
    }

    /// Adds a number.
    #[inline]
    pub fn num(&mut self, value: f64) {
        let mut token = [NUM; 9];
        token[1..].copy_from_slice(&value.to_le_bytes());
        self.bytes.extend_from_slice(&token);
    }

    /// Adds a string (at most 4 GiB; more cannot exist under any memory limit).
    #[inline]
    pub fn str(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let mut head = [STR; 5];
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the memory limit")]
        head[1..].copy_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.reserve(head.len() + value.len());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(value);
    }

    /// Begins a table; gives where, for [`Ret::set_room`].
    pub fn begin_table(&mut self) -> usize {
        self.bytes.extend_from_slice(&[TABLE, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.bytes.len() - ROOM
    }

    /// Says how many items (keys from 1) and other entries the table that began there has. It is then built
    /// in one piece; the counts need not be right.
    pub fn set_room(&mut self, table: usize, items: u32, others: u32) {
        if let Some(room) = self.bytes.get_mut(table..table + ROOM) {
            room[..4].copy_from_slice(&items.to_le_bytes());
            room[4..].copy_from_slice(&others.to_le_bytes());
        }
    }

    /// Ends a table.
    pub fn end_table(&mut self) {
        self.bytes.push(END);
    }

    /// Adds a handle.
    pub fn handle(&mut self, handle: Handle) {
        self.bytes.push(HANDLE);
        self.bytes.push(handle.kind as u8);
        self.bytes.extend_from_slice(&handle.index.to_le_bytes());
    }

    /// Adds a reference to a table that began at that offset (see [`Ret::position`]); the glue's word.
    pub fn seen(&mut self, at: usize) {
        self.bytes.push(SEEN);
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the memory limit")]
        self.bytes.extend_from_slice(&(at as u32).to_le_bytes());
    }

    /// Adds a value that cannot cross, by its type's name; the glue's word.
    pub fn other(&mut self, name: &str) {
        let index = OTHER_NAMES.iter().position(|known| *known == name).unwrap_or(1);
        self.bytes.push(OTHER);
        #[allow(clippy::cast_possible_truncation, reason = "an index into OTHER_NAMES")]
        self.bytes.push(index as u8);
    }

    /// `nil, error`: how modules tell a failure.
    pub fn nil_err(&mut self, error: impl AsRef<[u8]>) {
        self.nil();
        self.str(error);
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Forgets what was added since that [`position`](Ret::position).
    pub fn truncate(&mut self, position: usize) {
        self.bytes.truncate(position);
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Its tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens::new(&self.bytes, 0)
    }

    /// Its tokens from that offset on.
    #[must_use]
    pub fn tokens_at(&self, at: usize) -> Tokens<'_> {
        Tokens::new(&self.bytes, at)
    }
}

impl FsError {
    /// Returns `nil, message` from a host function.
    ///
    /// # Errors
    /// If memory ran out, which ends the invocation.
    pub fn give(&self, ret: &mut Ret) -> Result<(), Fail> {
        if self.reason == Reason::Memory {
            return Err(Fail::Memory);
        }
        ret.nil_err(self.text());
        Ok(())
    }
}

impl From<FsError> for Fail {
    /// Raised with the caller's place.
    fn from(error: FsError) -> Fail {
        if error.reason == Reason::Memory { Fail::Memory } else { Fail::here(error.to_string()) }
    }
}
