//! Tenants, secrets and databases: the tables of the configuration file, checked.
//!
//! Takes the file's tables, gives values that hold together. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::file::{self, File};
use super::value::{Isolation, Name, Parsed, Pattern, Size, Span};
use super::{ConfigError, Limits, MAX_SIZE, bad};
use crate::access::HttpAccess;
use crate::access::users::{Login, Permissions, User, Users, is_hash};
use crate::access::webhook::Webhook;
use crate::invocation::DEFAULT_TENANT;
use crate::policy::grant::{EnvName, FileScope, Origin};
use crate::route::{covers, overlap};

/// A named tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its name, unique.
    pub name: String,
    /// The subjects that are its own; those of two tenants do not overlap.
    pub subjects: Vec<String>,
    /// Its folder, below the folder of scripts.
    pub scripts: PathBuf,
    /// What one worker may serve.
    pub isolation: Isolation,
    /// Whether its scripts may ask for LuaJIT's compiler.
    pub jit: bool,
    /// What its scripts may use.
    pub limits: TenantLimits,
    /// What its scripts may do.
    pub grants: TenantGrants,
    /// Who may call its functions over HTTP.
    pub http: HttpAccess,
    /// Its own account on the external NATS server.
    pub nats: Option<NatsAccount>,
}

/// How to connect to an account of an external NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsAccount {
    /// Where a URL with user and password, or a token, is; without one it is the broker's own URL.
    pub url: Option<Source>,
    /// Credentials file.
    pub creds: Option<PathBuf>,
}

/// What a tenant's scripts may use.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantLimits {
    /// Of one run; the broker's own where the tenant says nothing, and never more.
    pub run: Limits,
    /// CPU time of one run.
    pub cpu: Option<Duration>,
    /// Runs at a time; `None`: no limit but the number of workers.
    pub concurrency: Option<u32>,
    /// Invocations that may wait.
    pub queue: usize,
    /// Invocations a second; `None`: no limit.
    pub rate: Option<u32>,
    /// Bytes of names and files in a run's scratch folder; they count as its memory, too.
    pub scratch: u64,
    /// Files, folders and links in a run's scratch folder.
    pub scratch_files: u32,
    /// Host calls of one run.
    pub host_calls: u32,
    /// Bytes that the host calls of one run may send out, requests altogether.
    pub host_bytes_out: u64,
    /// Bytes that the host calls of one run may bring in, answers altogether.
    pub host_bytes_in: u64,
}

/// How far a webhook's time may be from ours, unless the configuration says otherwise: the usual five minutes.
const WINDOW: Duration = Duration::from_secs(300);

/// Files in a run's scratch folder, unless a tenant may have fewer: what workers keep at most.
const SCRATCH_FILES: u32 = 10_000;

/// Host calls of one run, unless a tenant may make fewer.
const HOST_CALLS: u32 = 10_000;

/// Bytes in and out of the host calls of one run, each, unless a tenant may move fewer.
const HOST_BYTES: u64 = 256 << 20;

impl TenantLimits {
    /// The limits of the tenant `default`: the broker's own.
    #[must_use]
    pub fn of_broker(own: &Limits, queue: usize) -> TenantLimits {
        TenantLimits {
            run: own.clone(),
            cpu: None,
            concurrency: None,
            queue,
            rate: None,
            scratch: own.memory,
            scratch_files: SCRATCH_FILES,
            host_calls: HOST_CALLS,
            host_bytes_out: HOST_BYTES,
            host_bytes_in: HOST_BYTES,
        }
    }
}

/// What a tenant's scripts may do: nothing unless listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantGrants {
    /// Where HTTP requests may go.
    pub http: Vec<Origin>,
    /// Subject patterns that may be published to.
    pub nats: Vec<String>,
    /// Prefixes of etcd keys, not empty.
    pub etcd: Vec<String>,
    /// Environment variables that may be read.
    pub env: Vec<EnvName>,
    /// Databases, each of which exists.
    pub sql: Vec<String>,
    /// Patterns of container images.
    pub images: Vec<String>,
    /// Folders and files of the host.
    pub files: Vec<FileScope>,
    /// Secrets, each of which exists.
    pub secrets: Vec<String>,
}

