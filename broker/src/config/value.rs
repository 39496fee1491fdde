//! Values of settings, read alike from the command line and from the file.
//!
//! Takes text, gives typed values. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use msgscript_proto::sandbox::Layer;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::route::{SubjectError, check_pattern, check_script_subject};
use crate::units::{UnitError, parse_duration, parse_size};

/// A value that is written as text (in the file also as a whole number), read by its `FromStr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

impl<T: FromStr> FromStr for Parsed<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Parsed)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text(std::marker::PhantomData)).map(Parsed)
    }
}

struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// A duration, as `units` reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_duration(text).map(Span)
    }
}

/// A size in bytes, as `units` reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_size(text).map(Size)
    }
}

/// A subject pattern of scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptSubject(pub String);

impl FromStr for ScriptSubject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_script_subject(text).map(|()| ScriptSubject(text.to_owned()))
    }
}

/// A subject pattern of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub String);

impl FromStr for Pattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_pattern(text).map(|()| Pattern(text.to_owned()))
    }
}

/// A layer of the sandbox by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerName(pub Layer);

/// There is no such layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such layer; there are landlock, seccomp, no-new-privs, rlimits and uid")]
pub struct NoLayer;

impl FromStr for LayerName {
    type Err = NoLayer;

    fn from_str(text: &str) -> Result<Self, NoLayer> {
        Layer::by_name(text).map(LayerName).ok_or(NoLayer)
    }
}

/// A name of ours: letters, digits, `-` and `_`, at most 64, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

/// No name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name: write letters, digits, `-` and `_`, at most 64, a letter or digit first")]
pub struct NoName;

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && text.len() <= 64;
        if good { Ok(Name(text.to_owned())) } else { Err(NoName) }
    }
}

/// Where scripts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A folder.
    File,
    /// An etcd cluster.
    Etcd,
}

/// The least grave event that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What a day looks like.
    Info,
    /// What to look at.
    Warn,
    /// What failed.
    Error,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> tracing::Level {
        match level {
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Error => tracing::Level::ERROR,
        }
    }
}

/// How raw messages over NATS are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatsReply {
    /// With the script's string.
    Raw,
    /// With the JSON document that envelopes get, as the Go server did.
    Envelope,
}

/// How far one worker's use goes before it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All scripts of one tenant.
    Tenant,
    /// One version of one script.
    Script,
    /// One invocation.
    Invocation,
}
