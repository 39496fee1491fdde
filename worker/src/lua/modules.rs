//! The built-in modules by name, and the functions behind the base environment.

pub mod base;
pub mod cmd;
pub mod crypto;
pub mod filepath;
pub mod hello;
pub mod http;
pub mod inspect;
pub mod io;
pub mod ioutil;
pub mod json;
pub mod lfs;
pub mod log;
pub mod loglevel;
pub mod nats;
pub mod os;
pub mod re;
pub mod runtime;
pub mod scrape;
pub mod storage;
pub mod strings;
pub mod tac;
pub mod tcp;
pub mod template;
pub mod time;
pub mod vault;
pub mod yaml;

use super::value::{HostFn, Module};

/// Every module that `require` finds without asking the broker.
pub const ALL: &[Module] = &[
    cmd::MODULE,
    crypto::MODULE,
    filepath::MODULE,
    hello::MODULE,
    http::MODULE,
    inspect::MODULE,
    ioutil::MODULE,
    json::MODULE,
    lfs::MODULE,
    log::MODULE,
    loglevel::MODULE,
    nats::MODULE,
    re::MODULE,
    runtime::MODULE,
    scrape::MODULE,
    storage::MODULE,
    strings::MODULE,
    tac::MODULE,
    tcp::MODULE,
    template::MODULE,
    time::MODULE,
    vault::MODULE,
    yaml::MODULE,
];

/// The functions that the prelude gets in its table `host`, by these names. Messages name them by what
/// stands behind the last dot.
pub const BASE: &[&[(&str, HostFn)]] = &[base::FUNCTIONS, io::FUNCTIONS, os::FUNCTIONS];
