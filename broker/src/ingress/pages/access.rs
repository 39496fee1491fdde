//! Who is the operator.
//!
//! Takes a request's head, gives yes or no. Pure. Must never take a request that came through a proxy, or
//! from a page of another site, for one of somebody at this machine.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Version;
use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderValue, VIA};
use hyper::http::request::Parts;

/// What somebody else is told.
pub(super) const HOW: &str = "pages below /_/ are for the operator: ask from this machine itself \
    (http://localhost), or send the token of --admin-token-file as \"Authorization: Bearer TOKEN\"\n";

/// Whether the operator asks: somebody with the token, or somebody on this machine.
pub(super) fn is_operator(head: &Parts, loopback: bool, token: Option<&[u8]>) -> bool {
    token.is_some_and(|token| bears(head, token)) || (loopback && is_local(head))
}

/// The header in which a live page of ours shows its key.
const PAGE_KEY: &str = "msgscript-page";

/// Whether a request may be answered with a page: it is no browser's, it loads a whole page, or it comes from
/// a live page of ours. What else a browser asks for comes from a script of some page, and functions have
/// pages on this same origin.
pub(super) fn is_page_load(head: &Parts, key: &str) -> bool {
    let kind = head.headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
    let sent = head.headers.get(PAGE_KEY).map(HeaderValue::as_bytes);
    kind.is_none_or(|kind| kind == b"document") || sent.is_some_and(|sent| same(sent, key.as_bytes()))
}

/// Whether the request bears the token.
fn bears(head: &Parts, token: &[u8]) -> bool {
    let sent = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, sent)) = sent.and_then(|sent| sent.split_at_checked(7)) else { return false };
    !token.is_empty() && scheme.eq_ignore_ascii_case(b"bearer ") && same(sent.trim_ascii(), token)
}

/// Compares in a time that says nothing of where the difference is. (The length is no secret.)
fn same(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (l, r)| std::hint::black_box(sum | (l ^ r)));
    left.len() == right.len() && difference == 0
}

/// Whether a request from a loopback address was sent to this machine by its own name, and not by a proxy:
/// those leave one of these headers, or speak HTTP/1.0 (nginx as it comes).
fn is_local(head: &Parts) -> bool {
    let proxied = head
        .headers
        .keys()
        .any(|name| *name == FORWARDED || *name == VIA || name.as_str().starts_with("x-forwarded-"));
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let named = host.and_then(|host| host.to_str().ok()).is_some_and(is_loopback_name);
    // A target in absolute form must not name another host than `Host` does.
    let target = head.uri.authority().is_none_or(|target| is_loopback_name(target.as_str()));
    head.version == Version::HTTP_11 && !proxied && named && second.is_none() && target
}

/// Whether a `Host` value, port included or not, is a name that only this machine has.
fn is_loopback_name(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port && address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/_/list");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn local(fields: &[(&str, &str)]) -> bool {
        is_operator(&head(fields), true, None)
    }

    #[test]
    fn somebody_here_by_a_name_of_here() {
        for host in ["localhost", "LOCALHOST:7643", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:7643"] {
            assert!(local(&[("host", host)]), "{host}");
            assert!(!is_operator(&head(&[("host", host)]), false, None), "{host} from afar");
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        let foreign = [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.nip.io",
            "128.0.0.1",
            "[::2]",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "localhost:",
            "localhost:+80",
            "localhost:99999",
            "0x7f.1",
            "localhost:80:80",
            "user@localhost",
        ];
        for host in foreign {
            assert!(!local(&[("host", host)]), "{host}");
        }
        assert!(!local(&[]));
        assert!(!local(&[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn proxies_are_seen() {
        for name in ["forwarded", "via", "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-anything"] {
            assert!(!local(&[("host", "localhost"), (name, "x")]), "{name}");
        }
        let mut old = head(&[("host", "localhost")]);
        old.version = Version::HTTP_10;
        assert!(!is_operator(&old, true, None));
        let mut absolute = head(&[("host", "localhost")]);
        absolute.uri = "http://example.org/_/list".parse().unwrap();
        assert!(!is_operator(&absolute, true, None));
    }

    #[test]
    fn pages_are_loaded_whole_or_by_their_own_script() {
        let load = |fields: &[(&str, &str)]| is_page_load(&head(fields), "k3y");
        assert!(load(&[]) && load(&[("sec-fetch-dest", "document")]));
        for kind in ["empty", "iframe", "script", "image", "worker", "serviceworker", ""] {
            assert!(!load(&[("sec-fetch-dest", kind)]), "{kind}");
            assert!(!load(&[("sec-fetch-dest", kind), ("msgscript-page", "k3")]), "{kind}");
            assert!(load(&[("sec-fetch-dest", kind), ("Msgscript-Page", "k3y")]), "{kind}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        let bears =
            |value: &str, token: &[u8]| is_operator(&head(&[("authorization", value)]), false, Some(token));
        assert!(bears("Bearer s3cret", b"s3cret"));
        assert!(bears("bearer  s3cret", b"s3cret"));
        for value in
            ["Bearer s3cre", "Bearer s3cretx", "Bearer ", "Basic s3cret", "s3cret", "", "Bearer s3creT"]
        {
            assert!(!bears(value, b"s3cret"), "{value}");
        }
        assert!(!bears("Bearer ", b""));
    }
}