/// Where a secret text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An environment variable of the broker.
    Env(EnvName),
    /// The configuration file itself.
    Text(String),
}

impl Source {
    /// The text now, without a newline at its end.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than 64 KiB.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        use std::io::{Error, Read};
        let mut text = Vec::new();
        match self {
            Source::File(path) => {
                std::fs::File::open(path)?.take(MAX_SECRET + 1).read_to_end(&mut text)?;
            }
            Source::Env(name) => {
                let value = std::env::var_os(name.as_str());
                let value = value.ok_or_else(|| Error::other(format!("{} is not set", name.as_str())))?;
                text = value.into_encoded_bytes();
            }
            Source::Text(own) => text = own.clone().into_bytes(),
        }
        if text.len() as u64 > MAX_SECRET {
            return Err(Error::other("it is larger than 64 KiB"));
        }
        if text.ends_with(b"\n") {
            text.pop();
        }
        Ok(text)
    }
}

/// The largest secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// A secret for outgoing header values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where its text is.
    pub source: Source,
    /// The hosts it may be sent to; none if it only checks the signatures of webhooks.
    pub hosts: Vec<String>,
}

/// The tables of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// Tenants, as listed.
    pub tenants: Vec<Tenant>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// URLs of databases by name.
    pub databases: BTreeMap<String, Source>,
    /// Users of the embedded NATS server.
    pub users: Users,
}

impl Tables {
    /// Checks the tables. `own` and `queue` are the broker's own limits.
    pub(super) fn check(file: File, own: &Limits, queue: usize) -> Result<Tables, ConfigError> {
        let mut tables = Tables::default();
        for (name, raw) in file.secret {
            let place = format!("secret.{name}");
            check_name(&place, &name)?;
            if raw.hosts.iter().any(String::is_empty) {
                return Err(bad(&place, "an empty host in `hosts`"));
            }
            let source = source(&place, raw.file, raw.env, None)?;
            tables.secrets.insert(name, Secret { source, hosts: raw.hosts });
        }
        for (name, raw) in file.database {
            let place = format!("database.{name}");
            check_name(&place, &name)?;
            tables.databases.insert(name, source(&place, raw.file, raw.env, raw.url)?);
        }
        for raw in file.tenant {
            let tenant = tables.tenant(raw, own, queue)?;
            tables.tenants.push(tenant);
        }
        for raw in file.nats.user {
            let user = tables.user(raw)?;
            tables.users.all.push(user);
        }
        Ok(tables)
    }

    fn tenant(&self, raw: file::Tenant, own: &Limits, queue: usize) -> Result<Tenant, ConfigError> {
        let name = raw.name.0.0;
        let place = format!("tenant `{name}`");
        if name == DEFAULT_TENANT {
            return Err(bad(&place, "this tenant has all that no other claims; give it powers with `allow`"));
        }
        if self.tenants.iter().any(|other| other.name == name) {
            return Err(bad(&place, "there are two of this name"));
        }
        if raw.subjects.is_empty() {
            return Err(bad(&place, "`subjects` is empty"));
        }
        let subjects: Vec<String> = raw.subjects.into_iter().map(|subject| subject.0.0).collect();
        for other in &self.tenants {
            let both = |one: &String| other.subjects.iter().any(|other| overlap(one, other));
            if let Some(subject) = subjects.iter().find(|subject| both(subject)) {
                return Err(bad(
                    &place,
                    &format!("`{subject}` overlaps a subject of tenant `{}`", other.name),
                ));
            }
        }
        let scripts = folder(&place, raw.scripts)?;
        let within =
            |other: &&Tenant| scripts.starts_with(&other.scripts) || other.scripts.starts_with(&scripts);
        if let Some(other) = self.tenants.iter().find(within) {
            return Err(bad(&place, &format!("its folder and that of tenant `{}` overlap", other.name)));
        }
        let http = self.http(&place, raw.http, &subjects)?;
        Ok(Tenant {
            nats: raw.nats.map(|raw| account(&place, raw)).transpose()?,
            http,
            subjects,
            scripts,
            isolation: raw.isolation.unwrap_or(Isolation::Tenant),
            jit: raw.jit,
            limits: limits(&place, &raw.limits, own, queue)?,
            grants: self.grants(&place, raw.grants)?,
            name,
        })
    }

