//! The pages that the server itself answers: what it is, and for the operator what it runs.
//!
//! Takes a path and the request's head, gives a response. Server-rendered, without scripts; what comes
//! from outside is escaped. Must never show anything below `/_/` to somebody who is not the operator.

mod access;
mod render;

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::App;
use super::http::{HttpSettings, Pages};
use crate::catalog::Script;
use crate::reply::http::{Response, plain};

const STYLE: &str = include_str!("pages/style.css");
const LOGO: &[u8] = include_bytes!("pages/logo.webp");
const ICON: &[u8] = include_bytes!("pages/favicon.ico");

/// What the browser may load for a page: our style and our logo.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What the pages show.
#[derive(Debug, Clone, Default)]
pub struct PageData {
    /// All scripts in service, in any order.
    pub scripts: Vec<Rc<Script>>,
    /// Files that were rejected: a line of text for each, naming file, line and reason.
    pub rejected: Vec<String>,
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
        "/" => return html(&render::home()),
        "/logo.webp" => return asset("image/webp", LOGO),
        "/favicon.ico" => return asset("image/x-icon", ICON),
        // It says nothing about this server, and `/` looks better with it.
        "/_/style.css" => return asset("text/css; charset=utf-8", STYLE.as_bytes()),
        _ if settings.pages == Pages::Elsewhere => return not_found(),
        _ => {}
    }
    if !access::is_operator(head, loopback, settings.admin_token.as_deref()) {
        return plain(403, None, access::HOW);
    }
    operator_page(app, path)
}

/// The pages below `/_/`.
fn operator_page<A: App>(app: &A, path: &str) -> Response {
    let names: Option<Vec<_>> =
        path.split('/').skip(2).map(|part| percent_decode_str(part).decode_utf8().ok()).collect();
    let Some(names) = names else { return not_found() };
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match *names {
        [] | [""] => html(&render::home()),
        ["healthz"] => text(StatusCode::OK, "ok\n"),
        ["readyz"] if app.ready() => text(StatusCode::OK, "ok\n"),
        ["readyz"] => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        ["list"] => html(&render::list(&app.page_data())),
        ["subject", subject] => page(render::subject(&app.page_data(), subject)),
        ["info", subject, name] => {
            page(render::info(&app.page_data(), &app.runs(subject, name), subject, name))
        }
        _ => not_found(),
    }
}

fn page(found: Option<String>) -> Response {
    found.map_or_else(not_found, |page| html(&page))
}

/// A page with the headers that all pages have.
fn html(page: &str) -> Response {
    let mut response = bytes("text/html; charset=utf-8", Bytes::copy_from_slice(page.as_bytes()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response {
    let mut response = bytes("text/plain", Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
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
    response
}

/// There is no such page.
#[must_use]
pub fn not_found() -> Response {
    plain(404, None, "no such page")
}
