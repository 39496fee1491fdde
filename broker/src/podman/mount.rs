//! A mount, as its author writes it: an object as the Go server took it, or text as on Podman's command
//! line (`/from:/to:ro`, `type=bind,source=/from,destination=/to,ro`).
//!
//! Takes a JSON value, gives a [`Mount`] that holds nothing but what is understood. Pure.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::description::Fields;

/// The longest path, in bytes.
const LONGEST: usize = 4096;

/// Something to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub from: From,
    /// Where in the container: absolute, without `..`.
    pub to: String,
    /// Whether nothing may be written there.
    pub read_only: bool,
    /// Further options, all of them harmless.
    pub options: Vec<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A file or folder of the host: absolute, without `..`.
    Host(PathBuf),
    /// Memory of the container's own.
    Memory,
    /// Anything else (a volume, an image, a kernel file system), as written: nobody may have it.
    Other(String),
}

/// What is wrong with a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Neither text nor an object.
    #[error(
        "write it as on the command line (`/from:/to:ro`), or as an object with `source` and `destination`"
    )]
    Shape,
    /// A path that is none.
    #[error("`{0}` is no absolute path without `..`")]
    Path(String),
    /// No destination.
    #[error("it has no destination")]
    NoDestination,
    /// An option that is not known, or not for scripts.
    #[error("the option `{0}` is not supported")]
    Option(String),
}

/// Options that are passed on.
const HARMLESS: [&str; 4] = ["noexec", "z", "Z", "notmpcopyup"];

/// Options that say what is done anyway.
const USUAL: [&str; 9] = [
    "rw",
    "bind",
    "rbind",
    "private",
    "rprivate",
    "nosuid",
    "nodev",
    "relatime",
    "bind-propagation=rprivate",
];

/// Reads a mount.
///
/// # Errors
/// What is wrong with it.
pub fn read(value: Value) -> Result<Mount, MountError> {
    match value {
        Value::String(text) => match text.split(',').next() {
            Some(first) if first.contains('=') && !first.starts_with('/') => long_text(&text),
            _ => short_text(&text),
        },
        Value::Object(map) => object(Fields::new(map)),
        _ => Err(MountError::Shape),
    }
}

/// The parts of a mount, not yet looked at.
#[derive(Default)]
struct Parts {
    kind: String,
    source: String,
    destination: String,
    options: Vec<String>,
}

/// `/from:/to[:options]`.
fn short_text(text: &str) -> Result<Mount, MountError> {
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default().to_owned();
    let Some(destination) = parts.next() else {
        // A place alone is an anonymous volume.
        let destination = source;
        return Parts { kind: "volume".into(), destination, ..Parts::default() }.check();
    };
    let options = parts.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    let kind = if source.starts_with(['/', '.']) { "bind" } else { "volume" };
    Parts { kind: kind.into(), source, destination: destination.into(), options }.check()
}

/// `type=bind,source=/from,destination=/to,ro`.
fn long_text(text: &str) -> Result<Mount, MountError> {
    let mut parts = Parts { kind: "volume".into(), ..Parts::default() };
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "type" => parts.kind = value.to_owned(),
            "source" | "src" => parts.source = value.to_owned(),
            "destination" | "dst" | "target" => parts.destination = value.to_owned(),
            _ => parts.options.push(part.to_owned()),
        }
    }
    parts.check()
}

fn object(mut fields: Fields) -> Result<Mount, MountError> {
    let mut text = |name| match fields.take(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(MountError::Shape),
    };
    let (kind, source, destination) = (text("type")?, text("source")?, text("destination")?);
    let options = match fields.take("options") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            let text = |value| match value {
                Value::String(text) => Ok(text),
                _ => Err(MountError::Shape),
            };
            list.into_iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(MountError::Shape),
    };
    let kind = if kind.is_empty() { "bind".to_owned() } else { kind };
    Parts { kind, source, destination, options }.check()
}

impl Parts {
    fn check(self) -> Result<Mount, MountError> {
        let Parts { kind, source, destination, options } = self;
        if destination.is_empty() {
            return Err(MountError::NoDestination);
        }
        let to = absolute(&destination)?;
        let from = match kind.as_str() {
            "bind" => From::Host(absolute(&source)?),
            "tmpfs" => From::Memory,
            _ if source.is_empty() => From::Other(format!("{kind} at {}", to.display())),
            _ => From::Other(format!("{kind} {source}")),
        };
        let mut mount =
            Mount { from, to: to.to_string_lossy().into_owned(), read_only: false, options: Vec::new() };
        for option in options.iter().map(String::as_str).filter(|option| !option.is_empty()) {
            mount.option(option)?;
        }
        Ok(mount)
    }
}

