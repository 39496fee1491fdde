//! Go's shell patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`; none of them crosses a slash. Pure, no recursion.

use super::super::strings::first;

/// What a pattern that is none is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPattern;

impl BadPattern {
    /// The error's text.
    pub const TEXT: &str = "syntax error in pattern";
}

/// Whether a name matches, all of it.
///
/// # Errors
/// If the pattern is none.
pub fn matches(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, BadPattern> {
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        let last = rest.is_empty();
        // A star may skip bytes up to the next slash; without one nothing is skipped.
        let skippable = name.iter().take_while(|byte| **byte != b'/').count();
        let mut found = None;
        for skip in 0..=if star { skippable } else { 0 } {
            found = match_chunk(chunk, &name[skip..])?.filter(|left| left.is_empty() || !last);
            if found.is_some() {
                break;
            }
        }
        let Some(left) = found else {
            return check(rest).map(|()| false);
        };
        (name, pattern) = (left, rest);
    }
    Ok(name.is_empty())
}

/// That what follows is a pattern.
fn check(mut pattern: &[u8]) -> Result<(), BadPattern> {
    while !pattern.is_empty() {
        let (_, chunk, rest) = next_chunk(pattern);
        match_chunk(chunk, b"")?;
        pattern = rest;
    }
    Ok(())
}

/// Whether stars are first, what follows up to the next star, and the rest.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = &pattern[stars..];
    let (mut at, mut in_class) = (0, false);
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &pattern[..at], &pattern[at..])
}

/// What is left of a name behind a chunk; `None` if it does not match. The chunk is read to its end all the
/// same, so that a bad one is always told.
fn match_chunk<'n>(mut chunk: &[u8], name: &'n [u8]) -> Result<Option<&'n [u8]>, BadPattern> {
    let mut left = Some(name);
    while let Some(&byte) = chunk.first() {
        left = left.filter(|left| !left.is_empty());
        chunk = &chunk[1..];
        match byte {
            b'[' => {
                let letter = left.and_then(first);
                let matched = class(&mut chunk, letter.map(|(letter, _)| letter))?;
                left = left.zip(letter).filter(|_| matched).map(|(left, (_, size))| &left[size..]);
            }
            b'?' => {
                left = left.filter(|left| left[0] != b'/');
                left = left.and_then(|left| Some(&left[first(left)?.1..]));
            }
            _ => {
                let mut literal = byte;
                if byte == b'\\' {
                    literal = *chunk.first().ok_or(BadPattern)?;
                    chunk = &chunk[1..];
                }
                left = left.and_then(|left| left.strip_prefix(&[literal]));
            }
        }
    }
    Ok(left)
}

/// Reads a class up to its end; whether the letter is one of it.
fn class(chunk: &mut &[u8], letter: Option<char>) -> Result<bool, BadPattern> {
    let negated = chunk.first() == Some(&b'^');
    if negated {
        *chunk = &chunk[1..];
    }
    let (mut matched, mut ranges) = (false, 0);
    loop {
        if ranges > 0 && chunk.first() == Some(&b']') {
            *chunk = &chunk[1..];
            return Ok(matched != negated);
        }
        let low = member(chunk)?;
        let mut high = low;
        if chunk.first() == Some(&b'-') {
            *chunk = &chunk[1..];
            high = member(chunk)?;
        }
        matched |= letter.is_some_and(|letter| (low..=high).contains(&letter));
        ranges += 1;
    }
}

/// One letter of a class, behind which something must follow.
fn member(chunk: &mut &[u8]) -> Result<char, BadPattern> {
    let mut text = *chunk;
    if matches!(text.first(), None | Some(b'-' | b']')) {
        return Err(BadPattern);
    }
    text = text.strip_prefix(b"\\").unwrap_or(text);
    let (letter, size) = first(text).ok_or(BadPattern)?;
    *chunk = &text[size..];
    let broken = letter == char::REPLACEMENT_CHARACTER && size == 1;
    if broken || chunk.is_empty() { Err(BadPattern) } else { Ok(letter) }
}
