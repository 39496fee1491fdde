//! Durations in Go's syntax, with Go's words for what is none. Pure.

/// Units, in nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Nanoseconds; below zero for `-1s`.
///
/// # Errors
/// As `time.ParseDuration` says it.
pub(super) fn parse(text: &str) -> Result<f64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let number: f64 = digits.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanos) = known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total += number * nanos;
        rest = after;
    }
    Ok(sign * total)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn as_go_reads_them() {
        let good =
            [("200ms", 2e8), ("1m30s", 90e9), ("-1.5h", -5400e9), ("0", 0.0), ("+1us", 1e3), (".5s", 5e8)];
        for (text, nanos) in good {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        assert_eq!(parse("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse("5x").unwrap_err(), "time: unknown unit \"x\" in duration \"5x\"");
        for text in ["abc", "", "-", ".s", "s", "1..2s", "é"] {
            assert_eq!(parse(text).unwrap_err(), format!("time: invalid duration {text:?}"));
        }
    }
}
