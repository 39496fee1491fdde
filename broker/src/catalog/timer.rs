//! When a script is due: a cron expression in a time zone. Pure: header values and the time in, times out.
//!
//! Clocks that change: a time that there is not is due at the first instant after the gap, one that there is
//! twice at the first of the two. A schedule for each hour goes by time as it passes instead: nothing for the hour
//! that there is not, both of those that have the same name.

use std::rc::Rc;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::cron::Cron;

/// Days that are looked through for a due time. A leap day on one weekday comes within forty years.
const MOST_DAYS: u32 = 50 * 366;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What is done about a due time that passed without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// One run, for the last of those that passed.
    Run,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    cron: Cron,
    zone: TimeZone,
    /// The expression as written, with single spaces.
    pub text: Rc<str>,
    /// What is done about what was missed.
    pub missed: Missed,
}

/// The header lines of a schedule, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// `schedule`, and its text.
    pub schedule: Option<(Cron, Rc<str>)>,
    /// `timezone`.
    pub timezone: Option<TimeZone>,
    /// `missed`.
    pub missed: Option<Missed>,
}

impl Lines {
    /// The schedule, if there is one.
    #[must_use]
    pub fn timer(&self) -> Option<Timer> {
        let (cron, text) = self.schedule.clone()?;
        let zone = self.timezone.clone().unwrap_or(TimeZone::UTC);
        Some(Timer { cron, zone, text, missed: self.missed.unwrap_or_default() })
    }
}

/// A cron expression.
///
/// # Errors
/// Why it is none.
pub fn schedule(value: &str) -> Result<(Cron, Rc<str>), String> {
    let cron = Cron::parse(value)?;
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    Ok((cron, fields.join(" ").into()))
}

/// A time zone of the database that is part of the broker, the same on every machine.
///
/// # Errors
/// When there is none of that name.
pub fn timezone(value: &str) -> Result<TimeZone, String> {
    let zone = TimeZoneDatabase::bundled().get(value).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| {
        let start: String = value.chars().take(64).collect();
        format!(
            "`{}` is no time zone of the IANA database; write for example `Europe/Berlin`, or `UTC`",
            start.escape_debug()
        )
    })
}

/// What is done about what was missed.
///
/// # Errors
/// When it is neither.
pub fn missed(value: &str) -> Result<Missed, String> {
    match value {
        "skip" => Ok(Missed::Skip),
        "run" => Ok(Missed::Run),
        _ => Err("write `skip`, or `run`".to_owned()),
    }
}

