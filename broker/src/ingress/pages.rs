//! The pages that the server itself answers: what it is, and for the operator what it runs.
//!
//! Takes a path and the request's head, gives a response. Server-rendered; the one script there is renews
//! what the server rendered. What comes from outside is escaped. Must never show anything below `/_/` to
//! somebody who is not the operator.

mod access;
mod chart;
mod documents;
mod highlight;
mod html;
mod layout;
mod overview;
mod scripts;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use self::html::Html;
use self::layout::Place;
use super::App;
use super::http::{HttpSettings, Pages};
use crate::catalog::Script;
use crate::pool;
use crate::reply::http::{Response, plain};

const HOME: &str = include_str!("pages/home.html");
const STYLE: &str = include_str!("pages/style.css");
const LIVE: &str = include_str!("pages/live.js");
const LOGO: &[u8] = include_bytes!("pages/logo.webp");
const ICON: &[u8] = include_bytes!("pages/favicon.ico");

/// What the browser may load for a page: what is ours. No script or style within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Pages of functions are on the same origin: a window of ours is cut off from whoever opened it, where the
/// browser can.
const OPENER: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-opener-policy"), "noopener-allow-popups");

/// Media type of metrics in Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether messages can be served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether they can.
    pub ready: bool,
    /// What limps: a line of text for each.
    pub notes: Vec<String>,
}

/// What the pages about scripts show.
#[derive(Debug, Clone, Default)]
pub struct PageData {
    /// All scripts in service, in any order.
    pub scripts: Vec<Rc<Script>>,
    /// Files that were rejected: a line of text for each, naming file, line and reason.
    pub rejected: Vec<String>,
}

/// What the page of one script shows.
#[derive(Debug, Clone)]
pub struct ScriptData {
    /// The script.
    pub script: Rc<Script>,
    /// What its runs came to.
    pub figures: Figures,
    /// Its last runs, latest first.
    pub runs: Vec<RunLine>,
}

/// What runs came to since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// All of them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// By reason's word, those that there are, most first.
    pub reasons: Vec<(&'static str, u64)>,
    /// Half of them took no longer than about this.
    pub median: Option<Duration>,
    /// 99 of 100 took no longer than about this.
    pub late: Option<Duration>,
}

/// What one script's runs came to.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptFigures {
    /// Whose it is.
    pub tenant: String,
    /// Its subject.
    pub subject: String,
    /// Its name.
    pub name: String,
    /// Its figures.
    pub figures: Figures,
}

/// A run that is kept, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    /// The script's subject.
    pub subject: String,
    /// The script's name.
    pub name: String,
    /// When it ended, as in RFC 3339.
    pub at: String,
    /// How long ago that is.
    pub when: String,
    /// How it ended, in a word.
    pub reason: &'static str,
    /// How long it took, from the message's arrival on, if that is known.
    pub took: Option<Duration>,
    /// Its invocation.
    pub invocation: String,
    /// The error.
    pub error: String,
    /// What it said.
    pub logs: Vec<String>,
}

/// What the overview shows.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Whether it can serve.
    pub readiness: Readiness,
    /// Since when.
    pub up: Duration,
    /// The workers.
    pub workers: pool::Status,
    /// How many messages may wait.
    pub queue: usize,
    /// Scripts in service.
    pub scripts: usize,
    /// Their subjects.
    pub subjects: usize,
    /// Files that were rejected.
    pub rejected: usize,
    /// Calls a second, of late.
    pub rate: f64,
    /// Failures a second, of late.
    pub failing: f64,
    /// Calls, and failures among them, in each of the last seconds, oldest first.
    pub seconds: Vec<(u64, u64)>,
    /// All scripts together.
    pub total: Figures,
    /// Those with most calls, most first.
    pub busiest: Vec<ScriptFigures>,
    /// The last failures, latest first.
    pub latest: Vec<RunLine>,
}

