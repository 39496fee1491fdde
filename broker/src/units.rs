//! Durations and sizes as people write them, and back.
//!
//! Takes text, gives values, and back. Pure. Text may be hostile (`?_timeout=` of a request): it never
//! panics, and nothing is allocated while reading.

use std::time::{Duration, SystemTime};

/// Why a text is no duration or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No duration.
    #[error("not a duration: write numbers with units, such as `500ms`, `2s` or `1m30s`")]
    Duration,
    /// No size.
    #[error("not a size: write a whole number of bytes, or one with a unit, such as `64KiB` or `128MiB`")]
    Size,
    /// The number does not fit.
    #[error("the number is too large")]
    TooLarge,
}

/// Units of a duration, in nanoseconds. Those that begin alike stand longest first.
const TIMES: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Units of a size, in bytes, the longest name first.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// The longest duration, in nanoseconds: Go's (292 years).
const LONGEST: u128 = i64::MAX as u128;

/// Reads a duration in Go's syntax (`500ms`, `1m30s`, `1.5h`, `0`). There are no negative ones.
///
/// # Errors
/// When the text is no duration, or one over 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(UnitError::Duration);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(UnitError::Duration);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, unit) = TIMES.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
        total += nanos(whole, fraction, u128::from(*unit))?;
        if total > LONGEST {
            return Err(UnitError::TooLarge);
        }
        rest = after;
    }
    let total = u64::try_from(total).map_err(|_| UnitError::TooLarge)?;
    Ok(Duration::from_nanos(total))
}

/// The leading decimal digits, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units in nanoseconds; digits past the 18th of a fraction do not count.
fn nanos(whole: &str, fraction: &str, unit: u128) -> Result<u128, UnitError> {
    let whole: u64 = match whole {
        "" => 0,
        whole => whole.parse().map_err(|_| UnitError::TooLarge)?,
    };
    let (mut value, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    Ok(u128::from(whole) * unit + value * unit / scale)
}

/// Writes a duration exactly, in ASCII: `2s`, `1.5s`, `250us`, `1m30s`, `2h`.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return decimal(nanos, 3, "us"),
        1_000_000..1_000_000_000 => return decimal(nanos, 6, "ms"),
        _ => {}
    }
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (unit, count) in [("h", seconds / 3600), ("m", seconds / 60 % 60)] {
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    let rest = u128::from(seconds % 60) * 1_000_000_000 + u128::from(duration.subsec_nanos());
    if rest > 0 {
        text += &decimal(rest, 9, "s");
    }
    text
}

/// `number / 10^places` without needless zeros.
fn decimal(number: u128, places: usize, unit: &str) -> String {
    let scale = 10_u128.pow(u32::try_from(places).unwrap_or(9));
    let (whole, fraction) = (number / scale, number % scale);
    if fraction == 0 {
        return format!("{whole}{unit}");
    }
    let fraction = format!("{fraction:0places$}");
    format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
}

/// Reads a size: plain bytes, or a whole number with `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB` or `B`, in
/// whatever case.
///
/// # Errors
/// When the text is no size, or one of 2^64 bytes and more.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = digits(text);
    if number.is_empty() {
        return Err(UnitError::Size);
    }
    let unit = match unit.trim_start_matches(' ') {
        "" => 1,
        unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(UnitError::Size)?.1,
    };
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(unit).ok_or(UnitError::TooLarge)
}

/// Writes a size exactly, in the largest unit that divides it: `128MiB`, `1500B`.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    SIZES
        .iter()
        .filter(|(name, _)| name.len() == 3)
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Writes a time as RFC 3339 does, to the second, in UTC: `2026-11-23T03:40:00Z`.
#[must_use]
pub fn print_time(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years that begin on the first of March: the leap day is a year's last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_go_reads_them() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("2h", 7_200_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+3s", 3_000_000_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s2us", 3_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", i64::MAX as u64),
        ];
        for (text, nanos) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "+", "3", "-5s", ".s", "s", "1", "1x", "1s ", " 1s", "1s-5s", "1 s", "1S", "1d"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
        for text in ["9223372036854775808ns", "99999999999999999999s", "3000000h"] {
            assert_eq!(parse_duration(text), Err(UnitError::TooLarge), "{text}");
        }
    }

    #[test]
    fn durations_read_well() {
        for text in ["0s", "17ns", "1.5us", "250us", "500ms", "1.25ms", "2s", "1.5s", "2m", "1m30s", "1h5s"] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn times() {
        let of = |seconds| print_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(of(seconds), text);
        }
    }

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64KiB", 65_536),
            ("128MiB", 128 << 20),
            ("1GiB", 1 << 30),
            ("1 GiB", 1 << 30),
            ("1mib", 1 << 20),
            ("2KB", 2_000),
            ("2MB", 2_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1TiB", "1M", "1MiBs", " 1"] {
            assert_eq!(parse_size(text), Err(UnitError::Size), "{text}");
        }
        for text in ["18446744073709551616", "18014398509481984KiB"] {
            assert_eq!(parse_size(text), Err(UnitError::TooLarge), "{text}");
        }
        assert_eq!(print_size(0), "0B");
        assert_eq!(print_size(1500), "1500B");
        assert_eq!(print_size(1 << 30), "1GiB");
        assert_eq!(print_size(96 << 20), "96MiB");
    }

    proptest! {
        #[test]
        fn durations_come_back(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_come_back(bytes: u64, shift in 0..40_u32) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_survived(text in "[-+0-9.nuµmskKMGiBh ]{0,40}|\\PC{0,40}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
