//! Copies of an arena's used part: one of the base state, and per script what differs from it.
//!
//! Pure: bytes in, bytes out.

/// Differences are noted by blocks of this many bytes (a cache line).
const BLOCK: usize = 64;

/// A copy of a state that begins where a cache line does.
#[derive(Debug, Default)]
pub struct Image {
    bytes: Vec<u8>,
    start: usize,
}

impl Image {
    /// A copy of these bytes.
    #[must_use]
    pub fn of(state: &[u8]) -> Image {
        let mut bytes: Vec<u8> = Vec::with_capacity(state.len() + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        bytes.resize(start, 0);
        bytes.extend_from_slice(state);
        Image { bytes, start }
    }
}

impl std::ops::Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// What a script's state differs in from the base image.
#[derive(Debug)]
pub struct Delta {
    /// The used part's length with the script.
    length: usize,
    /// Where runs of differing blocks begin, and their lengths.
    runs: Vec<(u32, u32)>,
    bytes: Vec<u8>,
}

impl Delta {
    /// What `now` differs in from `base`; beyond the end of `base`, from zeros.
    #[must_use]
    pub fn between(base: &[u8], now: &[u8]) -> Delta {
        let mut delta = Delta { length: now.len(), runs: Vec::new(), bytes: Vec::new() };
        let mut at = 0;
        while at < now.len() {
            let end = (at + BLOCK).min(now.len());
            if !same(base, now, at, end) {
                delta.add(at, &now[at..end]);
            }
            at = end;
        }
        delta.runs.shrink_to_fit();
        delta.bytes.shrink_to_fit();
        delta
    }

    #[allow(clippy::cast_possible_truncation, reason = "an image is far below 4 GiB")]
    fn add(&mut self, at: usize, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        if let Some((start, length)) = self.runs.last_mut()
            && *start as usize + *length as usize == at
        {
            *length += block.len() as u32;
            return;
        }
        self.runs.push((at as u32, block.len() as u32));
    }

    /// The length of the state that it makes of a base.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Writes the differences over a base.
    pub fn apply(&self, state: &mut [u8]) {
        let mut from = 0;
        for &(start, length) in &self.runs {
            let (start, length) = (start as usize, length as usize);
            state[start..start + length].copy_from_slice(&self.bytes[from..from + length]);
            from += length;
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.runs.len() * size_of::<(u32, u32)>()
    }
}

fn same(base: &[u8], now: &[u8], at: usize, end: usize) -> bool {
    if end <= base.len() {
        return base[at..end] == now[at..end];
    }
    (at..end).all(|index| base.get(index).copied().unwrap_or(0) == now[index])
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Delta, Image};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base_and_delta_make_the_state(
            base in prop::collection::vec(0u8..3, 0..2000),
            now in prop::collection::vec(0u8..3, 0..2000),
        ) {
            prop_assume!(now.len() >= base.len());
            let delta = Delta::between(&base, &now);
            let mut state = base.clone();
            state.resize(delta.length(), 0);
            delta.apply(&mut state);
            prop_assert_eq!(state, now);
        }
    }

    proptest! {
        #[test]
        fn an_image_is_a_copy_at_the_start_of_a_cache_line(state: Vec<u8>) {
            let image = Image::of(&state);
            prop_assert!(image.as_ptr().addr().is_multiple_of(BLOCK));
            prop_assert_eq!(&image[..], &state[..]);
        }
    }

    #[test]
    fn a_delta_holds_only_what_differs() {
        let base = vec![1; 10_000];
        let mut now = base.clone();
        now[5000] = 2;
        assert!(Delta::between(&base, &now).size() < 100);
    }
}
