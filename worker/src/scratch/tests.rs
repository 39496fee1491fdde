use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::lua::Scratch;

fn reason<T: std::fmt::Debug>(result: Result<T, FsError>) -> Reason {
    result.expect_err("wanted an error").reason
}

#[test]
fn paths_go_up_down_and_never_out() {
    let mut scratch = Scratch::default();
    assert_eq!(scratch.cwd(), HOME.as_bytes());
    scratch.mkdir(b"a").unwrap();
    scratch.mkdir(b"a/b/").unwrap();
    scratch.write_file(b"./a//b/../f", b"x").unwrap();
    assert_eq!(scratch.read_file(b"/scratch/a/f").unwrap(), b"x");
    scratch.chdir(b"a/b").unwrap();
    assert_eq!(scratch.cwd(), b"/scratch/a/b");
    assert_eq!(scratch.read_file(b"../../../../../../scratch/a/f").unwrap(), b"x");
    assert_eq!(scratch.real_path(b"../f").unwrap(), b"/scratch/a/f");
    scratch.chdir(b"/..").unwrap();
    assert_eq!(scratch.cwd(), b"/");
    assert_eq!(scratch.list(b".").unwrap().collect::<Vec<_>>(), [b"scratch", &b"tmp"[..]]);
    assert_eq!(reason(scratch.remove(b"/")), Reason::Busy);
    assert_eq!(reason(scratch.stat(b"/etc/passwd", true)), Reason::NotFound);
}

#[test]
fn texts_are_gos() {
    let mut scratch = Scratch::default();
    scratch.write_file(b"f", b"").unwrap();
    scratch.mkdir(b"d").unwrap();
    scratch.write_file(b"d/x", b"").unwrap();
    let text = |result: Result<(), FsError>| result.unwrap_err().to_string();
    assert_eq!(text(scratch.open(b"no", Mode::READ).map(|_| ())), "open no: no such file or directory");
    assert_eq!(text(scratch.open(b"f/x", Mode::WRITE).map(|_| ())), "open f/x: not a directory");
    assert_eq!(text(scratch.open(b"d", Mode::WRITE).map(|_| ())), "open d: is a directory");
    assert_eq!(text(scratch.mkdir(b"f")), "mkdir f: file exists");
    assert_eq!(text(scratch.mkdir(b"no/x")), "mkdir no/x: no such file or directory");
    assert_eq!(text(scratch.remove(b"d")), "remove d: directory not empty");
    assert_eq!(text(scratch.remove(b"")), "remove : no such file or directory");
    assert_eq!(text(scratch.rename(b"no", b"x")), "rename no x: no such file or directory");
    assert_eq!(text(scratch.rename(b"f", b"d")), "rename f d: file exists");
    assert_eq!(text(scratch.rename(b"d", b"d/y")), "rename d d/y: invalid argument");
    assert_eq!(text(scratch.chdir(b"f")), "chdir f: not a directory");
    assert_eq!(text(scratch.link(b"f", b"d")), "link f d: file exists");
    assert_eq!(text(scratch.link(b"d", b"e")), "link d e: operation not permitted");
    assert_eq!(text(scratch.stat(b"no", true).map(|_| ())), "stat no: no such file or directory");
    assert_eq!(text(scratch.touch(b"no", 0.0, 0.0)), "chtimes no: no such file or directory");
    assert_eq!(reason(scratch.open(b"a\0b", Mode::WRITE)), Reason::Invalid);
    assert_eq!(reason(scratch.mkdir(&[b'x'; 256])), Reason::NameTooLong);
    assert_eq!(reason(scratch.mkdir(&b"x/".repeat(3000))), Reason::NameTooLong);
}

