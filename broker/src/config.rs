//! How the operator configures the broker.
//!
//! Takes the command line, the environment and the configuration file, in this order of precedence, and
//! gives one checked [`Config`]. Reads the one file that is named; nothing else is touched.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap_complete::Shell;
use msgscript_proto::MAX_MESSAGE;
use msgscript_proto::sandbox::Layer;

use crate::catalog::file::Folders;
use crate::control::{Place, place};
use crate::podman::socket::Socket;
use crate::policy::grant::Grant;
use crate::telemetry::export::Target;
use crate::units::print_size;
use args::{Args, Verb};
use file::File;
use settings::Settings;
use tenant::Tables;
use value::{Backend, Isolation, LogLevel, NatsReply};

pub mod args;
mod file;
pub mod settings;
pub mod tenant;
pub mod value;

/// The largest payload or result: a message to a worker also carries headers.
const MAX_SIZE: u64 = MAX_MESSAGE as u64 - (1 << 20);

/// The least memory of a script, in bytes.
const MIN_MEMORY: u64 = 1 << 20;

/// The longest run that may be configured.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What the command line asks for.
#[derive(Debug)]
pub enum Start {
    /// Serve.
    Serve(Box<Config>),
    /// Look at the sandbox.
    Doctor(Box<Config>),
    /// Write a completion script for this shell.
    Completion(Shell),
    /// Write manual pages into this folder.
    Man(PathBuf),
}

/// The broker's configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where scripts are kept.
    pub backend: Backend,
    /// Folders of scripts and libraries.
    pub folders: Folders,
    /// Endpoints of etcd, at least one.
    pub etcd: Vec<String>,
    /// Folder of Lua C modules.
    pub plugin: Option<PathBuf>,
    /// The least grave event that is logged.
    pub log: LogLevel,
    /// Which NATS server.
    pub nats: Nats,
    /// Queue group of the subscriptions: a token.
    pub queue_group: String,
    /// How raw messages are answered.
    pub nats_reply: NatsReply,
    /// Address of the HTTP server. Port 0 takes any free one.
    pub http: SocketAddr,
    /// File with the token for the operator's pages; without one, only loopback peers see them.
    pub admin_token_file: Option<PathBuf>,
    /// Address of a listener of its own for the operator's pages; without one they are on [`Self::http`].
    pub admin_bind: Option<SocketAddr>,
    /// How far one worker's use goes, for the tenant `default`.
    pub isolation: Isolation,
    /// Number of workers, 1 to 1024.
    pub workers: usize,
    /// Number of invocations that may wait, at least 1.
    pub queue: usize,
    /// Number of containers that run at a time, 1 to 1024.
    pub containers: usize,
    /// Where Podman listens.
    pub podman: Socket,
    /// What one run may use.
    pub limits: Limits,
    /// How long running scripts may go on when the broker stops.
    pub drain_timeout: Duration,
    /// File of the audit log; without one it is part of the standard log.
    pub audit_log: Option<PathBuf>,
    /// Folder for the broker's own files; without one, a private temporary folder.
    pub state_dir: Option<PathBuf>,
    /// Where the control socket is.
    pub control: Place,
    /// Folder of the worker's binary; without one, beside the broker's, then `../libexec/msgscript`.
    pub worker_dir: Option<PathBuf>,
    /// Powers of the tenant `default`.
    pub allow: Vec<Grant>,
    /// Certificates that the servers which scripts ask may be signed by, besides the system's.
    pub http_ca: Option<PathBuf>,
    /// Layers of the sandbox to do without.
    pub sandbox_without: Vec<Layer>,
    /// Use no more of Landlock than this version of its interface has (tests).
    pub landlock_abi: Option<u8>,
    /// Where traces go, if there are to be any.
    pub traces: Option<Target>,
    /// Tenants, secrets and databases.
    pub tables: Tables,
}

/// Which NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nats {
    /// Our own, at this address. Port 0 takes any free one.
    Embedded(SocketAddr),
    /// Another.
    External {
        /// Its URLs, comma-separated.
        url: String,
        /// Credentials file.
        creds: Option<PathBuf>,
        /// Certificates that its own may be signed by.
        ca: Option<PathBuf>,
    },
}

