//! The container that Podman is asked to make: safe unless granted otherwise.
//!
//! Takes a permitted description and the limits, gives the body of the request. Pure. Field names are
//! Podman's own; it ignores those it does not know without a word, so the tests look from inside.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Local;
use super::description::{Account, Description};
use super::mount::{From, Mount};
use crate::invocation::{Call, Message};
use crate::policy::Permitted;

/// User and group of a container whose image names none but root.
const NOBODY: &str = "65534:65534";

/// Processes and threads in a container.
const MOST_PROCESSES: u64 = 128;

/// Descriptors and processes per user, where a limit on CPU time has all such limits be ours to set.
const RLIMITS: [(&str, u64); 2] = [("nofile", 1024), ("nproc", 4096)];

/// The longest payload that goes into the environment, in bytes.
const MOST_ENVIRONMENT: usize = 64 << 10;

/// How much longer than its run Podman lets a container live when the broker is gone.
const GRACE: Duration = Duration::from_secs(10);

/// What a run may use, and whose it is.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The container's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Memory, in bytes.
    pub memory: u64,
    /// CPU time of each process.
    pub cpu: Option<Duration>,
    /// The longest it may run.
    pub wall: Duration,
    /// Whether it has a network.
    pub network: bool,
}

/// The environment that a message gives.
#[must_use]
pub fn environment(message: &Message) -> BTreeMap<&'static str, String> {
    let (method, url) = match &message.call {
        Call::Message => ("", ""),
        Call::Http { method, url } => (&**method, &**url),
    };
    let mut env = BTreeMap::from([
        ("SUBJECT", message.shown_subject.to_string()),
        ("METHOD", method.to_owned()),
        ("URL", url.to_owned()),
    ]);
    let payload = &message.payload;
    if payload.len() <= MOST_ENVIRONMENT && !payload.contains(&0) {
        env.insert("PAYLOAD", String::from_utf8_lossy(payload).into_owned());
    }
    env
}

/// The body of the request.
#[must_use]
pub fn body(
    permitted: &Permitted<Description>,
    image: &Local,
    frame: &Frame,
    env: &BTreeMap<&'static str, String>,
) -> Value {
    let description = permitted.get();
    let privileged = description.privileged;
    let memory = frame.memory;
    let mut body = json!({
        "name": frame.name,
        "labels": frame.labels,
        "image": image.id,
        "env": env,
        "httpproxy": false,
        "stdin": true,
        "terminal": false,
        "remove": false,
        "systemd": "false",
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "none"},
        "image_volume_mode": "tmpfs",
        "privileged": privileged,
        "read_only_filesystem": !privileged,
        "no_new_privileges": !privileged,
        "user": user(description, &image.user),
        "groups": description.groups.iter().map(Account::as_str).collect::<Vec<_>>(),
        "mounts": mounts(description, memory),
        "stop_timeout": 0,
        "timeout": (frame.wall + GRACE).as_secs(),
        "resource_limits": {
            "memory": {"limit": memory, "swap": memory},
            "pids": {"limit": MOST_PROCESSES},
            "cpu": {"quota": 100_000, "period": 100_000},
        },
    });
    if !description.command.is_empty() {
        body["command"] = json!(description.command);
    }
    if !privileged {
        body["cap_drop"] = json!(["ALL"]);
    }
    if !frame.network {
        body["netns"] = json!({"nsmode": "none"});
    }
    if let Some(cpu) = frame.cpu {
        let seconds = cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0);
        let limit = |name: &str, most: u64| json!({"type": name, "soft": most, "hard": most});
        let others = RLIMITS.iter().map(|(name, most)| limit(name, *most));
        body["r_limits"] = std::iter::once(limit("cpu", seconds)).chain(others).collect();
    }
    body
}

/// The author's user; else the image's if it names one that is not root; else nobody. Root is for those who
/// may be privileged and say so.
fn user(description: &Description, of_image: &str) -> String {
    if let Some(user) = &description.user {
        return user.as_str().to_owned();
    }
    let of_image = Account::new(of_image);
    match of_image {
        Some(user) if description.privileged || !user.is_root() => user.as_str().to_owned(),
        None if description.privileged => String::new(),
        _ => NOBODY.to_owned(),
    }
}

/// What is mounted: the author's mounts, and memory at `/tmp` and `/var/tmp` unless they are there.
fn mounts(description: &Description, memory: u64) -> Vec<Value> {
    let usual = ["/tmp", "/var/tmp"].into_iter();
    let missing = usual.filter(|to| !description.mounts.iter().any(|mount| mount.to == *to));
    let tmpfs = missing.map(|to| Mount {
        from: From::Memory,
        to: to.to_owned(),
        read_only: false,
        options: vec!["notmpcopyup".into(), "mode=1777".into(), format!("size={memory}")],
    });
    let all: Vec<Mount> = description.mounts.iter().cloned().chain(tmpfs).collect();
    all.iter().filter_map(|mount| self::mount(mount, memory)).collect()
}

