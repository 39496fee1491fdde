//! The descriptors of a command: standard input, output and error, then the folders it starts with, then what it
//! opens.

use msgscript_worker::scratch::Reason;

use super::errno::{Errno, Stop};
use crate::files::Files;
use crate::streams::Sink;

/// What a descriptor is.
#[derive(Debug, Clone)]
pub enum Descriptor {
    /// Standard input.
    Input,
    /// Standard output or error.
    Output(Sink),
    /// A file or folder.
    Open {
        /// Its number in the tree.
        file: u32,
        /// Its path, if the command starts with it.
        root: Option<Vec<u8>>,
    },
}

/// All of them.
#[derive(Debug)]
pub struct Descriptors {
    /// The folders.
    pub files: Files,
    list: Vec<Option<Descriptor>>,
    has_roots: bool,
    input: Vec<u8>,
    read: usize,
}

impl Descriptors {
    /// Those that a command starts with. The folders are opened when it first asks for one.
    pub fn new(files: Files, input: Vec<u8>, output: Sink, error: Sink) -> Descriptors {
        let list =
            vec![Some(Descriptor::Input), Some(Descriptor::Output(output)), Some(Descriptor::Output(error))];
        Descriptors { files, list, has_roots: false, input, read: 0 }
    }

    /// What a descriptor is.
    pub fn get(&mut self, fd: u32) -> Result<&Descriptor, Stop> {
        if fd as usize >= self.list.len() {
            self.open_roots()?;
        }
        self.list.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf.into())
    }

    /// The number in the tree of what is open. Streams have none.
    pub fn file(&mut self, fd: u32) -> Result<u32, Stop> {
        match self.get(fd)? {
            Descriptor::Open { file, .. } => Ok(*file),
            Descriptor::Input | Descriptor::Output(_) => Err(Errno::Badf.into()),
        }
    }

    /// The same, for what only files have a position for.
    pub fn seekable(&mut self, fd: u32) -> Result<u32, Stop> {
        match self.get(fd)? {
            Descriptor::Open { file, .. } => Ok(*file),
            Descriptor::Input | Descriptor::Output(_) => Err(Errno::Spipe.into()),
        }
    }

    /// Gives what was opened a descriptor: the lowest that is free.
    pub fn add(&mut self, file: u32) -> Result<u32, Stop> {
        self.open_roots()?;
        let open = Descriptor::Open { file, root: None };
        let free = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        match self.list.get_mut(free) {
            Some(place) => *place = Some(open),
            None => self.list.push(Some(open)),
        }
        // The tree opens a few hundred at most.
        u32::try_from(free).map_err(|_| Errno::Mfile.into())
    }

    /// Closes one.
    pub fn close(&mut self, fd: u32) -> Result<(), Stop> {
        self.get(fd)?;
        if let Some(Descriptor::Open { file, .. }) = self.list[fd as usize].take() {
            self.files.tree().close(file).map_err(|error| error.reason)?;
        }
        Ok(())
    }

    /// Has `to`, which is closed, be what `from` was.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<(), Stop> {
        self.get(from)?;
        self.get(to)?;
        if from != to {
            self.close(to)?;
            self.list[to as usize] = self.list[from as usize].take();
        }
        Ok(())
    }

    /// Reads from standard input.
    pub fn read_input(&mut self, into: &mut [u8]) -> usize {
        let rest = &self.input[self.read..];
        let size = rest.len().min(into.len());
        into[..size].copy_from_slice(&rest[..size]);
        self.read += size;
        size
    }

    fn open_roots(&mut self) -> Result<(), Reason> {
        if !self.has_roots {
            let roots = self.files.tree().open_roots()?;
            self.has_roots = true;
            let roots = roots.into_iter().map(|(file, path)| Descriptor::Open { file, root: Some(path) });
            self.list.extend(roots.map(Some));
        }
        Ok(())
    }
}
