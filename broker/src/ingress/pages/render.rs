//! The pages' HTML.
//!
//! Takes data, gives text. Pure. Must never put a byte from outside into a page unescaped.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::PageData;
use crate::catalog::Script;
use crate::invocation::format_id;
use crate::records::Record;
use crate::units::{print_duration, print_size};

const LAYOUT: &str = include_str!("layout.html");
const HOME: &str = include_str!("home.html");

/// What is not escaped within a path's segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What this server is.
pub(super) fn home() -> String {
    layout("msgscript", HOME)
}

/// All subjects with their scripts.
pub(super) fn list(data: &PageData) -> String {
    let mut body = "<h1>Scripts</h1>".to_owned();
    let scripts = sorted(data, |_| true);
    if scripts.is_empty() {
        body += "<p>There are none. Put a script into the script folder, or add one with msgscriptcli.</p>";
    } else {
        body += &table(&scripts);
    }
    if !data.rejected.is_empty() {
        body += "<h2>Rejected files</h2><ul class=\"bad\">";
        for line in &data.rejected {
            let _ = write!(body, "<li><code>{}</code></li>", escape(line));
        }
        body += "</ul>";
    }
    layout("Scripts", &body)
}

/// The scripts of one subject, if there are any.
pub(super) fn subject(data: &PageData, subject: &str) -> Option<String> {
    let scripts = sorted(data, |script| &*script.subject == subject);
    if scripts.is_empty() {
        return None;
    }
    let body = format!("<h1>{}</h1>{}", escape(subject), table(&scripts));
    Some(layout(subject, &body))
}

/// One script: properties and source.
pub(super) fn info(data: &PageData, runs: &[Record], subject: &str, name: &str) -> Option<String> {
    let script = data.scripts.iter().find(|s| &*s.subject == subject && &*s.name == name)?;
    let mut body = format!("<h1>{}</h1>", escape(name));
    if let Some(why) = &script.broken {
        let _ = write!(body, "<p class=\"bad\">No good version: <code>{}</code></p>", escape(why));
    }
    body += "<dl>";
    for (key, value) in properties(script) {
        let _ = write!(body, "<dt>{}</dt><dd>{}</dd>", escape(&key), escape(&value));
    }
    body += "</dl>";
    body += &last_runs(runs);
    for part in &script.parts {
        let _ = write!(body, "<h2>{}</h2>{}", escape(&part.name), source(&part.text));
    }
    Some(layout(name, &body))
}

/// The runs that failed or said something, latest first: invocation, reason, error, lines.
fn last_runs(runs: &[Record]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut body = "<h2>Last runs that failed or said something</h2>".to_owned();
    for Record { at, ending, .. } in runs {
        let ago =
            at.elapsed().map(|ago| print_duration(Duration::from_secs(ago.as_secs()))).unwrap_or_default();
        let (id, reason) = (format_id(ending.invocation), ending.reason.word());
        let _ = write!(body, "<p>{ago} ago: <code>{id}</code> <b>{reason}</b> {}</p>", escape(&ending.error));
        if !ending.logs.is_empty() {
            let lines: Vec<String> = ending.logs.iter().map(|line| escape(&line.text)).collect();
            let _ = write!(body, "<pre>{}</pre>", lines.join("\n"));
        }
    }
    body
}

fn properties(script: &Script) -> Vec<(String, String)> {
    let mut rows = vec![
        ("subject".to_owned(), script.subject.to_string()),
        ("name".to_owned(), script.name.to_string()),
        ("tenant".to_owned(), script.tenant.to_string()),
        ("executor".to_owned(), script.executor.name().to_owned()),
        ("http".to_owned(), script.http.to_string()),
        ("jit".to_owned(), script.jit.to_string()),
    ];
    rows.extend(script.timeout.map(|limit| ("timeout".to_owned(), print_duration(limit))));
    let memory = script.memory.map(|limit| ("memory".to_owned(), print_size(limit)));
    rows.extend(memory);
    rows.extend(script.unknown.iter().map(|(key, value)| (format!("{key} (unknown)"), value.clone())));
    rows
}

/// The scripts that are wanted, by subject and name.
fn sorted(data: &PageData, wanted: impl Fn(&Script) -> bool) -> Vec<&Script> {
    let mut scripts: Vec<&Script> = data.scripts.iter().map(Rc::as_ref).filter(|s| wanted(s)).collect();
    scripts.sort_by(|a, b| (&a.subject, &a.name).cmp(&(&b.subject, &b.name)));
    scripts
}