/// What one run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Time, more than zero.
    pub wall: Duration,
    /// Memory, in bytes, at least 1 MiB.
    pub memory: u64,
    /// Size of the result, in bytes; fits a message to and from a worker.
    pub output: u64,
    /// Size of the payload, in bytes; fits a message to and from a worker.
    pub payload: u64,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is wrong, or asks for the help text or the version. Let it print itself and exit
    /// with its own status.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML of ours; the text names line and key.
    #[error("configuration file {}: {text}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// A setting makes no sense.
    #[error("setting {name}: {why}")]
    Setting {
        /// The setting.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A setting that makes no sense.
fn bad(name: &str, why: &str) -> ConfigError {
    ConfigError::Setting { name: name.to_owned(), why: why.to_owned() }
}

/// Reads everything. `args` begins with the program's name; `env` gives environment variables.
///
/// # Errors
/// When anything is wrong: see [`ConfigError`].
pub fn start(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Start, ConfigError> {
    let args = Args::read(args)?;
    match args.verb {
        Some(Verb::Completion { shell }) => return Ok(Start::Completion(shell)),
        Some(Verb::Man { folder }) => return Ok(Start::Man(folder)),
        Some(Verb::Doctor) | None => {}
    }
    let file = match &args.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    let mut config = Config::new(args.settings, env, file)?;
    config.landlock_abi = args.landlock_abi;
    Ok(match args.verb {
        Some(Verb::Doctor) => Start::Doctor(Box::new(config)),
        _ => Start::Serve(Box::new(config)),
    })
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    File::read(&text).map_err(|text| ConfigError::File { path: path.to_owned(), text })
}

impl Config {
    /// Merges and checks.
    fn new(
        cli: Settings,
        env: &dyn Fn(&str) -> Option<String>,
        mut file: File,
    ) -> Result<Config, ConfigError> {
        let given = cli.or(Settings::from_env(env)).or(std::mem::take(&mut file.broker));
        let limits = limits(&given)?;
        let queue = count("queue", given.queue, 1024, 1_000_000)?;
        let http = SocketAddr::new(
            given.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            given.port.unwrap_or(7643),
        );
        if given.admin_bind.is_some_and(|admin| admin == http && http.port() != 0) {
            return Err(bad("admin-bind", "this is the address of the HTTP server itself"));
        }
        let scripts = given.script.clone().unwrap_or_else(|| ".".into());
        let (nats, tables) = (nats(&given)?, Tables::check(file, &limits, queue)?);
        if matches!(nats, Nats::Embedded(_))
            && let Some(tenant) = tables.tenants.iter().find(|tenant| tenant.nats.is_some())
        {
            let place = format!("tenant `{}`", tenant.name);
            return Err(bad(
                &place,
                "an account of its own (`nats`) needs an external NATS server (natsurl)",
            ));
        }
        Ok(Config {
            backend: given.backend.unwrap_or(Backend::File),
            folders: Folders::new(&scripts, given.library.as_deref().and_then(not_empty)),
            etcd: etcd(env("ETCD_ENDPOINTS"), given.etcdurl.as_deref())?,
            nats,
            queue_group: queue_group(given.queue_group)?,
            nats_reply: given.nats_reply.unwrap_or(NatsReply::Raw),
            plugin: given.plugin.filter(|path| not_empty(path).is_some()),
            log: given.log.unwrap_or(LogLevel::Info),
            http,
            admin_token_file: given.admin_token_file,
            admin_bind: given.admin_bind,
            isolation: given.isolation.unwrap_or(Isolation::Tenant),
            workers: count("workers", given.workers, cpus(), 1024)?,
            queue,
            containers: count("containers", given.containers, (2 * cpus()).min(1024), 1024)?,
            podman: Socket::from_env(env),
            drain_timeout: given.drain_timeout.map_or(Duration::from_secs(10), |span| span.0.0),
            control: control(given.control, env, given.state_dir.as_deref()),
            audit_log: given.audit_log,
            state_dir: given.state_dir,
            worker_dir: given.worker_dir,
            allow: given.allow.unwrap_or_default().into_iter().map(|grant| grant.0).collect(),
            http_ca: given.http_ca,
            sandbox_without: layers(given.sandbox_without.unwrap_or_default()),
            landlock_abi: None,
            traces: traces(env)?,
            tables,
            limits,
        })
    }

    /// What a configuration file of this text alone says.
    ///
    /// # Errors
    /// When anything is wrong with it.
    #[cfg(fuzzing)]
    pub fn of_text(text: &str) -> Result<Config, ConfigError> {
        let file = File::read(text).map_err(|text| ConfigError::File { path: PathBuf::new(), text })?;
        Config::new(Settings::default(), &|_| None, file)
    }

    /// What is configured but does nothing in this version, or leaves a door open: for the log.
    #[must_use]
    pub fn notices(&self) -> Vec<&'static str> {
        let open = matches!(self.nats, Nats::Embedded(_)) && self.tables.users.all.is_empty();
        let notices = [(
            open && !self.tables.tenants.is_empty(),
            "there are tenants, but the embedded NATS server has no users ([[nats.user]]): whoever reaches \
                 it may call every tenant's functions and read along",
        )];
        notices.into_iter().filter_map(|(applies, text)| applies.then_some(text)).collect()
    }
}

/// In the Go server an empty path counts as not given.
fn not_empty(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn limits(given: &Settings) -> Result<Limits, ConfigError> {
    let wall = given.timeout.as_ref().map_or(Duration::from_secs(120), |span| span.0.0);
    if wall.is_zero() || wall > MAX_TIMEOUT {
        return Err(bad("timeout", "must be more than zero and at most 24h"));
    }
    let memory = given.memory.as_ref().map_or(128 << 20, |size| size.0.0);
    if memory < MIN_MEMORY {
        return Err(bad("memory", &format!("must be at least {}", print_size(MIN_MEMORY))));
    }
    let size = |name, value: &Option<value::Parsed<value::Size>>, usual| {
        let size = value.as_ref().map_or(usual, |size| size.0.0);
        if (1..=MAX_SIZE).contains(&size) {
            Ok(size)
        } else {
            Err(bad(name, &format!("must be more than zero and at most {}", print_size(MAX_SIZE))))
        }
    };
    let payload = size("max-payload", &given.max_payload, 1 << 20)?;
    Ok(Limits { wall, memory, payload, output: size("max-output", &given.max_output, 8 << 20)? })
}

fn count(name: &str, value: Option<usize>, usual: usize, most: usize) -> Result<usize, ConfigError> {
    let value = value.unwrap_or(usual);
    if (1..=most).contains(&value) { Ok(value) } else { Err(bad(name, &format!("must be 1 to {most}"))) }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(1024))
}

/// The endpoints of etcd, by the variable `ETCD_ENDPOINTS` and the setting: here the environment wins.
///
/// # Errors
/// When one is none.
pub fn etcd(env: Option<String>, given: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let env = env.filter(|list| !list.is_empty());
    let list = env.as_deref().or(given).unwrap_or("127.0.0.1:2379");
    let endpoints: Vec<String> = list.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
    match endpoints.iter().find(|endpoint| endpoint.is_empty() || endpoint.contains(char::is_whitespace)) {
        Some(endpoint) => {
            Err(bad("etcdurl", &format!("`{endpoint}` is no endpoint; write host:port or a URL")))
        }
        None => Ok(endpoints),
    }
}

fn nats(given: &Settings) -> Result<Nats, ConfigError> {
    let Some(url) = given.natsurl.clone().filter(|url| !url.is_empty()) else {
        if given.nats_creds.is_some() || given.nats_ca.is_some() {
            return Err(bad(
                "nats-creds, nats-ca",
                "these need `natsurl`: the embedded server has no use for them",
            ));
        }
        let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4222);
        return Ok(Nats::Embedded(given.embedded_nats.unwrap_or(usual)));
    };
    if given.embedded_nats.is_some() {
        return Err(bad(
            "embedded-nats",
            "there is an external NATS server, too (natsurl or NATS_URL); choose one",
        ));
    }
    for server in url.split(',').map(str::trim) {
        let scheme = server.split_once("://").map(|(scheme, _)| scheme);
        let known = scheme.is_none_or(|scheme| matches!(scheme, "nats" | "tls" | "ws" | "wss"));
        if server.is_empty() || server.contains(char::is_whitespace) || !known {
            return Err(bad("natsurl", "write nats://host:port, or tls://host:port"));
        }
    }
    Ok(Nats::External { url, creds: given.nats_creds.clone(), ca: given.nats_ca.clone() })
}

