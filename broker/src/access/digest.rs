//! Hashes of secrets: what a configuration may hold in their place.
//!
//! `sha256:` and 64 hexadecimal digits, of a token with enough chance in it (128 bits and more) to need no
//! slow hash.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// No hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token's hash: write `sha256:` and 64 hexadecimal digits (`printf %s TOKEN | sha256sum`)")]
pub struct NoDigest;

impl Digest {
    /// A token's hash.
    #[must_use]
    pub fn of(token: &[u8]) -> Digest {
        Digest(Sha256::digest(token).into())
    }

    /// Whether they are the same, in constant time.
    #[must_use]
    pub fn same(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let digits = text.strip_prefix("sha256:").ok_or(NoDigest)?;
        let bytes = from_hex(digits.as_bytes()).ok_or(NoDigest)?;
        bytes.try_into().map(Digest).map_err(|_| NoDigest)
    }
}

/// Bytes written as hexadecimal digits, two each.
#[must_use]
pub fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read() {
        let text = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert!(text.parse::<Digest>().unwrap().same(&Digest::of(b"hello")));
        assert!(!text.parse::<Digest>().unwrap().same(&Digest::of(b"hullo")));
        for bad in ["", "sha256:", "sha256:00", &text[..70], &format!("{text}0"), &text.replace('f', "g")] {
            assert_eq!(bad.parse::<Digest>(), Err(NoDigest), "{bad}");
        }
    }
}
