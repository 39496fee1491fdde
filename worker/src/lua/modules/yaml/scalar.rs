//! What a plain scalar means in YAML 1.1, as Go's yaml.v2 has it.
//!
//! Takes any text, gives its meaning; never an error.

/// A scalar's meaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number that only an unsigned 64-bit integer holds.
    Huge,
    Float(f64),
    /// A date, or date and time.
    Time,
    Text,
}

impl Meaning {
    /// Its tag, for messages.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Meaning::Null => "!!null",
            Meaning::Bool(_) => "!!bool",
            Meaning::Int(_) | Meaning::Huge => "!!int",
            Meaning::Float(_) => "!!float",
            Meaning::Time => "!!timestamp",
            Meaning::Text => "!!str",
        }
    }
}

/// Resolves a plain scalar.
pub(super) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Meaning::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Meaning::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Meaning::Float(f64::NEG_INFINITY),
        _ if text.starts_with('.') => float(text).map_or(Meaning::Text, Meaning::Float),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-')) => {
            if is_time(text) {
                Meaning::Time
            } else {
                number(text)
            }
        }
        _ => Meaning::Text,
    }
}

fn number(text: &str) -> Meaning {
    let plain: std::borrow::Cow<'_, str> =
        if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    let signed = digits.len() != plain.len();
    if let Some(whole) = whole(digits) {
        let whole = if negative { -whole } else { whole };
        if let Ok(int) = i64::try_from(whole) {
            return Meaning::Int(int);
        }
        if !signed && u64::try_from(whole).is_ok() {
            return Meaning::Huge;
        }
    }
    float(&plain).map_or(Meaning::Text, Meaning::Float)
}

/// A whole number with a prefix that tells its base; too large ones are none.
fn whole(digits: &str) -> Option<i128> {
    let lower = digits.as_bytes().get(1).map(u8::to_ascii_lowercase);
    let (base, digits) = match (digits.as_bytes().first()?, lower) {
        (b'0', Some(b'x')) => (16, &digits[2..]),
        (b'0', Some(b'o')) => (8, &digits[2..]),
        (b'0', Some(b'b')) => (2, &digits[2..]),
        (b'0', Some(_)) => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Rust would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, base).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, if a double can hold it.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fine = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => !mantissa.is_empty() && is_digits(mantissa),
    };
    if !fine || exponent.is_some_and(|digits| digits.is_empty() || !is_digits(digits)) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Whether it is a date (`2006-1-2`), or that and a time.
fn is_time(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let Some(year) = digits(&mut rest, 4, 4) else { return false };
    let date = || {
        let month = part(&mut rest, b'-')?;
        let day = part(&mut rest, b'-')?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        ((1..=days).contains(&day)).then_some(())
    };
    let mut date = date;
    if date().is_none() {
        return false;
    }
    let Some((separator, clock)) = rest.split_first() else { return true };
    clock_is_fine(clock, *separator).unwrap_or(false)
}

/// Whether hours, minutes and seconds follow, and the zone that this separator asks for.
fn clock_is_fine(mut rest: &[u8], separator: u8) -> Option<bool> {
    let hours = digits(&mut rest, 1, 2)?;
    let minutes = part(&mut rest, b':')?;
    let seconds = part(&mut rest, b':')?;
    if let [b'.', fraction @ ..] = rest {
        rest = fraction;
        digits(&mut rest, 1, 9)?;
    }
    let zone = match rest {
        [] => separator == b' ',
        [b'Z'] => matches!(separator, b'T' | b't'),
        [b'+' | b'-', zone @ ..] => {
            rest = zone;
            let (hours, minutes) = (digits(&mut rest, 2, 2)?, part(&mut rest, b':')?);
            matches!(separator, b'T' | b't') && zone.len() == 5 && hours <= 24 && minutes < 60
        }
        _ => false,
    };
    Some(zone && hours < 24 && minutes < 60 && seconds < 60)
}

/// A separator and one or two digits.
fn part(rest: &mut &[u8], separator: u8) -> Option<u32> {
    *rest = rest.strip_prefix(&[separator])?;
    digits(rest, 1, 2)
}

fn digits(rest: &mut &[u8], least: usize, most: usize) -> Option<u32> {
    let count = rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    if count < least {
        return None;
    }
    let (taken, behind) = rest.split_at(count);
    *rest = behind;
    Some(taken.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}
