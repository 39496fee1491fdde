//! Pages about scripts: all of them, those of a subject, one.

use std::rc::Rc;

use super::html::{Html, Segment};
use super::layout::{Place, page};
use super::{PageData, RunLine, ScriptData, highlight, overview};
use crate::catalog::{Executor, Part, Script};
use crate::units::{print_duration, print_size};

/// All subjects with their scripts; those that have this text in them, if it is not empty.
#[must_use]
pub fn list(data: &PageData, filter: &str) -> Html {
    let filter = filter.trim();
    let has = |text: &str| text.to_lowercase().contains(&filter.to_lowercase());
    let scripts = sorted(data, |script| has(&script.subject) || has(&script.name) || has(&script.tenant));
    let mut body = Html::of("<h1>Scripts</h1>", &[]);
    body.put(
        "<form method=\"get\" action=\"/_/list\" role=\"search\"><label for=\"q\">Subject, name or tenant</label> \
         <input type=\"search\" id=\"q\" name=\"q\" value=\"{}\"> <button>Filter</button></form>",
        &[&filter],
    );
    if data.scripts.is_empty() {
        let none =
            "<p>There are none. Put a script into the script folder, or add one with msgscriptcli.</p>";
        body.put(none, &[]);
    } else {
        body.put("<p class=\"quiet\">{} of {}</p>", &[&scripts.len(), &data.scripts.len()]);
        body.put("{}", &[&table(&scripts)]);
    }
    if !data.rejected.is_empty() {
        body.put("<h2 id=\"rejected\">Rejected files</h2><ul class=\"bad\">", &[]);
        for line in &data.rejected {
            body.put("<li><code>{}</code></li>", &[line]);
        }
        body.put("</ul>", &[]);
    }
    page(Place::Scripts, &"Scripts", &body)
}

/// The scripts of one subject, if there are any.
#[must_use]
pub fn subject(data: &PageData, subject: &str) -> Option<Html> {
    let scripts = sorted(data, |script| &*script.subject == subject);
    if scripts.is_empty() {
        return None;
    }
    let body = Html::of("{}<h1>{}</h1>{}", &[&trail(None), &subject, &table(&scripts)]);
    Some(page(Place::Scripts, &subject, &body))
}

/// One script: properties, figures, last runs and source.
#[must_use]
pub fn info(data: &ScriptData) -> Html {
    let script = &data.script;
    let mut body = Html::of("{}<h1>{}</h1>", &[&trail(Some(&script.subject)), &script.name]);
    if let Some(why) = &script.broken {
        body.put("<p class=\"bad\">No good version: <code>{}</code></p>", &[why]);
    }
    body.put("<dl>", &[]);
    for (key, value) in properties(script) {
        body.put("<dt>{}</dt><dd>{}</dd>", &[&key, &value]);
    }
    body.put(
        "</dl><p><a href=\"#source\">Source</a></p><h2>Figures</h2>{}",
        &[&overview::summary(&data.figures)],
    );
    body.put("<h2>Last runs</h2>{}", &[&last_runs(&data.runs, script)]);
    body.put("<div id=\"source\"></div>", &[]);
    for (at, part) in script.parts.iter().enumerate() {
        body.put("<h2>{}</h2>{}", &[&part.name, &source(script, part, at + 1 == script.parts.len())]);
    }
    page(Place::Scripts, &format!("{} {}", script.subject, script.name), &body)
}

fn trail(subject: Option<&str>) -> Html {
    let mut html =
        Html::of("<nav class=\"trail\" aria-label=\"Where this is\"><a href=\"/_/list\">Scripts</a>", &[]);
    if let Some(subject) = subject {
        html.put(" / <a href=\"/_/subject/{}\">{}</a>", &[&Segment(subject), &subject]);
    }
    html.put("</nav>", &[]);
    html
}

