//! Go's replacement templates: `$1`, `${1}`, `$name`, `${name}`, `$$`.

use regex::bytes::CaptureLocations;

/// Appends a template with what was captured put in; an unknown group is empty.
pub(super) fn template(
    mut rest: &[u8],
    found: &CaptureLocations,
    names: &[Option<String>],
    text: &[u8],
    out: &mut Vec<u8>,
) {
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = behind;
        } else if let Some((name, behind)) = reference(rest) {
            if let Some((from, to)) = group(name, names).and_then(|group| found.get(group)) {
                out.extend_from_slice(&text[from..to]);
            }
            rest = behind;
        } else {
            out.push(b'$');
        }
    }
    out.extend_from_slice(rest);
}

/// The name behind a `$`, and what follows.
fn reference(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let brace = text.first() == Some(&b'{');
    let text = &text[usize::from(brace)..];
    let size =
        text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(text.len());
    let (name, behind) = text.split_at(size);
    if name.is_empty() {
        return None;
    }
    if brace { Some((name, behind.strip_prefix(b"}")?)) } else { Some((name, behind)) }
}

fn group(name: &[u8], names: &[Option<String>]) -> Option<usize> {
    if name.iter().all(u8::is_ascii_digit) && name.len() < 9 {
        return std::str::from_utf8(name).ok()?.parse().ok();
    }
    names
        .iter()
        .position(|known| known.as_ref().is_some_and(|known| known.as_bytes() == name))
        .map(|at| at + 1)
}
