//! temp
#![allow(missing_docs)]
use clap::Parser;
use msgscript_proto::sandbox::Layer;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Parser)]
struct Raw {
    #[arg(long)]
    script: PathBuf,
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long, default_value_t = 7643)]
    port: u16,
    #[arg(long, default_value = "0.0.0.0")]
    bind: IpAddr,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[arg(long)]
    natsurl: Option<String>,
    #[arg(long, default_value = "127.0.0.1:4222")]
    embedded_nats: SocketAddr,
    #[arg(long, default_value = "2m")]
    timeout: String,
    #[arg(long, default_value = "128MiB")]
    memory: String,
    #[arg(long)]
    sandbox_without: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub script: PathBuf,
    pub library: Option<PathBuf>,
    pub port: u16,
    pub bind: IpAddr,
    pub workers: usize,
    pub nats_url: Option<String>,
    pub embedded_nats: SocketAddr,
    pub timeout: Duration,
    pub memory: u64,
    pub max_payload: u64,
    pub max_output: u64,
    pub queue: usize,
    pub drain_timeout: Duration,
    pub log: tracing::Level,
    pub sandbox_without: Vec<Layer>,
    pub landlock_abi: Option<u8>,
    pub worker_dir: Option<PathBuf>,
    pub nats_creds: Option<PathBuf>,
    pub nats_ca: Option<PathBuf>,
    pub queue_group: String,
    pub nats_reply_envelope: bool,
    pub admin_token: Option<String>,
    pub admin_bind: Option<SocketAddr>,
}
impl Config {
    pub fn temp() -> Config {
        let r = Raw::parse();
        Config {
            script: r.script,
            library: r.library,
            port: r.port,
            bind: r.bind,
            workers: r.workers,
            nats_url: r.natsurl,
            embedded_nats: r.embedded_nats,
            timeout: crate::units::parse_duration(&r.timeout).unwrap(),
            memory: crate::units::parse_size(&r.memory).unwrap(),
            max_payload: 1 << 20,
            max_output: 8 << 20,
            queue: 1024,
            drain_timeout: Duration::from_secs(10),
            log: tracing::Level::INFO,
            sandbox_without: r.sandbox_without.iter().filter_map(|n| Layer::by_name(n)).collect(),
            landlock_abi: None,
            worker_dir: None,
            nats_creds: None,
            nats_ca: None,
            queue_group: "msgscript".into(),
            nats_reply_envelope: false,
            admin_token: None,
            admin_bind: None,
        }
    }
    pub fn reloaded(&self) -> Result<Config, String> {
        Ok(self.clone())
    }
}
