//! Go's layouts: a text in which the parts of 2006-01-02 15:04:05 -0700 MST stand for themselves. Pure.

/// One part of a layout that stands for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `January`
    LongMonth,
    /// `Jan`
    Month,
    /// `1`
    NumMonth,
    /// `01`
    ZeroMonth,
    /// `Monday`
    LongWeekDay,
    /// `Mon`
    WeekDay,
    /// `2`
    Day,
    /// `_2`
    UnderDay,
    /// `02`
    ZeroDay,
    /// `__2`
    UnderYearDay,
    /// `002`
    ZeroYearDay,
    /// `15`
    Hour,
    /// `3`
    Hour12,
    /// `03`
    ZeroHour12,
    /// `4`
    Minute,
    /// `04`
    ZeroMinute,
    /// `5`
    Second,
    /// `05`
    ZeroSecond,
    /// `2006`
    LongYear,
    /// `06`
    Year,
    /// `PM`
    UpperPm,
    /// `pm`
    LowerPm,
    /// `MST`
    ZoneName,
    /// `Z0700` and its like, which print `Z` for UTC (`zulu`), and `-0700` and its like.
    Offset {
        /// With the `Z`.
        zulu: bool,
        /// What follows the hours.
        form: OffsetForm,
    },
    /// `.000` or `,000`: that many digits.
    FractionZero(usize, u8),
    /// `.999` or `,999`: that many digits at most, no zeros at the end.
    FractionNine(usize, u8),
}

/// How an offset from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetForm {
    /// `-07`
    Hours,
    /// `-0700`
    Minutes,
    /// `-07:00`
    ColonMinutes,
    /// `-070000`
    Seconds,
    /// `-07:00:00`
    ColonSeconds,
}

/// Offsets as they stand in layouts behind `-` or `Z`, in the order in which they are tried.
const OFFSETS: [(&[u8], OffsetForm); 5] = [
    (b"070000", OffsetForm::Seconds),
    (b"07:00:00", OffsetForm::ColonSeconds),
    (b"0700", OffsetForm::Minutes),
    (b"07:00", OffsetForm::ColonMinutes),
    (b"07", OffsetForm::Hours),
];

/// The first part of a layout.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// What is before it and stands for itself.
    pub before: &'a [u8],
    /// The part.
    pub part: Part,
    /// Its text.
    pub text: &'a [u8],
    /// What follows it.
    pub after: &'a [u8],
}

/// The first part of a layout; `None` if all of it stands for itself.
#[must_use]
pub fn next(layout: &[u8]) -> Option<Next<'_>> {
    let (from, part, length) = (0..layout.len()).find_map(|at| {
        let (skip, part, length) = part_at(&layout[at..])?;
        Some((at + skip, part, length))
    })?;
    let (before, rest) = layout.split_at(from);
    let (text, after) = rest.split_at(length);
    Some(Next { before, part, text, after })
}

/// The part that a text begins with, behind `skip` bytes that stand for themselves, and its length.
fn part_at(text: &[u8]) -> Option<(usize, Part, usize)> {
    let whole = |part, length| Some((0, part, length));
    match text[0] {
        b'J' if text.starts_with(b"January") => whole(Part::LongMonth, 7),
        b'J' if text.starts_with(b"Jan") && !lower(text.get(3)) => whole(Part::Month, 3),
        b'M' if text.starts_with(b"Monday") => whole(Part::LongWeekDay, 6),
        b'M' if text.starts_with(b"Mon") && !lower(text.get(3)) => whole(Part::WeekDay, 3),
        b'M' if text.starts_with(b"MST") => whole(Part::ZoneName, 3),
        b'0' => zero_at(text),
        b'1' if text.get(1) == Some(&b'5') => whole(Part::Hour, 2),
        b'1' => whole(Part::NumMonth, 1),
        b'2' if text.starts_with(b"2006") => whole(Part::LongYear, 4),
        b'2' => whole(Part::Day, 1),
        b'_' if text.starts_with(b"_2006") => Some((1, Part::LongYear, 4)),
        b'_' if text.starts_with(b"_2") => whole(Part::UnderDay, 2),
        b'_' if text.starts_with(b"__2") => whole(Part::UnderYearDay, 3),
        b'3' => whole(Part::Hour12, 1),
        b'4' => whole(Part::Minute, 1),
        b'5' => whole(Part::Second, 1),
        b'P' if text.starts_with(b"PM") => whole(Part::UpperPm, 2),
        b'p' if text.starts_with(b"pm") => whole(Part::LowerPm, 2),
        sign @ (b'-' | b'Z') => {
            let found = OFFSETS.iter().find(|(digits, _)| text[1..].starts_with(digits))?;
            whole(Part::Offset { zulu: sign == b'Z', form: found.1 }, 1 + found.0.len())
        }
        b'.' | b',' => fraction_at(text),
        _ => None,
    }
}

fn zero_at(text: &[u8]) -> Option<(usize, Part, usize)> {
    let part = match text.get(1)? {
        b'1' => Part::ZeroMonth,
        b'2' => Part::ZeroDay,
        b'3' => Part::ZeroHour12,
        b'4' => Part::ZeroMinute,
        b'5' => Part::ZeroSecond,
        b'6' => Part::Year,
        b'0' if text.get(2) == Some(&b'2') => return Some((0, Part::ZeroYearDay, 3)),
        _ => return None,
    };
    Some((0, part, 2))
}

fn fraction_at(text: &[u8]) -> Option<(usize, Part, usize)> {
    let digit = *text.get(1).filter(|byte| matches!(byte, b'0' | b'9'))?;
    let digits = text[1..].iter().take_while(|byte| **byte == digit).count();
    if text.get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let part = if digit == b'0' { Part::FractionZero } else { Part::FractionNine };
    Some((0, part(digits, text[0]), 1 + digits))
}

fn lower(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_lowercase)
}