    fn http(&self, place: &str, raw: file::Http, subjects: &[String]) -> Result<HttpAccess, ConfigError> {
        let webhook = |raw: file::HttpWebhook| {
            if !self.secrets.contains_key(&raw.secret) {
                return Err(bad(place, &format!("there is no [secret.{}]", raw.secret)));
            }
            let hooks: Vec<String> = raw.subjects.into_iter().map(|subject| subject.0.0).collect();
            let foreign = |hook: &&String| !subjects.iter().any(|own| covers(own, hook));
            if let Some(hook) = hooks.iter().find(foreign) {
                return Err(bad(place, &format!("the webhook's `{hook}` is not among its subjects")));
            }
            let window = raw.window.map_or(WINDOW, |span| span.0.0);
            Ok(Webhook { subjects: hooks, form: raw.form, secret: raw.secret, window })
        };
        let webhooks = raw.webhook.into_iter().map(webhook).collect::<Result<_, _>>()?;
        Ok(HttpAccess { tokens: all(raw.tokens), webhooks })
    }

    /// A NATS user. One that belongs to a tenant may publish to the tenant's subjects and subscribe to what
    /// its scripts may publish to, unless it says otherwise.
    fn user(&self, raw: file::NatsUser) -> Result<User, ConfigError> {
        let name = raw.name.0.0;
        let place = format!("nats.user `{name}`");
        if self.users.all.iter().any(|other| other.name == name) {
            return Err(bad(&place, "there are two of this name"));
        }
        let login = match (raw.password, raw.token) {
            (Some(hash), None) if is_hash(&hash) => Login::Password(hash),
            (Some(_), None) => {
                return Err(bad(&place, "`password` must be a bcrypt hash (`htpasswd -nB NAME` makes one)"));
            }
            (None, Some(token)) => Login::Token(token.0),
            _ => return Err(bad(&place, "give either `password` or `token`, as a hash")),
        };
        let tenant = match &raw.tenant {
            None => None,
            Some(name) => {
                let found = self.tenants.iter().find(|tenant| tenant.name == *name);
                Some(found.ok_or_else(|| bad(&place, &format!("there is no tenant `{name}`")))?)
            }
        };
        let listed = |list: Option<Vec<Parsed<Pattern>>>, usual: Option<&Vec<String>>| match list {
            Some(list) => list.into_iter().map(|pattern| pattern.0.0).collect(),
            None => usual.cloned().unwrap_or_default(),
        };
        let permissions = Permissions {
            publish: listed(raw.publish, tenant.map(|tenant| &tenant.subjects)),
            subscribe: listed(raw.subscribe, tenant.map(|tenant| &tenant.grants.nats)),
        };
        Ok(User { name, login, permissions: Rc::new(permissions) })
    }

    fn grants(&self, place: &str, raw: file::Grants) -> Result<TenantGrants, ConfigError> {
        if let Some(name) = raw.sql.iter().find(|name| !self.databases.contains_key(*name)) {
            return Err(bad(place, &format!("there is no [database.{name}]")));
        }
        if let Some(name) = raw.secrets.iter().find(|name| !self.secrets.contains_key(*name)) {
            return Err(bad(place, &format!("there is no [secret.{name}]")));
        }
        if raw.etcd.iter().any(String::is_empty) {
            return Err(bad(place, "an empty prefix in `etcd` would be every key"));
        }
        if raw.images.iter().any(String::is_empty) {
            return Err(bad(place, "an empty image in `images`"));
        }
        Ok(TenantGrants {
            http: all(raw.http),
            nats: raw.nats.into_iter().map(|pattern| pattern.0.0).collect(),
            etcd: raw.etcd,
            env: all(raw.env),
            sql: raw.sql,
            images: raw.images,
            files: all(raw.files),
            secrets: raw.secrets,
        })
    }
}

