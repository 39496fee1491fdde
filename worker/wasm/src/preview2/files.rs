//! `wasi:filesystem` over [`crate::files`], in the place of the engine's, which would reach for a file system.
//!
//! Takes handles and paths of a component. A handle that is none ends the run; whatever else is wrong is an error code.

use msgscript_worker::scratch::{Mode, NodeKind, Reason, Stat, Times, now};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as EngineCode;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::Preview2;
use super::streams::{Reader, Writer};
use crate::files::{Files, device, is_directory, nanos, seconds};

/// The most that is read at once, in bytes.
pub const PIECE: usize = 1 << 20;

/// What is open. Closed when it is dropped.
#[derive(Debug)]
pub struct Opened {
    /// The folders it is of.
    pub files: Files,
    /// Its number in the tree.
    pub number: u32,
}

impl Opened {
    /// The same, opened again.
    pub fn again(&self) -> Result<Opened, Reason> {
        let number = self.files.tree().reopen(self.number)?;
        Ok(Opened { files: self.files.clone(), number })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // It is open: nothing else closes it.
        let _ = self.files.tree().close(self.number);
    }
}

/// A listing that is being read.
struct Listing {
    folder: Opened,
    next: usize,
}

/// What a component's calls work on.
pub struct View<'a> {
    files: &'a Files,
    table: &'a mut ResourceTable,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = View<'a>;
}

/// Adds the interfaces to a linker that lets them take others' place.
///
/// # Errors
/// When it does not.
pub fn add_to_linker(linker: &mut Linker<Preview2>) -> Result<()> {
    fn view(state: &mut Preview2) -> View<'_> {
        View { files: &state.files, table: &mut state.table }
    }
    types::add_to_linker::<Preview2, HasFiles>(linker, view)?;
    preopens::add_to_linker::<Preview2, HasFiles>(linker, view)
}

/// The engine's type for a failed call.
fn failed(reason: Reason) -> FsError {
    code(reason).into()
}

/// The error code of a reason.
fn code(reason: Reason) -> EngineCode {
    match reason {
        Reason::NotFound => EngineCode::NoEntry,
        Reason::Exists => EngineCode::Exist,
        Reason::NotDir => EngineCode::NotDirectory,
        Reason::IsDir => EngineCode::IsDirectory,
        Reason::NotEmpty => EngineCode::NotEmpty,
        Reason::Loop => EngineCode::Loop,
        Reason::NameTooLong => EngineCode::NameTooLong,
        Reason::Invalid => EngineCode::Invalid,
        Reason::Busy => EngineCode::Busy,
        Reason::NotPermitted => EngineCode::NotPermitted,
        Reason::BadFile | Reason::Closed => EngineCode::BadDescriptor,
        Reason::TooManyOpen | Reason::Memory => EngineCode::InsufficientMemory,
        Reason::Full => EngineCode::InsufficientSpace,
        Reason::Permission => EngineCode::Access,
        Reason::CrossDevice => EngineCode::CrossDevice,
        Reason::ReadOnly => EngineCode::ReadOnly,
        Reason::TooLarge => EngineCode::FileTooLarge,
        Reason::Io | Reason::Limit => EngineCode::Io,
    }
}

impl View<'_> {
    /// The number of an open file or folder.
    fn file(&self, fd: &Resource<Descriptor>) -> FsResult<u32> {
        Ok(self.opened(fd)?.number)
    }

    /// Handles of ours carry the engine's type, whose values nobody makes here.
    fn opened(&self, fd: &Resource<Descriptor>) -> Result<&Opened, ResourceTableError> {
        self.table.get(&Resource::<Opened>::new_borrow(fd.rep()))
    }

    fn hand_out(&mut self, opened: Opened) -> Result<Resource<Descriptor>, ResourceTableError> {
        Ok(Resource::new_own(self.table.push(opened)?.rep()))
    }

    /// What a stream over a file needs: the file, opened again.
    fn stream(&self, fd: &Resource<Descriptor>) -> FsResult<Opened> {
        let opened = self.opened(fd)?;
        if self.files.tree().file(opened.number).is_some_and(|open| open.directory) {
            return Err(failed(Reason::IsDir));
        }
        opened.again().map_err(failed)
    }

    fn writer(&mut self, fd: &Resource<Descriptor>, at: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        let file = self.stream(fd)?;
        let mut tree = self.files.tree();
        if !tree.file(file.number).is_some_and(|open| open.mode.write) {
            drop(tree);
            return Err(failed(Reason::NotPermitted));
        }
        tree.set_append(file.number, at.is_none());
        drop(tree);
        let writer: DynOutputStream = Box::new(Writer::new(file, at));
        Ok(self.table.push(writer)?)
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let roots = self.files.tree().open_roots()?;
        let mut given = Vec::new();
        for (number, path) in roots {
            let handle = self.hand_out(Opened { files: self.files.clone(), number })?;
            // A component has no word for a path that is no text.
            if let Ok(path) = String::from_utf8(path) {
                given.push((handle, path));
            }
        }
        Ok(given)
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Result<ErrorCode> {
        Ok(error.downcast()?.into())
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<Reason>().map(|reason| code(*reason).into()))
    }
}

