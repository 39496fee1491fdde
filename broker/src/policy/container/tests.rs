use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use proptest::prelude::*;

use super::wild;
use crate::config::Limits;
use crate::config::tenant::TenantLimits;
use crate::config::value::Isolation;
use crate::podman::description::Description;
use crate::podman::mount::From;
use crate::policy::Policy;
use crate::policy::grants::{Containers, Grants, Images};

fn policy(containers: Containers) -> Policy {
    let run = Limits { wall: std::time::Duration::from_secs(1), memory: 1, output: 1, payload: 1 };
    let limits = TenantLimits::of_broker(&run, 1);
    Policy {
        tenant: "acme".into(),
        grants: Grants { containers, ..Grants::default() },
        limits,
        isolation: Isolation::Tenant,
        jit: false,
        http: Rc::default(),
        account: false,
    }
}

fn local(change: impl FnOnce(&mut Containers)) -> Policy {
    let mut containers = Containers { images: Images::Local, ..Containers::default() };
    change(&mut containers);
    policy(containers)
}

fn listed(patterns: &[&str]) -> Policy {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    policy(Containers { images: Images::Listed(patterns), ..Containers::default() })
}

fn wanted(fields: &str) -> Description {
    Description::read(format!("{{\"image\":\"localhost/tool:1\"{fields}}}").as_bytes()).unwrap()
}

fn image(name: &str) -> Description {
    Description::read(format!("{{\"image\":\"{name}\"}}").as_bytes()).unwrap()
}

/// `/srv/link` leads to `/etc`, `/srv/in` to `/srv/data`, `/granted` (a link itself) to `/mnt/granted`.
fn real(path: &Path) -> io::Result<PathBuf> {
    let text = path.to_str().unwrap();
    for (link, to) in [("/srv/link", "/etc"), ("/srv/in", "/srv/data"), ("/granted", "/mnt/granted")] {
        if let Some(rest) = text.strip_prefix(link) {
            return Ok(format!("{to}{rest}").into());
        }
    }
    if text.contains("missing") { Err(io::ErrorKind::NotFound.into()) } else { Ok(path.to_owned()) }
}

fn refused(policy: &Policy, wanted: Description) -> String {
    policy.container(wanted, &[], real).unwrap_err().0
}

#[test]
fn nothing_is_for_free() {
    let none = local(|_| ());
    assert!(none.container(wanted(""), &[], real).is_ok());
    for (fields, grant) in [
        (r#","privileged":true"#, "(podman-privileged)"),
        (r#","user":"root""#, "(podman-privileged)"),
        (r#","user":"1000:0""#, "(podman-privileged)"),
        (r#","groups":["root"]"#, "(podman-privileged)"),
        (r#","mounts":["/srv/x:/x"]"#, "(podman-mount:/srv/x)"),
        (r#","mounts":["/var/run/docker.sock:/s"]"#, "(podman-mount:/var/run/docker.sock)"),
        (r#","mounts":["volume:/x"]"#, "(none gives it"),
    ] {
        let text = refused(&none, wanted(fields));
        assert!(text.starts_with("localhost/tool:1: denied: acme has no grant to"), "{text}");
        assert!(text.contains(grant), "{text} lacks {grant}");
    }
    assert!(none.container(wanted(r#","mounts":["type=tmpfs,destination=/x"]"#), &[], real).is_ok());
    let granted = local(|containers| containers.privileged = true);
    assert!(granted.container(wanted(r#","privileged":true,"user":"root""#), &[], real).is_ok());
}

#[test]
fn mounts_stay_below_what_is_granted() {
    let granted = local(|containers| {
        containers.mounts = vec!["/srv".parse().unwrap(), "/granted".parse().unwrap()];
    });
    let mount = |source: &str| wanted(&format!(",\"mounts\":[\"{source}:/x\"]"));
    let source = |description: Description| match &description.mounts[0].from {
        From::Host(path) => path.clone(),
        other => panic!("{other:?}"),
    };
    for (written, real_path) in [
        ("/srv", "/srv"),
        ("/srv/a/b", "/srv/a/b"),
        ("/srv/in/x", "/srv/data/x"),
        ("/granted/y", "/mnt/granted/y"),
    ] {
        let permitted = granted.container(mount(written), &[], real).unwrap();
        assert_eq!(source(permitted.into_inner()), Path::new(real_path));
    }
    assert!(refused(&granted, mount("/srv/link")).contains("a link to elsewhere"));
    assert!(refused(&granted, mount("/srv/link/passwd")).contains("a link to elsewhere"));
    assert!(refused(&granted, mount("/srvother")).contains("no grant"));
    assert!(refused(&granted, mount("/srv/missing")).contains("cannot mount /srv/missing"));
}

#[test]
fn images_by_name_and_digest() {
    let digest = "sha256:aabb".to_owned();
    let may = |patterns: &[&str], name: &str| listed(patterns).container(image(name), &[], real).is_ok();
    assert!(may(&["localhost/acme-*"], "localhost/acme-tool:3"));
    assert!(may(&["localhost/tool"], "localhost/tool:3"));
    assert!(may(&["localhost/tool:3"], "localhost/tool:3"));
    assert!(may(&["localhost:5000/tool"], "localhost:5000/tool"));
    assert!(may(&["sha256:aabb"], "localhost/tool@sha256:aabb"));
    assert!(may(&["*"], "anything"));
    assert!(!may(&[], "localhost/tool"));
    assert!(!may(&["localhost/acme-*"], "evil/localhost/acme-tool"));
    assert!(!may(&["localhost/tool:3"], "localhost/tool"));
    assert!(!may(&["localhost/tool:3"], "localhost/tool:3@sha256:ccdd"));
    assert!(!may(&["sha256:aabb"], "localhost/tool"));
    // By a digest that the image has, whatever its name says.
    let pinned = listed(&["sha256:aabb"]);
    assert!(pinned.looks_at_digests() && !listed(&["localhost/*"]).looks_at_digests());
    assert!(pinned.container(image("localhost/tool"), &[digest], real).is_ok());
    assert!(pinned.container(image("localhost/tool"), &["sha256:aabbcc".to_owned()], real).is_err());
    assert!(refused(&listed(&[]), image("x/y")).contains("(images = [\"x/y\"])"));
}

#[test]
fn only_listed_images_are_pulled() {
    assert!(listed(&["x/*"]).pull(image("x/y").image).is_ok());
    assert!(listed(&["sha256:aabb"]).pull(image("x/y").image).is_err());
    let text = local(|_| ()).pull(image("x/y").image).unwrap_err().0;
    assert!(text.starts_with("x/y: denied: acme has no grant to pull images"), "{text}");
}

#[test]
fn patterns() {
    for (pattern, text) in [("a*c*e", "abcde"), ("*", ""), ("a*", "a"), ("*a*a", "aa"), ("", "")] {
        assert!(wild(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in
        [("a*b", "ba"), ("a", "ab"), ("a*a", "a"), ("*b", "ba"), ("", "a"), ("a*bc*c", "abc")]
    {
        assert!(!wild(pattern, text), "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn patterns_match_as_the_textbook_has_it(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
                ([a, pattern @ ..], [b, text @ ..]) => a == b && naive(pattern, text),
                _ => false,
            }
        }
        prop_assert_eq!(wild(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
    }
}
