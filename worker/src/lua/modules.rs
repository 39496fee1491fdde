//! The built-in modules by name, and the functions behind the base environment.

pub mod base;
pub mod etcd;
pub mod cmd;
pub mod http;
pub mod io;
pub mod json;
pub mod nats;
pub mod os;
pub mod re;
pub mod sql;
pub mod scrape;
pub mod template;
pub mod yaml;
pub mod tcp;
pub mod vault;

use super::value::{HostFn, Module};

/// Every module that `require` finds without asking the broker.
pub const ALL: &[Module] = &[
    etcd::MODULE,
    cmd::MODULE,
    http::MODULE,
    json::MODULE,
    nats::MODULE,
    re::MODULE,
    scrape::MODULE,
    tcp::MODULE,
    template::MODULE,
    vault::MODULE,
    yaml::MODULE,
    sql::MYSQL,
    sql::POSTGRES,
    sql::SQLITE,
];

/// The functions that the prelude gets in its table `host`, by these names. Messages name them by what
/// stands behind the last dot.
pub const BASE: &[&[(&str, HostFn)]] = &[base::FUNCTIONS, io::FUNCTIONS, os::FUNCTIONS];
