//! A command that uses files as Rust's standard library has them, in the folder that its input names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

fn main() -> io::Result<()> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let base = Path::new(input.trim());
    let at = |name: &str| base.join(name);
    fs::create_dir_all(at("a/b/c"))?;
    fs::write(at("a/one.txt"), "one")?;
    OpenOptions::new().append(true).open(at("a/one.txt"))?.write_all(b" and more")?;
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(at("a/b/two.bin"))?;
    file.write_all(&[7; 100_000])?;
    file.seek(SeekFrom::Start(50_000))?;
    file.write_all(b"here")?;
    file.set_len(60_000)?;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    assert_eq!((bytes.len(), &bytes[50_000..50_004]), (60_000, &b"here"[..]));
    assert!(File::create_new(at("a/b/two.bin")).is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists));
    fs::rename(at("a/b/two.bin"), at("a/b/c/three.bin"))?;
    fs::copy(at("a/one.txt"), at("a/b/copy.txt"))?;
    assert!(fs::metadata(at("a/b/c"))?.is_dir());
    assert_eq!(fs::metadata(at("a/b/c/three.bin"))?.len(), 60_000);
    let mut found = Vec::new();
    walk(&at("a"), &mut found)?;
    found.sort();
    let shown: Vec<_> = found.iter().map(|path| path.strip_prefix(base).unwrap().display().to_string()).collect();
    print!("{} {}", fs::read_to_string(at("a/b/copy.txt"))?, shown.join(" "));
    fs::remove_dir_all(at("a"))?;
    assert!(fs::metadata(at("a")).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
    Ok(())
}

fn walk(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}
