//! Paths with their links followed, as Go's `EvalSymlinks` does: a relative path stays relative.

use super::lexical::{clean, join, split};
use crate::lua::Scratch;
use crate::scratch::NodeKind;

/// More links than this are a circle.
const MOST_LINKS: u32 = 255;

/// The path without links.
///
/// # Errors
/// With the text of what is missing.
pub fn eval(scratch: &mut Scratch, path: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    let mut done: Vec<u8> = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
    let mut ahead: Vec<Vec<u8>> = Vec::new();
    push(path, &mut ahead);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            up(&mut done);
            continue;
        }
        let here = if done.is_empty() { name } else { join([&done[..], &name]) };
        let stat = scratch.stat(&here, false).map_err(|error| error.text())?;
        if stat.kind != NodeKind::Link {
            if stat.kind != NodeKind::Directory && !ahead.is_empty() {
                return Err(b"not a directory".to_vec());
            }
            done = here;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(b"EvalSymlinks: too many links".to_vec());
        }
        let target = scratch.read_link(&here).map_err(|error| error.text())?;
        if target.starts_with(b"/") {
            done = b"/".to_vec();
        }
        push(target, &mut ahead);
    }
    Ok(clean(&done))
}

/// Puts a path's names in front of what is ahead, whose next name is the last.
fn push(path: &[u8], ahead: &mut Vec<Vec<u8>>) {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    ahead.extend(names.rev().map(<[u8]>::to_vec));
}

/// One name less; one `..` more where there is no name.
fn up(done: &mut Vec<u8>) {
    let (dir, name) = split(done);
    match (dir, name) {
        (b"/", b"") => {}
        (b"", b"") => *done = b"..".to_vec(),
        (_, b"..") => done.extend_from_slice(b"/.."),
        (b"", _) => done.clear(),
        (b"/", _) => done.truncate(1),
        _ => done.truncate(dir.len() - 1),
    }
}
