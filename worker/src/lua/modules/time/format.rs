//! A moment as a layout says. Pure.

use super::civil::Civil;
use super::layout::{self, OffsetForm, Part};
use super::names::{DAYS, MONTHS};

/// A moment in a zone.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanos: u32,
    /// Seconds that the zone is east of UTC.
    pub offset: i32,
    /// The zone's abbreviation.
    pub zone: &'a str,
}

/// The moment as the layout says.
#[must_use]
pub fn format(moment: &Moment<'_>, layout: &[u8]) -> Vec<u8> {
    let civil = Civil::of(moment.seconds.saturating_add(i64::from(moment.offset)));
    let mut out = Vec::with_capacity(layout.len() + 16);
    let mut rest = layout;
    while let Some(next) = layout::next(rest) {
        out.extend_from_slice(next.before);
        append(next.part, moment, &civil, &mut out);
        rest = next.after;
    }
    out.extend_from_slice(rest);
    out
}

fn append(part: Part, moment: &Moment<'_>, civil: &Civil, out: &mut Vec<u8>) {
    let month = MONTHS[usize::from(civil.month) - 1];
    let weekday = DAYS[usize::from(civil.weekday)];
    let hour12 = (civil.hour + 11) % 12 + 1;
    let noon = civil.hour >= 12;
    let mut number = |value: i64, width: usize| pad(value, width, out);
    match part {
        Part::Year => number(civil.year.max(0) % 100, 2),
        Part::LongYear => number(civil.year, 4),
        Part::NumMonth => number(civil.month.into(), 0),
        Part::ZeroMonth => number(civil.month.into(), 2),
        Part::Day => number(civil.day.into(), 0),
        Part::ZeroDay => number(civil.day.into(), 2),
        Part::ZeroYearDay => number(civil.year_day.into(), 3),
        Part::Hour => number(civil.hour.into(), 2),
        Part::Hour12 => number(hour12.into(), 0),
        Part::ZeroHour12 => number(hour12.into(), 2),
        Part::Minute => number(civil.minute.into(), 0),
        Part::ZeroMinute => number(civil.minute.into(), 2),
        Part::Second => number(civil.second.into(), 0),
        Part::ZeroSecond => number(civil.second.into(), 2),
        Part::UnderDay => out.extend_from_slice(format!("{:2}", civil.day).as_bytes()),
        Part::UnderYearDay => out.extend_from_slice(format!("{:3}", civil.year_day).as_bytes()),
        Part::LongMonth => out.extend_from_slice(month.as_bytes()),
        Part::Month => out.extend_from_slice(&month.as_bytes()[..3]),
        Part::LongWeekDay => out.extend_from_slice(weekday.as_bytes()),
        Part::WeekDay => out.extend_from_slice(&weekday.as_bytes()[..3]),
        Part::UpperPm => out.extend_from_slice(if noon { b"PM" } else { b"AM" }),
        Part::LowerPm => out.extend_from_slice(if noon { b"pm" } else { b"am" }),
        Part::ZoneName if moment.zone.is_empty() => offset(moment.offset, OffsetForm::Minutes, out),
        Part::ZoneName => out.extend_from_slice(moment.zone.as_bytes()),
        Part::Offset { zulu: true, .. } if moment.offset == 0 => out.push(b'Z'),
        Part::Offset { form, .. } => offset(moment.offset, form, out),
        Part::FractionZero(digits, mark) => fraction(moment.nanos, digits, mark, false, out),
        Part::FractionNine(digits, mark) => fraction(moment.nanos, digits, mark, true, out),
    }
}

/// Appends a number with zeros in front, up to `width` digits.
fn pad(value: i64, width: usize, out: &mut Vec<u8>) {
    let sign = if value < 0 { "-" } else { "" };
    out.extend_from_slice(format!("{sign}{:0width$}", value.unsigned_abs()).as_bytes());
}

fn offset(offset: i32, form: OffsetForm, out: &mut Vec<u8>) {
    let (minutes, seconds) = ((offset / 60).abs(), (offset % 60).abs());
    let sign = if offset / 60 < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let text = match form {
        OffsetForm::Hours => format!("{sign}{hours:02}"),
        OffsetForm::Minutes => format!("{sign}{hours:02}{minutes:02}"),
        OffsetForm::ColonMinutes => format!("{sign}{hours:02}:{minutes:02}"),
        OffsetForm::Seconds => format!("{sign}{hours:02}{minutes:02}{seconds:02}"),
        OffsetForm::ColonSeconds => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    };
    out.extend_from_slice(text.as_bytes());
}

fn fraction(nanos: u32, digits: usize, mark: u8, trim: bool, out: &mut Vec<u8>) {
    let text = format!("{nanos:09}");
    let mut text = &text[..digits.min(9)];
    if trim {
        text = text.trim_end_matches('0');
        if text.is_empty() {
            return;
        }
    }
    out.push(mark);
    out.extend_from_slice(text.as_bytes());
}
