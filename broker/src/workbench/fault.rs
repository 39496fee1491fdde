//! Where an error is: the lines around it, for a terminal or a browser.
//!
//! Takes a script and an error's text, gives lines. Pure. Texts of scripts and errors are strangers' bytes: in a
//! page all of them are escaped.

use std::fmt::Write;

use crate::catalog::{Part, Script};
use crate::invocation::Ending;

/// Lines that are shown before and after the one with the fault.
const AROUND: usize = 4;

/// Some lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub file: String,
    /// The line with the fault, from 1.
    pub line: usize,
    /// The lines with their numbers.
    pub lines: Vec<(usize, String)>,
}

/// The place that an error's text names first, if it is in one of the script's files.
#[must_use]
pub fn excerpt(script: &Script, error: &str) -> Option<Excerpt> {
    let parts = script.parts.iter().chain(std::iter::once(&script.source));
    parts.filter_map(|part| place(part, error)).min_by_key(|(at, _)| *at).map(|(_, excerpt)| excerpt)
}

/// Where in the error a part is named with a line, and the lines there.
fn place(part: &Part, error: &str) -> Option<(usize, Excerpt)> {
    let named = format!("{}:", part.name);
    let at = error.find(&named)?;
    let digits = error.get(at + named.len()..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let line: usize = digits.get(..end)?.parse().ok()?;
    let text = String::from_utf8_lossy(&part.text);
    // What is missing at the end is missed on the line after the last.
    let line = if line == text.lines().count() + 1 { line - 1 } else { line };
    let first = line.saturating_sub(AROUND + 1);
    let lines = text.lines().enumerate().skip(first).take(line - first + AROUND);
    let lines: Vec<_> = lines.map(|(at, text)| (at + 1, text.to_owned())).collect();
    let inside = lines.iter().any(|(number, _)| *number == line);
    inside.then(|| (at, Excerpt { file: part.name.to_string(), line, lines }))
}

impl Excerpt {
    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, line) in &self.lines {
            let mark = if *number == self.line { '>' } else { ' ' };
            let line: String =
                line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark} {number:5} | {line}");
        }
        text
    }
}

/// A page for an ending without an answer: what happened, and the lines around it. It has no script, no style
/// and nothing from elsewhere.
#[must_use]
pub fn page(script: &Script, ending: &Ending) -> String {
    let title = format!("{}/{}: {}", script.subject, script.name, ending.reason.word());
    let mut body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{0}</title><h1>{0}</h1><p><code>{1}</code></p>",
        escape(&title),
        escape(&ending.error)
    );
    if let Some(excerpt) = excerpt(script, &ending.error) {
        let _ = write!(body, "<h2>{}</h2><pre>", escape(&excerpt.file));
        for (number, line) in &excerpt.lines {
            let line = format!("{number:5} | {}", escape(line));
            let _ = if *number == excerpt.line {
                writeln!(body, "<mark>{line}</mark>")
            } else {
                writeln!(body, "{line}")
            };
        }
        body.push_str("</pre>");
    }
    if !ending.logs.is_empty() {
        body.push_str("<h2>Log</h2><pre>");
        for line in &ending.logs {
            let _ = writeln!(body, "{} {}", line.level, escape(&line.text));
        }
        body.push_str("</pre>");
    }
    body
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::Reason;

    fn script(text: &str) -> Script {
        let mut script = Script::for_test("a", "n");
        script.source.text = text.as_bytes().into();
        script.parts = vec![script.source.clone()];
        script
    }

    #[test]
    fn the_lines_around_a_fault() {
        let script = script("one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
        let found = excerpt(&script, "n.lua:6: attempt to call nil").expect("a place");
        assert_eq!((found.line, found.lines.len()), (6, 6));
        assert!(found.text().contains(">     6 | six\n") && found.text().starts_with("      2 | two\n"));
        for error in
            ["n.lua:9: beyond", "n.lua: no line", "other.lua:1: x", "n.lua:99999999999999999999: x", ""]
        {
            assert_eq!(excerpt(&script, error), None, "{error}");
        }
    }

    #[test]
    fn markup_stays_text() {
        let script = script("x = '<script>alert(1)</script>'\n");
        let ending = Ending::failed(1, &script, Reason::ScriptError, "n.lua:1: <img src=x>".to_owned());
        let page = page(&script, &ending);
        assert!(
            page.contains("&lt;script&gt;") && page.contains("&lt;img") && !page.contains("<script"),
            "{page}"
        );
        assert!(!page.contains("<img"));
    }
}
