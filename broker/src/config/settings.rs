//! Settings as they are given: on the command line, in the environment, under `[broker]` in the file.
//!
//! One list for all three, so that a setting has one name everywhere. Pure; nothing is checked here but
//! the form of each value.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::value::{Backend, Isolation, LayerName, LogLevel, NatsReply, Parsed, Size, Span};
use crate::policy::grant::Grant;

/// Defines the settings, each of which may be left out.
macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        /// Settings, each of which may be left out.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Settings {
            $($(#[$meta])* pub $name: Option<$type>,)*
        }

        impl Settings {
            /// These settings, and those of `other` where these say nothing.
            #[must_use]
            pub fn or(self, other: Settings) -> Settings {
                Settings { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}

settings! {
    /// Where scripts are kept [default: file]
    #[arg(long, value_name = "BACKEND")]
    backend: Backend,
    /// Endpoints of etcd, comma-separated; the variable ETCD_ENDPOINTS wins [default: 127.0.0.1:2379]
    #[arg(long, value_name = "URL")]
    etcdurl: String,
    /// Folder of libraries [default: libs in the folder of scripts]
    #[arg(long, value_name = "DIR", value_parser = path_or_empty())]
    library: PathBuf,
    /// Least grave event to log [default: info; debug if the variable DEBUG is set]
    #[arg(long, value_name = "LEVEL")]
    log: LogLevel,
    /// URL of a NATS server, with user and password if need be [default: $NATS_URL, else an embedded one]
    #[arg(long, value_name = "URL")]
    natsurl: String,
    /// Folder of Lua C modules to offer to scripts
    #[arg(long, value_name = "DIR", value_parser = path_or_empty())]
    plugin: PathBuf,
    /// Port of the HTTP server; 0 takes any free one [default: 7643]
    #[arg(long, value_name = "PORT")]
    port: u16,
    /// Folder of scripts [default: .]
    #[arg(long, value_name = "DIR")]
    script: PathBuf,
    /// Number of workers [default: number of CPUs]
    #[arg(long, value_name = "N")]
    workers: usize,
    /// Address of the HTTP server [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR")]
    bind: IpAddr,
    /// Address of the embedded NATS server [default: 127.0.0.1:4222]
    #[arg(long, value_name = "ADDR:PORT")]
    embedded_nats: SocketAddr,
    /// Queue group of the NATS subscriptions [default: msgscript]
    #[arg(long, value_name = "NAME")]
    queue_group: String,
    /// How raw messages over NATS are answered [default: raw]
    #[arg(long, value_name = "FORM")]
    nats_reply: NatsReply,
    /// Credentials file for the NATS server
    #[arg(long, value_name = "FILE")]
    nats_creds: PathBuf,
    /// Certificates (PEM) that the NATS server's may be signed by
    #[arg(long, value_name = "FILE")]
    nats_ca: PathBuf,
    /// Longest run of a script [default: 2m]
    #[arg(long, value_name = "DURATION")]
    timeout: Parsed<Span>,
    /// Memory of a script [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Parsed<Size>,
    /// Largest payload of a message or request [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    max_payload: Parsed<Size>,
    /// Largest result of a script [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    max_output: Parsed<Size>,
    /// How far one worker's use goes, for the tenant `default` [default: tenant]
    #[arg(long, value_name = "SCOPE")]
    isolation: Isolation,
    /// Number of invocations that may wait for a worker [default: 1024]
    #[arg(long, value_name = "N")]
    queue: usize,
    /// Number of containers that run at a time [default: twice the number of CPUs]
    #[arg(long, value_name = "N")]
    containers: usize,
    /// How long running scripts may go on when the broker stops [default: 10s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Parsed<Span>,
    /// File that the audit log is appended to [default: the standard log]
    #[arg(long, value_name = "FILE")]
    audit_log: PathBuf,
    /// Folder for the broker's own files [default: $STATE_DIRECTORY, else a private temporary one]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: PathBuf,
    /// Folder of the worker's binary [default: beside the broker's, then ../libexec/msgscript]
    #[arg(long, value_name = "DIR", global = true)]
    worker_dir: PathBuf,
    /// The control socket, for status, logs and drain; `none` for none [default: control-PORT.sock in
    /// $RUNTIME_DIRECTORY, in the state folder, or in $XDG_RUNTIME_DIR/msgscript]
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
    /// File with the bearer token for the pages under /_/ [default: loopback peers only]
    #[arg(long, value_name = "FILE")]
    admin_token_file: PathBuf,
    /// Address of a listener of its own for the pages under /_/
    #[arg(long, value_name = "ADDR:PORT")]
    admin_bind: SocketAddr,
    /// Give scripts of the tenant `default` a power: env:NAME, files:/path[:ro], cmd, podman-network,
    /// podman-mount:/path, podman-privileged, catalog. May be repeated
    #[arg(long, value_name = "GRANT")]
    allow: Vec<Parsed<Grant>>,
    /// Certificates (PEM) that HTTPS servers which scripts ask may be signed by, besides the system's
    #[arg(long, value_name = "FILE")]
    http_ca: PathBuf,
    /// Start without a layer of the sandbox: landlock, seccomp, no-new-privs, rlimits, uid. May be repeated
    #[arg(long, value_name = "LAYER", global = true)]
    sandbox_without: Vec<Parsed<LayerName>>,
}

/// A path, or nothing: as in the Go server an empty one counts as not given.
fn path_or_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl Settings {
    /// The settings that the environment gives. Empty variables count as not set.
    #[must_use]
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Settings {
        let get = |name| env(name).filter(|value| !value.is_empty());
        let state_dir = get("STATE_DIRECTORY").and_then(|list| Some(list.split(':').next()?.into()));
        Settings {
            natsurl: get("NATS_URL"),
            log: get("DEBUG").map(|_| LogLevel::Debug),
            state_dir,
            ..Settings::default()
        }
    }
}
