use super::*;
use crate::policy::testing::{named, open};
use proptest::prelude::*;

fn listed(origins: &[&str]) -> Policy {
    let mut policy = named();
    policy.grants.http = Egress::Listed(origins.iter().map(|origin| origin.parse().unwrap()).collect());
    policy
}

fn nobody(_: SocketAddr) -> bool {
    false
}

/// Judges a URL, then the addresses that its host is said to have (its own if it is an address).
fn judge(policy: &Policy, method: &str, url: &str, resolved: &[&str]) -> Result<Vec<SocketAddr>, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let target = policy.fetch(&url, method).map_err(|denied| denied.0)?;
    let own: Option<IpAddr> = match target.get().host() {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    };
    let resolved: Vec<IpAddr> = match own {
        Some(address) => vec![address],
        None => resolved.iter().map(|text| text.parse().unwrap()).collect(),
    };
    policy.pin(&target, &resolved, &nobody).map(Permitted::into_inner).map_err(|denied| denied.0)
}

/// P01: loopback in all notations is not public, whatever is listed as a name.
#[test]
fn p01_loopback_in_every_notation() {
    let policy = listed(&["http://localhost", "http://*.localhost"]);
    let notations = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "LOCALHOST.",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "a.localhost",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
    ];
    for host in notations {
        let error = judge(&policy, "GET", &format!("http://{host}/"), &["127.0.0.1"]).unwrap_err();
        assert!(error.starts_with("denied: acme has no grant to"), "{host}: {error}");
    }
}

/// P02: metadata services, for everybody.
#[test]
fn p02_metadata_services() {
    let hosts = [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[fe80::1]",
    ];
    for host in hosts {
        for policy in [open(), listed(&["http://metadata.google.internal", "http://*.google.internal"])] {
            let error = judge(&policy, "GET", &format!("http://{host}/"), &["169.254.169.254"]).unwrap_err();
            assert!(error.starts_with("denied: "), "{host}: {error}");
        }
    }
}

/// P03: one bad address among good ones is enough.
#[test]
fn p03_all_addresses_are_judged() {
    let policy = listed(&["https://api.example.com"]);
    let bad: [&[&str]; 4] =
        [&["10.0.0.5"], &["93.184.216.34", "::1"], &["93.184.216.34", "100.64.0.1"], &["fd12::1", "2a00::1"]];
    for resolved in bad {
        let error = judge(&policy, "GET", "https://api.example.com/", resolved).unwrap_err();
        assert!(error.contains("an address that is not public must be listed itself"), "{error}");
        assert!(!error.contains(resolved[0]), "what names stand for inside is not told: {error}");
    }
    let good = judge(&policy, "GET", "https://api.example.com/", &["93.184.216.34", "2606:2800::1"]).unwrap();
    assert_eq!(good, ["93.184.216.34:443".parse().unwrap(), "[2606:2800::1]:443".parse().unwrap()]);
    for resolved in [&["169.254.169.254"][..], &["8.8.8.8", "fe80::1"]] {
        assert!(judge(&open(), "GET", "http://x.example/", resolved).is_err());
    }
    assert!(judge(&open(), "GET", "http://x.example/", &["10.0.0.5", "::1"]).is_ok());
}

#[test]
fn special_addresses_may_be_listed() {
    let policy = listed(&["http://10.0.0.5:8080", "http://inside.example:8080", "https://[::1]:9"]);
    assert!(judge(&policy, "GET", "http://10.0.0.5:8080/", &[]).is_ok());
    assert!(judge(&policy, "GET", "http://[::ffff:10.0.0.5]:8080/", &[]).is_ok());
    assert!(judge(&policy, "GET", "https://[0:0::1]:9/", &[]).is_ok());
    assert!(judge(&policy, "GET", "http://inside.example:8080/", &["10.0.0.5"]).is_ok());
    for url in ["http://10.0.0.5/", "https://10.0.0.5:8080/", "http://10.0.0.6:8080/"] {
        assert!(judge(&policy, "GET", url, &[]).is_err(), "{url}");
    }
    assert!(judge(&policy, "GET", "http://inside.example:8080/", &["10.0.0.6"]).is_err());
}