fn table(scripts: &[&Script]) -> String {
    let mut table = "<table><thead><tr><th>Subject</th><th>Name</th><th>Mode</th><th>Executor</th>\
        <th>Tenant</th></tr></thead><tbody>"
        .to_owned();
    for script in scripts {
        let (subject, name) = (&script.subject, &script.name);
        let mode = match (&script.broken, script.http) {
            (Some(_), _) => "broken",
            (None, true) => "http",
            (None, false) => "message",
        };
        let _ = write!(
            table,
            "<tr class=\"{mode}\"><td><a href=\"/_/subject/{}\">{}</a></td>\
             <td><a href=\"/_/info/{}/{}\">{}</a></td><td>{mode}</td><td>{}</td><td>{}</td></tr>",
            segment(subject),
            escape(subject),
            segment(subject),
            segment(name),
            escape(name),
            script.executor.name(),
            escape(&script.tenant),
        );
    }
    table + "</tbody></table>"
}

/// Source text, a line at a time (the style numbers them).
fn source(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut html = "<pre class=\"source\">".to_owned();
    for line in text.lines() {
        let _ = writeln!(html, "<span>{}</span>", escape(line));
    }
    html + "</pre>"
}

/// The whole page. The title is put in first: the body may have anything in it.
fn layout(title: &str, body: &str) -> String {
    let (before, after) = LAYOUT.split_once("{{body}}").unwrap_or((LAYOUT, ""));
    before.replace("{{title}}", &escape(title)) + body + after
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Text for an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Part;
    use crate::invocation::{Ending, LogLine, Reason};

    fn runs(name: &str) -> Vec<Record> {
        let script = Script::for_test("t", name);
        let failed = Ending::failed(7, &script, Reason::ScriptError, "<error>".to_owned());
        let logs = vec![LogLine { level: tracing::Level::INFO, text: "<logged>".to_owned() }];
        let ending = Rc::new(Ending { logs, ..failed });
        vec![Record { subject: "t".into(), at: std::time::SystemTime::now(), ending }]
    }

    fn script(subject: &str, name: &str, text: &str) -> Rc<Script> {
        let source = Part { name: "<part>".into(), text: text.as_bytes().into() };
        Rc::new(Script {
            tenant: "<tenant>".into(),
            http: true,
            memory: Some(5),
            parts: vec![source.clone()],
            source,
            broken: Some("<broken>".into()),
            unknown: vec![("<key>".into(), "<value>".into())],
            ..Script::for_test(subject, name)
        })
    }

    #[test]
    fn nothing_foreign_is_markup() {
        let nasty = "<script>\"'&{{body}}{{title}}";
        let data = PageData {
            scripts: vec![script(nasty, nasty, "</pre><script>alert(1)</script>")],
            rejected: vec!["<rejected>".into()],
        };
        let pages =
            [list(&data), subject(&data, nasty).unwrap(), info(&data, &runs(nasty), nasty, nasty).unwrap()];
        for page in pages {
            for bad in [
                "<script",
                "<tenant",
                "<part",
                "<broken",
                "<key",
                "<value",
                "<rejected",
                "<error",
                "<logged",
                "\"'&",
            ] {
                assert!(!page.contains(bad), "{bad} in {page}");
            }
            assert_eq!(page.matches("</html>").count(), 1);
        }
    }

    #[test]
    fn scripts_are_found_by_subject_and_name() {
        let data = PageData {
            scripts: vec![script("b", "x", ""), script("a", "x", "one\ntwo"), script("a", "y", "")],
            rejected: vec![],
        };
        assert!(list(&data).find("/_/info/a/y").unwrap() < list(&data).find("/_/info/b/x").unwrap());
        assert!(!subject(&data, "a").unwrap().contains("/_/info/b/x"));
        assert!(info(&data, &[], "a", "x").unwrap().contains("<span>one</span>\n<span>two</span>"));
        assert_eq!(info(&data, &[], "b", "y"), None);
        assert_eq!(subject(&data, "c"), None);
    }

    #[test]
    fn links_are_one_segment() {
        assert_eq!(segment("a/b?c#d%e."), "a%2Fb%3Fc%23d%25e.");
    }
}
