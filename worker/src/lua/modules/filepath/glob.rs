//! The paths of the scratch folder that match a pattern.

use super::lexical::{join, split};
use super::pattern::{BadPattern, matches};
use crate::lua::Scratch;
use crate::scratch::NodeKind;

/// The paths that match, name by name in order.
///
/// # Errors
/// If the pattern is none.
pub fn glob(scratch: &mut Scratch, pattern: &[u8]) -> Result<Vec<Vec<u8>>, BadPattern> {
    matches(pattern, b"")?;
    // The names with something to match, the last one first; what is before them is one path.
    let (mut start, mut patterns) = (pattern, Vec::new());
    while has_meta(start) {
        let (dir, name) = split(start);
        patterns.push(name);
        start = match dir {
            b"" => b".",
            b"/" => dir,
            _ => &dir[..dir.len() - 1],
        };
    }
    if patterns.is_empty() {
        return Ok(if scratch.stat(start, false).is_ok() { vec![start.to_vec()] } else { Vec::new() });
    }
    let mut paths = vec![start.to_vec()];
    for name in patterns.into_iter().rev() {
        let mut found = Vec::new();
        for path in &paths {
            expand(scratch, path, name, &mut found)?;
        }
        paths = found;
    }
    Ok(paths)
}

/// Adds what matches in one directory; nothing if it is none.
fn expand(
    scratch: &mut Scratch,
    dir: &[u8],
    name: &[u8],
    found: &mut Vec<Vec<u8>>,
) -> Result<(), BadPattern> {
    if !scratch.stat(dir, true).is_ok_and(|stat| stat.kind == NodeKind::Directory) {
        return Ok(());
    }
    let Ok(names) = scratch.list(dir) else { return Ok(()) };
    for known in names {
        if matches(name, known)? {
            found.push(join([dir, known]));
        }
    }
    Ok(())
}

fn has_meta(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[\\".contains(byte))
}