/// P06: whatever tricks a parser, only the canonical host counts.
#[test]
fn p06_parser_confusion() {
    let policy = listed(&["http://good.com", "https://good.com"]);
    let bad = [
        "http://good.com@evil.com/",
        "http://evil.com#@good.com",
        "http://evil.com\\@good.com/",
        "http://evil.com/@good.com",
        "http://evil.com?@good.com",
        "http://good.com.evil.com/",
        "http://evil.com:80@evil.com:80/good.com",
        "http://[good.com]/",
        "http://g\u{43e}od.com/",
        "http://xn--god-sed.com/",
        "http://good.com%2eevil.com/",
        "http://good.com..",
        "http://.good.com",
        "http://good.com:8080/",
        "ftp://good.com/",
        "file:///etc/passwd",
        "gopher://good.com/",
        "http://good%00.com/",
        "http://good.com\u{ff0f}.evil.com/",
        "http://good.com\u{3002}evil.com/",
    ];
    for url in bad {
        assert!(judge(&policy, "GET", url, &["8.8.8.8"]).is_err(), "{url}");
    }
    let same = [
        "http://good.com/",
        "HTTP://GOOD.COM",
        "http://good.com./",
        "http://user:pass@good.com/",
        "http://good.com:80/",
        "https://good.com:443",
        "http://\u{ff27}ood.com/",
        "http:good.com",
        "http://good%2ecom/",
        "http://good.com\\@evil.com/",
    ];
    for url in same {
        let pinned = judge(&policy, "GET", url, &["8.8.8.8"]);
        assert!(pinned.is_ok(), "{url}: {pinned:?}");
    }
}

/// P07: an allowed host's other ports.
#[test]
fn p07_other_ports() {
    let policy = listed(&["https://good.com", "http://good.com:8080"]);
    for port in [22, 80, 6379, 4222, 2379, 5432] {
        let error = judge(&policy, "GET", &format!("http://good.com:{port}/"), &["8.8.8.8"]).unwrap_err();
        assert!(error.contains("has no grant to send GET to http://good.com"), "{error}");
        assert!(judge(&policy, "GET", &format!("https://good.com:{port}/"), &["8.8.8.8"]).is_err());
    }
    assert!(policy.connect("good.com", 443).is_err(), "a list of origins grants no plain connection");
}

/// P10: a wildcard stands for names below, at a dot.
#[test]
fn p10_suffix_tricks() {
    let policy = listed(&["https://*.good.com"]);
    for host in ["evilgood.com", "good.com.evil.com", "good.com", ".good.com", "*.good.com.", "a.good.com.x"]
    {
        assert!(
            judge(&policy, "GET", &format!("https://{host}/"), &["8.8.8.8"]).is_err()
                || host == "*.good.com.",
            "{host}"
        );
    }
    for host in ["a.good.com", "a.b.good.com", "A.GOOD.COM."] {
        assert!(judge(&policy, "GET", &format!("https://{host}/"), &["8.8.8.8"]).is_ok(), "{host}");
    }
}

/// P11: the broker's own listeners, at whichever address, for everybody.
#[test]
fn p11_own_listeners() {
    let own = |address: SocketAddr| address.port() == 4222 && address.ip().is_loopback();
    for policy in [open(), listed(&["http://127.0.0.1:4222", "http://hairpin.example:4222"])] {
        for (url, address) in
            [("http://127.0.0.1:4222", "127.0.0.1"), ("http://hairpin.example:4222", "::ffff:127.0.0.1")]
        {
            let target = policy.fetch(&Url::parse(url).unwrap(), "GET").unwrap();
            let error = policy.pin(&target, &[address.parse().unwrap()], &own).unwrap_err();
            assert!(error.0.contains("the broker itself listens there"), "{error}");
        }
    }
    let plain = open().connect("127.1", 4222).unwrap();
    assert!(open().pin(&plain, &["127.0.0.1".parse().unwrap()], &own).is_err());
}

#[test]
fn methods_may_be_granted() {
    let policy = listed(&["GET,HEAD https://good.com"]);
    assert!(judge(&policy, "GET", "https://good.com", &["8.8.8.8"]).is_ok());
    let error = judge(&policy, "POST", "https://good.com", &["8.8.8.8"]).unwrap_err();
    assert_eq!(
        error,
        "denied: acme has no grant to send POST to https://good.com (http = [\"https://good.com\"])"
    );
}

#[test]
fn plain_connections() {
    let host = |text: &str| open().connect(text, 9).map(|target| target.get().host_text());
    assert_eq!(host("127.1").unwrap(), "127.0.0.1");
    assert_eq!(host("::1").unwrap(), "::1");
    assert_eq!(host("[::1]").unwrap(), "::1");
    assert_eq!(host("Db.Example.").unwrap(), "db.example");
    for bad in ["", ".", "a b", "a/b", "a:b", "[x]", "256.1.1.1"] {
        assert!(host(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_url_is_survived(text in "(https?://)?[a-z0-9.@:\\[\\]#/\\\\%\\PC]{0,40}") {
        if let Ok(url) = Url::parse(&text) {
            let _ = open().fetch(&url, "GET");
            let refused = named().fetch(&url, "GET").is_err();
            prop_assert!(refused);
        }
        let _ = open().connect(&text, 1);
    }
}
