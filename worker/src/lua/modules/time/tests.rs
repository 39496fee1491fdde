//! Layouts, zones and errors as Go's `time` has them.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::super::Outside;
use super::super::super::testing::{Value, call, message, text};
use super::*;

fn ctx(zone: &str) -> Ctx {
    Ctx { local_zone: TimeZone::get(zone).unwrap(), ..Ctx::default() }
}

fn formatted(zone: &str, seconds: f64, layout: &str) -> String {
    text(&call(format_number, &mut ctx("UTC"), &[seconds.into(), layout.into(), zone.into()]).unwrap())
}

fn parsed(values: &[&str]) -> Vec<Value> {
    let values: Vec<Value> = values.iter().map(|value| Value::from(*value)).collect();
    call(parse_text, &mut ctx("Europe/Berlin"), &values).unwrap()
}

/// 2009-02-13 23:31:30.5 UTC, a Friday.
const MOMENT: f64 = 1_234_567_890.5;

#[test]
fn layouts_say_what_is_printed() {
    for (layout, expected) in [
        ("2006-01-02 15:04:05", "2009-02-13 23:31:30"),
        ("Mon Jan 2 15:04:05 -0700 MST 2006", "Fri Feb 13 23:31:30 +0000 UTC 2009"),
        ("Monday January 06 1 3:4:5 pm PM 03", "Friday February 09 2 11:31:30 pm PM 11"),
        ("_2 02 002 __2", "13 13 044  44"),
        (".000 .999999 ,00 05.999999999", ".500 .5 ,50 30.5"),
        ("Z07:00 Z0700 -07:00 -07 -07:00:00 Z070000", "Z Z +00:00 +00 +00:00:00 Z"),
        ("Januarys Jans Monk _2006 .0001 x", "Februarys Jans Monk _2009 .0002 x"),
        ("", ""),
    ] {
        assert_eq!(formatted("UTC", MOMENT, layout), expected, "{layout}");
    }
    assert_eq!(formatted("UTC", 1_234_567_890.0, "05.999 .9 5.00"), "30  30.00");
    assert_eq!(formatted("UTC", 0.0, "3PM 03pm 2006"), "12AM 12am 1970");
    assert_eq!(formatted("UTC", -0.25, "2006-01-02 15:04:05.00"), "1969-12-31 23:59:59.75");
    assert_eq!(formatted("UTC", -6.3e10, "2006-01-02 15"), "-0027-08-11 08");
}

#[test]
fn zones_are_named_as_in_the_database() {
    let layout = "15:04 MST -07:00";
    for (zone, expected) in [
        ("UTC", "23:31 UTC +00:00"),
        ("", "23:31 UTC +00:00"),
        ("Europe/Berlin", "00:31 CET +01:00"),
        ("America/New_York", "18:31 EST -05:00"),
        ("Asia/Kolkata", "05:01 IST +05:30"),
    ] {
        assert_eq!(formatted(zone, MOMENT, layout), expected, "{zone}");
    }
    let mut ctx = ctx("Asia/Tokyo");
    let local = call(format_number, &mut ctx, &[MOMENT.into(), layout.into(), "Local".into()]).unwrap();
    assert_eq!(text(&local), "08:31 JST +09:00");
    let default = call(format_number, &mut ctx, &[MOMENT.into()]).unwrap();
    assert_eq!(text(&default), "Sat Feb 14 08:31:30 +0900 JST 2009");
    for unknown in ["Nope/Zone", "utc", "europe/berlin"] {
        let failed = call(format_number, &mut ctx, &[MOMENT.into(), "2".into(), unknown.into()]).unwrap();
        assert_eq!(failed, [Value::Nil, format!("unknown time zone {unknown}").as_str().into()]);
    }
    let failed = message(call(format_number, &mut ctx, &[MOMENT.into(), Value::Nil]));
    assert_eq!(failed, "bad argument #2 to f (string expected, got nil)");
}