impl Timer {
    /// The time zone's name.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// A time as the schedule's own clock shows it: RFC 3339.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> String {
        at.display_with_offset(self.zone.to_offset(at)).to_string()
    }

    /// The first due times after that one, as the schedule's own clock shows them.
    #[must_use]
    pub fn coming(&self, after: Timestamp, count: usize) -> Vec<String> {
        let first = self.next(after);
        let all = std::iter::successors(first, |due| self.next(*due)).take(count);
        all.map(|due| self.local(due)).collect()
    }

    /// The first due time after that one. `None`: there is none that this calendar could tell.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // When clocks go back over midnight, times of yesterday may come after some of today.
        let mut date = self.zone.to_datetime(after).date().yesterday().ok()?;
        for _ in 0..MOST_DAYS {
            let tomorrow = date.tomorrow().ok()?;
            if let Some(found) = self.in_day(date, after) {
                let other = self.in_day(tomorrow, after);
                return Some(other.map_or(found, |other| other.min(found)));
            }
            date = tomorrow;
        }
        None
    }

    /// The last due time that is after `since` and not after `now`.
    #[must_use]
    pub fn last(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        // So many days back, so that few due times have to be gone through.
        for hours in [1, 24, 32 * 24, 366 * 24, 50 * 366 * 24] {
            let back = now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(since);
            let from = back.max(since);
            let due = std::iter::successors(self.next(from), |due| self.next(*due));
            let last = due.take_while(|due| *due <= now).last();
            if last.is_some() || from == since {
                return last;
            }
        }
        None
    }

    fn in_day(&self, date: Date, after: Timestamp) -> Option<Timestamp> {
        if !self.cron.is_on(date) {
            return None;
        }
        let start = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        if self.is_plain(start) {
            let time = |(hour, minute): (i8, i8)| {
                start.checked_add(SignedDuration::from_mins(i64::from(hour) * 60 + i64::from(minute))).ok()
            };
            return self.cron.times().filter_map(time).find(|due| *due > after);
        }
        let times = self.cron.times().flat_map(|(hour, minute)| self.instants(date.at(hour, minute, 0, 0)));
        times.flatten().filter(|due| *due > after).min()
    }

    /// Whether clocks do not change on the day that starts then, nor near it.
    fn is_plain(&self, start: Timestamp) -> bool {
        let Ok(before) = start.checked_sub(DAY) else { return false };
        let next = self.zone.following(before).next();
        next.is_none_or(|change| change.timestamp().duration_since(start) > DAY * 2)
    }

    /// The instants at which it is due for a time on the wall: one, or none, or two.
    fn instants(&self, time: DateTime) -> [Option<Timestamp>; 2] {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(time).ok(), None],
            AmbiguousOffset::Fold { before, after } => {
                let second = after.to_timestamp(time).ok().filter(|_| self.cron.is_hourly());
                [before.to_timestamp(time).ok(), second]
            }
            AmbiguousOffset::Gap { .. } if self.cron.is_hourly() => [None, None],
            AmbiguousOffset::Gap { before, .. } => [self.gap_end(before.to_timestamp(time).ok()), None],
        }
    }

    /// The change of clocks that is the last one not after an instant.
    fn gap_end(&self, inside: Option<Timestamp>) -> Option<Timestamp> {
        let behind = inside?.checked_add(SignedDuration::from_secs(1)).ok()?;
        self.zone.preceding(behind).next().map(|change| change.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timer(cron: &str, zone: &str) -> Timer {
        let lines = Lines {
            schedule: Some(schedule(cron).unwrap()),
            timezone: Some(timezone(zone).unwrap()),
            missed: None,
        };
        lines.timer().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The due times after that one, in the zone's own time.
    fn due(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        timer(cron, zone).coming(at(after), count)
    }

    #[test]
    fn times_follow_each_other() {
        let expected = ["2026-11-23T12:15:00+00:00", "2026-11-23T12:30:00+00:00"];
        assert_eq!(due("*/15 * * * *", "UTC", "2026-11-23T12:00:00Z", 2), expected);
        assert_eq!(
            due("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", 1),
            ["2104-02-29T00:00:00+00:00"],
            "2100 is no leap year"
        );
        assert_eq!(
            due("30 9 * * 1", "Asia/Kolkata", "2026-11-23T04:00:00Z", 1),
            ["2026-11-30T09:30:00+05:30"]
        );
    }

    #[test]
    fn a_time_that_there_is_not_is_due_after_the_gap() {
        let expected = ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
        assert_eq!(due("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2), expected);
        let expected = ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"];
        // Four times in the gap are one.
        let before = "2026-03-08T06:00:00Z";
        assert_eq!(due("*/15 2 * * *", "America/New_York", before, 2), expected);
        // A day that there was not.
        let skipped = due("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", 2);
        assert_eq!(skipped, ["2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"]);
    }

    #[test]
    fn a_time_that_there_is_twice_is_due_once() {
        let expected = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
        assert_eq!(due("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2), expected);
        let expected =
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-02T01:00:00-05:00"];
        assert_eq!(due("*/30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", 3), expected);
    }

    #[test]
    fn each_hour_is_each_hour_that_passes() {
        let expected = [
            "2026-11-01T00:30:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:30:00-05:00",
        ];
        assert_eq!(due("30 * * * *", "America/New_York", "2026-11-01T04:00:00Z", 4), expected);
        let expected = ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"];
        assert_eq!(due("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2), expected);
        // Half an hour, and over midnight.
        let lord_howe = due("*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T14:35:00Z", 4);
        let expected = [
            "2026-04-05T01:40:00+11:00",
            "2026-04-05T01:40:00+10:30",
            "2026-04-05T02:00:00+10:30",
            "2026-04-05T02:20:00+10:30",
        ];
        assert_eq!(lord_howe, expected);
    }

    #[test]
    fn the_last_due_time_is_found() {
        let daily = timer("0 3 * * *", "UTC");
        let now = at("2026-11-23T12:00:00Z");
        assert_eq!(daily.last(at("2020-01-01T00:00:00Z"), now), Some(at("2026-11-23T03:00:00Z")));
        assert_eq!(daily.last(at("2026-11-23T03:00:00Z"), now), None);
        assert_eq!(daily.last(at("2030-01-01T00:00:00Z"), now), None, "a clock that went back");
        let now = at("2026-11-23T03:00:00Z");
        assert_eq!(daily.last(at("2026-11-22T03:00:00Z"), now), Some(now));
        let leap = timer("0 0 29 2 *", "UTC");
        assert_eq!(leap.last(at("1990-01-01T00:00:00Z"), now), Some(at("2024-02-29T00:00:00Z")));
    }

    #[test]
    fn headers_make_a_schedule() {
        assert_eq!(Lines::default().timer(), None);
        let lines = Lines { schedule: Some(schedule(" 0  3 * * mon").unwrap()), ..Lines::default() };
        let timer = lines.timer().unwrap();
        assert_eq!((&*timer.text, timer.zone(), timer.missed), ("0 3 * * mon", "UTC", Missed::Skip));
        assert_eq!(missed("run"), Ok(Missed::Run));
        assert!(missed("never").is_err());
        for name in ["", "Mars/Olympus", "CEST-2", "../etc/passwd", "Etc/Unknown", "Local", &"x".repeat(5000)]
        {
            let error = timezone(name).unwrap_err();
            assert!(error.len() < 200 && error.contains("write for example"), "{name}: {error}");
        }
    }

    proptest! {
        #[test]
        fn times_only_go_forward(
            cron in prop::sample::select(vec![
                "* * * * *", "*/7 * * * *", "0 * * * *", "30 0-2 * * *", "15 */2 * * sun", "0 0 1 * *", "59 23 31 12 *",
            ]),
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
                "Pacific/Apia", "Africa/Casablanca", "America/Havana",
            ]),
            second in 0_i64..2_000_000_000,
        ) {
            let timer = timer(cron, zone);
            let after = Timestamp::from_second(second).unwrap();
            let next = timer.next(after).unwrap();
            prop_assert!(next > after);
            prop_assert_eq!(timer.next(next.saturating_sub(SignedDuration::from_secs(1)).unwrap()), Some(next));
            prop_assert_eq!(timer.last(after, next), Some(next));
        }

        #[test]
        fn any_value_is_read_or_refused(value in ".{0,60}") {
            let _ = (schedule(&value), timezone(&value), missed(&value));
        }
    }
}
