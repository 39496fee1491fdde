//! Granted folders of the host: which paths lie beneath one, and the host calls for these.
//!
//! Takes paths as scripts write them, gives what the broker answers, in the scratch folder's words. The
//! broker is asked once per invocation which folders there are, and only when a path could mean one. Must
//! never touch a file itself; the broker judges every operation anew.

use std::borrow::Cow;

use msgscript_proto::files::{FileCall, FileKind, FileReply, FileStat, MOST};
use msgscript_proto::host::{HostCall, HostReply};

use super::tree::MAX_PATH;
use super::{Calls, Entry, HOME, NodeKind, Reason, Stat};

/// Where a path leads.
pub(super) enum Route<'a> {
    /// To the scratch folder, by this path.
    Here(Cow<'a, [u8]>),
    /// To a granted folder, by this absolute path.
    Host(Vec<u8>),
}

/// What an invocation knows of granted folders.
#[derive(Debug)]
pub(super) struct Granted<W> {
    way: Option<W>,
    folders: Option<Vec<Vec<u8>>>,
    /// The working directory, if it is one of the host's.
    cwd: Option<Vec<u8>>,
    /// What was last read whole.
    pub(super) fetched: Vec<u8>,
    /// What was last listed.
    pub(super) names: Vec<Entry>,
}

impl<W: Calls> Granted<W> {
    /// By this way; without one, nothing is granted.
    pub(super) fn new(way: Option<W>) -> Granted<W> {
        Granted { way, folders: None, cwd: None, fetched: Vec::new(), names: Vec::new() }
    }

    /// The way to the broker, for the next invocation's folder.
    pub(super) fn take_way(&mut self) -> Option<W> {
        self.way.take()
    }

    /// Whether no path ever could have meant a granted folder.
    pub(super) fn is_untouched(&self) -> bool {
        self.folders.is_none()
    }

    /// The working directory, if it is one of the host's.
    pub(super) fn cwd(&self) -> Option<&[u8]> {
        self.cwd.as_deref()
    }

    pub(super) fn set_cwd(&mut self, cwd: Option<Vec<u8>>) {
        self.cwd = cwd;
    }

