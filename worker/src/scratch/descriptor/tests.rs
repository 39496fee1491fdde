use super::*;
use crate::lua::Scratch;

fn scratch() -> (Scratch, u32) {
    let mut scratch = Scratch::default();
    let roots = scratch.open_roots().unwrap();
    assert_eq!(roots.len(), 1, "nothing is granted");
    assert_eq!(roots[0].1, b"/");
    let root = roots[0].0;
    (scratch, root)
}

const NEW: Mode = Mode { exclusive: true, ..Mode::READ_WRITE_NEW };

fn names(scratch: &mut Scratch, folder: u32) -> Vec<Vec<u8>> {
    scratch.list_open(folder).unwrap();
    (0..).map_while(|index| scratch.listed(folder, index)).map(|entry| entry.name.clone()).collect()
}

#[test]
fn no_path_leads_out_of_its_directory() {
    let (mut scratch, root) = scratch();
    scratch.mkdir_at(root, b"a").unwrap();
    scratch.mkdir_at(root, b"a/b").unwrap();
    let inner = scratch.open_at(root, b"a", true, Mode::READ).unwrap();
    for path in [&b".."[..], b"/", b"/tmp", b"../a/b", b"b/../../a", b"./../tmp", b"b/..//.."] {
        for folder in [root, inner] {
            assert_eq!(scratch.stat_at(folder, path, true), Err(Reason::NotPermitted), "{path:?}");
            assert_eq!(scratch.open_at(folder, path, true, NEW), Err(Reason::NotPermitted));
            assert_eq!(scratch.rename_at(root, b"a", folder, path), Err(Reason::NotPermitted));
            assert_eq!(scratch.link_at(folder, path, root, b"x"), Err(Reason::NotPermitted));
        }
    }
    assert_eq!(scratch.stat_at(inner, b"b/../b/.", true).unwrap().kind, NodeKind::Directory);
    assert_eq!(scratch.symlink_at(b"/etc/passwd", root, b"l"), Err(Reason::NotPermitted));
    assert_eq!(scratch.stat_at(inner, b"", true), Err(Reason::NotFound));
    assert_eq!(scratch.stat_at(inner, &b"x/".repeat(3000), true), Err(Reason::NameTooLong));
    assert_eq!(scratch.stat_at(99, b"a", true), Err(Reason::BadFile));
}

#[test]
fn bytes_by_position() {
    let (mut scratch, root) = scratch();
    let file = scratch.open_at(root, b"f", true, NEW).unwrap();
    assert_eq!(scratch.open_at(root, b"f", true, NEW), Err(Reason::Exists));
    scratch.write(file, b"hello").unwrap();
    scratch.write_at(file, 7, b"x").unwrap();
    scratch.write(file, b",").unwrap();
    let mut bytes = [9; 16];
    assert_eq!(scratch.read_at(file, 0, &mut bytes), Ok(8));
    assert_eq!(&bytes[..8], b"hello,\0x");
    assert_eq!(scratch.read(file, &mut bytes), Ok(2), "behind what was written");
    assert_eq!(scratch.read_at(file, u64::MAX, &mut bytes), Ok(0));
    assert_eq!(scratch.write_at(file, u64::MAX, b"ab"), Err(Reason::Memory));
    assert_eq!(scratch.resize(file, u64::MAX), Err(Reason::Memory));
    scratch.resize(file, 3).unwrap();
    scratch.resize(file, 5).unwrap();
    assert_eq!(scratch.read_at(file, 0, &mut bytes), Ok(5));
    assert_eq!(&bytes[..5], b"hel\0\0");
    scratch.set_append(file, true);
    scratch.write(file, b"!").unwrap();
    let again = scratch.reopen(file).unwrap();
    scratch.close(file).unwrap();
    scratch.remove_at(root, b"f", false).unwrap();
    assert_eq!(scratch.stat_open(again).unwrap().size, 6, "without a name");
    scratch.close(again).unwrap();
    assert_eq!(scratch.read(again, &mut bytes), Err(Reason::BadFile));
    let reader = scratch.open_at(root, b"g", true, Mode::WRITE).unwrap();
    assert_eq!(scratch.read(reader, &mut bytes), Err(Reason::BadFile), "for writing only");
}

#[test]
fn a_listing_lasts_while_things_go() {
    let (mut scratch, root) = scratch();
    scratch.mkdir_at(root, b"d").unwrap();
    for name in [&b"d/a"[..], b"d/b", b"d/c"] {
        let file = scratch.open_at(root, name, true, NEW).unwrap();
        scratch.close(file).unwrap();
    }
    let folder = scratch.open_at(root, b"d", true, Mode::READ).unwrap();
    let used = scratch.used();
    assert_eq!(names(&mut scratch, folder), [b"a", b"b", b"c"]);
    assert!(scratch.used() > used, "it is charged");
    scratch.remove_at(folder, b"a", false).unwrap();
    assert_eq!(scratch.listed(folder, 1).unwrap().name, b"b");
    assert_eq!(names(&mut scratch, folder), [b"b", b"c"]);
    assert_eq!(scratch.remove_at(root, b"d", false), Err(Reason::IsDir));
    assert_eq!(scratch.remove_at(root, b"d", true), Err(Reason::NotEmpty));
    assert_eq!(scratch.remove_at(folder, b"b", true), Err(Reason::NotDir));
    scratch.remove_at(folder, b"b", false).unwrap();
    scratch.remove_at(folder, b"c", false).unwrap();
    scratch.remove_at(root, b"d", true).unwrap();
    assert_eq!(scratch.open_at(folder, b"x", true, NEW), Err(Reason::NotFound), "in a removed directory");
    scratch.close(folder).unwrap();
}

#[test]
fn names_change_as_unix_has_it() {
    let (mut scratch, root) = scratch();
    for name in [&b"a"[..], b"b", b"b/x", b"c"] {
        scratch.mkdir_at(root, name).unwrap();
    }
    let file = scratch.open_at(root, b"f", true, NEW).unwrap();
    scratch.close(file).unwrap();
    assert_eq!(scratch.rename_at(root, b"a", root, b"b"), Err(Reason::NotEmpty));
    assert_eq!(scratch.rename_at(root, b"f", root, b"c"), Err(Reason::IsDir));
    assert_eq!(scratch.rename_at(root, b"c", root, b"f"), Err(Reason::NotDir));
    assert_eq!(scratch.rename_at(root, b"b", root, b"b/x"), Err(Reason::Invalid));
    assert_eq!(scratch.rename_at(root, b"b", root, b"b"), Ok(()));
    assert_eq!(scratch.rename_at(root, b"b", root, b"c/.."), Err(Reason::Busy));
    scratch.rename_at(root, b"b", root, b"c").unwrap();
    assert_eq!(scratch.stat_at(root, b"c/x", true).unwrap().kind, NodeKind::Directory);
    scratch.symlink_at(b"f", root, b"l").unwrap();
    assert_eq!(scratch.read_link_at(root, b"l"), Ok(&b"f"[..]));
    assert_eq!(scratch.open_at(root, b"l", false, Mode::READ), Err(Reason::Loop));
    assert_eq!(scratch.stat_at(root, b"l", false).unwrap().kind, NodeKind::Link);
    assert_eq!(scratch.stat_at(root, b"l", true).unwrap().kind, NodeKind::File);
    let times = Times { accessed: Some(1.0), modified: None };
    scratch.touch_at(root, b"l", true, times).unwrap();
    assert_eq!(scratch.stat_at(root, b"f", true).unwrap().accessed, 1.0);
}
