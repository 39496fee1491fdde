//! Puts the rooms together: workers first, since they check the scripts; then the scripts.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use msgscript_proto::message::{Engine, Plugin, Setup};
use tokio::sync::watch;

use super::accounts::Accounts;
use super::{Core, StartError, doors};
use crate::catalog::tenancy::Tenancy;
use crate::catalog::{Catalog, Executor, Script, etcd, file};
use crate::cgroup::Groups;
use crate::config::value::Backend;
use crate::config::{Config, Nats};
use crate::control::Orders;
use crate::host::Powers;
use crate::host::etcd::Etcd;
use crate::host::http::Client;
use crate::host::net::Net;
use crate::host::sql::Sql;
use crate::ingress::nats::Door;
use crate::locks::Locks;
use crate::nats::hub::{self, Hub};
use crate::plugins;
use crate::podman::Podman;
use crate::policy::Policies;
use crate::pool::spawn::SpawnPlan;
use crate::pool::terms::Terms;
use crate::pool::{self, Pool};
use crate::records::Records;
use crate::secrets::Secrets;
use crate::statistics::Statistics;
use crate::telemetry::trace::Tracer;
use crate::wasm::Modules;
use crate::wasm::compiler::Compiler;
use crate::wasm::store::Store;

/// How to start workers.
///
/// # Errors
/// When the worker's program cannot be found.
pub fn spawn_plan(config: &Config) -> Result<SpawnPlan, StartError> {
    let setup = Setup {
        version: msgscript_proto::VERSION,
        engine: Engine::Lua,
        memory: config.limits.memory,
        without: config.sandbox_without.clone(),
        landlock_abi: config.landlock_abi,
        uid: None,
        paths: Vec::new(),
        plugins: plugins(config)?,
    };
    Ok(SpawnPlan { worker_binary: worker_binary(config, "msgscript-worker")?, setup })
}

/// The operator's Lua C modules.
fn plugins(config: &Config) -> Result<Vec<Plugin>, StartError> {
    let Some(folder) = &config.plugin else { return Ok(Vec::new()) };
    let plugins = plugins::scan(folder).map_err(|error| StartError::Other(error.to_string()))?;
    let names: Vec<&str> = plugins.iter().map(|plugin| &*plugin.name).collect();
    tracing::info!(folder = %folder.display(), plugins = names.join(" "), "plugins");
    Ok(plugins)
}

fn worker_binary(config: &Config, name: &str) -> Result<PathBuf, StartError> {
    let own = std::env::current_exe()
        .map_err(|error| StartError::other("cannot find the broker's own path", error))?;
    let beside = own.parent().map(PathBuf::from).unwrap_or_default();
    let folders = match &config.worker_dir {
        Some(folder) => vec![folder.clone()],
        None => vec![beside.clone(), beside.join("../libexec/msgscript")],
    };
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let found = found.and_then(|path| path.canonicalize().ok());
    found.ok_or_else(|| {
        let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        StartError::Other(format!("{name} is not in {} (see --worker-dir)", places.join(" or ")))
    })
}

/// All rooms, and the scripts.
pub(super) async fn build(config: &Rc<Config>, tracer: Option<Tracer>) -> Result<Rc<Core>, StartError> {
    let core = rooms(config, tracer).await?;
    read_scripts(&core).await?;
    tokio::task::spawn_local(expect_wasm(core.clone()));
    Ok(core)
}

/// All rooms without a script and without a door, for one who puts scripts into the catalogue: messages that
/// scripts send go to the NATS server of the configuration, else nowhere.
///
/// # Errors
/// Why there is none.
pub(crate) async fn workbench(config: &Rc<Config>) -> Result<Rc<Core>, StartError> {
    let core = rooms(config, None).await?;
    let door = match &config.nats {
        Nats::External { url, creds, ca } => doors::connect(url, creds.clone(), ca.clone(), "")?,
        Nats::Embedded(_) => Door::Embedded(Hub::new(hub::Settings::default())),
    };
    // Set once, here.
    let _ = core.door.set(door);
    Ok(core)
}