fn all<T>(list: Vec<Parsed<T>>) -> Vec<T> {
    list.into_iter().map(|it| it.0).collect()
}

fn check_name(place: &str, name: &str) -> Result<(), ConfigError> {
    name.parse::<Name>().map(|_| ()).map_err(|error| bad(place, &error.to_string()))
}

/// The one source that is given.
fn source(
    place: &str,
    file: Option<PathBuf>,
    env: Option<Parsed<EnvName>>,
    text: Option<String>,
) -> Result<Source, ConfigError> {
    match (file, env, text) {
        (Some(file), None, None) => Ok(Source::File(file)),
        (None, Some(env), None) => Ok(Source::Env(env.0)),
        (None, None, Some(text)) => Ok(Source::Text(text)),
        _ => Err(bad(place, "give exactly one place where its text is, such as `file` or `env`")),
    }
}

/// A tenant's own account.
fn account(place: &str, raw: file::TenantNats) -> Result<NatsAccount, ConfigError> {
    let given = raw.url.is_some() || raw.file.is_some() || raw.env.is_some();
    let url = given.then(|| source(place, raw.file, raw.env, raw.url)).transpose()?;
    if url.is_none() && raw.creds.is_none() {
        return Err(bad(place, "`nats` needs a URL with a login (`url`, `file` or `env`), or `creds`"));
    }
    Ok(NatsAccount { url, creds: raw.creds })
}

/// A folder below the folder of scripts.
fn folder(place: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain(&path) && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(bad(place, "`scripts` must be a folder below the folder of scripts, without `..`"))
    }
}

fn limits(place: &str, raw: &file::Limits, own: &Limits, queue: usize) -> Result<TenantLimits, ConfigError> {
    let span = |key: &str, value: &Option<Parsed<Span>>| match value {
        Some(Parsed(Span(Duration::ZERO))) => Err(bad(place, &format!("`{key}` must be more than zero"))),
        value => Ok(value.as_ref().map(|value| value.0.0)),
    };
    let size = |key: &str, value: &Option<Parsed<Size>>, own: u64| match value {
        None => Ok(own),
        Some(Parsed(Size(0))) => Err(bad(place, &format!("`{key}` must be more than zero"))),
        Some(Parsed(Size(size))) => Ok((*size).min(own)),
    };
    let count = |key: &str, value: Option<u32>| match value {
        Some(0) => Err(bad(place, &format!("`{key}` must be more than zero"))),
        value => Ok(value),
    };
    let run = Limits {
        wall: span("wall", &raw.wall)?.map_or(own.wall, |wall| wall.min(own.wall)),
        memory: size("memory", &raw.memory, own.memory)?,
        output: size("output", &raw.output, own.output.min(MAX_SIZE))?,
        payload: size("payload", &raw.payload, own.payload.min(MAX_SIZE))?,
    };
    Ok(TenantLimits {
        cpu: span("cpu", &raw.cpu)?,
        concurrency: count("concurrency", raw.concurrency)?,
        queue: count("queue", raw.queue)?.map_or(queue, |own| usize::try_from(own).unwrap_or(queue)),
        rate: count("rate", raw.rate)?,
        scratch: size("scratch", &raw.scratch, run.memory)?,
        scratch_files: count("scratch_files", raw.scratch_files)?
            .map_or(SCRATCH_FILES, |most| most.min(SCRATCH_FILES)),
        host_calls: count("host_calls", raw.host_calls)?.unwrap_or(HOST_CALLS),
        host_bytes_out: size("host_bytes_out", &raw.host_bytes_out, HOST_BYTES)?,
        host_bytes_in: size("host_bytes_in", &raw.host_bytes_in, HOST_BYTES)?,
        run,
    })
}
