//! Standard output and error: lines of the log.

use std::collections::BTreeMap;

use msgscript_proto::message::Level;

use super::super::super::Ctx;
use super::process::Process;
use super::{STDERR, STDIN, STDOUT};

/// The longest line that is kept together, in bytes.
const MAX_LINE: usize = 64 << 10;

/// What `io` keeps of one invocation.
#[derive(Debug)]
pub struct Streams {
    /// The handle that `io.read` uses.
    pub(super) input: u32,
    /// The handle that `io.write` uses.
    pub(super) output: u32,
    /// What was written since the last newline, to each stream.
    unfinished: [Vec<u8>; 2],
    /// Commands behind open files, by handle.
    pub(super) processes: BTreeMap<u32, Process>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            input: STDIN,
            output: STDOUT,
            unfinished: [Vec::new(), Vec::new()],
            processes: BTreeMap::new(),
        }
    }
}

/// One of the two streams that end in the log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Stream::Out => Level::Info,
            Stream::Err => Level::Warn,
        }
    }
}

/// The stream of a handle.
pub(super) fn of(index: u32) -> Option<Stream> {
    match index {
        STDOUT => Some(Stream::Out),
        STDERR => Some(Stream::Err),
        _ => None,
    }
}

impl Ctx {
    /// Logs the lines that are complete with these bytes, keeps the rest.
    pub(super) fn write_line(&mut self, stream: Stream, bytes: &[u8]) {
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let unfinished = &mut self.streams.unfinished[stream as usize];
            let complete = parts.peek().is_some();
            if !complete && unfinished.len() + part.len() <= MAX_LINE {
                unfinished.extend_from_slice(part);
                return;
            }
            let mut line = std::mem::take(unfinished);
            if line.is_empty() {
                self.log(stream.level(), part);
            } else {
                line.extend_from_slice(part);
                self.log(stream.level(), &line);
            }
        }
    }

    /// Logs what was written without a newline. To be called when the script has ended, however it did.
    pub fn finish_lines(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let line = std::mem::take(&mut self.streams.unfinished[stream as usize]);
            if !line.is_empty() {
                self.log(stream.level(), &line);
            }
        }
    }
}