#[test]
fn links_are_followed_but_not_for_ever() {
    let mut scratch = Scratch::default();
    scratch.write_file(b"f", b"x").unwrap();
    scratch.symlink(b"f", b"l").unwrap();
    assert_eq!(scratch.read_file(b"l").unwrap(), b"x");
    assert_eq!(scratch.stat(b"l", false).unwrap().kind, NodeKind::Link);
    assert_eq!(scratch.read_link(b"l").unwrap(), b"f");
    assert_eq!(scratch.real_path(b"l").unwrap(), b"/scratch/f");
    scratch.symlink(b"b", b"a").unwrap();
    scratch.symlink(b"a", b"b").unwrap();
    assert_eq!(reason(scratch.read_file(b"a")), Reason::Loop);
    // Each of these names doubles the path that is left to walk.
    scratch.symlink(&b"./".repeat(2000), b"d0").unwrap();
    scratch.symlink(&b"d0/".repeat(1000), b"d1").unwrap();
    assert_eq!(reason(scratch.read_file(b"d1/f")), Reason::Loop);
    scratch.link(b"f", b"h").unwrap();
    scratch.remove(b"f").unwrap();
    assert_eq!(scratch.read_file(b"h").unwrap(), b"x");
    assert_eq!(scratch.stat(b"h", true).unwrap().links, 1);
}

#[test]
fn everything_is_charged_and_given_back() {
    let mut scratch = Scratch::new(100_000);
    scratch.write_file(b"f", &[0; 60_000]).unwrap();
    assert!(scratch.used() >= 60_000);
    assert_eq!(reason(scratch.write_file(b"g", &[0; 60_000])), Reason::Memory);
    scratch.remove(b"g").unwrap();
    scratch.remove(b"f").unwrap();
    assert_eq!(scratch.used(), 0);
    let file = scratch.open(b"sparse", Mode::WRITE).unwrap();
    scratch.seek(file, Whence::Start, i64::MAX).unwrap();
    assert_eq!(reason(scratch.write(file, b"x")), Reason::Memory);
    assert_eq!(reason(scratch.seek(file, Whence::Current, i64::MAX)), Reason::Invalid);
}

#[test]
fn an_unnamed_file_goes_when_it_is_closed() {
    let mut scratch = Scratch::default();
    let file = scratch.open_unnamed().unwrap();
    scratch.write(file, b"hello").unwrap();
    scratch.seek(file, Whence::Start, 0).unwrap();
    assert_eq!(scratch.rest(file).unwrap(), b"hello");
    assert_eq!(scratch.list(TMP.as_bytes()).unwrap().count(), 0);
    scratch.close(file).unwrap();
    assert_eq!(scratch.used(), 0);
    assert_eq!(reason(scratch.close(file)), Reason::Closed);
}

#[test]
fn the_working_directory_may_be_removed() {
    let mut scratch = Scratch::default();
    scratch.mkdir(b"a").unwrap();
    scratch.chdir(b"a").unwrap();
    scratch.remove(b"/scratch/a").unwrap();
    scratch.remove(b"/scratch").unwrap();
    assert_eq!(reason(scratch.write_file(b"x", b"")), Reason::NotFound);
    assert_eq!(scratch.cwd(), b"/(deleted)");
    scratch.chdir(b"..").unwrap();
    assert_eq!(scratch.cwd(), b"/");
}

#[test]
fn the_number_of_files_is_bounded() {
    let mut scratch = Scratch::default();
    for n in 0..MAX_OPEN {
        scratch.open(format!("f{n}").as_bytes(), Mode::WRITE).unwrap();
    }
    assert_eq!(reason(scratch.open(b"more", Mode::WRITE)), Reason::TooManyOpen);
    let full = (0..=MAX_FILES).find_map(|n| scratch.mkdir(format!("d{n}").as_bytes()).err());
    assert_eq!(full.unwrap().reason, Reason::Full);
}

#[test]
fn modes_are_fopens() {
    for text in ["r", "rb", "w", "wb", "a", "ab", "r+", "rb+", "w+", "wb+", "a+", "ab+", "r+b"] {
        assert!(Mode::parse(text.as_bytes()).is_some(), "{text}");
    }
    for text in ["", "q", "rw", "+", "r++", "rb+b"] {
        assert!(Mode::parse(text.as_bytes()).is_none(), "{text}");
    }
}

