//! Paths as text: what Go's `path/filepath` does on Unix. Pure.

/// The shortest path that means the same.
#[must_use]
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => drop(names.pop()),
            b".." if rooted => {}
            _ => names.push(name),
        }
    }
    let whole = names.join(&b'/');
    match (rooted, whole.is_empty()) {
        (true, _) => [b"/", &whole[..]].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => whole,
    }
}

/// The parts that are not empty as one clean path; nothing of nothing.
#[must_use]
pub fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { Vec::new() } else { clean(&parts.join(&b'/')) }
}

/// The directory, with its slash, and the file.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

/// The last name.
#[must_use]
pub fn base(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    match split(&path[..end]).1 {
        b"" if path.is_empty() => b".",
        b"" => b"/",
        name => name,
    }
}

/// What follows the last dot of the last name, with the dot.
#[must_use]
pub fn ext(path: &[u8]) -> &[u8] {
    let name = split(path).1;
    name.iter().rposition(|byte| *byte == b'.').map_or(b"", |dot| &name[dot..])
}

/// The way from one path to another; `None` where the text alone does not tell.
#[must_use]
pub fn rel(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let (base, target) = (clean(base), clean(target));
    if base.starts_with(b"/") != target.starts_with(b"/") {
        return None;
    }
    let (base, target) = (names(&base), names(&target));
    let common = base.iter().zip(&target).take_while(|(one, other)| one == other).count();
    if base.get(common) == Some(&&b".."[..]) {
        return None;
    }
    let up = base[common..].iter().map(|_| &b".."[..]);
    let way: Vec<&[u8]> = up.chain(target[common..].iter().copied()).collect();
    Some(if way.is_empty() { b".".to_vec() } else { way.join(&b'/') })
}

fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect()
}
