//! The configuration file: TOML, unknown keys refused.
//!
//! Takes the file's text, gives [`File`], with each value in its form but nothing checked across values.
//! Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::settings::Settings;
use super::value::{Isolation, Name, Parsed, Pattern, ScriptSubject, Size, Span};
use crate::access::digest::Digest;
use crate::access::webhook::Form;
use crate::policy::grant::{EnvName, FileScope, Origin};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) broker: Settings,
    pub(super) tenant: Vec<Tenant>,
    pub(super) secret: BTreeMap<String, Secret>,
    pub(super) database: BTreeMap<String, Database>,
    pub(super) nats: Nats,
}

/// `[nats]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Nats {
    pub(super) user: Vec<NatsUser>,
}

/// A `[[nats.user]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatsUser {
    pub(super) name: Parsed<Name>,
    pub(super) password: Option<String>,
    pub(super) token: Option<Parsed<Digest>>,
    pub(super) tenant: Option<String>,
    pub(super) publish: Option<Vec<Parsed<Pattern>>>,
    pub(super) subscribe: Option<Vec<Parsed<Pattern>>>,
}

/// `[tenant.http]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    pub(super) tokens: Vec<Parsed<Digest>>,
    pub(super) webhook: Vec<HttpWebhook>,
}

/// A `[[tenant.http.webhook]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpWebhook {
    pub(super) subjects: Vec<Parsed<Pattern>>,
    pub(super) form: Form,
    pub(super) secret: String,
    pub(super) window: Option<Parsed<Span>>,
}

impl File {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The text names line and key.
    pub(super) fn read(text: &str) -> Result<File, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }
}

/// A `[[tenant]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) name: Parsed<Name>,
    pub(super) subjects: Vec<Parsed<ScriptSubject>>,
    pub(super) scripts: PathBuf,
    pub(super) isolation: Option<Isolation>,
    #[serde(default)]
    pub(super) jit: bool,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) grants: Grants,
    #[serde(default)]
    pub(super) http: Http,
    pub(super) nats: Option<TenantNats>,
}

/// `[tenant.nats]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantNats {
    pub(super) url: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) env: Option<Parsed<EnvName>>,
    pub(super) creds: Option<PathBuf>,
}

/// `[tenant.limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) wall: Option<Parsed<Span>>,
    pub(super) cpu: Option<Parsed<Span>>,
    pub(super) memory: Option<Parsed<Size>>,
    pub(super) output: Option<Parsed<Size>>,
    pub(super) payload: Option<Parsed<Size>>,
    pub(super) concurrency: Option<u32>,
    pub(super) queue: Option<u32>,
    pub(super) rate: Option<u32>,
    pub(super) host_calls: Option<u32>,
    pub(super) scratch: Option<Parsed<Size>>,
    pub(super) scratch_files: Option<u32>,
    pub(super) host_bytes_out: Option<Parsed<Size>>,
    pub(super) host_bytes_in: Option<Parsed<Size>>,
}

/// `[tenant.grants]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Grants {
    pub(super) http: Vec<Parsed<Origin>>,
    pub(super) nats: Vec<Parsed<Pattern>>,
    pub(super) etcd: Vec<String>,
    pub(super) env: Vec<Parsed<EnvName>>,
    pub(super) sql: Vec<String>,
    pub(super) images: Vec<String>,
    pub(super) files: Vec<Parsed<FileScope>>,
    pub(super) secrets: Vec<String>,
}

/// A `[secret.*]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    pub(super) file: Option<PathBuf>,
    pub(super) env: Option<Parsed<EnvName>>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

/// A `[database.*]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) url: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) env: Option<Parsed<EnvName>>,
}
