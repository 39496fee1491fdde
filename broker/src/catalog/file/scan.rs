//! Reads a folder: which files there are, and the text of those that changed.
//!
//! Takes paths and what is known of the files, gives plain data; runs on a thread of its own, as file
//! systems may block. It never follows a link out of the folder, reads regular files only, and no more
//! than [`MAX_FILE`] of each.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
}

/// What is known of the files of a folder; those without a stamp could not be read.
pub(super) type Known = BTreeMap<String, Option<Stamp>>;

/// Finds the `.lua` files below `root`, and reads those whose stamp is not the known one.
///
/// Names that begin with a dot are left out, and so are the folder `skip` and, if `skip_libs`, folders
/// named `libs`.
pub(super) fn scan(root: &Path, skip: Option<&Path>, skip_libs: bool, known: &Known) -> Folder {
    let mut scan = Scan {
        root: root.to_owned(),
        skip: skip.map(Path::to_owned),
        skip_libs,
        known,
        folder: Folder::default(),
    };
    match root.canonicalize() {
        Ok(root) => {
            scan.root = root;
            scan.skip = skip.and_then(|skip| skip.canonicalize().ok());
            scan.folder("", &scan.root.clone(), 0);
        }
        Err(error) => scan.folder.unread.push((String::new(), error.to_string())),
    }
    scan.folder
}

struct Scan<'a> {
    root: PathBuf,
    skip: Option<PathBuf>,
    skip_libs: bool,
    known: &'a Known,
    folder: Folder,
}

impl Scan<'_> {
    fn folder(&mut self, below: &str, path: &Path, depth: usize) {
        if depth > MAX_DEPTH {
            self.folder.left_out.push((below.to_owned(), format!("more than {MAX_DEPTH} folders deep")));
            return;
        }
        match sorted(path) {
            Ok(entries) => entries.iter().for_each(|entry| self.entry(below, entry, depth)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => {}
            Err(error) => self.folder.unread.push((below.to_owned(), error.to_string())),
        }
    }

    fn entry(&mut self, below: &str, entry: &fs::DirEntry, depth: usize) {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { return };
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let is_script = Path::new(&name).extension().is_some_and(|extension| extension == "lua");
        if !kind.is_dir() && !is_script {
            return;
        }
        let Some(name) = name.to_str().filter(|name| !name.contains(char::is_control)) else {
            let shown = format!("{below}{}", name.to_string_lossy().escape_debug());
            return self.folder.left_out.push((shown, "the file name is not plain UTF-8".to_owned()));
        };
        let (shown, path) = (format!("{below}{name}"), entry.path());
        if kind.is_dir() {
            let skipped = (self.skip_libs && name == "libs") || self.skip.as_ref() == Some(&path);
            if !skipped {
                self.folder(&format!("{shown}/"), &path, depth + 1);
            }
        } else if self.folder.files.len() >= MAX_FILES {
            let why = format!("the folder holds more than {MAX_FILES} files");
            if self.folder.left_out.last().is_none_or(|(_, last)| *last != why) {
                self.folder.left_out.push((shown, why));
            }
        } else {
            self.file(shown, path, kind.is_symlink());
        }
    }

    fn file(&mut self, shown: String, mut path: PathBuf, link: bool) {
        if link {
            match path.canonicalize() {
                Ok(target) if target.starts_with(&self.root) => path = target,
                Ok(_) => {
                    let why = "the link leads out of the folder".to_owned();
                    return self.folder.left_out.push((shown, why));
                }
                Err(error) => return self.folder.left_out.push((shown, error.to_string())),
            }
        }
        let known = self.known.get(&shown).copied().flatten();
        match fs::metadata(&path).map(|meta| Stamp::of(&meta, SystemTime::now())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = Some(Err(error.to_string()));
                self.folder.files.insert(shown, Found { stamp: None, text });
            }
            Ok(stamp) if known.is_some_and(|known| known.same(&stamp)) => {
                self.folder.files.insert(shown, Found { stamp: Some(stamp), text: None });
            }
            Ok(_) => {
                let found = match read(&path) {
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
    // A pipe without a writer must not hold us up: it is no regular file, and refused below.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    let stamp = Stamp::of(&meta, SystemTime::now());
    Ok((read_bounded(&file, meta.len())?, stamp))
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
        let folder = scan(root.path(), Some(&shared), true, &Known::new());
        assert_eq!(names(&folder), ["a.lua", "b.lua", "hooks/deep/c.lua"]);
        let libraries = scan(&root.path().join("libs"), None, false, &Known::new());
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
        let folder = scan(root.path(), None, true, &Known::new());
        assert_eq!(names(&folder), ["in.lua"]);
        assert_eq!(folder.files["in.lua"].text, Some(Ok(b"inside".to_vec())));
        let left_out: Vec<_> = folder.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left_out, ["me.lua", "out.lua"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        let large = File::create(root.path().join("large.lua")).unwrap();
        large.set_len(MAX_FILE + 1).unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe.lua"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(root.path().join("folder.lua")).unwrap();
        let folder = scan(root.path(), None, true, &Known::new());
        let texts: Vec<_> =
            folder.files.values().map(|found| found.text.clone().unwrap().unwrap_err()).collect();
        assert_eq!(texts, ["the file is larger than 4 MiB", "this is no regular file"]);
        let missing = scan(&root.path().join("none"), None, true, &Known::new());
        assert_eq!(missing.unread.len(), 1);
    }

    #[test]
    fn only_what_may_have_changed_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.lua"), "x").unwrap();
        let stamp = |folder: &Folder| folder.files["a.lua"].stamp.unwrap();
        let first = stamp(&scan(root.path(), None, true, &Known::new()));
        assert!(!first.settled, "just written");
        let again = scan(root.path(), None, true, &[("a.lua".to_owned(), Some(first))].into());
        assert!(again.files["a.lua"].text.is_some());
        let settled = Stamp { settled: true, ..first };
        let again = scan(root.path(), None, true, &[("a.lua".to_owned(), Some(settled))].into());
        assert!(again.files["a.lua"].text.is_none());
        fs::write(root.path().join("a.lua"), "xy").unwrap();
        let again = scan(root.path(), None, true, &[("a.lua".to_owned(), Some(settled))].into());
        assert_eq!(again.files["a.lua"].text, Some(Ok(b"xy".to_vec())));
    }
}