/// Workers first, since they check the scripts.
async fn rooms(config: &Rc<Config>, tracer: Option<Tracer>) -> Result<Rc<Core>, StartError> {
    let started = Instant::now();
    let (workers, queue) = (config.workers, config.queue);
    let wasm = worker_binary(config, "msgscript-worker-wasm").ok();
    let settings = pool::Settings { workers, queue, plan: spawn_plan(config)?, wasm };
    let groups = groups();
    let remover = groups.as_ref().map(Groups::remover);
    let pool =
        Pool::start(settings, groups).map_err(|error| StartError::other("cannot start workers", error))?;
    pool.ready().await.map_err(StartError::Sandbox)?;
    let net = Rc::new(Net::default());
    let core = Rc::new(Core {
        policies: RefCell::new(Policies::new(config)),
        tenancy: watch::Sender::new(Rc::new(Tenancy::new(&config.tables.tenants))),
        config: RefCell::new(config.clone()),
        catalog: Catalog::default(),
        pool: pool.clone(),
        locks: Locks::new((config.backend == Backend::Etcd).then_some(&*config.etcd)),
        modules: modules(config, &pool),
        podman: Podman::start(config.podman.clone(), config.containers),
        rates: RefCell::default(),
        orders: Orders::default(),
        records: Records::default(),
        statistics: Statistics::new(started),
        secrets: Secrets::default(),
        http: Client::new(net.clone()),
        etcd: Etcd::default(),
        sql: Sql::new(net.clone(), pool.clone()),
        net,
        tracer,
        door: OnceCell::new(),
        accounts: Accounts::default(),
        answering: Rc::new(()),
        started,
        groups: remover,
    });
    core.admit_network(config);
    let as_powers: Rc<dyn Powers> = core.clone();
    pool.set_powers(Rc::downgrade(&as_powers));
    Ok(core)
}

/// The broker's control groups, if it may have some.
fn groups() -> Option<Groups> {
    match Groups::open() {
        Ok(groups) => {
            tracing::info!(limits = groups.told(), "each worker has a control group");
            Some(groups)
        }
        Err(error) => {
            tracing::info!(%error, "workers have no control groups: their other limits hold them");
            None
        }
    }
}

/// The compiled modules. They are kept over restarts where the broker has a folder of its own. Without the
/// program, functions of other kinds run all the same.
fn modules(config: &Config, pool: &Pool) -> Rc<Modules> {
    let Ok(binary) = worker_binary(config, "msgscript-worker-wasm") else {
        return Modules::new(None, None, config.queue);
    };
    let open = |folder: &PathBuf| {
        let store = Store::open(folder);
        store.inspect_err(|error| tracing::warn!(%error, "compiled modules are not kept over restarts")).ok()
    };
    let store = config.state_dir.as_ref().and_then(open);
    let compiler = Compiler::new(pool.spawner(), binary.clone(), &pool.plan().setup);
    Modules::new(Some((compiler, binary)), store, config.queue)
}

/// Has the pool hold a worker ready as soon as there are WebAssembly functions, and all else that the first call
/// would wait for.
async fn expect_wasm(core: Rc<Core>) {
    let mut changes = core.catalog.changes();
    loop {
        let is_wasm = |script: &Rc<Script>| script.executor == Executor::Wasm;
        if core.catalog.current().index.list().iter().any(is_wasm) {
            core.pool.expect_wasm();
            return core.modules.prepare().await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Reads the scripts, each compiled in a worker first, and follows their changes from then on.
async fn read_scripts(core: &Rc<Core>) -> Result<(), StartError> {
    let config = core.config();
    let checking = core.clone();
    let check = async move |script: &Rc<Script>| {
        let terms = Terms::of(&checking.policy(&script.tenant));
        checking.pool.check(script.clone(), checking.limits(script), terms).await
    };
    let (catalog, tenancy) = (core.catalog.clone(), core.tenancy.subscribe());
    match config.backend {
        Backend::File => {
            let store = file::FileStore::open(config.folders.clone(), catalog, tenancy, check).await;
            let store = store.map_err(|error| StartError::other("cannot read the scripts", error))?;
            tokio::task::spawn_local(store.follow());
        }
        Backend::Etcd => {
            let (store, revision) = etcd::EtcdStore::open(&config.etcd, catalog, tenancy, check).await;
            tokio::task::spawn_local(store.follow(revision));
        }
    }
    Ok(())
}
