//! The parts of the benchmarks: load generators that check each answer, and bare peers to compare with.
//!
//! `bench load-nats KEY=VALUE…`, `bench load-http KEY=VALUE…`, `bench load-redis KEY=VALUE…` (see
//! [`options::Options::parse`]), `bench attack-http ADDR PATH CONNECTIONS SECONDS`,
//! `bench soak ADDR RUNS SHARE TENANTS SCRIPTS` (see [`neighbours`]), `bench echo URL SUBJECT`, `bench http-echo ADDR`. Loads print one JSON object:
//! requests a second, latency in microseconds.

mod http;
mod nats;
mod neighbours;
mod options;
mod peers;
mod redis;
mod report;

use anyhow::bail;
use options::Options;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match args[..] {
            ["load-nats", ref rest @ ..] => nats::load(&Options::parse(rest)?),
            ["load-http", ref rest @ ..] => http::load(&Options::parse(rest)?).await,
            ["load-redis", ref rest @ ..] => redis::load(&Options::parse(rest)?),
            ["attack-http", to, path, connections, seconds] => {
                neighbours::attack(to, path, connections.parse()?, seconds.parse()?).await
            }
            ["soak", to, runs, share, tenants, scripts] => {
                let (share, tenants, scripts) = (share.parse()?, tenants.parse()?, scripts.parse()?);
                neighbours::soak(to, runs.parse()?, neighbours::Hostile { share, tenants, scripts }).await
            }
            ["echo", url, subject] => peers::echo(url, subject).await,
            ["http-echo", address] => peers::http_echo(address).await,
            _ => bail!("see the source for the arguments"),
        }
    })
}