fn control(given: Option<PathBuf>, env: &dyn Fn(&str) -> Option<String>, state: Option<&Path>) -> Place {
    match given {
        None => Place::In(place::folder(env, state)),
        Some(path) if path == Path::new("none") => Place::Off,
        Some(path) => Place::At(path),
    }
}

fn queue_group(given: Option<String>) -> Result<String, ConfigError> {
    let group = given.unwrap_or_else(|| "msgscript".to_owned());
    if group.is_empty() || group.len() > 255 || group.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(bad("queue-group", "must be a word without whitespace"));
    }
    Ok(group)
}

fn layers(given: Vec<value::Parsed<value::LayerName>>) -> Vec<Layer> {
    Layer::ALL.into_iter().filter(|layer| given.iter().any(|it| it.0.0 == *layer)).collect()
}

/// Whether and where: our own variables first, then OpenTelemetry's.
fn traces(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Target>, ConfigError> {
    let get = |name| env(name).filter(|value| !value.trim().is_empty());
    let of_traces = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let standard = of_traces.or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let off = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "0" | "f" | "false");
    let wanted = get("TELEMETRY_TRACES").map_or(standard.is_some(), |value| !off(&value));
    let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if !wanted || disabled {
        return Ok(None);
    }
    let url = |endpoint: String, scheme: &str| match endpoint.contains("://") {
        true => endpoint,
        false => format!("{scheme}://{endpoint}"),
    };
    let insecure =
        ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"].into_iter().find_map(get);
    let secure = !insecure.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let own = get("OTEL_ENDPOINT").map(|endpoint| url(endpoint, "http"));
    let standard = standard.map(|endpoint| url(endpoint, if secure { "https" } else { "http" }));
    let Some(target) = own.or(standard) else { return Ok(Some(Target::Stdout)) };
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if get(name).is_some_and(|protocol| protocol != "grpc") {
            return Err(bad(name, "traces are sent as `grpc` only (port 4317 of most collectors)"));
        }
    }
    Ok(Some(Target::Otlp(target)))
}

#[cfg(test)]
mod tests;