#[test]
fn texts_are_read_by_layouts() {
    for (values, expected) in [
        (&["2009-02-13 23:31:30", "2006-01-02 15:04:05"][..], 1_234_567_890.0),
        (&["2009-02-13 23:31:30.5", "2006-01-02 15:04:05"], MOMENT),
        (&["2009-02-13T23:31:30Z", "2006-01-02T15:04:05Z07:00"], 1_234_567_890.0),
        (&["2009-02-14T00:31:30+01:00", "2006-01-02T15:04:05Z07:00"], 1_234_567_890.0),
        (&["Fri Feb 13 18:31:30 -0500 2009", "Mon Jan 2 15:04:05 -0700 2006"], 1_234_567_890.0),
        (&["13 FEBRUARY 09 11:31PM", "2 January 06 3:04PM"], 1_234_567_860.0),
        (&["2009-02-14 00:31", "2006-01-02 15:04", "Europe/Berlin"], 1_234_567_860.0),
        (&["2009 044", "2006 002"], 1_234_483_200.0),
        (&["2012 060", "2006 002"], 1_330_473_600.0),
        (&["2009-02-14 00:31:30 CET", "2006-01-02 15:04:05 MST"], 1_234_567_890.0),
        (&["2009-02-13 23:31:30 XYZ", "2006-01-02 15:04:05 MST"], 1_234_567_890.0),
        (&["2009-07-01 00:00 CET", "2006-01-02 15:04 MST"], 1_246_402_800.0),
        (&["2009-02-13  23", "2006-01-02 15"], 1_234_566_000.0),
    ] {
        assert_eq!(parsed(values), [expected.into()], "{values:?}");
    }
}

