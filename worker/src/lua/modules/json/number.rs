//! How numbers look in JSON: as Go's float64 does.
//!
//! Takes any finite double, gives the shortest digits that read back the same: plain between 1e-6 and 1e21, else
//! in exponent form.

use std::io::Write;

use super::scan::POWERS;

/// Appends a finite number.
pub(super) fn write(value: f64, out: &mut Vec<u8>) {
    match short(value) {
        Some(decimal) => decimal.write(value.is_sign_negative(), out),
        None => write_any(value, out),
    }
}

/// A number of at most 15 digits: `digits` divided by ten to the power of `decimals`.
struct Decimal {
    digits: u64,
    decimals: usize,
}

/// The decimal of at most 15 digits that a double is nearest to, if there is one. There is never a second,
/// since those are all different as doubles; so no shorter form exists but this one without its zeros.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 10^15, and checked")]
#[allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "both sides are exact below 2^53")]
fn short(value: f64) -> Option<Decimal> {
    let size = value.abs();
    let whole = size as u64;
    if size < 1e15 && whole as f64 == size {
        return Some(Decimal { digits: whole, decimals: 0 });
    }
    if !(1e-6..1e14).contains(&size) {
        return None;
    }
    let before = POWERS.iter().position(|power| size < *power)?;
    let decimals = 15 - before;
    let digits = (size * POWERS[decimals] + 0.5) as u64;
    // Both operands are exact, so the quotient is the double that the decimal reads as.
    (digits as f64 / POWERS[decimals] == size).then(|| Decimal { digits, decimals }.without_zeros())
}

impl Decimal {
    fn without_zeros(mut self) -> Decimal {
        for (zeros, power) in [(8, 100_000_000), (4, 10_000), (2, 100), (1, 10)] {
            if self.decimals >= zeros && self.digits.is_multiple_of(power) {
                self.digits /= power;
                self.decimals -= zeros;
            }
        }
        self
    }

    fn write(&self, negative: bool, out: &mut Vec<u8>) {
        let mut text = [b'0'; 24];
        let (mut start, mut rest, mut written) = (text.len(), self.digits, 0);
        while rest > 0 || written <= self.decimals {
            if written > 0 && written == self.decimals {
                start -= 1;
                text[start] = b'.';
            }
            start -= 1;
            #[allow(clippy::cast_possible_truncation, reason = "a digit")]
            let digit = (rest % 10) as u8;
            text[start] = b'0' + digit;
            rest /= 10;
            written += 1;
        }
        if negative {
            start -= 1;
            text[start] = b'-';
        }
        out.extend_from_slice(&text[start..]);
    }
}

/// The general way.
fn write_any(value: f64, out: &mut Vec<u8>) {
    let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
    let written = if plain {
        write!(out, "{value}")
    } else if value.abs() >= 1e21 {
        write!(out, "{}", format!("{value:e}").replace('e', "e+"))
    } else {
        write!(out, "{value:e}")
    };
    debug_assert!(written.is_ok(), "a vector takes all");
}

#[cfg(test)]
mod tests {
    use super::{short, write, write_any};
    use proptest::prelude::*;

    fn text(write: fn(f64, &mut Vec<u8>), value: f64) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn any_double_is_written_as_the_general_way_does(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(write, value), text(write_any, value));
        }

        #[test]
        fn short_decimals_are_written_as_the_general_way_does(
            digits in 0u64..2_000_000_000_000_000, cut in 0u32..16, decimals in 0i32..22, negative: bool,
        ) {
            let value = (digits / 10u64.pow(cut)) as f64 / 10f64.powi(decimals);
            let value = if negative { -value } else { value };
            prop_assert_eq!(text(write, value), text(write_any, value));
        }

        #[test]
        fn neighbours_of_short_decimals_keep_their_digits(digits in 0u64..10_000_000, decimals in 0i32..8, step in -3i64..4) {
            let value = f64::from_bits((digits as f64 / 10f64.powi(decimals)).to_bits().saturating_add_signed(step));
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(write, value), text(write_any, value));
        }
    }

    #[test]
    fn writes_as_go_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-12.5, "-12.5"),
            (1.05, "1.05"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1000000000000000"),
            (9_223_372_036_854_775_808.0, "9223372036854776000"),
            (1e21, "1e+21"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(text(write, value), expected);
        }
    }

    #[test]
    fn prices_are_short() {
        for value in [0.5, 129.5, 388.5, 13.404_954, 1_000_000.01] {
            assert!(short(value).is_some(), "{value}");
        }
        assert!(short(1.0 / 3.0).is_none());
    }
}
