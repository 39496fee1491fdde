//! What a script's content asks for: an image, a command, mounts.
//!
//! Takes the text of a script, gives a checked [`Description`] or the place of what is wrong. Pure. Whether
//! it may have all that is for `policy/container.rs` to say.

use std::fmt;

use serde_json::{Map, Value};

use super::mount::{self, Mount, MountError};

/// The most arguments, mounts or groups.
const MOST: usize = 256;

/// The longest name of an image, user or group, in bytes.
const LONGEST: usize = 512;

/// A container, as its author describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The image, as written.
    pub image: Image,
    /// The command and its arguments; empty: the image's own.
    pub command: Vec<String>,
    /// What is to be mounted.
    pub mounts: Vec<Mount>,
    /// Whether it is to be privileged.
    pub privileged: bool,
    /// User, and group behind a colon; `None`: see `spec.rs`.
    pub user: Option<Account>,
    /// Further groups.
    pub groups: Vec<Account>,
    /// When the image is pulled.
    pub pull: Pull,
    /// Fields that mean nothing to us.
    pub unknown: Vec<String>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// Not at all.
    Never,
    /// Before each run.
    Always,
}

/// The name of an image: letters, digits and `._/:@-`, no `..`, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image(String);

impl Image {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn new(text: &str) -> Option<Image> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._/:@-".contains(&b);
        let good = text.bytes().all(plain)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.len() <= LONGEST
            && !text.contains("..")
            && !text.contains("//")
            && !text.ends_with('/');
        good.then(|| Image(text.to_owned()))
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user or group, or `user:group`: names or numbers, of letters, digits and `._-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(String);

impl Account {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is root, or of root's group, as far as a name can tell.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.split(':').any(|part| part == "root" || part.bytes().all(|b| b == b'0'))
    }

    /// Reads `user` or `user:group`.
    #[must_use]
    pub fn new(text: &str) -> Option<Account> {
        let part = |part: &str| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let good = text.len() <= LONGEST && text.split(':').count() <= 2 && text.split(':').all(part);
        good.then(|| Account(text.to_owned()))
    }
}

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It is no JSON object.
    #[error("the content is no JSON object that describes a container: {0}")]
    Json(String),
    /// There is no image.
    #[error("the description has no `image`")]
    NoImage,
    /// A field has another type than it must have.
    #[error("`{field}` must be {must}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// A mount makes no sense.
    #[error("mount {number}: {error}")]
    Mount {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        error: MountError,
    },
}

impl Description {
    /// Reads a script's text. Lines that begin with `--` are headers and comments.
    ///
    /// # Errors
    /// The line, from 1, if one line is at fault, and what is wrong.
    pub fn read(text: &[u8]) -> Result<Description, (Option<usize>, DescriptionError)> {
        let value = serde_json::from_slice(&content(text)).map_err(|error| {
            let line = (error.line() > 0).then(|| error.line());
            (line, DescriptionError::Json(without_place(&error.to_string())))
        })?;
        let Value::Object(map) = value else {
            return Err((None, DescriptionError::Json("it is another JSON value".to_owned())));
        };
        Fields(map).description().map_err(|error| (None, error))
    }
}

/// The text with its comment lines emptied, so that lines keep their numbers.
fn content(text: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.trim_ascii_start().starts_with(b"--") {
            true => content.push(b'\n'),
            false => content.extend_from_slice(line),
        }
    }
    content
}

/// An error of JSON without its place, which is told otherwise.
fn without_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

/// The fields of an object. As in Go the case of their names does not matter, and null is as good as none.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn new(map: Map<String, Value>) -> Fields {
        Fields(map)
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let key = self.0.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
        self.0.remove(&key).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &'static str) -> Result<Option<String>, DescriptionError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(DescriptionError::Field { field, must: "text" }),
        }
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, DescriptionError> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(DescriptionError::Field { field, must: "true or false" }),
        }
    }

    fn list(&mut self, field: &'static str) -> Result<Vec<Value>, DescriptionError> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() <= MOST => Ok(list),
            Some(_) => Err(DescriptionError::Field { field, must: "a list of at most 256 entries" }),
        }
    }

    fn texts(&mut self, field: &'static str) -> Result<Vec<String>, DescriptionError> {
        let text = |value| match value {
            Value::String(text) if !text.contains('\0') => Ok(text),
            _ => Err(DescriptionError::Field { field, must: "a list of texts without NUL" }),
        };
        self.list(field)?.into_iter().map(text).collect()
    }

    fn description(mut self) -> Result<Description, DescriptionError> {
        let image = self.text("image")?.ok_or(DescriptionError::NoImage)?;
        let must = "the name of an image, such as localhost/tool:1";
        let image = Image::new(&image).ok_or(DescriptionError::Field { field: "image", must })?;
        let pull = match self.text("pull")?.as_deref() {
            None | Some("missing") => Pull::Missing,
            Some("never") => Pull::Never,
            Some("always") => Pull::Always,
            Some(_) => {
                let must = "\"missing\", \"never\" or \"always\"";
                return Err(DescriptionError::Field { field: "pull", must });
            }
        };
        Ok(Description {
            image,
            pull,
            command: self.texts("command")?,
            mounts: self.mounts()?,
            privileged: self.flag("privileged")?,
            user: self.text("user")?.map(|user| account("user", &user)).transpose()?,
            groups: self
                .texts("groups")?
                .iter()
                .map(|group| account("groups", group))
                .collect::<Result<_, _>>()?,
            unknown: self.0.into_iter().map(|(key, _)| key).take(MOST).collect(),
        })
    }

    fn mounts(&mut self) -> Result<Vec<Mount>, DescriptionError> {
        let read = |(at, value)| {
            mount::read(value).map_err(|error| DescriptionError::Mount { number: at + 1, error })
        };
        self.list("mounts")?.into_iter().enumerate().map(read).collect()
    }
}

fn account(field: &'static str, text: &str) -> Result<Account, DescriptionError> {
    let must = "names or numbers of letters, digits, `.`, `_` and `-` (a user may be user:group)";
    let account = Account::new(text).filter(|_| field == "user" || !text.contains(':'));
    account.ok_or(DescriptionError::Field { field, must })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Description, String> {
        Description::read(text.as_bytes()).map_err(|(line, error)| match line {
            Some(line) => format!("{line}: {error}"),
            None => error.to_string(),
        })
    }

    #[test]
    fn a_script_as_the_go_server_had_it() {
        let text = "--* subject: funcs.hello\n--* name: podman\n--* executor: podman\n{\n    \"image\": \"hello-world\"\n}\n";
        let description = read(text).unwrap();
        assert_eq!(description.image.as_str(), "hello-world");
        assert_eq!((description.pull, description.privileged), (Pull::Missing, false));
        assert!(description.command.is_empty() && description.mounts.is_empty());
    }

    #[test]
    fn all_fields() {
        let text = r#"{"Image":"localhost/a:1","command":["a","b c"],"privileged":true,"user":"app:10",
            "groups":["video","7"],"pull":"always","mounts":null,"extra":1}"#;
        let description = read(text).unwrap();
        assert_eq!(description.command, ["a", "b c"]);
        assert_eq!(description.user.unwrap().as_str(), "app:10");
        assert_eq!(description.groups.len(), 2);
        assert_eq!((description.pull, description.privileged), (Pull::Always, true));
        assert_eq!(description.unknown, ["extra"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(read("--* name: x\n\n{\"image\": }\n").unwrap_err().starts_with("3: the content is no JSON"));
        assert_eq!(read("{}").unwrap_err(), "the description has no `image`");
        assert!(read("[]").unwrap_err().contains("no JSON object"));
        assert!(read(r#"{"image":"a","user":"+0"}"#).unwrap_err().starts_with("`user` must be"));
        assert!(read(r#"{"image":"a","groups":["a:b"]}"#).unwrap_err().starts_with("`groups` must be"));
        assert!(read(r#"{"image":"a","privileged":"yes"}"#).unwrap_err().contains("true or false"));
        assert!(read(r#"{"image":"a","command":["a\u0000b"]}"#).unwrap_err().contains("without NUL"));
        assert!(read(r#"{"image":"a","mounts":["/a:/b",5]}"#).unwrap_err().starts_with("mount 2: "));
        assert!(read(r#"{"image":"a","pull":"newer"}"#).unwrap_err().contains("\"missing\""));
    }

    #[test]
    fn names_of_images() {
        for good in ["a", "localhost/a_b:1.2", "quay.io/x/y@sha256:00ff", "0123abcd"] {
            assert!(Image::new(good).is_some(), "{good}");
        }
        for bad in ["", "/a", "a/../b", "a b", "a?b", "a#b", "a%2e", "-a", "a//b", "a/", "ä", "a\nb"] {
            assert!(Image::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn who_is_root() {
        for root in ["root", "0", "00", "root:x", "x:0", "x:root", "0:7"] {
            assert!(Account::new(root).unwrap().is_root(), "{root}");
        }
        for other in ["nobody", "65534:65534", "10", "rooted", "x:100"] {
            assert!(!Account::new(other).unwrap().is_root(), "{other}");
        }
        for bad in ["", ":", "a:", ":a", "a:b:c", "-0", "+0", "a b", "0x0\n", "keep groups"] {
            assert!(Account::new(bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(--.*\n)?\\{?(\"(image|mounts|user|command)\":(\"[a-z:/,=]{0,12}\"|\\[[\"a-z:/,\\[]{0,9}\\]|null),?){0,3}\\}?|\\PC{0,60}") {
            let _ = read(&text);
        }

        #[test]
        fn no_account_hides_root(text in "[-+0:rot]{1,6}") {
            if let Some(account) = Account::new(&text) {
                let zero = text.split(':').any(|part| part.parse::<i64>() == Ok(0));
                prop_assert!(!zero || account.is_root());
            }
        }
    }
}