#[test]
fn failures_have_gos_texts() {
    for (values, error) in [
        (&["x", "2006"][..], r#"parsing time "x" as "2006": cannot parse "x" as "2006""#),
        (&["2009-13-01", "2006-01-02"], r#"parsing time "2009-13-01": month out of range"#),
        (&["2009-02-30", "2006-01-02"], r#"parsing time "2009-02-30": day out of range"#),
        (&["2009x", "2006"], r#"parsing time "2009x": extra text: "x""#),
        (&["2009/02", "2006-01"], r#"parsing time "2009/02" as "2006-01": cannot parse "/02" as "-""#),
        (&["69 70", "06 05"], r#"parsing time "69 70": second out of range"#),
        (&["25:00", "15:04"], r#"parsing time "25:00": hour out of range"#),
        (
            &["\"\u{e9}", "2"],
            "parsing time \"\\\"\\xc3\\xa9\" as \"2\": cannot parse \"\\\"\\xc3\\xa9\" as \"2\"",
        ),
        (&["+25:00", "-07:00"], r#"parsing time "+25:00": time zone offset hour out of range"#),
        (&["366 2009", "002 2006"], r#"parsing time "366 2009": day-of-year out of range"#),
        (&["1", "2", "Nope/Zone"], "unknown time zone Nope/Zone"),
    ] {
        assert_eq!(parsed(values), [Value::Nil, error.into()], "{values:?}");
    }
}

#[test]
fn clocks_that_are_set_back_read_as_in_go() {
    // 02:30 is skipped on the one day and shown twice on the other.
    for (shown, expected) in [("2024-03-31 02:30", 1_711_848_600.0), ("2024-10-27 02:30", 1_729_992_600.0)] {
        let result = parsed(&[shown, "2006-01-02 15:04", "Europe/Berlin"]);
        let [Value::Num(seconds)] = result[..] else { panic!("{result:?}") };
        assert!((seconds - expected).abs() <= 3600.0, "{shown}: {seconds}");
    }
}

/// A way out that takes time calls.
struct Sleeper(std::rc::Rc<std::cell::Cell<u64>>);

impl Outside for Sleeper {
    fn log(&mut self, _: msgscript_proto::message::Level, _: &[u8]) {}
    fn call(&mut self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        let HostCall::Sleep { millis } = request else { panic!("{request:?}") };
        self.0.set(*millis);
        if *millis == 7000 { reply(HostReply::Failed("no")) } else { reply(HostReply::Done) }
    }
    fn start(&mut self, _: &msgscript_proto::message::Invoke<'_>) {}
}

#[test]
fn the_broker_sleeps() {
    let slept = std::rc::Rc::new(std::cell::Cell::new(0));
    let mut ctx = Ctx::new(Box::new(Sleeper(slept.clone())));
    for (argument, millis) in [
        (Value::Num(1.5), 1500),
        ("0.2".into(), 200),
        (Value::Num(1e-9), 1),
        (Value::Num(f64::INFINITY), u64::MAX),
        (Value::Num(0.0), 0),
        (Value::Num(-1.0), 0),
        (Value::Num(f64::NAN), 0),
    ] {
        slept.set(0);
        assert_eq!(call(sleep, &mut ctx, std::slice::from_ref(&argument)).unwrap(), []);
        assert_eq!(slept.get(), millis, "{argument:?}");
    }
    assert_eq!(message(call(sleep, &mut ctx, &[7.0.into()])), "no");
    assert!(message(call(sleep, &mut ctx, &[Value::Nil])).starts_with("bad argument #1"));
}

#[test]
fn the_clock_runs() {
    let mut ctx = Ctx::default();
    let [Value::Num(seconds)] = call(unix, &mut ctx, &[]).unwrap()[..] else { panic!() };
    let [Value::Num(nanos)] = call(unix_nano, &mut ctx, &[]).unwrap()[..] else { panic!() };
    assert!(seconds > 1.7e9 && (nanos / 1e9 - seconds).abs() < 60.0);
}

proptest! {
    #[test]
    fn days_and_dates_agree(seconds in -100_000_000_000_i64..1_000_000_000_000) {
        let shown = civil::Civil::of(seconds);
        let clock = i64::from(shown.hour) * 3600 + i64::from(shown.minute) * 60 + i64::from(shown.second);
        prop_assert_eq!(civil::seconds(shown.year, shown.month, shown.day.into(), clock), seconds);
        prop_assert!((1..=12).contains(&shown.month));
        prop_assert!(shown.day >= 1 && shown.day <= civil::days_in(shown.year, shown.month));
    }

    #[test]
    fn what_is_printed_can_be_read(
        seconds in -60_000_000_000_i64..250_000_000_000,
        layout in prop::sample::select(vec![
            "2006-01-02T15:04:05Z07:00",
            "Mon Jan 2 15:04:05 -0700 2006",
            "January _2, 2006 at 3:04:05pm (-07:00:00)",
            "2006 002 15:04:05 Z070000",
            "Monday, 02 Jan 2006 03:04:05 PM -070000",
        ]),
        zone in prop::sample::select(vec!["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia"]),
    ) {
        // Years before 0 have five characters, which no layout reads.
        prop_assume!(seconds > -62_000_000_000);
        #[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
        let number = seconds as f64;
        let text = formatted(zone, number, layout);
        let exact = layout.contains("00:00)") || layout.contains("0000");
        let [Value::Num(read)] = parsed(&[&text, layout])[..] else { panic!("{text}") };
        // Offsets before standard time have seconds, which short forms cut off.
        prop_assert!((read - number).abs() < if exact { 0.5 } else { 60.0 }, "{} {}", text, read);
    }

    #[test]
    fn any_bytes_are_a_layout(layout: Vec<u8>, value: Vec<u8>, seconds: f64) {
        let mut ctx = Ctx::default();
        call(format_number, &mut ctx, &[seconds.into(), Value::Str(layout.clone())]).unwrap();
        call(parse_text, &mut ctx, &[Value::Str(value), Value::Str(layout)]).unwrap();
    }

    #[test]
    fn texts_near_a_layout_do_no_harm(
        layout in "(2006|06|Jan|January|01|1|Mon|Monday|2|_2|02|002|__2|15|3|03|4|04|5|05|PM|pm|MST|-07|Z07:00|Z070000|\\.000|,999| |-|x){0,8}",
        value in "([0-9]{1,4}|Jan|Feb|Monday|PM|am|GMT|GMT\\+3|UTC|\\+0[0-9]:00|Z|\\.[0-9]{1,12}| |-|x|é){0,8}",
    ) {
        call(parse_text, &mut Ctx::default(), &[Value::from(&*value), Value::from(&*layout)]).unwrap();
    }
}
