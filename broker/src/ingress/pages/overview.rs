//! The overview: what the server does just now.

use std::time::Duration;

use super::html::{Html, Segment};
use super::layout::{Place, live_page};
use super::{Figures, Overview, RunLine, ScriptFigures, chart, documents};
use crate::units::print_duration;

/// The page. `key`: what its script bears; `still`: it is not to change by itself.
#[must_use]
pub fn page(data: &Overview, key: &str, still: bool) -> Html {
    let mut body = Html::of("<h1>Overview</h1>", &[]);
    body.put("<div id=\"state\" data-live>{}</div>", &[&state(data)]);
    body.put("<div id=\"tiles\" class=\"tiles\" data-live>{}</div>", &[&tiles(data)]);
    body.put(
        "<figure id=\"calls\" data-live>{}<figcaption>Calls in each of the last {} seconds; \
         <span class=\"key-failures\">failures</span> in red</figcaption></figure>",
        &[&chart::seconds(&data.seconds), &data.seconds.len()],
    );
    body.put("<section id=\"reasons\" data-live>{}</section>", &[&reasons(data)]);
    body.put("<section id=\"busiest\" data-live>{}</section>", &[&busiest(&data.busiest)]);
    body.put("<section id=\"latest\" data-live>{}</section>", &[&latest(&data.latest)]);
    body.put("{}", &[&documentation()]);
    live_page(Place::Overview, &"Overview", key, still, &body)
}

