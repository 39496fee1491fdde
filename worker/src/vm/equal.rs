//! Makes memory equal to an image of it, of which little has changed.
//!
//! Reading both and writing only what differs takes about half as long as copying all: what is not written need
//! not go back through the caches. It takes wide registers to win that, so a processor without them copies.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_si256, _mm256_or_si256, _mm256_storeu_si256, _mm256_testz_si256,
    _mm256_xor_si256, _mm512_loadu_si512, _mm512_or_si512, _mm512_storeu_si512, _mm512_test_epi64_mask,
    _mm512_xor_si512,
};

/// Copies `size` bytes, at least as far as they differ.
type Copy = unsafe fn(from: *const u8, to: *mut u8, size: usize);

/// How this processor does it.
#[derive(Debug, Clone, Copy)]
pub struct Equal(Copy);

impl Equal {
    /// The fastest way that this processor has.
    #[must_use]
    pub fn new() -> Equal {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Equal(by_512);
            }
            if is_x86_feature_detected!("avx2") {
                return Equal(by_256);
            }
        }
        Equal(all)
    }

    /// Makes the bytes at `to` those of `from`.
    ///
    /// # Safety
    /// As many bytes must be mapped and writable at `to`, apart from `from`, and nothing else refer to them.
    pub unsafe fn make(self, from: &[u8], to: *mut u8) {
        // SAFETY: the caller's promise; `new` chose what this processor can do.
        unsafe { self.0(from.as_ptr(), to, from.len()) }
    }
}

/// # Safety
/// As for [`Equal::make`].
unsafe fn all(from: *const u8, to: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    unsafe { to.copy_from_nonoverlapping(from, size) }
}

/// Bytes that are compared, and if need be copied, at once: four registers.
#[cfg(target_arch = "x86_64")]
const fn step<T>() -> usize {
    4 * size_of::<T>()
}

/// # Safety
/// As for [`Equal::make`], on a processor with AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn by_512(from: *const u8, to: *mut u8, size: usize) {
    let steps = size / step::<__m512i>();
    for at in 0..steps {
        // SAFETY: four registers' bytes from here lie within `size`; loads and stores need no alignment.
        unsafe {
            let from = from.cast::<[__m512i; 4]>().add(at).cast::<__m512i>();
            let to = to.cast::<[__m512i; 4]>().add(at).cast::<__m512i>();
            let new = [0, 1, 2, 3].map(|n| _mm512_loadu_si512(from.add(n)));
            let other = [0, 1, 2, 3].map(|n| _mm512_xor_si512(new[n], _mm512_loadu_si512(to.add(n))));
            let any =
                _mm512_or_si512(_mm512_or_si512(other[0], other[1]), _mm512_or_si512(other[2], other[3]));
            if _mm512_test_epi64_mask(any, any) != 0 {
                for n in 0..4 {
                    _mm512_storeu_si512(to.add(n), new[n]);
                }
            }
        }
    }
    let rest = steps * step::<__m512i>();
    // SAFETY: what is left of the caller's bytes.
    unsafe { all(from.add(rest), to.add(rest), size - rest) }
}

/// # Safety
/// As for [`Equal::make`], on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn by_256(from: *const u8, to: *mut u8, size: usize) {
    let steps = size / step::<__m256i>();
    for at in 0..steps {
        // SAFETY: as in `by_512`.
        unsafe {
            let from = from.cast::<[__m256i; 4]>().add(at).cast::<__m256i>();
            let to = to.cast::<[__m256i; 4]>().add(at).cast::<__m256i>();
            let new = [0, 1, 2, 3].map(|n| _mm256_loadu_si256(from.add(n)));
            let other = [0, 1, 2, 3].map(|n| _mm256_xor_si256(new[n], _mm256_loadu_si256(to.add(n))));
            let any =
                _mm256_or_si256(_mm256_or_si256(other[0], other[1]), _mm256_or_si256(other[2], other[3]));
            if _mm256_testz_si256(any, any) == 0 {
                for n in 0..4 {
                    _mm256_storeu_si256(to.add(n), new[n]);
                }
            }
        }
    }
    let rest = steps * step::<__m256i>();
    // SAFETY: what is left of the caller's bytes.
    unsafe { all(from.add(rest), to.add(rest), size - rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every way that this processor has.
    fn ways() -> Vec<Copy> {
        let mut ways: Vec<Copy> = vec![all, Equal::new().0];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            ways.push(by_256);
        }
        ways
    }

    proptest! {
        #[test]
        fn memory_becomes_equal(
            image in prop::collection::vec(any::<u8>(), 0..3000),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            offset in 0_usize..64,
        ) {
            for way in ways() {
                let mut memory = vec![7; offset];
                memory.extend(&image);
                memory.extend([9; 64]);
                for (at, byte) in changes.iter().filter(|_| !image.is_empty()) {
                    memory[offset + at.index(image.len())] = *byte;
                }
                // SAFETY: that many bytes are there, and ours.
                unsafe { Equal(way).make(&image, memory[offset..].as_mut_ptr()) };
                prop_assert_eq!(&memory[offset..offset + image.len()], &image[..]);
                prop_assert!(memory[..offset].iter().all(|byte| *byte == 7), "before it");
                prop_assert!(memory[offset + image.len()..].iter().all(|byte| *byte == 9), "behind it");
            }
        }
    }
}