/// One step, played on the scratch folder and on a real one.
#[derive(Debug, Clone)]
enum Step {
    Mkdir(String),
    Remove(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String, String),
    Write(String, Vec<u8>),
    Read(String),
    List(String),
}

/// A path that ends in a name: those that end in a dot are refused by the system in some places and by
/// us in others.
fn path() -> impl Strategy<Value = String> {
    let above = prop::collection::vec(proptest::sample::select(vec!["a/", "b/", "c/", "./", "/"]), 0..3);
    (above, "[abc]").prop_map(|(above, name)| above.concat().trim_start_matches('/').to_string() + &name)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        path().prop_map(Step::Mkdir),
        path().prop_map(Step::Remove),
        (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        (path(), path()).prop_map(|(from, to)| Step::Symlink(from, to)),
        (path(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(path, bytes)| Step::Write(path, bytes)),
        path().prop_map(Step::Read),
        path().prop_map(Step::List),
        path().prop_map(|path| Step::List(path + "/.")),
    ]
}

fn ours(scratch: &mut Scratch, step: &Step) -> Option<Vec<u8>> {
    let bytes = str::as_bytes;
    let done = |result: Result<(), FsError>| result.ok().map(|()| Vec::new());
    match step {
        Step::Mkdir(path) => done(scratch.mkdir(bytes(path))),
        Step::Remove(path) => done(scratch.remove(bytes(path))),
        Step::Rename(from, to) => done(scratch.rename(bytes(from), bytes(to))),
        Step::Link(from, to) => done(scratch.link(bytes(from), bytes(to))),
        Step::Symlink(target, path) => done(scratch.symlink(bytes(target), bytes(path))),
        Step::Write(path, content) => done(scratch.write_file(bytes(path), content)),
        Step::Read(path) => scratch.read_file(bytes(path)).ok().map(<[u8]>::to_vec),
        Step::List(path) => Some(scratch.list(bytes(path)).ok()?.collect::<Vec<_>>().join(&b'/')),
    }
}

fn real(root: &Path, step: &Step) -> Option<Vec<u8>> {
    // Not `join`, which would tidy up the dots.
    let at = |path: &String| format!("{}/{path}", root.display());
    let done = |result: std::io::Result<()>| result.ok().map(|()| Vec::new());
    match step {
        Step::Mkdir(path) => done(fs::create_dir(at(path))),
        Step::Remove(path) => {
            // As Go does: as a file, else as a directory; neither by way of a trailing dot.
            done(fs::remove_file(at(path)).or_else(|_| fs::remove_dir(at(path))))
        }
        Step::Rename(from, to) => {
            if fs::symlink_metadata(at(to)).is_ok_and(|there| there.is_dir()) {
                return None;
            }
            done(fs::rename(at(from), at(to)))
        }
        Step::Link(from, to) => done(fs::hard_link(at(from), at(to))),
        Step::Symlink(target, path) => done(std::os::unix::fs::symlink(target, at(path))),
        Step::Write(path, content) => done(fs::write(at(path), content)),
        Step::Read(path) => fs::read(at(path)).ok(),
        Step::List(path) => {
            let mut names: Vec<_> = fs::read_dir(at(path))
                .ok()?
                .map(|entry| entry.unwrap().file_name().into_encoded_bytes())
                .collect();
            names.sort();
            Some(names.join(&b'/'))
        }
    }
}

/// A folder that goes when dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Folder {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("msgscript-scratch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #[test]
    fn does_what_the_system_does(steps in prop::collection::vec(step(), 1..40)) {
        let folder = Folder::new();
        let mut scratch = Scratch::default();
        for step in &steps {
            prop_assert_eq!(ours(&mut scratch, step), real(&folder.0, step), "{:?}", step);
        }
    }

    #[test]
    fn hostile_paths_do_no_harm(
        paths in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..20),
        dots in prop::collection::vec("[./ab]{0,9}", 1..20),
    ) {
        let mut scratch = Scratch::new(20_000);
        for path in paths.iter().map(Vec::as_slice).chain(dots.iter().map(String::as_bytes)) {
            let _ = scratch.mkdir(path);
            let _ = scratch.symlink(path, b"l");
            let _ = scratch.chdir(path);
            let _ = scratch.rename(path, b"l/x");
            let _ = scratch.write_file(path, path);
            let _ = scratch.real_path(path);
            let _ = scratch.remove(path);
            prop_assert!(scratch.used() <= scratch.limit());
            prop_assert!(scratch.cwd().starts_with(b"/"));
        }
    }

    #[test]
    fn an_open_file_is_like_a_real_one(
        steps in prop::collection::vec((0..4u8, -5..30i64, prop::collection::vec(any::<u8>(), 0..9)), 1..30),
        mode in proptest::sample::select(vec!["r+", "w+", "a+"]),
    ) {
        let folder = Folder::new();
        let path = folder.0.join("f");
        fs::write(&path, b"0123456789").unwrap();
        let append = mode == "a+";
        let mut theirs = fs::OpenOptions::new().read(true).write(!append).append(append).open(&path).unwrap();
        if mode == "w+" { theirs.set_len(0).unwrap(); }
        let mut scratch = Scratch::default();
        scratch.write_file(b"f", b"0123456789").unwrap();
        let ours = scratch.open(b"f", Mode::parse(mode.as_bytes()).unwrap()).unwrap();
        for (kind, offset, bytes) in steps {
            match kind {
                0 => {
                    scratch.write(ours, &bytes).unwrap();
                    theirs.write_all(&bytes).unwrap();
                    if append && bytes.is_empty() { theirs.seek(SeekFrom::End(0)).unwrap(); }
                }
                1 => {
                    let mut buffer = vec![0; bytes.len()];
                    let count = theirs.read(&mut buffer).unwrap();
                    let rest = scratch.rest(ours).unwrap();
                    prop_assert_eq!(&rest[..rest.len().min(bytes.len())], &buffer[..count]);
                    scratch.advance(ours, count);
                }
                2 => {
                    let got = scratch.seek(ours, Whence::Start, offset).ok();
                    let wanted = u64::try_from(offset).ok().map(|offset| theirs.seek(SeekFrom::Start(offset)).unwrap());
                    prop_assert_eq!(got.map(|n| n as u64), wanted);
                }
                _ => {
                    let whence = if offset % 2 == 0 { Whence::Current } else { Whence::End };
                    let real = if offset % 2 == 0 { SeekFrom::Current(offset) } else { SeekFrom::End(offset) };
                    prop_assert_eq!(scratch.seek(ours, whence, offset).ok().map(|n| n as u64), theirs.seek(real).ok());
                }
            }
        }
        prop_assert_eq!(scratch.read_file(b"f").unwrap(), fs::read(&path).unwrap());
    }

    #[test]
    fn files_are_a_map(writes in prop::collection::vec((0..20u8, prop::collection::vec(any::<u8>(), 0..50)), 0..60)) {
        let mut model = BTreeMap::new();
        let mut scratch = Scratch::default();
        for (name, content) in writes {
            let path = format!("f{name}");
            if content.is_empty() && model.remove(&path).is_some() {
                scratch.remove(path.as_bytes()).unwrap();
            } else {
                scratch.write_file(path.as_bytes(), &content).unwrap();
                model.insert(path, content);
            }
        }
        for (path, content) in &model {
            prop_assert_eq!(scratch.read_file(path.as_bytes()).unwrap(), &content[..]);
        }
        prop_assert_eq!(scratch.list(b".").unwrap().count(), model.len());
    }
}
