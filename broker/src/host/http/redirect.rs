//! Where an answer sends a request on to, by the rules of Go's client. Pure.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use url::Url;

use super::Error;
use super::headers::is_bound;
use super::request::{Hop, parse_url};

/// What follows an answer.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing: it is the answer.
    Done,
    /// Another request.
    Hop {
        /// The request.
        next: Box<Hop>,
        /// Where to, as the server wrote it.
        location: String,
    },
}

/// What follows an answer of that status to that request.
///
/// 301, 302 and 303 make a GET without a body of anything but GET and HEAD; 307 and 308 repeat the request,
/// unless it has a body. To another origin no credentials go.
pub(super) fn next(hop: &Hop, status: StatusCode, answered: &HeaderMap) -> Result<Next, Error> {
    let repeats = match status.as_u16() {
        301..=303 => false,
        307 | 308 if hop.body.is_none() => true,
        _ => return Ok(Next::Done),
    };
    let Some(location) = answered.get(header::LOCATION).filter(|value| !value.is_empty()) else {
        return Ok(Next::Done);
    };
    let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
    let url = join(&hop.url, &location)?;
    let mut next = Hop { url, ..hop.clone() };
    if !repeats && !matches!(hop.method, Method::GET | Method::HEAD) {
        next.method = Method::GET;
        next.body = None;
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
            next.headers.remove(name);
        }
    }
    if next.url.origin() != hop.url.origin() {
        next.headers = hop
            .headers
            .iter()
            .filter(|(name, value)| !is_bound(name, value) && next.headers.contains_key(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
    if let Some(referer) = referer(&hop.url, &next.url).filter(|_| !hop.headers.contains_key(header::REFERER))
    {
        next.headers.insert(header::REFERER, referer);
    }
    Ok(Next::Hop { next: Box::new(next), location })
}

fn join(from: &Url, location: &str) -> Result<Url, Error> {
    if location.contains(|c: char| c.is_ascii_control()) {
        let text = format!("failed to parse Location header {location:?}: invalid control character in URL");
        return Err(Error::Failed(text));
    }
    let joined = from
        .join(location)
        .map_err(|error| Error::Failed(format!("failed to parse Location header {location:?}: {error}")))?;
    let mut url = parse_url(joined.as_str())?;
    url.set_fragment(None);
    Ok(url)
}

/// The page that led there, without its login; none from HTTPS to HTTP.
fn referer(from: &Url, to: &Url) -> Option<HeaderValue> {
    if from.scheme() == "https" && to.scheme() == "http" {
        return None;
    }
    let mut from = from.clone();
    let _ = from.set_username("");
    let _ = from.set_password(None);
    HeaderValue::from_str(from.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(
        method: &str,
        url: &str,
        fields: &[(&'static str, &'static str)],
        body: Option<&'static str>,
    ) -> Hop {
        let fields = fields
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        Hop {
            method: method.parse().unwrap(),
            url: url.parse().unwrap(),
            headers: fields.collect(),
            body: body.map(Into::into),
        }
    }

    fn follow(hop: &Hop, status: u16, location: &str) -> Option<Hop> {
        let location = HeaderValue::from_bytes(location.as_bytes()).unwrap();
        let answered = HeaderMap::from_iter([(header::LOCATION, location)]);
        match next(hop, status.try_into().unwrap(), &answered).unwrap() {
            Next::Done => None,
            Next::Hop { next, .. } => Some(*next),
        }
    }

    #[test]
    fn methods_change_as_in_go() {
        for (status, method, body, expected) in [
            (301, "POST", Some("x"), Some("GET")),
            (302, "PUT", None, Some("GET")),
            (303, "DELETE", None, Some("GET")),
            (302, "HEAD", None, Some("HEAD")),
            (307, "POST", None, Some("POST")),
            (308, "DELETE", None, Some("DELETE")),
            (307, "POST", Some(""), None),
            (308, "PUT", Some("x"), None),
            (300, "GET", None, None),
            (304, "GET", None, None),
            (200, "GET", None, None),
        ] {
            let from = hop(method, "http://a/x/y", &[("content-type", "t")], body);
            let next = follow(&from, status, "z?q");
            assert_eq!(next.as_ref().map(|next| next.method.as_str()), expected, "{status} {method}");
            if let Some(next) = next {
                assert_eq!((next.url.as_str(), next.body), ("http://a/x/z?q", None));
                assert_eq!(next.headers[header::REFERER], "http://a/x/y");
                assert_eq!(next.headers.contains_key("content-type"), expected == Some(method));
            }
        }
        let from = hop("GET", "http://a/", &[], None);
        assert!(matches!(next(&from, StatusCode::FOUND, &HeaderMap::new()), Ok(Next::Done)));
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let fields =
            [("authorization", "Bearer x"), ("cookie", "a=b"), ("x-key", "{{secret:k}}"), ("x-plain", "1")];
        let from = hop("GET", "https://u:p@a.example/x", &fields, None);
        let kept = follow(&from, 302, "/y").unwrap();
        assert_eq!(kept.headers.len(), 5, "and the referer");
        assert_eq!(kept.headers[header::REFERER], "https://a.example/x");
        for elsewhere in ["https://b.example/", "https://a.example:444/", "//sub.a.example/"] {
            let next = follow(&from, 302, elsewhere).unwrap();
            let names: Vec<_> = next.headers.keys().map(header::HeaderName::as_str).collect();
            assert_eq!(names, ["x-plain", "referer"], "{elsewhere}");
        }
        let plain = follow(&from, 302, "http://a.example/").unwrap();
        assert_eq!(plain.headers.keys().len(), 1, "no referer from https to http");
    }

    #[test]
    fn only_the_web_is_followed() {
        let from = hop("GET", "http://a/", &[], None);
        for location in ["file:///etc/passwd", "gopher://x/", "ftp://x/", "http://[::1", "http://a:99999/"] {
            let location = HeaderValue::from_static(location);
            let answered = HeaderMap::from_iter([(header::LOCATION, location)]);
            assert!(next(&from, StatusCode::FOUND, &answered).is_err());
        }
    }
}
