//! What most of a JSON text consists of, read eight bytes at a time: plain strings and short numbers.
//!
//! Takes hostile bytes, gives what it is sure of; all else is for the slow paths. Must never be wrong.

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// The high bits of the bytes that are `byte`, once `ignored` bits are cleared: the lowest of them is right.
fn equal(word: u64, byte: u8, ignored: u8) -> u64 {
    let zeros = (word & !(ONES * u64::from(ignored))) ^ (ONES * u64::from(byte));
    zeros.wrapping_sub(ONES) & !zeros & HIGHS
}

/// The high bits of control characters: the lowest of them is right.
fn control(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// How many bytes come before the first that `marks` finds in a word or `special` finds by itself.
fn until(bytes: &[u8], marks: impl Fn(u64) -> u64, special: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let before = words.len() * 8;
    before + rest.iter().position(|byte| special(*byte)).unwrap_or(rest.len())
}

/// The length of what comes before a quote, a backslash or a control character.
pub(super) fn plain_text(bytes: &[u8]) -> usize {
    until(
        bytes,
        |word| equal(word, b'"', 0) | equal(word, b'\\', 0) | control(word),
        |byte| matches!(byte, b'"' | b'\\' | ..0x20),
    )
}

/// Whether a string is ASCII of which nothing is written as an escape.
pub(super) fn is_safe(bytes: &[u8]) -> bool {
    // A quote and an ampersand differ in one bit, and so do the angle brackets.
    let marks = |word| {
        equal(word, b'"', b'"' ^ b'&')
            | equal(word, b'<', b'<' ^ b'>')
            | equal(word, b'\\', 0)
            | control(word)
            | word & HIGHS
    };
    let special = |byte| matches!(byte, b'"' | b'&' | b'<' | b'>' | b'\\' | ..0x20 | 0x80..);
    until(bytes, marks, special) == bytes.len()
}

/// Powers of ten, all exact as doubles.
pub(super) const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A number of at most 15 digits without an exponent, and its length. Its digits and the power of ten are
/// exact as doubles, so their quotient is the double nearest to it.
pub(super) fn short_number(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (whole, mut at) = digits(bytes, start, 0);
    let count = at - start;
    if count == 0 || count > 1 && bytes[start] == b'0' {
        return None;
    }
    let (mut mantissa, mut decimals) = (whole, 0);
    if bytes.get(at) == Some(&b'.') {
        let point = at;
        (mantissa, at) = digits(bytes, point + 1, whole);
        decimals = at - point - 1;
        if decimals == 0 {
            return None;
        }
    }
    if count + decimals > 15 || matches!(bytes.get(at), Some(b'e' | b'E')) {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "below 10^15")]
    let number = mantissa as f64 / POWERS[decimals];
    Some((if negative { -number } else { number }, at))
}

/// Reads digits on to a number that is there already (wrong if they are too many); gives where they end.
fn digits(bytes: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

#[cfg(test)]
mod tests {
    use super::{is_safe, plain_text, short_number};
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let special = proptest::sample::select(&b"\"\\&<>\x00\x1f\x20\x21\x7f\x80\xff"[..]);
        prop::collection::vec(prop_oneof![1 => special, 1 => any::<u8>(), 20 => Just(b'a')], 0..40)
    }

    proptest! {
        #[test]
        fn finds_what_a_look_at_each_byte_finds(text in text()) {
            let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
            prop_assert_eq!(plain_text(&text), text.iter().position(stop).unwrap_or(text.len()));
            let unsafe_byte = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20 | b'<' | b'>' | b'&' | 0x80..);
            prop_assert_eq!(is_safe(&text), !text.iter().any(unsafe_byte));
        }

        #[test]
        fn short_numbers_are_what_the_standard_library_reads(text in "-?[0-9]{1,9}(\\.[0-9]{0,9})?[-0-9.eE+ ,]{0,3}") {
            let Some((number, length)) = short_number(text.as_bytes()) else { return Ok(()) };
            let expected: f64 = text[..length].parse().unwrap();
            prop_assert_eq!(number.to_bits(), expected.to_bits());
            let next = text.as_bytes().get(length);
            prop_assert!(!next.is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'e' | b'E')));
        }
    }

    #[test]
    fn leaves_what_it_is_not_sure_of() {
        for text in
            ["", "-", "01", "1.", "-.5", "1e5", "1.5E3", "1234567890123456", "0.123456789012345", "1.x"]
        {
            assert_eq!(short_number(text.as_bytes()), None, "{text}");
        }
        for (text, number) in [("0", 0.0), ("-0", -0.0), ("123456789012345", 123_456_789_012_345.0)] {
            let read = short_number(text.as_bytes()).map(|(read, _)| read.to_bits());
            assert_eq!(read, Some(f64::to_bits(number)));
        }
    }
}
