//! An event as a line. Pure, but for the standard log. Whatever a stranger chose comes out as printable
//! ASCII: no line break, no terminal's control, no look-alike, and not without end.

use std::fmt::Write;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::{Act, Event};
use crate::invocation::format_id;

/// The longest value, in bytes before escaping.
const MOST: usize = 1024;

/// A JSON object on one line, with its newline.
pub(super) fn json(act: Act, event: &Event<'_>) -> String {
    let mut line = String::with_capacity(256);
    line.push_str("{\"time\":\"");
    line.push_str(&now());
    line.push('"');
    field(&mut line, "event", act.word());
    for (name, value) in texts(event) {
        if !value.is_empty() {
            field(&mut line, name, value);
        }
    }
    if let Some(id) = event.invocation {
        field(&mut line, "invocation", &format_id(id));
    }
    if let Some(count) = event.count {
        // Writing to a string cannot fail.
        let _ = write!(line, ",\"count\":{count}");
    }
    line.push_str("}\n");
    line
}

/// The same in the standard log.
pub(super) fn log(act: Act, event: &Event<'_>) {
    let all = texts(event).map(|(_, value)| (!value.is_empty()).then(|| plain(value)));
    let [tenant, subject, script, reason, limit, measured, client, file, text] = &all;
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "audit", $level, event = act.word(), tenant, subject, script, reason, limit, measured,
                client, file, text, invocation = event.invocation.map(format_id), count = event.count,
            )
        };
    }
    match act {
        // At a start there is one for each script: the file has them all.
        Act::ScriptAccepted => line!(tracing::Level::DEBUG),
        act if act.is_administrative() => line!(tracing::Level::INFO),
        _ => line!(tracing::Level::WARN),
    }
}

fn texts<'a>(event: &Event<'a>) -> [(&'static str, &'a str); 9] {
    [
        ("tenant", event.tenant),
        ("subject", event.subject),
        ("script", event.script),
        ("reason", event.reason),
        ("limit", event.limit),
        ("measured", event.measured),
        ("client", event.client),
        ("file", event.file),
        ("text", event.text),
    ]
}

/// The time in UTC, to the microsecond.
fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn field(line: &mut String, name: &str, value: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":\"");
    escape(line, value);
    line.push('"');
}

/// Escapes all but printable ASCII, so that a line shows what it is in any terminal and editor.
fn escape(line: &mut String, value: &str) {
    for c in bounded(value).chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            ' '..='~' => line.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
    if value.len() > MOST {
        line.push_str("...");
    }
}

/// For the standard log, which escapes quotes and newlines itself.
fn plain(value: &str) -> String {
    let mut text = String::with_capacity(value.len().min(MOST));
    for c in bounded(value).chars() {
        match c {
            ' '..='~' => text.push(c),
            _ => text.extend(c.escape_default()),
        }
    }
    text
}

fn bounded(value: &str) -> &str {
    &value[..value.floor_char_boundary(MOST)]
}