fn mount(mount: &Mount, memory: u64) -> Option<Value> {
    let mut options: Vec<String> = mount.options.clone();
    options.push(if mount.read_only { "ro" } else { "rw" }.to_owned());
    options.extend(["nosuid", "nodev"].map(str::to_owned));
    let (kind, source) = match &mount.from {
        From::Host(path) => {
            options.extend(["rbind", "rprivate"].map(str::to_owned));
            ("bind", path.to_string_lossy().into_owned())
        }
        From::Memory => {
            // It is the container's user's: runc gives it the mode of what it covers in the image.
            options.push("U".to_owned());
            if !options.iter().any(|option| option.starts_with("size=")) {
                options.push(format!("size={memory}"));
            }
            ("tmpfs", "tmpfs".to_owned())
        }
        // Policy lets none of these through.
        From::Other(_) => return None,
    };
    Some(json!({"destination": mount.to, "type": kind, "source": source, "options": options}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn body_of(fields: &str, image_user: &str, change: impl FnOnce(&mut Frame)) -> Value {
        let text = format!("{{\"image\":\"x\"{fields}}}");
        let mut frame = Frame {
            name: "msgscript-1".into(),
            labels: BTreeMap::new(),
            memory: 64 << 20,
            cpu: None,
            wall: Duration::from_secs(3),
            network: false,
        };
        change(&mut frame);
        let image = Local { id: "id".into(), digests: Vec::new(), user: image_user.into() };
        let permitted = Permitted::for_test(Description::read(text.as_bytes()).unwrap());
        body(&permitted, &image, &frame, &BTreeMap::new())
    }

    #[test]
    fn safe_by_default() {
        let body = body_of("", "", |_| ());
        assert_eq!(body["netns"]["nsmode"], "none");
        assert_eq!(body["cap_drop"], json!(["ALL"]));
        for (field, value) in [
            ("no_new_privileges", true),
            ("read_only_filesystem", true),
            ("privileged", false),
            ("httpproxy", false),
            ("terminal", false),
        ] {
            assert_eq!(body[field], value, "{field}");
        }
        assert_eq!(body["resource_limits"]["memory"], json!({"limit": 64 << 20, "swap": 64 << 20}));
        assert_eq!((&body["timeout"], &body["command"]), (&json!(13), &Value::Null));
        assert_eq!(body["mounts"][0]["destination"], "/tmp");
        assert_eq!(body["r_limits"], Value::Null);
    }

    #[test]
    fn users() {
        for (fields, of_image, user) in [
            ("", "", NOBODY),
            ("", "root", NOBODY),
            ("", "0:0", NOBODY),
            ("", "app:root", NOBODY),
            ("", "not a user", NOBODY),
            ("", "app", "app"),
            ("", "10:20", "10:20"),
            (r#","user":"1:2""#, "app", "1:2"),
            (r#","privileged":true"#, "root", "root"),
            (r#","privileged":true"#, "", ""),
        ] {
            assert_eq!(body_of(fields, of_image, |_| ())["user"], user, "{fields} {of_image}");
        }
    }

    #[test]
    fn grants_open_what_they_say() {
        let body = body_of(r#","privileged":true,"command":["a"]"#, "", |frame| {
            frame.network = true;
            frame.cpu = Some(Duration::from_millis(1500));
        });
        assert_eq!((&body["netns"], &body["cap_drop"]), (&Value::Null, &Value::Null));
        assert_eq!((&body["privileged"], &body["no_new_privileges"]), (&json!(true), &json!(false)));
        assert_eq!(body["command"], json!(["a"]));
        assert_eq!(body["r_limits"][0], json!({"type": "cpu", "soft": 2, "hard": 2}));
    }

    #[test]
    fn mounts_are_never_looser_than_they_must() {
        let body = body_of(r#","mounts":["/a:/tmp:ro","type=tmpfs,destination=/c,size=1m"]"#, "", |_| ());
        let options = |at: usize| body["mounts"][at]["options"].to_string();
        assert_eq!(body["mounts"][0]["source"], "/a");
        assert_eq!(options(0), r#"["ro","nosuid","nodev","rbind","rprivate"]"#);
        assert_eq!(options(1), r#"["size=1m","rw","nosuid","nodev","U"]"#);
        // The author's own /tmp stands for ours.
        assert_eq!(body["mounts"].as_array().map(Vec::len), Some(3));
        assert_eq!(body["mounts"][2]["destination"], "/var/tmp");
    }

    #[test]
    fn the_environment_of_a_message() {
        let message = |call, payload: &[u8]| Message {
            subject: "s".into(),
            shown_subject: "shown".into(),
            call,
            payload: Bytes::copy_from_slice(payload),
            headers: [].into(),
            arrived: std::time::Instant::now(),
            trace: None,
        };
        let env = environment(&message(Call::Message, b"hi"));
        assert_eq!((env["SUBJECT"].as_str(), env["PAYLOAD"].as_str()), ("shown", "hi"));
        assert_eq!((env["METHOD"].as_str(), env["URL"].as_str()), ("", ""));
        let call = Call::Http { method: "PUT".into(), url: "/x?y".into() };
        let env = environment(&message(call, b"a\0b"));
        assert_eq!((env["METHOD"].as_str(), env["URL"].as_str()), ("PUT", "/x?y"));
        assert!(!env.contains_key("PAYLOAD"));
        assert!(!environment(&message(Call::Message, &vec![b'x'; (64 << 10) + 1])).contains_key("PAYLOAD"));
    }
}