/// The runs, latest first: when, how, and what they said.
fn last_runs(runs: &[RunLine], script: &Script) -> Html {
    if runs.is_empty() {
        return Html::of("<p class=\"quiet\">None kept.</p>", &[]);
    }
    let mut html = Html::of("<ul class=\"runs\">", &[]);
    for run in runs {
        let took = run.took.map(|took| overview::time(Some(took))).unwrap_or_default();
        let class = if run.reason == "ok" { "good" } else { "bad" };
        html.put(
            "<li><span class=\"quiet\"><time datetime=\"{}\">{}</time></span> <code class=\"{}\">{}</code> \
             <span class=\"quiet\">{}</span> <code class=\"quiet\">{}</code>",
            &[&run.at, &run.when, &class, &run.reason, &took, &run.invocation],
        );
        if !run.error.is_empty() {
            html.put("<p>{}</p>", &[&placed(&run.error, script)]);
        }
        said(&mut html, &run.logs);
        html.put("</li>", &[]);
    }
    html.put("</ul>", &[]);
    html
}

/// What a run said: its first line, the others behind it.
fn said(html: &mut Html, logs: &[String]) {
    match logs {
        [] => {}
        [line] => html.put("<p><code class=\"quiet\">{}</code></p>", &[line]),
        [first, rest @ ..] => {
            html.put(
                "<details><summary><code class=\"quiet\">{}</code> and {} more</summary><pre tabindex=\"0\">",
                &[first, &rest.len()],
            );
            for line in rest {
                html.put("{}\n", &[line]);
            }
            html.put("</pre></details>", &[]);
        }
    }
}

/// An error's text; a place in the script's own source at its beginning leads there.
fn placed(error: &str, script: &Script) -> Html {
    let rest = error.strip_prefix(&*script.source.name).and_then(|rest| rest.strip_prefix(':'));
    let line = rest.and_then(|rest| rest.split_once(':')).map(|(line, _)| line);
    match line.filter(|line| line.parse::<u32>().is_ok() && line.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(line) => {
            let (place, rest) = error.split_at(script.source.name.len() + 1 + line.len());
            Html::of("<a href=\"#L{}\">{}</a>{}", &[&line, &place, &rest])
        }
        None => Html::of("{}", &[&error]),
    }
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
    rows.extend(script.memory.map(|limit| ("memory".to_owned(), print_size(limit))));
    if let Some(timer) = &script.timer {
        rows.push(("schedule".to_owned(), format!("{} ({})", timer.text, timer.zone())));
        rows.extend(timer.coming(jiff::Timestamp::now(), 1).pop().map(|due| ("due next".to_owned(), due)));
    }
    rows.extend(script.unknown.iter().map(|(key, value)| (format!("{key} (unknown)"), value.clone())));
    rows
}

/// The scripts that are wanted, by subject and name.
fn sorted(data: &PageData, wanted: impl Fn(&Script) -> bool) -> Vec<&Script> {
    let mut scripts: Vec<&Script> = data.scripts.iter().map(Rc::as_ref).filter(|s| wanted(s)).collect();
    scripts.sort_by(|a, b| (&a.subject, &a.name).cmp(&(&b.subject, &b.name)));
    scripts
}

fn table(scripts: &[&Script]) -> Html {
    let mut html = Html::of(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Scripts\"><table><thead><tr>\
         <th>Subject</th><th>Name</th><th>Mode</th><th>Executor</th><th>Tenant</th></tr></thead><tbody>",
        &[],
    );
    for script in scripts {
        let (subject, name) = (&script.subject, &script.name);
        let mode = match (&script.broken, script.http) {
            (Some(_), _) => "broken",
            (None, true) => "http",
            (None, false) => "message",
        };
        html.put(
            "<tr class=\"{}\"><td><a href=\"/_/subject/{}\">{}</a></td><td><a href=\"/_/info/{}/{}\">{}</a></td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            &[
                &mode,
                &Segment(subject),
                subject,
                &Segment(subject),
                &Segment(name),
                name,
                &mode,
                &script.executor.name(),
                &script.tenant,
            ],
        );
    }
    html.put("</tbody></table></div>", &[]);
    html
}

/// A part's source; lines of the script's own are anchors.
fn source(script: &Script, part: &Part, own: bool) -> Html {
    let text = String::from_utf8_lossy(&part.text);
    match (script.executor, own) {
        (Executor::Lua, true) => highlight::lua(&text, "L"),
        // Several libraries would have the same anchors.
        (Executor::Lua, false) => highlight::lua(&text, ""),
        _ => highlight::plain(&text, "L"),
    }
}

#[cfg(test)]
mod tests;
