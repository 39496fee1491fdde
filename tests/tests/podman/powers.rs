//! What a container may do: nothing, unless granted.

use std::os::unix::fs::symlink;

use msgscript_tests::podman::{APP_IMAGE, IMAGE};

use crate::{none_left, script, sh, shared, shell};

#[test]
fn safe_from_inside() {
    let (_podman, setup) = shared();
    let look = "id -u; id -g; grep -E '^(NoNewPrivs|CapEff|CapBnd|CapAmb)' /proc/self/status; \
                ls /sys/class/net; touch /x 2>&1; touch /tmp/y /var/tmp/y && echo tmp; \
                touch /data/z 2>&1; grep -c docker.sock /proc/mounts";
    let broker = shell(setup, "power-safe", &format!("{look}; true"));
    let seen = broker.call("power-safe", "");
    let expected = "65534\n65534\nCapBnd:\t0000000000000000\nCapEff:\t0000000000000000\n";
    let sorted: Vec<&str> = seen.lines().collect();
    for line in expected.lines().chain(["NoNewPrivs:\t1", "CapAmb:\t0000000000000000", "lo", "tmp", "0"]) {
        assert!(sorted.contains(&line), "{seen} lacks {line}");
    }
    assert!(seen.contains("/x: Read-only file system"), "{seen}");
    assert!(seen.contains("/data/z: Read-only file system"), "{seen}");
    assert!(!seen.contains("eth"), "{seen}");
}

#[test]
fn one_run_leaves_nothing_to_the_next() {
    let (_podman, setup) = shared();
    let broker = shell(setup, "power-fresh", "ls /tmp | wc -l; touch /tmp/left");
    for _ in 0..2 {
        assert_eq!(broker.call("power-fresh", "").trim(), "0");
    }
}

#[test]
fn refusals_name_the_grant_and_the_image() {
    let (podman, setup) = shared();
    let mut setup = setup;
    let cases = [
        ("power-mount", "\"mounts\": [\"/etc:/data:ro\"]", "podman-mount:/etc"),
        (
            "power-object",
            r#""mounts": [{"type":"bind","source":"/etc","destination":"/data","options":["rbind"]}]"#,
            "podman-mount:/etc",
        ),
        (
            "power-socket",
            "\"mounts\": [\"/run/podman/podman.sock:/s\"]",
            "podman-mount:/run/podman/podman.sock",
        ),
        ("power-volume", "\"mounts\": [\"data:/data\"]", "volume data"),
        ("power-privileged", "\"privileged\": true", "podman-privileged"),
        ("power-root", "\"user\": \"root\"", "podman-privileged"),
    ];
    for (subject, fields, _) in cases {
        setup = setup.file(&format!("{subject}.lua"), script(subject, "", fields));
    }
    let broker = setup.start();
    for (subject, _, grant) in cases {
        let (response, error) = broker.fail(subject, "");
        assert_eq!((response.status, response.reason()), (403, "denied"), "{subject}");
        assert!(error.starts_with(&format!("{IMAGE}: denied: default has no grant to")), "{error}");
        assert!(error.contains(grant), "{error} lacks {grant}");
        none_left(&podman, subject);
    }
}

