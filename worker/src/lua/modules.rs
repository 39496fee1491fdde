//! The built-in modules by name, and the functions behind the base environment.

pub mod base;
pub mod etcd;
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
pub mod sql;
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
    etcd::MODULE,
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
    sql::MYSQL,
    sql::POSTGRES,
    sql::SQLITE,
];

/// The functions that the prelude gets in its table `host`, by these names. Messages name them by what
/// stands behind the last dot.
pub const BASE: &[&[(&str, HostFn)]] = &[base::FUNCTIONS, io::FUNCTIONS, os::FUNCTIONS];
