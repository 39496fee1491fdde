//! Reads a folder: which files there are, and the text of those that changed.
//!
//! Takes paths and what is known of the files, gives plain data; runs on a thread of its own, as file
//! systems may block. It follows no link out of the folder but into the Nix store ([`Links`]), reads regular
//! files only, and no more than [`MAX_FILE`] of each.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Links;

/// The largest file that is read, in bytes.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// How many files one folder may hold.
const MAX_FILES: usize = 100_000;

/// How deep folders may nest.
const MAX_DEPTH: usize = 64;

/// A file that changed less than this before it was read may change again without a trace in its times.
const SETTLE: Duration = Duration::from_secs(2);

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether its times are old enough to be trusted.
    settled: bool,
}

impl Stamp {
    fn of(meta: &Metadata, now: SystemTime) -> Stamp {
        let changed = u64::try_from(meta.ctime()).map_or(SystemTime::UNIX_EPOCH, |seconds| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(now)
        });
        Stamp {
            inode: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            settled: now.duration_since(changed).is_ok_and(|age| age > SETTLE),
        }
    }

    /// Whether a file with this stamp, read before, need not be read again.
    fn same(&self, now: &Stamp) -> bool {
        self.settled && Stamp { settled: true, ..*now } == *self
    }
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its stamp, if it could be had.
    pub(super) stamp: Option<Stamp>,
    /// Its text if it is new or may have changed, or why it cannot be read.
    pub(super) text: Option<Result<Vec<u8>, String>>,
}

/// What a folder holds, by path below it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The `.lua` files.
    pub(super) files: BTreeMap<String, Found>,
    /// Folders that could not be read, as `path/` (empty for the folder itself), and why. What was known
    /// below them still counts.
    pub(super) unread: Vec<(String, String)>,
    /// Entries that are left out, and why.
    pub(super) left_out: Vec<(String, String)>,
    /// Links out of the folder, each with device and inode of what it leads to: that may come to be
    /// something else without a change in the folder.
    pub(super) links: Vec<(PathBuf, (u64, u64))>,
}

/// What is known of the files of a folder; those without a stamp could not be read.
pub(super) type Known = BTreeMap<String, Option<Stamp>>;

/// Finds the `.lua` files below `root`, and reads those whose stamp is not the known one.
///
/// Names that begin with a dot are left out, and so are the folder `skip` and, if `skip_libs`, folders
/// named `libs`.
pub(super) fn scan(
    root: &Path,
    skip: Option<&Path>,
    skip_libs: bool,
    links: &Links,
    known: &Known,
) -> Folder {
    let mut scan = Scan {
        root: root.to_owned(),
        skip: skip.and_then(|skip| skip.canonicalize().ok()),
        skip_libs,
        links,
        known,
        folder: Folder::default(),
    };
    match root.canonicalize() {
        Ok(root) if !links.allow(&root) => {
            let why = "the folder is a link that leads out of its tenant's".to_owned();
            scan.folder.unread.push((String::new(), why));
        }
        Ok(root) => {
            scan.root.clone_from(&root);
            scan.folder(&At { below: "", path: &root, depth: 0, linked: false, bound: None });
        }
        Err(error) => scan.folder.unread.push((String::new(), error.to_string())),
    }
    scan.folder
}

impl Links {
    /// Whether the folder may be where it is.
    fn allow(&self, root: &Path) -> bool {
        let is_parent = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| root.starts_with(folder));
        self.within.as_ref().is_none_or(is_parent)
    }
}

struct Scan<'a> {
    root: PathBuf,
    skip: Option<PathBuf>,
    skip_libs: bool,
    links: &'a Links,
    known: &'a Known,
    folder: Folder,
}

/// A folder on the way down.
#[derive(Clone, Copy)]
struct At<'a> {
    /// Its path below the root, as `path/`; empty for the root.
    below: &'a str,
    /// Its real path.
    path: &'a Path,
    depth: usize,
    /// Whether a link led here, or above.
    linked: bool,
    /// The real path of the confined folder that it is or is in.
    bound: Option<&'a Path>,
}

