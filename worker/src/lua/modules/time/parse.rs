//! A text read by a layout, with Go's rules and error texts. Pure.

mod scan;

use super::civil::{self, days_before, days_in, is_leap};
use super::layout::{self, OffsetForm, Part};
use super::names::{DAYS, MONTHS};
use scan::{Scan, quote};

/// What a text says, before any zone is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Seconds since 1970 that the clock shows.
    pub shown: i64,
    /// Nanoseconds of the second.
    pub nanos: u32,
    /// What it says of its zone.
    pub zone: Zone,
}

/// What a text says of its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// Nothing.
    None,
    /// Seconds east of UTC.
    Offset(i64),
    /// An abbreviation.
    Name(Vec<u8>),
}

/// Why a part cannot be read.
enum Wrong {
    /// It is not there.
    Bad,
    /// It is, but too large.
    Range(&'static str),
}

/// What is known so far.
#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<u8>,
    day: Option<u8>,
    year_day: Option<u16>,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    after_noon: Option<bool>,
    utc: bool,
    offset: Option<i64>,
    name: Option<Vec<u8>>,
}

/// Reads a text by a layout.
///
/// # Errors
/// Go's text.
pub fn parse(layout: &[u8], value: &[u8]) -> Result<Parsed, String> {
    let mut fields = Fields::default();
    let (mut ahead, mut scan) = (layout, Scan(value));
    let cannot = |rest: &[u8], part: &[u8]| {
        let (value, layout, rest, part) = (quote(value), quote(layout), quote(rest), quote(part));
        format!("parsing time {value} as {layout}: cannot parse {rest} as {part}")
    };
    while let Some(next) = layout::next(ahead) {
        if !scan.skip(next.before) {
            return Err(cannot(scan.0, next.before));
        }
        let hold = scan.0;
        match fields.read(next.part, next.after, &mut scan) {
            Ok(()) => {}
            Err(Wrong::Bad) => return Err(cannot(hold, next.text)),
            Err(Wrong::Range(what)) => {
                return Err(format!("parsing time {}: {what} out of range", quote(value)));
            }
        }
        ahead = next.after;
    }
    if !scan.skip(ahead) {
        return Err(cannot(scan.0, ahead));
    }
    if !scan.0.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", quote(value), quote(scan.0)));
    }
    fields.finish().map_err(|why| format!("parsing time {}: {why}", quote(value)))
}

