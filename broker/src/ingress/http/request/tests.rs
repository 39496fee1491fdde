use proptest::prelude::*;

use super::*;

fn function<'a>(subject: &'a str, url: &'a str) -> Result<Target<'a>, Refusal> {
    Ok(Target::Function { subject: subject.into(), url })
}

#[test]
fn the_first_segment_is_the_subject() {
    assert_eq!(split("/a.b"), function("a.b", ""));
    assert_eq!(split("/a.b/"), function("a.b", "/"));
    assert_eq!(split("/a.b/x/y?z=1"), function("a.b", "/x/y?z=1"));
    assert_eq!(split("/a.b?z=/1"), function("a.b", "?z=/1"));
    assert_eq!(split("/a%2Eb/%20?%20"), function("a.b", "/%20?%20"));
    assert_eq!(split("/%C3%A4"), function("ä", ""));
    assert_eq!(split("/a%252Eb"), function("a%2Eb", ""));
}

#[test]
fn what_is_behind_the_subject_is_left_alone() {
    assert_eq!(split("/t/a/../b"), function("t", "/a/../b"));
    assert_eq!(split("/t//x"), function("t", "//x"));
    assert_eq!(split("/t/_/list"), function("t", "/_/list"));
}

#[test]
fn pages_are_known_by_their_path() {
    for path in ["/", "/_", "/_/", "/_/list", "/_/info/a/b", "/logo.webp", "/favicon.ico"] {
        assert_eq!(split(path), Ok(Target::Page(path)));
    }
    assert_eq!(split("/?x"), Ok(Target::Page("/")));
    assert_eq!(split("/_?x"), Ok(Target::Page("/_")));
    assert_eq!(split("/%5F/list"), Ok(Target::Page("/%5F/list")));
    assert_eq!(split("/logo.webp/x"), function("logo.webp", "/x"));
}

#[test]
fn no_literal_subject_no_target() {
    let bad = [
        "//",
        "//a",
        "/.",
        "/..",
        "/%2e%2e",
        "/%2e%2e/a",
        "/a..b",
        "/.a",
        "/a.",
        "/*",
        "/a.*",
        "/a.>",
        "/%3E",
        "/%00",
        "/a%00",
        "/a%20b",
        "/a%09",
        "/a%0d%0a",
        "/%7f",
        "/%c0%af",
        "/%c0%ae%c0%ae",
        "/%ff",
        "/%ed%a0%80",
        "/%e2%80%a8",
        "/?",
        "/?a",
        "/%",
    ];
    for url in bad {
        match split(url) {
            Err(Refusal::NoSubject) => {}
            Ok(Target::Page("/")) if url.starts_with("/?") => {}
            Ok(Target::Function { subject, .. }) if url == "/%" && subject == "%" => {}
            other => panic!("{url}: {other:?}"),
        }
    }
    for url in ["", "*", "a", "host:80"] {
        assert_eq!(split(url), Err(Refusal::NoPath), "{url}");
    }
}

#[test]
fn the_wait_is_read_from_the_query() {
    fn seconds(text: &str) -> Option<Duration> {
        text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
    }
    let two = Some(Duration::from_secs(2));
    for url in ["?_timeout=2s", "/x?a=b&_timeout=2s&c", "?_timeout=%32s", "?_timeout=2s&_timeout=3s"] {
        assert_eq!(wait_of(url, seconds), two, "{url}");
    }
    for url in
        ["", "/_timeout=2s", "?timeout=2s", "?x_timeout=2s", "?_timeout", "?_timeout=two", "?_timeout=%ffs"]
    {
        assert_eq!(wait_of(url, seconds), None, "{url}");
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
    map
}

#[test]
fn fields_come_once_and_the_address_is_ours() {
    let map = headers(&[
        ("Accept", "a"),
        ("cookie", "a=1"),
        ("accept", "b"),
        ("cookie", "b=2"),
        ("remote-addr", "6.6.6.6"),
        ("Remote-Addr", "7.7.7.7"),
        ("x", "y"),
    ]);
    let fields = fields(map, &Bytes::from_static(b"1.2.3.4"));
    let mut pairs: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (n.as_str(), v.as_ref())).collect();
    pairs.sort_unstable();
    let expected: [(&str, &[u8]); 4] =
        [("accept", b"a, b"), ("cookie", b"a=1; b=2"), ("remote-addr", b"1.2.3.4"), ("x", b"y")];
    assert_eq!(pairs, expected);
}

#[test]
fn websockets_are_told_from_other_upgrades() {
    let websocket = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
    assert!(is_websocket(&websocket));
    assert!(!is_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])));
    assert!(!is_websocket(&headers(&[("upgrade", "websocket")])));
}

proptest! {
    #[test]
    fn any_path_is_a_literal_subject_or_refused(url in "(/|%|[.*>_a-c]|[0-9A-F]{2}|\\?|\\PC){0,12}") {
        if let Ok(Target::Function { subject, url: behind }) = split(&url) {
            prop_assert!(is_literal(&subject));
            prop_assert!(!subject.contains(|c: char| c.is_control() || c == ' '));
            prop_assert!(url.ends_with(behind));
            prop_assert!(behind.is_empty() || behind.starts_with(['/', '?']));
            prop_assert!(&*subject != "_");
        }
    }
}