#[test]
fn granted_mounts_and_nothing_beside_them() {
    let (_podman, setup) = shared();
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().canonicalize().expect("it is there");
    std::fs::create_dir_all(path.join("granted/sub")).expect("a folder");
    std::fs::create_dir_all(path.join("other")).expect("a folder");
    std::fs::write(path.join("granted/sub/file"), "from the host\n").expect("written");
    std::fs::write(path.join("other/file"), "secret\n").expect("written");
    std::fs::set_permissions(path.join("granted/sub"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("set");
    symlink(path.join("other"), path.join("granted/out")).expect("linked");
    symlink("sub", path.join("granted/in")).expect("linked");
    let at = |name: &str| path.join(name).display().to_string();
    let mount = |name: &str, options: &str, command: &str| {
        format!("\"mounts\": [\"{}:/data{options}\"], {}", at(name), sh(command))
    };
    let broker = setup
        .args(&["--allow", &format!("podman-mount:{}", at("granted"))])
        .file(
            "a.lua",
            script(
                "mount-read",
                "",
                &mount("granted/sub", ":ro", "cat /data/file; touch /data/x 2>&1; true"),
            ),
        )
        .file("b.lua", script("mount-write", "", &mount("granted/in", "", "echo written > /data/new")))
        .file("c.lua", script("mount-out", "", &mount("granted/out", "", "cat /data/file")))
        .file("d.lua", script("mount-other", "", &mount("other", "", "cat /data/file")))
        .file("e.lua", script("mount-missing", "", &mount("granted/none", "", "cat /data/file")))
        .start();
    let text = broker.call("mount-read", "");
    assert!(text.starts_with("from the host\n") && text.contains("Read-only file system"), "{text}");
    assert_eq!(broker.call("mount-write", ""), "");
    assert_eq!(std::fs::read_to_string(path.join("granted/sub/new")).expect("written"), "written\n");
    for (subject, word) in
        [("mount-out", "a link to elsewhere"), ("mount-other", "no grant"), ("mount-missing", "cannot mount")]
    {
        let (response, error) = broker.fail(subject, "");
        assert_eq!(response.status, 403, "{error}");
        assert!(error.contains(word) && error.contains(IMAGE), "{error} lacks {word}");
    }
}

#[test]
fn privileged_where_granted() {
    let (_podman, setup) = shared();
    let fields = format!("\"privileged\": true, \"user\": \"root\", {}", sh("id -u; touch /x && echo wrote"));
    let broker = setup
        .args(&["--allow", "podman-privileged"])
        .file("root.lua", script("power-granted", "", &fields))
        .file("plain.lua", script("power-plain", "", &sh("id -u")))
        .start();
    assert_eq!(broker.call("power-granted", ""), "0\nwrote\n");
    // Who does not ask for it has none of it.
    assert_eq!(broker.call("power-plain", ""), "65534\n");
}

#[test]
fn a_named_tenant_runs_what_it_lists() {
    let (podman, setup) = shared();
    let id = podman.command(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    let tenant = |name: &str, images: &str| {
        format!(
            "[[tenant]]\nname = \"{name}\"\nsubjects = [\"{name}.>\"]\nscripts = \"{name}\"\n\
             [tenant.grants]\nimages = [{images}]\n"
        )
    };
    let listed = tenant("listed", "\"localhost/msgscript-t*\"");
    let pinned = tenant("pinned", &format!("\"sha256:{}\"", id.trim()));
    let other = tenant("other", "\"localhost/else-*\"");
    let elsewhere = script("listed.pull", "", "").replace(IMAGE, "localhost:1/msgscript-test");
    let broker = setup
        .config(&format!("{listed}{pinned}{other}"))
        .file("listed/a.lua", script("listed.run", "", ""))
        .file("listed/b.lua", script("listed.app", "", "").replace(IMAGE, APP_IMAGE))
        .file("listed/c.lua", elsewhere)
        .file("pinned/a.lua", script("pinned.run", "", ""))
        .file("pinned/b.lua", script("pinned.app", "", "").replace(IMAGE, APP_IMAGE))
        .file("other/a.lua", script("other.run", "", ""))
        .start();
    assert_eq!(broker.call("listed.run", ""), "hello\n");
    assert_eq!(broker.call("pinned.run", ""), "hello\n");
    for subject in ["listed.app", "pinned.app", "listed.pull", "other.run"] {
        let (response, error) = broker.fail(subject, "");
        assert_eq!((response.status, response.reason()), (403, "denied"), "{error}");
        assert!(error.contains("(images = [\"localhost"), "{error}");
    }
}