impl Fields {
    fn read(&mut self, part: Part, after: &[u8], scan: &mut Scan<'_>) -> Result<(), Wrong> {
        match part {
            Part::Year => {
                let year = scan.year(2)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Part::LongYear => {
                if !scan.digit(0) {
                    return Err(Wrong::Bad);
                }
                self.year = scan.year(4)?;
            }
            Part::Month => self.month = Some(scan.name(&MONTHS, Some(3))? + 1),
            Part::LongMonth => self.month = Some(scan.name(&MONTHS, None)? + 1),
            Part::NumMonth | Part::ZeroMonth => {
                let month = scan.number(part == Part::ZeroMonth)?;
                self.month = Some(within(month, 1, 12, "month")?);
            }
            Part::WeekDay => drop(scan.name(&DAYS, Some(3))?),
            Part::LongWeekDay => drop(scan.name(&DAYS, None)?),
            Part::Day | Part::UnderDay | Part::ZeroDay => {
                if part == Part::UnderDay {
                    scan.blank();
                }
                self.day = Some(scan.number(part == Part::ZeroDay)?);
            }
            Part::UnderYearDay | Part::ZeroYearDay => {
                if part == Part::UnderYearDay {
                    scan.blank();
                    scan.blank();
                }
                self.year_day = Some(scan.number3(part == Part::ZeroYearDay)?);
            }
            Part::UpperPm => self.after_noon = Some(scan.either(b"PM", b"AM")?),
            Part::LowerPm => self.after_noon = Some(scan.either(b"pm", b"am")?),
            Part::ZoneName => self.read_zone_name(scan)?,
            Part::Offset { zulu, form } => self.read_offset(zulu, form, scan)?,
            _ => return self.read_clock(part, after, scan),
        }
        Ok(())
    }

    fn read_clock(&mut self, part: Part, after: &[u8], scan: &mut Scan<'_>) -> Result<(), Wrong> {
        match part {
            Part::Hour => self.hour = within(scan.number(false)?, 0, 23, "hour")?,
            Part::Hour12 | Part::ZeroHour12 => {
                self.hour = within(scan.number(part == Part::ZeroHour12)?, 0, 12, "hour")?;
            }
            Part::Minute | Part::ZeroMinute => {
                self.minute = within(scan.number(part == Part::ZeroMinute)?, 0, 59, "minute")?;
            }
            Part::Second | Part::ZeroSecond => {
                self.second = within(scan.number(part == Part::ZeroSecond)?, 0, 59, "second")?;
                // A fraction that the layout does not have is read all the same.
                let next = layout::next(after).map(|next| next.part);
                let wanted = matches!(next, Some(Part::FractionZero(..) | Part::FractionNine(..)));
                if !wanted && scan.has_fraction() {
                    self.nanos = scan.fraction(None)?;
                }
            }
            Part::FractionZero(digits, _) => self.nanos = scan.fraction(Some(digits))?,
            Part::FractionNine(..) if scan.has_fraction() => self.nanos = scan.fraction(None)?,
            _ => {}
        }
        Ok(())
    }

    fn read_zone_name(&mut self, scan: &mut Scan<'_>) -> Result<(), Wrong> {
        if scan.take_if(b"UTC") {
            self.utc = true;
            return Ok(());
        }
        self.name = Some(scan.zone_name().ok_or(Wrong::Bad)?.to_vec());
        Ok(())
    }

    fn read_offset(&mut self, zulu: bool, form: OffsetForm, scan: &mut Scan<'_>) -> Result<(), Wrong> {
        if zulu && scan.take_if(b"Z") {
            self.utc = true;
            return Ok(());
        }
        let [sign, hours, minutes, seconds] = scan.offset(form)?;
        let hours = within(hours, 0, 24, "time zone offset hour")?;
        let minutes = within(minutes, 0, 60, "time zone offset minute")?;
        let seconds = within(seconds, 0, 60, "time zone offset second")?;
        let offset = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
        self.offset = Some(match sign {
            b'+' => offset,
            b'-' => -offset,
            _ => return Err(Wrong::Bad),
        });
        Ok(())
    }

    fn finish(self) -> Result<Parsed, &'static str> {
        let (month, day) = self.date()?;
        let hour = match self.after_noon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        if day < 1 || day > days_in(self.year, month) {
            return Err("day out of range");
        }
        let clock = (i64::from(hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        let zone = match (self.utc, self.offset, self.name) {
            (true, ..) => Zone::Offset(0),
            // Go takes this very offset for none.
            (_, Some(offset), _) if offset != -1 => Zone::Offset(offset),
            (_, _, Some(name)) => Zone::Name(name),
            _ => Zone::None,
        };
        let shown = civil::seconds(self.year, month, day.into(), clock);
        Ok(Parsed { shown, nanos: self.nanos, zone })
    }

    /// Month and day, which the day of the year may say.
    fn date(&self) -> Result<(u8, u8), &'static str> {
        let Some(year_day) = self.year_day else {
            return Ok((self.month.unwrap_or(1), self.day.unwrap_or(1)));
        };
        if year_day < 1 || year_day > 365 + u16::from(is_leap(self.year)) {
            return Err("day-of-year out of range");
        }
        let month = (1..=12).rev().find(|month| days_before(self.year, *month) < year_day).unwrap_or(1);
        let day = u8::try_from(year_day - days_before(self.year, month)).unwrap_or(1);
        if self.month.is_some_and(|said| said != month) {
            return Err("day-of-year does not match month");
        }
        if self.day.is_some_and(|said| said != day) {
            return Err("day-of-year does not match day");
        }
        Ok((month, day))
    }
}

fn within(value: u8, least: u8, most: u8, what: &'static str) -> Result<u8, Wrong> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(Wrong::Range(what)) }
}
