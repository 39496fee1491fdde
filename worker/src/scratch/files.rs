//! The open files of a scratch folder.
//!
//! Numbers are never used twice, so that a number kept past its file's end means nothing.

use std::collections::BTreeMap;

use super::{Budget, NodeKind, Reason};

/// How many files may be open at once.
pub const MAX_OPEN: usize = 256;

/// What an open file costs, in bytes, besides its path.
const COST: usize = 128;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Each write goes to the end.
    pub append: bool,
    /// It is made if it is missing.
    pub create: bool,
    /// Something that is there already is an error.
    pub exclusive: bool,
    /// It is emptied.
    pub truncate: bool,
}

impl Mode {
    /// `r`
    pub const READ: Mode =
        Mode { read: true, write: false, append: false, create: false, exclusive: false, truncate: false };
    /// `w`
    pub const WRITE: Mode = Mode { read: false, write: true, create: true, truncate: true, ..Mode::READ };
    /// `w+`
    pub const READ_WRITE_NEW: Mode = Mode { read: true, ..Mode::WRITE };

    /// The mode that C's `fopen` knows by that text.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Mode> {
        let both = match &text[1.min(text.len())..] {
            b"" | b"b" => false,
            b"+" | b"+b" | b"b+" => true,
            _ => return None,
        };
        Some(match text.first()? {
            b'r' => Mode { write: both, ..Mode::READ },
            b'w' => Mode { read: both, ..Mode::WRITE },
            b'a' => Mode { read: both, append: true, truncate: false, ..Mode::WRITE },
            _ => return None,
        })
    }
}

/// Where a position is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// The file's start.
    Start,
    /// The position so far.
    Current,
    /// The file's end.
    End,
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    pub(super) target: Target,
    pub(super) position: usize,
    /// How it was opened.
    pub mode: Mode,
    /// The path it was opened by.
    pub path: Vec<u8>,
    /// Whether it is a directory, which can only be listed.
    pub directory: bool,
    /// What a listing found; charged.
    pub(super) listing: Vec<Entry>,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// What it is the name of; `None` for what is not for scripts.
    pub kind: Option<NodeKind>,
    /// The number of that; 0 if it is of the host.
    pub inode: u32,
}

impl Entry {
    /// What an entry costs, in bytes.
    pub(super) fn cost(name: &[u8]) -> usize {
        size_of::<Entry>() + name.len()
    }
}

/// What an open file is.
#[derive(Debug)]
pub(super) enum Target {
    /// A node of the tree.
    Node(u32),
    /// A file of the host.
    Host(Window),
}

/// What is known of an open file of the host: its path, and a piece of it that was read.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) path: Vec<u8>,
    /// Its size when it was opened, and behind what was appended since.
    pub(super) end: usize,
    /// The piece, each byte of which is charged.
    pub(super) bytes: Vec<u8>,
    /// Where the piece begins.
    pub(super) at: usize,
}

impl Window {
    pub(super) fn new(path: Vec<u8>, end: usize) -> Window {
        Window { path, end, bytes: Vec::new(), at: 0 }
    }

    /// Drops what lies in front of a position; all of it if the position lies elsewhere.
    pub(super) fn move_to(&mut self, position: usize, budget: &mut Budget) {
        let passed = position.checked_sub(self.at).filter(|passed| *passed <= self.bytes.len());
        let dropped = passed.unwrap_or(self.bytes.len());
        self.bytes.drain(..dropped);
        budget.refund(dropped);
        self.at = position;
    }

    /// Drops all of it: what lies there has changed.
    pub(super) fn forget(&mut self, budget: &mut Budget) {
        budget.refund(self.bytes.len());
        self.bytes = Vec::new();
    }
}

impl OpenFile {
    pub(super) fn new(target: Target, directory: bool, mode: Mode, path: &[u8]) -> Self {
        OpenFile { target, position: 0, mode, path: path.to_vec(), directory, listing: Vec::new() }
    }

    /// Drops what a listing found.
    pub(super) fn forget_listing(&mut self, budget: &mut Budget) {
        budget.refund(self.listing.iter().map(|entry| Entry::cost(&entry.name)).sum());
        self.listing = Vec::new();
    }

    fn cost(&self) -> usize {
        COST + self.path.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Files {
    open: BTreeMap<u32, OpenFile>,
    next: u32,
}

impl Files {
    /// Whether no file was ever opened.
    pub(super) fn is_untouched(&self) -> bool {
        self.open.is_empty() && self.next == Files::default().next
    }

    pub(super) fn add(&mut self, file: OpenFile, budget: &mut Budget) -> Result<u32, Reason> {
        if self.open.len() >= MAX_OPEN {
            return Err(Reason::TooManyOpen);
        }
        let next = self.next.checked_add(1).ok_or(Reason::TooManyOpen)?;
        budget.charge(file.cost())?;
        self.open.insert(next, file);
        self.next = next;
        Ok(next)
    }

    pub(super) fn get(&self, file: u32) -> Option<&OpenFile> {
        self.open.get(&file)
    }

    pub(super) fn get_mut(&mut self, file: u32) -> Option<&mut OpenFile> {
        self.open.get_mut(&file)
    }

    pub(super) fn remove(&mut self, file: u32, budget: &mut Budget) -> Option<OpenFile> {
        let file = self.open.remove(&file)?;
        budget.refund(file.cost());
        Some(file)
    }
}