impl Scan<'_> {
    fn folder(&mut self, at: &At) {
        if at.depth > MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} folders deep");
            return self.folder.left_out.push((at.below.to_owned(), why));
        }
        let confined = self.links.confined.iter().any(|folder| Path::new(at.below) == folder);
        let at = At { bound: at.bound.or(confined.then_some(at.path)), ..*at };
        match sorted(at.path) {
            Ok(entries) => entries.iter().for_each(|entry| self.entry(&at, entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && at.depth > 0 => {}
            Err(error) => self.folder.unread.push((at.below.to_owned(), error.to_string())),
        }
    }

    fn entry(&mut self, at: &At, entry: &fs::DirEntry) {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { return };
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let is_script = Path::new(&name).extension().is_some_and(|extension| extension == "lua");
        if !kind.is_dir() && !kind.is_symlink() && !is_script {
            return;
        }
        let below = at.below;
        let Some(name) = name.to_str().filter(|name| !name.contains(char::is_control)) else {
            let shown = format!("{below}{}", name.to_string_lossy().escape_debug());
            return self.folder.left_out.push((shown, "the file name is not plain UTF-8".to_owned()));
        };
        let (shown, path) = (format!("{below}{name}"), entry.path());
        if kind.is_dir() {
            self.enter(at, name, &path, at.linked);
        } else if kind.is_symlink() && !is_script {
            self.folder_link(at, name, &path);
        } else if self.folder.files.len() >= MAX_FILES {
            let why = format!("the folder holds more than {MAX_FILES} files");
            if self.folder.left_out.last().is_none_or(|(_, last)| *last != why) {
                self.folder.left_out.push((shown, why));
            }
        } else if kind.is_symlink() {
            match self.target(at, &path) {
                Ok(target) => self.file(shown, &target),
                Err(why) => self.folder.left_out.push((shown, why)),
            }
        } else {
            self.file(shown, &path);
        }
    }

    /// Goes into a folder of this name and real path, unless it is one of libraries.
    fn enter(&mut self, at: &At, name: &str, path: &Path, linked: bool) {
        let skipped = (self.skip_libs && name == "libs") || self.skip.as_deref() == Some(path);
        if !skipped {
            let below = format!("{}{name}/", at.below);
            self.folder(&At { below: &below, path, depth: at.depth + 1, linked, ..*at });
        }
    }

    /// A link to a folder: followed into the store only, and but once on the way down, so that no ring of
    /// links is walked.
    fn folder_link(&mut self, at: &At, name: &str, path: &Path) {
        let is_stored = |target: &Path| target.starts_with(&self.links.store) && target.is_dir();
        if !path.canonicalize().is_ok_and(|target| is_stored(&target)) {
            return;
        }
        if at.linked || at.bound.is_some() {
            let why = "a link to a folder is not followed here".to_owned();
            return self.folder.left_out.push((format!("{}{name}", at.below), why));
        }
        if let Ok(target) = self.target(at, path) {
            self.enter(at, name, &target, true);
        }
    }

    /// The real path of what a link leads to, if it may lead there.
    fn target(&mut self, at: &At, link: &Path) -> Result<PathBuf, String> {
        let target = link.canonicalize().map_err(|error| error.to_string())?;
        if target.starts_with(at.bound.unwrap_or(&self.root)) {
            return Ok(target);
        }
        if at.bound.is_some() || !target.starts_with(&self.links.store) {
            return Err("the link leads out of the folder".to_owned());
        }
        // What a link names in the store itself never changes.
        let is_direct = link.read_link().is_ok_and(|next| next.starts_with(&self.links.store));
        if let (false, Ok(meta)) = (is_direct, target.metadata()) {
            self.folder.links.push((link.to_owned(), (meta.dev(), meta.ino())));
        }
        Ok(target)
    }

    /// A file, by its real path.
    fn file(&mut self, shown: String, path: &Path) {
        let known = self.known.get(&shown).copied().flatten();
        match fs::metadata(path).map(|meta| Stamp::of(&meta, SystemTime::now())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = Some(Err(error.to_string()));
                self.folder.files.insert(shown, Found { stamp: None, text });
            }
            Ok(stamp) if known.is_some_and(|known| known.same(&stamp)) => {
                self.folder.files.insert(shown, Found { stamp: Some(stamp), text: None });
            }
            Ok(_) => {
                let found = match read_at(path) {
                    Ok((text, stamp)) => Found { stamp: Some(stamp), text: Some(Ok(text)) },
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                    Err(error) => Found { stamp: None, text: Some(Err(error.to_string())) },
                };
                self.folder.files.insert(shown, found);
            }
        }
    }
}