impl Mount {
    fn option(&mut self, option: &str) -> Result<(), MountError> {
        let size = |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric());
        match option {
            "ro" | "readonly" | "ro=true" | "readonly=true" => self.read_only = true,
            "rw=true" | "ro=false" | "readonly=false" => {}
            usual if USUAL.contains(&usual) => {}
            harmless if HARMLESS.contains(&harmless) => self.options.push(option.to_owned()),
            other => match other.split_once('=') {
                Some(("size" | "tmpfs-size", value)) if self.from == From::Memory && size(value) => {
                    self.options.push(format!("size={value}"));
                }
                Some(("mode" | "tmpfs-mode", value)) if self.from == From::Memory && size(value) => {
                    self.options.push(format!("mode={value}"));
                }
                _ => return Err(MountError::Option(other.to_owned())),
            },
        }
        Ok(())
    }
}

/// An absolute path without `..` and control characters.
fn absolute(text: &str) -> Result<PathBuf, MountError> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let clean = text.len() <= LONGEST && !text.contains(|c: char| c.is_control() || c == ':' || c == ',');
    if path.is_absolute() && plain && clean && path.components().count() > 1 {
        Ok(path.components().collect())
    } else {
        Err(MountError::Path(text.chars().take(256).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn host(from: &str, to: &str, read_only: bool, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { from: From::Host(from.into()), to: to.to_owned(), read_only, options }
    }

    #[test]
    fn all_spellings() {
        let spelled = [
            json!("/a:/b:ro"),
            json!("/a/:/b:rbind,ro"),
            json!("type=bind,source=/a,destination=/b,ro"),
            json!("type=bind,src=/a,target=/b,readonly=true"),
            json!({"type":"bind","source":"/a","destination":"/b","options":["rbind","ro"]}),
            json!({"Source":"/a","Destination":"/b","Options":["ro"]}),
        ];
        for value in spelled {
            assert_eq!(read(value.clone()), Ok(host("/a", "/b", true, &[])), "{value}");
        }
        assert_eq!(read(json!("/a:/b:noexec,Z")), Ok(host("/a", "/b", false, &["noexec", "Z"])));
        let memory = read(json!("type=tmpfs,destination=/cache,tmpfs-size=1m")).unwrap();
        assert_eq!((memory.from, memory.options), (From::Memory, vec!["size=1m".to_owned()]));
    }

    #[test]
    fn what_is_no_host_path_and_no_memory_is_kept_apart() {
        for value in [
            json!("data:/b"),
            json!("/b"),
            json!("type=volume,source=data,destination=/b"),
            json!("source=data,destination=/b"),
            json!({"type":"proc","source":"proc","destination":"/proc"}),
            json!({"type":"image","source":"x","destination":"/b"}),
        ] {
            assert!(matches!(read(value.clone()).unwrap().from, From::Other(_)), "{value}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for value in [
            json!(5),
            json!({"source":"/a"}),
            json!({"source":"/a","destination":5}),
            json!({"source":"/a","destination":"/b","options":"ro"}),
            json!("/a/../etc:/b"),
            json!("./a:/b"),
            json!("../a:/b"),
            json!("/a:b"),
            json!("/:/b"),
            json!("/a:/"),
            json!("/a:/b:shared"),
            json!("/a:/b:U"),
            json!("/a:/b:O,upperdir=/x"),
            json!("/a:/b:suid"),
            json!("/a:/b:dev"),
            json!("/a:/b:size=1m"),
            json!("type=bind,source=a,destination=/b"),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn paths_stay_plain(text in "(type=bind,source=)?[./:,a=]{0,20}(,destination=[./a]{0,9})?|\\PC{0,30}") {
            if let Ok(Mount { from: From::Host(path), to, .. }) = read(json!(text)) {
                for path in [path.as_path(), Path::new(&to)] {
                    prop_assert!(path.is_absolute() && !path.components().any(|part| part == Component::ParentDir));
                }
            }
        }
    }
}
