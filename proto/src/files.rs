//! What a script may ask of a granted folder, one operation a message.
//!
//! Operations keep no state in the broker: each names its path (absolute, without `.` and `..`), a position
//! where one matters, and moves at most [`MOST`] bytes. The broker judges each of them.

use bincode::{BorrowDecode, Encode};

/// The most bytes that one operation reads or writes.
pub const MOST: usize = 1 << 20;

/// The most names that one listing gives; a folder with more is refused.
pub const MOST_NAMES: usize = 100_000;

/// An operation on something in a granted folder.
#[derive(Debug, Clone, Copy, Encode, BorrowDecode)]
pub enum FileCall<'a> {
    /// What is there; answered by [`FileReply::Stat`].
    Stat {
        /// Which.
        path: &'a [u8],
        /// Whether a link at the end is followed.
        follow: bool,
    },
    /// Opens a file once, to see whether it may be: makes or empties it if asked. Answered by
    /// [`FileReply::Stat`].
    Open {
        /// Which.
        path: &'a [u8],
        /// Whether it is to be written.
        write: bool,
        /// Whether it is made if it is missing.
        create: bool,
        /// Whether something that is there already is an error: between two who make it, one succeeds.
        exclusive: bool,
        /// Whether it is emptied.
        truncate: bool,
    },
    /// Bytes of a file; answered by [`FileReply::Bytes`], none at its end.
    Read {
        /// Which.
        path: &'a [u8],
        /// From where on.
        offset: u64,
        /// How many at most.
        length: u32,
    },
    /// Writes into a file that exists; answered by [`FileReply::Done`].
    Write {
        /// Which.
        path: &'a [u8],
        /// Where to; `None`: at its end.
        offset: Option<u64>,
        /// What.
        data: &'a [u8],
    },
    /// The names in a folder; answered by [`FileReply::Names`].
    List {
        /// Which.
        path: &'a [u8],
    },
    /// Makes a folder.
    MakeFolder {
        /// Which.
        path: &'a [u8],
    },
    /// Removes a file, a link or an empty folder.
    Remove {
        /// Which.
        path: &'a [u8],
    },
    /// Gives something another name within the same grant.
    Rename {
        /// Its name.
        from: &'a [u8],
        /// Its new name.
        to: &'a [u8],
    },
    /// Where a symbolic link points to; answered by [`FileReply::Bytes`].
    ReadLink {
        /// Which.
        path: &'a [u8],
    },
    /// Sets times, in seconds since 1970.
    Touch {
        /// Of what.
        path: &'a [u8],
        /// The last access.
        accessed: f64,
        /// The last change.
        modified: f64,
    },
    /// Cuts a file short, or adds zeros at its end.
    Resize {
        /// Which.
        path: &'a [u8],
        /// Its new size, in bytes.
        size: u64,
    },
}

/// What came of a [`FileCall`].
#[derive(Debug, Encode, BorrowDecode)]
pub enum FileReply<'a> {
    /// It was done.
    Done,
    /// What is there.
    Stat(FileStat),
    /// Bytes of a file, or a link's target.
    Bytes(&'a [u8]),
    /// Names, sorted, without `.` and `..`, and what they are the names of (`None`: nothing for scripts).
    Names(Vec<(&'a [u8], Option<FileKind>)>),
    /// It failed, with this `errno` of Linux.
    Errno(i32),
}

/// What is known of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Encode, BorrowDecode)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Its number in its file system.
    pub inode: u64,
    /// How many names it has.
    pub links: u32,
    /// Seconds since 1970 of the last access.
    pub accessed: f64,
    /// Seconds since 1970 of the last write.
    pub modified: f64,
    /// Seconds since 1970 of the last change of any kind.
    pub changed: f64,
}

/// What kind of thing: there are no others for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
}

/// A folder (or file) that scripts may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Folder<'a> {
    /// Its absolute path.
    pub path: &'a [u8],
    /// Whether nothing may be changed there.
    pub read_only: bool,
}
