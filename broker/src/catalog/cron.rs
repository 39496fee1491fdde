//! Cron expressions of five fields: minute, hour, day of month, month, day of week.
//!
//! Takes a tenant's text, gives the days and times of day that it names. Pure; knows no time zone. Any text may
//! come.

use jiff::civil::Date;

/// The longest expression, in bytes.
const MOST: usize = 256;

/// Short forms, and what they stand for.
const MACROS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The most days that each month has.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A field: its name, its least and greatest value, and names of values from the least one on.
struct Field(&'static str, u32, u32, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    Field("minute", 0, 59, &[]),
    Field("hour", 0, 23, &[]),
    Field("day of month", 1, 31, &[]),
    Field("month", 1, 12, &MONTHS),
    Field("day of week", 0, 7, &WEEKDAYS),
];

/// An expression: bit n of a field is set if the value n is one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// Whether day of month and day of week are both restricted: then one of them is enough.
    either: bool,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it is none: the field, and what may stand there.
    pub fn parse(text: &str) -> Result<Cron, String> {
        if text.len() > MOST {
            return Err(format!("it is longer than {MOST} bytes"));
        }
        let text = match MACROS.iter().find(|(name, _)| *name == text) {
            Some((_, meaning)) => meaning,
            None if text.starts_with('@') => {
                let known: Vec<&str> = MACROS.iter().map(|(name, _)| *name).collect();
                return Err(format!("`{}` is none of {}", text.escape_debug(), known.join(", ")));
            }
            None => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let Ok([minute, hour, day, month, weekday]) = <[&str; 5]>::try_from(&*fields) else {
            let hint = if fields.len() > 5 { " (there are no seconds and no years)" } else { "" };
            return Err(format!(
                "it has {} fields{hint}; write five: minute, hour, day of month, month, day of week, for \
                 example `30 3 * * mon-fri`",
                fields.len()
            ));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let weekdays = weekdays.read(weekday)?;
        let cron = Cron {
            minutes: minutes.read(minute)?,
            hours: hours.read(hour)?,
            days: days.read(day)?,
            months: months.read(month)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if cron.is_never() {
            let text = "no month that it names has such a day of month; it would never be due";
            return Err(text.to_owned());
        }
        Ok(cron)
    }

    /// Whether there is no date that it names. (Each weekday comes to each date that a calendar has.)
    fn is_never(&self) -> bool {
        let has_day =
            |(month, most): (u32, &u32)| has(self.months, month) && self.days.trailing_zeros() <= *most;
        !self.either && !(1..).zip(&DAYS).any(has_day)
    }

    /// Whether a day is one of its days.
    #[must_use]
    pub fn is_on(&self, date: Date) -> bool {
        let bit = |value: i8| u32::try_from(value).unwrap_or(0);
        let day = has(self.days, bit(date.day()));
        let weekday = has(self.weekdays, bit(date.weekday().to_sunday_zero_offset()));
        has(self.months, bit(date.month())) && if self.either { day || weekday } else { day && weekday }
    }

    /// Its times of day in order: hour, minute.
    pub fn times(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        let minutes =
            move |hour| (0..60).filter(|minute| has(self.minutes, *minute)).map(move |it| (hour, it));
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        // Below 60.
        hours.flat_map(minutes).map(|(hour, minute)| (hour as i8, minute as i8))
    }

    /// Whether it is for each hour: then it follows time as it passes, not the clock on the wall.
    #[must_use]
    pub fn is_hourly(&self) -> bool {
        self.hours == (1 << 24) - 1
    }
}

fn has(set: u64, value: u32) -> bool {
    set >> value & 1 == 1
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, String> {
        let part = |part: &str| self.part(part).ok_or_else(|| self.wrong(part));
        text.split(',').try_fold(0, |all, it| Ok(all | part(it)?))
    }

    fn wrong(&self, part: &str) -> String {
        let Field(name, low, high, names) = self;
        let names = match names {
            [first, .., last] => format!(" or {first}-{last}"),
            _ => String::new(),
        };
        format!(
            "the {name} `{}`: write {low}-{high}{names}, `*`, a range `a-b`, a step `*/n` or `a-b/n`, or several \
             of these with commas between",
            part.escape_debug()
        )
    }

    /// A value, a range, or a step in one.
    fn part(&self, part: &str) -> Option<u64> {
        let Field(_, low, high, names) = *self;
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(number(step)?)),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            // `fri-sun`: a week may end with Sunday.
            Some((from, to)) => match (self.value(from)?, self.value(to)?) {
                (from, 0) if from > 0 && names.len() == WEEKDAYS.len() => (from, 7),
                range => range,
            },
            None if step.is_some() => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        let step = step.unwrap_or(1);
        let makes_sense = from <= to && (1..=high).contains(&step);
        let step = usize::try_from(step).ok()?;
        makes_sense.then(|| (from..=to).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let Field(_, low, high, names) = *self;
        let named = (low..).zip(names).find(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).or_else(|| number(text));
        value.filter(|value| (low..=high).contains(value))
    }
}

fn number(text: &str) -> Option<u32> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn times(text: &str) -> Vec<(i8, i8)> {
        Cron::parse(text).unwrap().times().collect()
    }

    #[test]
    fn fields_name_times() {
        assert_eq!(times("5,50 */12 * * *"), [(0, 5), (0, 50), (12, 5), (12, 50)]);
        assert_eq!(times("10-40/15 03 * * *"), [(3, 10), (3, 25), (3, 40)]);
        assert_eq!(times("* * * * *").len(), 1440);
        assert_eq!(times("@daily"), [(0, 0)]);
        assert!(
            Cron::parse("@hourly").unwrap().is_hourly() && Cron::parse("0 */1 * * *").unwrap().is_hourly()
        );
        assert!(!Cron::parse("0 1-23 * * *").unwrap().is_hourly());
    }

    #[test]
    fn fields_name_days() {
        let on = |text: &str, day| Cron::parse(text).unwrap().is_on(day);
        // A Monday.
        let monday = date(2026, 11, 23);
        for text in
            ["* * * * mon", "* * 23 nov *", "* * * 11 1-5", "* * 1 * MON", "* * 23 * sun", "* * * * */1"]
        {
            assert!(on(text, monday), "{text}");
        }
        for text in ["* * * * tue", "* * 1 * *", "* * * dec *", "* * */2 * tue", "* * 23 jan mon"] {
            assert!(!on(text, monday), "{text}");
        }
        for text in ["* * * * 0", "* * * * 7", "* * * * fri-sun", "* * * * 5-7", "* * * * sat-sun"] {
            assert!(on(text, date(2026, 11, 22)), "{text}");
        }
        // Both restricted by a star's step: both must hold, as in other crons.
        assert!(!on("* * */2 * mon", date(2026, 11, 24)) && on("* * */2 * mon", monday));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("", "it has 0 fields; write five"),
            ("* * * *", "it has 4 fields; write five"),
            ("0 * * * * *", "it has 6 fields (there are no seconds and no years)"),
            ("0 0 0 * * * 2027", "it has 7 fields (there are"),
            ("60 * * * *", "the minute `60`: write 0-59,"),
            ("* 24 * * *", "the hour `24`: write 0-23,"),
            ("* * 0 * *", "the day of month `0`: write 1-31,"),
            ("* * * 13 *", "the month `13`: write 1-12 or jan-dec,"),
            ("* * * * 8", "the day of week `8`: write 0-7 or sun-sat,"),
            ("* * L * *", "the day of month `L`"),
            ("* * * * mon#1", "the day of week `mon#1`"),
            ("5/10 * * * *", "the minute `5/10`"),
            ("*/0 * * * *", "the minute `*/0`"),
            ("9-5 * * * *", "the minute `9-5`"),
            ("1,,2 * * * *", "the minute ``"),
            ("+1 * * * *", "the minute `+1`"),
            ("0 0 30 2 *", "would never be due"),
            ("0 0 31 4,6,9,11 */2", "would never be due"),
            ("@reboot", "`@reboot` is none of @hourly, @daily"),
            (&"*".repeat(300), "longer than 256 bytes"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for text in ["0 0 29 2 *", "0 0 30 2 mon", "0 0 31 * *"] {
            assert!(Cron::parse(text).is_ok(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -9*/,a-z@-]{0,40}|.{0,40}") {
            let _ = Cron::parse(&text);
        }

        #[test]
        fn what_is_read_has_times(fields in proptest::collection::vec("[*]|[*]/[1-9]|[0-9]{1,2}(-[0-9]{1,2}(/[1-9])?)?", 5)) {
            if let Ok(cron) = Cron::parse(&fields.join(" ")) {
                proptest::prop_assert!(cron.times().next().is_some());
                // A leap day on one weekday comes within forty years.
                let mut days = date(2026, 1, 1).series(jiff::Span::new().days(1)).take(15_000);
                proptest::prop_assert!(days.any(|day| cron.is_on(day)));
            }
        }
    }
}
