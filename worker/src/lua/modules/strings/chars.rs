//! Characters at the ends of bytes that may be broken UTF-8: a broken byte counts as U+FFFD, as in Go. Pure.

/// The longest character, in bytes.
const LONGEST: usize = 4;

/// The first character and how many bytes it takes; `None` if nothing is left.
#[must_use]
pub fn first(text: &[u8]) -> Option<(char, usize)> {
    let head = &text[..text.len().min(LONGEST)];
    let valid = head.utf8_chunks().next()?.valid().chars().next();
    Some(valid.map_or((char::REPLACEMENT_CHARACTER, 1), |letter| (letter, letter.len_utf8())))
}

/// The last character and how many bytes it takes; `None` if nothing is left.
#[must_use]
pub fn last(text: &[u8]) -> Option<(char, usize)> {
    if text.is_empty() {
        return None;
    }
    let whole = (1..=text.len().min(LONGEST)).find_map(|size| {
        let letter = std::str::from_utf8(&text[text.len() - size..]).ok()?.chars().next()?;
        Some((letter, size))
    });
    Some(whole.unwrap_or((char::REPLACEMENT_CHARACTER, 1)))
}