    /// Where a path leads.
    pub(super) fn route<'a>(&mut self, path: &'a [u8]) -> Route<'a> {
        let whole = match &self.cwd {
            Some(cwd) if !path.starts_with(b"/") => Cow::Owned([cwd, path].join(&b'/')),
            _ => Cow::Borrowed(path),
        };
        if !whole.starts_with(b"/") || whole.len() > MAX_PATH {
            return Route::Here(whole);
        }
        let clean = clean(&whole);
        if !is_beneath(&clean, HOME.as_bytes())
            && self.folders().iter().any(|folder| is_beneath(&clean, folder))
        {
            Route::Host(clean)
        } else {
            Route::Here(whole)
        }
    }

    /// The folders' paths.
    pub(super) fn folders(&mut self) -> &[Vec<u8>] {
        let way = &self.way;
        self.folders.get_or_insert_with(|| {
            let mut found = Vec::new();
            if let Some(way) = way {
                way.call(&HostCall::Folders, &mut |reply| {
                    if let HostReply::Folders(folders) = reply {
                        found = folders.iter().map(|folder| folder.path.to_vec()).collect();
                    }
                });
            }
            found
        })
    }

    /// Asks for an operation; hands over what came of it.
    pub(super) fn ask(&self, call: FileCall<'_>, take: &mut dyn FnMut(FileReply<'_>)) -> Result<(), Reason> {
        let mut result = Err(Reason::Io);
        let Some(way) = &self.way else { return result };
        way.call(&HostCall::File(call), &mut |reply| {
            result = match reply {
                HostReply::File(FileReply::Errno(errno)) => Err(Reason::of_errno(errno)),
                HostReply::File(reply) => {
                    take(reply);
                    Ok(())
                }
                HostReply::Denied(_) => Err(Reason::Permission),
                HostReply::Failed(_) => Err(Reason::Limit),
                _ => Err(Reason::Io),
            };
        });
        result
    }

    /// Asks for an operation that gives nothing back.
    pub(super) fn act(&self, call: FileCall<'_>) -> Result<(), Reason> {
        self.ask(call, &mut |_| {})
    }

    /// Asks for an operation that tells what is there.
    pub(super) fn stat(&self, call: FileCall<'_>) -> Result<Stat, Reason> {
        let mut stat = Err(Reason::Io);
        self.ask(call, &mut |reply| {
            if let FileReply::Stat(found) = reply {
                stat = Ok(of_wire(&found));
            }
        })?;
        stat
    }

    /// Appends a piece of a file to `into`; gives its size, 0 at the end.
    pub(super) fn read(
        &self,
        path: &[u8],
        offset: usize,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<usize, Reason> {
        let length = length.min(MOST);
        let call =
            FileCall::Read { path, offset: offset as u64, length: u32::try_from(length).unwrap_or(u32::MAX) };
        let mut size = 0;
        self.ask(call, &mut |reply| {
            if let FileReply::Bytes(bytes) = reply {
                let bytes = &bytes[..bytes.len().min(length)];
                into.extend_from_slice(bytes);
                size = bytes.len();
            }
        })?;
        Ok(size)
    }

    /// Writes all of it, from that position on, or at the end.
    pub(super) fn write(&self, path: &[u8], offset: Option<usize>, bytes: &[u8]) -> Result<(), Reason> {
        for (index, data) in bytes.chunks(MOST).enumerate() {
            let offset = offset.map(|offset| (offset + index * MOST) as u64);
            self.act(FileCall::Write { path, offset, data })?;
        }
        Ok(())
    }

    /// Reads the names in a folder.
    pub(super) fn list(&mut self, path: &[u8], room: usize) -> Result<(), Reason> {
        let (mut found, mut size) = (Vec::new(), 0);
        self.ask(FileCall::List { path }, &mut |reply| {
            if let FileReply::Names(names) = reply {
                size = names.iter().map(|(name, _)| Entry::cost(name)).sum();
                if size <= room {
                    found = names.iter().map(entry_of_wire).collect();
                }
            }
        })?;
        self.names = found;
        if size > room { Err(Reason::Memory) } else { Ok(()) }
    }
}

/// Whether a path is a folder or lies beneath it; both without `..`.
fn is_beneath(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// An absolute path without empty parts, `.` and `..`.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for part in parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    if clean.is_empty() { b"/".to_vec() } else { clean }
}

fn kind_of_wire(kind: FileKind) -> NodeKind {
    match kind {
        FileKind::File => NodeKind::File,
        FileKind::Folder => NodeKind::Directory,
        FileKind::Link => NodeKind::Link,
    }
}

fn entry_of_wire((name, kind): &(&[u8], Option<FileKind>)) -> Entry {
    Entry { name: name.to_vec(), kind: kind.map(kind_of_wire), inode: 0 }
}

#[allow(clippy::cast_possible_truncation, reason = "an identity for scripts to compare")]
fn of_wire(stat: &FileStat) -> Stat {
    let kind = kind_of_wire(stat.kind);
    Stat {
        host: true,
        inode: stat.inode as u32,
        kind,
        size: usize::try_from(stat.size).unwrap_or(usize::MAX),
        links: stat.links,
        accessed: stat.accessed,
        modified: stat.modified,
        changed: stat.changed,
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, is_beneath};

    #[test]
    fn paths_are_cleaned_before_they_are_compared() {
        for (path, expected) in [
            ("/srv/a/../b", "/srv/b"),
            ("//srv//./a/", "/srv/a"),
            ("/../../etc", "/etc"),
            ("/srv/..", "/"),
            ("/srv/...", "/srv/..."),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
        assert!(is_beneath(b"/srv/a", b"/srv") && is_beneath(b"/srv", b"/srv"));
        assert!(!is_beneath(b"/srvx", b"/srv") && !is_beneath(b"/", b"/srv"));
    }
}
