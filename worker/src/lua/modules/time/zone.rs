//! Time zones: the bundled database, and the server's own zone, read before the jail closes.
//!
//! Must never open a file: [`system`] alone does, and belongs before the jail.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// How many changes of a zone's clock are looked at in each direction for an abbreviation.
const CHANGES: usize = 400;

/// The server's zone, as `os.date` knows it; UTC if it cannot be read.
#[must_use]
pub fn system() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// The zone of a location's name: IANA's, `UTC` or nothing for UTC, `Local` for `local`. `None` if there is
/// none of that name.
#[must_use]
pub fn named(name: &[u8], local: &TimeZone) -> Option<TimeZone> {
    match name {
        b"" | b"UTC" => Some(TimeZone::UTC),
        b"Local" => Some(local.clone()),
        _ => {
            let zone = TimeZoneDatabase::bundled().get(std::str::from_utf8(name).ok()?).ok()?;
            // Names are paths to Go, so their case matters.
            zone.iana_name().is_some_and(|known| known.as_bytes() == name).then_some(zone)
        }
    }
}

/// Seconds east of UTC, and the abbreviation, at that second.
#[must_use]
pub fn at(zone: &TimeZone, seconds: i64) -> (i32, String) {
    let info = zone.to_offset_info(timestamp(seconds));
    (info.offset().seconds(), info.abbreviation().to_owned())
}

/// The second at which the zone's clocks show `shown`, as Go chooses it where that is none or two.
#[must_use]
pub fn instant(zone: &TimeZone, shown: i64) -> i64 {
    let guess = shown.saturating_sub(offset(zone, shown));
    shown.saturating_sub(offset(zone, guess))
}

/// The offset that an abbreviation means in a zone at the time when its clocks show `shown`: the one in
/// force then, else one that it ever meant. `None` if the zone has no such abbreviation.
#[must_use]
pub fn abbreviated(zone: &TimeZone, name: &[u8], shown: i64) -> Option<i64> {
    let near = timestamp(shown);
    let now = zone.to_offset_info(near);
    let mut known = vec![(now.abbreviation().to_owned(), now.offset())];
    let changes = zone.preceding(near).take(CHANGES).chain(zone.following(near).take(CHANGES));
    known.extend(changes.map(|change| (change.abbreviation().to_owned(), change.offset())));
    known.retain(|(known, _)| known.as_bytes() == name);
    let offsets = || known.iter().map(|(_, offset)| i64::from(offset.seconds()));
    let in_force = |offset: &i64| at(zone, shown.saturating_sub(*offset)).1.as_bytes() == name;
    offsets().find(in_force).or_else(|| offsets().next())
}

fn offset(zone: &TimeZone, seconds: i64) -> i64 {
    i64::from(zone.to_offset(timestamp(seconds)).seconds())
}

/// The nearest moment that the database knows.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_duration(SignedDuration::from_secs(seconds)).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