/// The answer for a page's path (not decoded), which begins with `/_/` or is `/`, `/_`, `/logo.webp` or
/// `/favicon.ico`. `loopback`: the client's address is.
pub fn answer<A: App>(
    app: &A,
    settings: &HttpSettings,
    loopback: bool,
    path: &str,
    head: &Parts,
) -> Response {
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut response = plain(405, None, "pages can only be read");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/" => return html(&home()),
        "/logo.webp" => return asset("image/webp", LOGO),
        "/favicon.ico" => return asset("image/x-icon", ICON),
        // These say nothing about this server, and `/` looks better with them.
        "/_/style.css" => return asset("text/css; charset=utf-8", STYLE.as_bytes()),
        "/_/live.js" => return asset("text/javascript; charset=utf-8", LIVE.as_bytes()),
        _ if settings.pages == Pages::Elsewhere => return not_found(),
        _ => {}
    }
    if !access::is_operator(head, loopback, settings.admin_token.as_deref()) {
        return plain(403, None, access::HOW);
    }
    if !access::is_page_load(head, &settings.page_key) {
        return plain(403, None, "pages below /_/ are not for scripts of other pages");
    }
    operator_page(app, settings, path, head.uri.query().unwrap_or_default())
}

fn home() -> Html {
    layout::page(Place::Home, &"Functions", &Html::of(HOME, &[]))
}

/// The pages below `/_/`.
fn operator_page<A: App>(app: &A, settings: &HttpSettings, path: &str, query: &str) -> Response {
    let names: Option<Vec<_>> =
        path.split('/').skip(2).map(|part| percent_decode_str(part).decode_utf8().ok()).collect();
    let Some(names) = names else { return not_found() };
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match *names {
        [] | [""] => html(&overview::page(&app.overview(), &settings.page_key, query == "still")),
        ["healthz"] => text(StatusCode::OK, "ok\n".to_owned()),
        ["readyz"] => readiness(&app.readiness()),
        ["metrics"] => no_store(bytes(METRICS, app.metrics().into())),
        ["list"] => html(&scripts::list(&app.page_data(), &parameter(query, "q"))),
        ["subject", subject] => page(scripts::subject(&app.page_data(), subject)),
        ["info", subject, name] => page(app.script(subject, name).map(|data| scripts::info(&data))),
        ["docs"] => page(documentation("README")),
        ["docs", name] => page(documentation(name)),
        _ => not_found(),
    }
}

fn documentation(name: &str) -> Option<Html> {
    let document = documents::by_name(name)?;
    let mut body = Html::of("<nav class=\"trail\" aria-label=\"Documents\">", &[]);
    for other in &documents::ALL {
        let template = match other.name == name {
            true => "<a href=\"/_/docs/{}\" aria-current=\"page\">{}</a> ",
            false => "<a href=\"/_/docs/{}\">{}</a> ",
        };
        body.put(template, &[&other.name, &other.title]);
    }
    body.put("</nav>\n<article class=\"document\">{}</article>", &[&document.render()]);
    Some(layout::page(Place::Documentation, &document.title, &body))
}

/// A parameter of a form, decoded; empty if missing.
fn parameter(query: &str, name: &str) -> String {
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn page(found: Option<Html>) -> Response {
    found.map_or_else(not_found, |page| html(&page))
}

/// A page with the headers that all pages have.
fn html(page: &Html) -> Response {
    no_store(bytes("text/html; charset=utf-8", Bytes::copy_from_slice(page.as_str().as_bytes())))
}

/// One word for probes, then a line for each thing that limps.
fn readiness(readiness: &Readiness) -> Response {
    let (status, word) = match readiness.ready {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let notes: String = readiness.notes.iter().map(|note| format!("{note}\n")).collect();
    text(status, format!("{word}\n{notes}"))
}

fn text(status: StatusCode, body: String) -> Response {
    let mut response = bytes("text/plain", body.into());
    *response.status_mut() = status;
    no_store(response)
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn asset(kind: &'static str, body: &'static [u8]) -> Response {
    let mut response = bytes(kind, Bytes::from_static(body));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

fn bytes(kind: &'static str, body: Bytes) -> Response {
    let mut response = hyper::Response::new(Full::new(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(OPENER.0, HeaderValue::from_static(OPENER.1));
    response
}

/// There is no such page.
#[must_use]
pub fn not_found() -> Response {
    plain(404, None, "no such page")
}