fn sorted(path: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// A regular file's text, and its stamp from before it was read.
///
/// # Errors
/// When it is no regular file, larger than [`MAX_FILE`], or cannot be read.
pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    read_open(&open(path)?)
}

/// As [`read`], but the file must be the one of this real path: none on the way to it may have become a link
/// since it was looked at.
fn read_at(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    let file = open(path)?;
    if fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))? != path {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was moved while it was read"));
    }
    read_open(&file)
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe without a writer must not hold us up: it is no regular file, and refused later.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn read_open(file: &File) -> io::Result<(Vec<u8>, Stamp)> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    let stamp = Stamp::of(&meta, SystemTime::now());
    Ok((read_bounded(file, meta.len())?, stamp))
}

fn read_bounded(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(usize::try_from(size.min(MAX_FILE)).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("the file is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Folder) -> Vec<&str> {
        folder.files.keys().map(String::as_str).collect()
    }

    fn links(store: &Path, confined: &[&str]) -> Links {
        let confined = confined.iter().map(PathBuf::from).collect();
        Links { store: store.to_owned(), confined, within: None }
    }

    fn look(root: &Path, skip: Option<&Path>, skip_libs: bool) -> Folder {
        scan(root, skip, skip_libs, &links("/nix/store".as_ref(), &[]), &Known::new())
    }

    #[test]
    fn scripts_are_found_and_libraries_left_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["hooks/deep", "libs/net", "hooks/libs", "shared", ".git"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let files = [
            "b.lua",
            "a.lua",
            "a.txt",
            ".hidden.lua",
            ".git/x.lua",
            "hooks/deep/c.lua",
            "hooks/libs/d.lua",
            "libs/net/http.lua",
            "shared/e.lua",
            "lua",
        ];
        for file in files {
            fs::write(root.path().join(file), "x").unwrap();
        }
        let shared = root.path().join("shared");
        let folder = look(root.path(), Some(&shared), true);
        assert_eq!(names(&folder), ["a.lua", "b.lua", "hooks/deep/c.lua"]);
        let libraries = look(&root.path().join("libs"), None, false);
        assert_eq!(names(&libraries), ["net/http.lua"]);
    }

    #[test]
    fn links_stay_within() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret.lua"), "x").unwrap();
        fs::create_dir(root.path().join(".data")).unwrap();
        fs::write(root.path().join(".data/in.lua"), "inside").unwrap();
        symlink(outside.path().join("secret.lua"), root.path().join("out.lua")).unwrap();
        symlink(root.path().join(".data/in.lua"), root.path().join("in.lua")).unwrap();
        symlink(outside.path(), root.path().join("folder")).unwrap();
        symlink(".", root.path().join("loop")).unwrap();
        symlink("me.lua", root.path().join("me.lua")).unwrap();
        let folder = look(root.path(), None, true);
        assert_eq!(names(&folder), ["in.lua"]);
        assert_eq!(folder.files["in.lua"].text, Some(Ok(b"inside".to_vec())));
        assert_eq!(left_out(&folder), ["me.lua", "out.lua"]);
    }

    fn left_out(folder: &Folder) -> Vec<&str> {
        folder.left_out.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn links_into_the_store_are_followed() {
        let (root, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let links = links(&store.path().canonicalize().unwrap(), &["acme"]);
        fs::create_dir_all(store.path().join("1-folder/deep")).unwrap();
        fs::create_dir(root.path().join("acme")).unwrap();
        fs::write(store.path().join("0-file"), "x").unwrap();
        fs::write(store.path().join("1-folder/deep/b.lua"), "y").unwrap();
        symlink(store.path(), store.path().join("1-folder/deep/ring")).unwrap();
        symlink("../../0-file", store.path().join("1-folder/deep/c.lua")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let by_way = outside.path().join("static");
        symlink(store.path(), &by_way).unwrap();
        for at in ["", "acme/"] {
            symlink(store.path().join("0-file"), root.path().join(format!("{at}a.lua"))).unwrap();
            symlink(by_way.join("0-file"), root.path().join(format!("{at}way.lua"))).unwrap();
            symlink(store.path().join("1-folder"), root.path().join(format!("{at}folder"))).unwrap();
        }
        let folder = scan(root.path(), None, true, &links, &Known::new());
        assert_eq!(names(&folder), ["a.lua", "folder/deep/b.lua", "folder/deep/c.lua", "way.lua"]);
        assert_eq!(left_out(&folder), ["acme/a.lua", "acme/folder", "acme/way.lua", "folder/deep/ring"]);
        let watched: Vec<_> = folder.links.iter().map(|(link, _)| link.file_name().unwrap()).collect();
        assert_eq!(watched, ["c.lua", "way.lua"]);
    }

    #[test]
    fn links_of_a_tenant_stay_in_its_folder() {
        let root = tempfile::tempdir().unwrap();
        for file in ["own.lua", "acme/in.lua", "other/secret.lua"] {
            fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            fs::write(root.path().join(file), "x").unwrap();
        }
        symlink("in.lua", root.path().join("acme/same.lua")).unwrap();
        symlink("../other/secret.lua", root.path().join("acme/other.lua")).unwrap();
        symlink("../own.lua", root.path().join("acme/own.lua")).unwrap();
        symlink("acme/in.lua", root.path().join("operator.lua")).unwrap();
        let links = links(root.path(), &["acme"]);
        let folder = scan(root.path(), None, true, &links, &Known::new());
        let expected = ["acme/in.lua", "acme/same.lua", "operator.lua", "other/secret.lua", "own.lua"];
        assert_eq!(names(&folder), expected);
        assert_eq!(left_out(&folder), ["acme/other.lua", "acme/own.lua"]);

        symlink("../other", root.path().join("acme/libs")).unwrap();
        let within = links.within(&root.path().join("acme"));
        let folder = scan(&root.path().join("acme/libs"), None, false, &within, &Known::new());
        assert!(folder.files.is_empty() && folder.unread.len() == 1, "{folder:?}");
        let folder = scan(&root.path().join("acme"), None, false, &within, &Known::new());
        assert_eq!(names(&folder), ["in.lua", "same.lua"]);
    }

    #[test]
    fn a_file_must_be_where_it_was_found() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        fs::create_dir(real.join("folder")).unwrap();
        fs::write(real.join("folder/a.lua"), "x").unwrap();
        assert!(read_at(&real.join("folder/a.lua")).is_ok());
        symlink("folder", real.join("swapped")).unwrap();
        let error = read_at(&real.join("swapped/a.lua")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        let large = File::create(root.path().join("large.lua")).unwrap();
        large.set_len(MAX_FILE + 1).unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe.lua"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(root.path().join("folder.lua")).unwrap();
        let folder = look(root.path(), None, true);
        let texts: Vec<_> =
            folder.files.values().map(|found| found.text.clone().unwrap().unwrap_err()).collect();
        assert_eq!(texts, ["the file is larger than 4 MiB", "this is no regular file"]);
        let missing = look(&root.path().join("none"), None, true);
        assert_eq!(missing.unread.len(), 1);
    }

    #[test]
    fn only_what_may_have_changed_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.lua"), "x").unwrap();
        let stamp = |folder: &Folder| folder.files["a.lua"].stamp.unwrap();
        let first = stamp(&look(root.path(), None, true));
        assert!(!first.settled, "just written");
        let again = scan(
            root.path(),
            None,
            true,
            &links("/nix/store".as_ref(), &[]),
            &[("a.lua".to_owned(), Some(first))].into(),
        );
        assert!(again.files["a.lua"].text.is_some());
        let settled = Stamp { settled: true, ..first };
        let again = scan(
            root.path(),
            None,
            true,
            &links("/nix/store".as_ref(), &[]),
            &[("a.lua".to_owned(), Some(settled))].into(),
        );
        assert!(again.files["a.lua"].text.is_none());
        fs::write(root.path().join("a.lua"), "xy").unwrap();
        let again = scan(
            root.path(),
            None,
            true,
            &links("/nix/store".as_ref(), &[]),
            &[("a.lua".to_owned(), Some(settled))].into(),
        );
        assert_eq!(again.files["a.lua"].text, Some(Ok(b"xy".to_vec())));
    }
}
