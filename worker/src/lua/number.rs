//! Numbers as scripts see them: whole ones below 2^63 print in full digits (the contract).

/// What `tostring` gives for a number: whole numbers below 2^63 in full, others as `%.14g`.
#[must_use]
pub fn to_string(number: f64) -> String {
    if let Some(whole) = whole(number) {
        return whole.to_string();
    }
    format_g14(number)
}

/// The integer that a number is, if it is whole and its magnitude below 2^63.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "checked to be exact")]
pub fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (number.abs() < LIMIT && number.trunc() == number).then_some(number as i64)
}

/// What Go prints for a float64 (`%v`): the shortest digits that read back the same, in exponent form below
/// 1e-4 and from 1e6 on.
#[must_use]
pub fn to_go_string(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-Inf".into() } else { "+Inf".into() };
    }
    let text = format!("{number:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// C's `%.14g`, which is what LuaJIT uses.
fn format_g14(number: f64) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf".into() } else { "inf".into() };
    }
    let text = format!("{number:.13e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..14).contains(&exponent) {
        let mantissa = trim_zeros(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    #[allow(clippy::cast_sign_loss, reason = "13 - exponent is not negative here")]
    let digits = (13 - exponent) as usize;
    let plain = format!("{number:.digits$}");
    trim_zeros(&plain).to_string()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A numeric string as Lua reads it: decimal or hexadecimal, white space around it.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<f64> {
    let text =
        std::str::from_utf8(bytes).ok()?.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        hex_to_f64(hex)?
    } else {
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        digits.parse().ok()?
    };
    Some(if negative { -magnitude } else { magnitude })
}

#[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
fn hex_to_f64(digits: &str) -> Option<f64> {
    u64::from_str_radix(digits, 16).ok().map(|whole| whole as f64)
}

#[cfg(test)]
mod tests {
    use super::{parse, to_go_string, to_string};

    #[test]
    fn prints_whole_numbers_in_full_and_others_like_luajit() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (-1e14, "-100000000000000"),
            (1e19, "1e+19"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333"),
            (1_000_000.5, "1000000.5"),
            (1.2e-5, "1.2e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(to_string(number), text);
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (123_456.0, "123456"),
            (1_234_567.5, "1.2345675e+06"),
            (1e6, "1e+06"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e300, "1e+300"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(to_go_string(number), text);
        }
    }

    #[test]
    fn reads_what_lua_reads() {
        assert_eq!(parse(b" 12 "), Some(12.0));
        assert_eq!(parse(b"0x10"), Some(16.0));
        assert_eq!(parse(b"-1.5e3"), Some(-1500.0));
        for junk in [&b""[..], b"x", b"1x", b"inf", b"nan", b"- 1", b"0x"] {
            assert_eq!(parse(junk), None, "{junk:?}");
        }
    }
}