fn state(data: &Overview) -> Html {
    let (class, word) = if data.readiness.ready { ("good", "ready") } else { ("bad", "not ready") };
    let mut html = Html::of(
        "<p><strong class=\"{}\">{}</strong> <span class=\"quiet\">version {}, up {}</span></p>",
        &[&class, &word, &crate::VERSION, &coarse(data.up)],
    );
    for note in &data.readiness.notes {
        html.put("<p class=\"bad\">{}</p>", &[note]);
    }
    if data.rejected > 0 {
        html.put(
            "<p class=\"bad\"><a href=\"/_/list#rejected\">{} rejected</a> in the script folder</p>",
            &[&files(data.rejected)],
        );
    }
    html
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn tiles(data: &Overview) -> Html {
    let workers = &data.workers;
    let mut html = Html::default();
    let mut tile = |name: &str, value: &str, more: &str| {
        html.put(
            "<div class=\"tile\"><h2>{}</h2><p class=\"figure\">{}</p><p class=\"quiet\">{}</p></div>",
            &[&name, &value, &more],
        );
    };
    tile("Calls", &format!("{}/s", rate(data.rate)), &format!("{} in all", grouped(data.total.calls)));
    let share = share(data.total.failures, data.total.calls);
    tile(
        "Failures",
        &format!("{}/s", rate(data.failing)),
        &format!("{} in all, {share}", grouped(data.total.failures)),
    );
    tile("Typical time", &time(data.total.median), &format!("99 % within {}", time(data.total.late)));
    let busy = workers.ready - workers.idle;
    tile(
        "Workers",
        &format!("{busy}/{}", workers.ready),
        &format!("busy; {} runs with them", workers.in_flight),
    );
    tile("Queue", &grouped(workers.queued as u64), &format!("waiting, of at most {}", data.queue));
    tile("Scripts", &grouped(data.scripts as u64), &format!("on {} subjects", data.subjects));
    html
}

fn reasons(data: &Overview) -> Html {
    let mut html = Html::of("<h2>Failures by reason</h2>", &[]);
    let failed: Vec<_> = data.total.reasons.iter().filter(|(reason, _)| *reason != "ok").collect();
    if failed.is_empty() {
        html.put("<p class=\"quiet\">None since the start.</p>", &[]);
        return html;
    }
    let most = failed.iter().map(|(_, count)| *count).max().unwrap_or(1);
    html.put("<table><thead><tr><th>Reason</th><th class=\"number\">Since the start</th><th class=\"wide\"></th></tr></thead><tbody>", &[]);
    for (reason, count) in failed {
        html.put(
            "<tr><td><code>{}</code></td><td class=\"number\">{}</td><td class=\"wide\"><meter min=\"0\" max=\"{}\" \
             value=\"{}\" aria-label=\"share of {}\"></meter></td></tr>",
            &[reason, &grouped(*count), &most, count, reason],
        );
    }
    html.put("</tbody></table>", &[]);
    html
}

fn busiest(scripts: &[ScriptFigures]) -> Html {
    let mut html = Html::of("<h2>Busiest scripts</h2>", &[]);
    if scripts.is_empty() {
        html.put("<p class=\"quiet\">No script has run yet.</p>", &[]);
        return html;
    }
    html.put(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Busiest scripts\"><table><thead><tr>\
         <th>Script</th><th>Tenant</th><th class=\"number\">Calls</th><th class=\"number\">Failed</th>\
         <th class=\"number\">Typical</th><th class=\"number\">99 %</th></tr></thead><tbody>",
        &[],
    );
    for ScriptFigures { tenant, subject, name, figures } in scripts {
        html.put(
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            &[
                &link(subject, name),
                tenant,
                &grouped(figures.calls),
                &grouped(figures.failures),
                &time(figures.median),
                &time(figures.late),
            ],
        );
    }
    html.put("</tbody></table></div>", &[]);
    html
}

fn latest(runs: &[RunLine]) -> Html {
    let mut html = Html::of("<h2>Latest failures</h2>", &[]);
    if runs.is_empty() {
        html.put("<p class=\"quiet\">None kept.</p>", &[]);
        return html;
    }
    html.put("<ul class=\"runs\">", &[]);
    for run in runs {
        html.put(
            "<li><span class=\"quiet\">{}</span> {} <code class=\"bad\">{}</code> {}</li>",
            &[&run.when, &link(&run.subject, &run.name), &run.reason, &run.error],
        );
    }
    html.put("</ul>", &[]);
    html
}

fn link(subject: &str, name: &str) -> Html {
    Html::of(
        "<a href=\"/_/info/{}/{}\">{} <span class=\"quiet\">{}</span></a>",
        &[&Segment(subject), &Segment(name), &subject, &name],
    )
}

fn documentation() -> Html {
    let mut html = Html::of("<section class=\"documents\"><h2>Documentation</h2><ul class=\"columns\">", &[]);
    for (anchor, title) in documents::ALL[0].sections() {
        html.put("<li><a href=\"/_/docs/README#{}\">{}</a></li>", &[&anchor, &title]);
    }
    html.put("</ul><p>", &[]);
    for document in &documents::ALL[1..] {
        html.put("<a href=\"/_/docs/{}\">{}</a> ", &[&document.name, &document.title]);
    }
    html.put("</p></section>", &[]);
    html
}

/// The figures of one script, as a line of text.
#[must_use]
pub fn summary(figures: &Figures) -> Html {
    let mut html = Html::of(
        "<p>{} calls since the start, {} failed ({}); typically {}, 99 % within {}.</p>",
        &[
            &grouped(figures.calls),
            &grouped(figures.failures),
            &share(figures.failures, figures.calls),
            &time(figures.median),
            &time(figures.late),
        ],
    );
    let failed: Vec<_> = figures.reasons.iter().filter(|(reason, _)| *reason != "ok").collect();
    if !failed.is_empty() {
        html.put("<p>", &[]);
        for (reason, count) in failed {
            html.put("<code class=\"bad\">{}</code> {} ", &[reason, &grouped(*count)]);
        }
        html.put("</p>", &[]);
    }
    html
}

/// A number with thin spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn share(part: u64, all: u64) -> String {
    if all == 0 { "0 %".to_owned() } else { format!("{:.2} %", 100.0 * part as f64 / all as f64) }
}

/// A duration to three digits; a dash if there is none.
#[must_use]
pub fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "–".to_owned() };
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(nanos.max(1).ilog10().saturating_sub(2));
    print_duration(Duration::from_nanos(nanos / unit * unit)).replace("us", "µs")
}

/// A long duration without what does not matter.
#[must_use]
pub fn coarse(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (grouped(0), grouped(100), rate(0.25), rate(1234.4)),
            ("0".into(), "100".into(), "0.2".into(), "1\u{202f}234".into())
        );
        assert_eq!((share(1, 8), share(0, 0)), ("12.50 %".to_owned(), "0 %".to_owned()));
        let of = |nanos| time(Some(Duration::from_nanos(nanos)));
        assert_eq!(
            (of(123_456), of(1_234_567_890), of(7), of(0)),
            ("123µs".into(), "1.23s".into(), "7ns".into(), "0s".into())
        );
        assert_eq!(
            (coarse(Duration::from_secs(59)), coarse(Duration::from_secs(90_061))),
            ("59 s".into(), "1 d 1 h".into())
        );
    }
}