impl types::HostDescriptor for View<'_> {
    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let reader: DynInputStream = Box::new(Reader::new(self.stream(&fd)?, offset));
        Ok(self.table.push(reader)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, None)
    }

    fn advise(&mut self, fd: Resource<Descriptor>, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        self.file(&fd).map(|_| ())
    }

    /// Nothing to do: what was written is there.
    fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.file(&fd).map(|_| ())
    }

    fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.file(&fd).map(|_| ())
    }

    fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        let number = self.file(&fd)?;
        let tree = self.files.tree();
        let open = tree.file(number).ok_or_else(|| failed(Reason::BadFile))?;
        let flag = |is: bool, flag| if is { flag } else { DescriptorFlags::empty() };
        Ok(flag(open.mode.read, DescriptorFlags::READ)
            | flag(open.mode.write, DescriptorFlags::WRITE)
            | flag(open.directory, DescriptorFlags::MUTATE_DIRECTORY))
    }

    fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        let number = self.file(&fd)?;
        let directory = self.files.tree().file(number).is_some_and(|open| open.directory);
        Ok(if directory { DescriptorType::Directory } else { DescriptorType::RegularFile })
    }

    fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.file(&fd)?;
        self.files.tree().resize(file, size).map_err(failed)
    }

    fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let file = self.file(&fd)?;
        self.files.tree().touch_open(file, times(accessed, modified)).map_err(failed)
    }

    fn read(
        &mut self,
        fd: Resource<Descriptor>,
        size: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let file = self.file(&fd)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(PIECE).min(PIECE)];
        let size = self.files.tree().read_at(file, offset, &mut bytes).map_err(failed)?;
        let ended = size == 0 && !bytes.is_empty();
        bytes.truncate(size);
        Ok((bytes, ended))
    }

    fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let file = self.file(&fd)?;
        self.files.tree().write_at(file, offset, &bytes).map_err(failed)?;
        Ok(bytes.len() as u64)
    }

    fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let folder = self.opened(&fd)?.again().map_err(failed)?;
        self.files.tree().list_open(folder.number).map_err(failed)?;
        let listing = self.table.push(Listing { folder, next: 0 })?;
        Ok(Resource::new_own(listing.rep()))
    }

    fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let folder = self.file(&fd)?;
        self.files.tree().mkdir_at(folder, path.as_bytes()).map_err(failed)
    }

    fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let file = self.file(&fd)?;
        self.files.tree().stat_open(file).map(|stat| of_stat(&stat)).map_err(failed)
    }

    fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let folder = self.file(&fd)?;
        let stat = self.files.tree().stat_at(folder, path.as_bytes(), follows(flags));
        stat.map(|stat| of_stat(&stat)).map_err(failed)
    }

    fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let (folder, times) = (self.file(&fd)?, times(accessed, modified));
        self.files.tree().touch_at(folder, path.as_bytes(), follows(flags), times).map_err(failed)
    }

    fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.file(&fd)?, self.file(&to)?);
        if follows(flags) {
            return Err(failed(Reason::Invalid));
        }
        self.files.tree().link_at(from, old.as_bytes(), to, new.as_bytes()).map_err(failed)
    }

    fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let folder = self.file(&fd)?;
        let directory = how.contains(OpenFlags::DIRECTORY);
        let write = flags.contains(DescriptorFlags::WRITE) && !directory;
        let create = how.contains(OpenFlags::CREATE);
        let mode = Mode {
            read: flags.contains(DescriptorFlags::READ) || !write,
            write,
            append: false,
            create,
            exclusive: create && how.contains(OpenFlags::EXCLUSIVE),
            truncate: how.contains(OpenFlags::TRUNCATE),
        };
        if (directory && (mode.create || mode.truncate)) || (mode.truncate && !write) {
            return Err(failed(Reason::Invalid));
        }
        let number =
            self.files.tree().open_at(folder, path.as_bytes(), follows(path_flags), mode).map_err(failed)?;
        let opened = Opened { files: self.files.clone(), number };
        if directory && !self.files.tree().file(number).is_some_and(|open| open.directory) {
            return Err(failed(Reason::NotDir));
        }
        Ok(self.hand_out(opened)?)
    }

    fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let folder = self.file(&fd)?;
        let mut tree = self.files.tree();
        let target = tree.read_link_at(folder, path.as_bytes()).map_err(failed)?;
        String::from_utf8(target.to_vec()).map_err(|_| EngineCode::IllegalByteSequence.into())
    }

    fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let folder = self.file(&fd)?;
        self.files.tree().remove_at(folder, path.as_bytes(), true).map_err(failed)
    }

    fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.file(&fd)?, self.file(&to)?);
        self.files.tree().rename_at(from, old.as_bytes(), to, new.as_bytes()).map_err(failed)
    }

    fn symlink_at(&mut self, fd: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        let folder = self.file(&fd)?;
        self.files.tree().symlink_at(target.as_bytes(), folder, path.as_bytes()).map_err(failed)
    }

    fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let folder = self.file(&fd)?;
        self.files.tree().remove_at(folder, path.as_bytes(), false).map_err(failed)
    }

    fn is_same_object(&mut self, one: Resource<Descriptor>, two: Resource<Descriptor>) -> Result<bool> {
        let (one, two) = (self.opened(&one)?.number, self.opened(&two)?.number);
        let mut tree = self.files.tree();
        let identity = |stat: Stat| (device(&stat), stat.inode);
        let (one, two) = (tree.stat_open(one).map(identity), tree.stat_open(two).map(identity));
        Ok(one.is_ok() && one == two)
    }

    fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let file = self.file(&fd)?;
        self.files.tree().stat_open(file).map(|stat| hash(&stat)).map_err(failed)
    }

    fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let folder = self.file(&fd)?;
        let stat = self.files.tree().stat_at(folder, path.as_bytes(), follows(flags));
        stat.map(|stat| hash(&stat)).map_err(failed)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> Result<()> {
        self.table.delete(Resource::<Opened>::new_own(fd.rep()))?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for View<'_> {
    fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listing = self.table.get_mut(&Resource::<Listing>::new_borrow(stream.rep()))?;
        let tree = self.files.tree();
        let Some(entry) = tree.listed(listing.folder.number, listing.next) else { return Ok(None) };
        listing.next += 1;
        let name = String::from_utf8(entry.name.clone()).map_err(|_| EngineCode::IllegalByteSequence)?;
        Ok(Some(DirectoryEntry { type_: entry.kind.map_or(DescriptorType::Unknown, of_kind), name }))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> Result<()> {
        self.table.delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn of_kind(kind: NodeKind) -> DescriptorType {
    match kind {
        NodeKind::File => DescriptorType::RegularFile,
        NodeKind::Directory => DescriptorType::Directory,
        NodeKind::Link => DescriptorType::SymbolicLink,
    }
}

fn of_stat(stat: &Stat) -> DescriptorStat {
    let time = |at: f64| {
        let nanos = nanos(at);
        let nanoseconds = (nanos % 1_000_000_000) as u32;
        Some(Datetime { seconds: nanos / 1_000_000_000, nanoseconds })
    };
    DescriptorStat {
        type_: of_kind(stat.kind),
        link_count: u64::from(stat.links),
        size: if is_directory(stat) { 0 } else { stat.size as u64 },
        data_access_timestamp: time(stat.accessed),
        data_modification_timestamp: time(stat.modified),
        status_change_timestamp: time(stat.changed),
    }
}

/// What tells one object from another, and a changed one from what it was.
fn hash(stat: &Stat) -> MetadataHashValue {
    MetadataHashValue {
        lower: (u64::from(stat.inode) << 2) | device(stat),
        upper: nanos(stat.modified) ^ (stat.size as u64).rotate_left(40),
    }
}

fn times(accessed: NewTimestamp, modified: NewTimestamp) -> Times {
    let time = |time: NewTimestamp| match time {
        NewTimestamp::NoChange => None,
        NewTimestamp::Now => Some(now()),
        NewTimestamp::Timestamp(at) => Some(at.seconds as f64 + seconds(u64::from(at.nanoseconds))),
    };
    Times { accessed: time(accessed), modified: time(modified) }
}
