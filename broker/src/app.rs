//! The server put together: builds the rooms, opens the doors, waits for the end, drains.

mod accounts;
mod build;
mod doors;
mod front;
mod lasting;
mod site;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use msgscript_proto::message::Limits;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::accounts::Accounts;
use crate::audit::{self, Act, Event};
use crate::catalog::tenancy::Tenancy;
use crate::catalog::{Catalog, Script};
use crate::cgroup::Remover;
use crate::config::value::Backend;
use crate::config::{self, Config, Start};
use crate::control::Orders;
use crate::host::etcd::Etcd;
use crate::host::http::Client;
use crate::host::net::Net;
use crate::host::sql::Sql;
use crate::ingress::nats::Door;
use crate::invocation::{DEFAULT_TENANT, Tenant};
use crate::locks::Locks;
use crate::notify::ServiceManager;
use crate::podman::Podman;
use crate::policy::{Policies, Policy};
use crate::pool::Pool;
use crate::records::Records;
use crate::schedule::Bucket;
use crate::secrets::Secrets;
use crate::statistics::Statistics;
use crate::telemetry;
use crate::telemetry::export;
use crate::telemetry::trace::Tracer;
use crate::wasm::Modules;
use crate::wasm::file::Place;
pub use build::spawn_plan;
pub(crate) use build::workbench;
use doors::{Doors, Stop};
pub use front::Front;

/// Exit status when a sandbox layer is missing (`EX_CONFIG`).
const CONFIGURATION: u8 = 78;

/// What all rooms share.
pub struct Core {
    config: RefCell<Rc<Config>>,
    policies: RefCell<Policies>,
    /// Whose scripts are whose; the store follows it.
    tenancy: watch::Sender<Rc<Tenancy>>,
    /// The scripts in service.
    pub catalog: Catalog,
    /// The workers.
    pub pool: Rc<Pool>,
    /// Locks of scripts.
    pub locks: Locks,
    /// Compiled WebAssembly.
    pub modules: Rc<Modules>,
    /// The containers.
    pub podman: Rc<Podman>,
    /// How often tenants' functions were called of late, where that is limited.
    rates: RefCell<HashMap<Tenant, Bucket>>,
    /// What the operator ordered over the control socket.
    pub orders: Orders,
    /// The last runs.
    pub records: Records,
    /// What runs came to.
    pub statistics: Statistics,
    /// Values that scripts may use without seeing them.
    pub secrets: Secrets,
    /// Connections for scripts.
    pub net: Rc<Net>,
    /// Their HTTP client.
    pub http: Client,
    /// Their way to etcd.
    pub etcd: Etcd,
    /// Their way to databases.
    pub sql: Sql,
    /// Makes spans, if messages are traced.
    pub tracer: Option<Tracer>,
    door: OnceCell<Door>,
    /// The doors of tenants with a NATS account of their own.
    accounts: Accounts,
    /// Held by each answer over NATS until it is sent.
    pub(crate) answering: Rc<()>,
    started: Instant,
    /// Removes the workers' control groups at the end.
    groups: Option<Remover>,
}

impl Core {
    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    /// The NATS door, once it is open.
    #[must_use]
    pub fn door(&self) -> Option<&Door> {
        self.door.get()
    }

    /// Whether messages can be served: workers are there. (The scripts were read before the doors opened.)
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pool.status().ready > 0
    }

    /// How long it has been running.
    #[must_use]
    pub fn up(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The door that a tenant's messages go by: its own, or that of all who have none; `None` while it is not
    /// open.
    #[must_use]
    pub fn door_of(&self, tenant: &str) -> Option<Door> {
        if self.has_account(tenant) { self.accounts.door(tenant) } else { self.door().cloned() }
    }

    /// The number of the open connection to a tenant's own NATS account: another one for each connection.
    #[must_use]
    pub(crate) fn account_of(&self, tenant: &str) -> Option<u64> {
        if self.has_account(tenant) { self.accounts.number(tenant) } else { None }
    }

    /// Whether a tenant has a NATS account of its own.
    #[must_use]
    pub fn has_account(&self, tenant: &str) -> bool {
        self.policies.borrow().have_account(tenant)
    }

    /// The subject patterns that plain messages call, of those who have no NATS account of their own.
    fn patterns(&self) -> Vec<Rc<str>> {
        let snapshot = self.catalog.current();
        let called = snapshot.index.list().iter().filter(|script| script.trigger.is_none());
        let shared = called.filter(|script| !self.has_account(&script.tenant));
        let mut patterns: Vec<Rc<str>> = shared.map(|script| script.subject.clone()).collect();
        patterns.dedup();
        patterns
    }

    /// What a tenant may do, and how much.
    #[must_use]
    pub fn policy(&self, tenant: &str) -> Rc<Policy> {
        self.policies.borrow().of(tenant)
    }

    /// Whether a tenant may have one more invocation now: its `rate` a second, and as many at once.
    #[must_use]
    pub fn within_rate(&self, policy: &Policy) -> bool {
        let Some(rate) = policy.limits.rate.map(f64::from) else { return true };
        let now = Instant::now();
        let mut rates = self.rates.borrow_mut();
        let bucket = rates.entry(policy.tenant.clone()).or_insert_with(|| Bucket::new(now, rate));
        bucket.take(now, rate, rate)
    }

    /// The limits of a script's runs.
    #[must_use]
    pub fn limits(&self, script: &Script) -> Limits {
        let policy = self.policy(&script.tenant);
        let limits = &policy.limits;
        let (memory, output) = (policy.memory(script), limits.run.output);
        let (scratch, scratch_files) = (limits.scratch.min(memory), limits.scratch_files);
        let (log, host_calls, folders) = (LOG_LIMIT, limits.host_calls, !policy.grants.files.is_empty());
        Limits { memory, output, log, host_calls, folders, scratch, scratch_files }
    }

    /// Where a script's files may be: relative paths start from its own folder, and a named tenant's stay
    /// there or in granted ones.
    #[must_use]
    pub fn place(&self, script: &Script) -> Place {
        let config = self.config();
        let below = match config.backend {
            Backend::File => Path::new(&*script.source.name).parent(),
            Backend::Etcd => None,
        };
        let folder = config.folders.scripts.join(below.unwrap_or(Path::new("")));
        let granted = || {
            let policy = self.policy(&script.tenant);
            policy.grants.files.iter().map(|scope| scope.path.as_path().to_owned()).collect()
        };
        Place { folder, beside: (&*script.tenant != DEFAULT_TENANT).then(granted) }
    }

    /// What scripts may use in the network, by this configuration.
    fn admit_network(&self, config: &Config) {
        self.secrets.configure(&config.tables.secrets);
        self.net.configure(config.http_ca.clone());
        self.http.forget();
        self.etcd.configure(&config.etcd);
        self.sql.configure(&config.tables.databases);
    }

    /// A configuration comes into force.
    fn configure(&self, config: Config) {
        *self.policies.borrow_mut() = Policies::new(&config);
        self.rates.borrow_mut().clear();
        if let Some(Door::Embedded(hub)) = self.door() {
            hub.set_users(config.tables.users.clone());
        }
        self.tenancy.send_replace(Rc::new(Tenancy::new(&config.tables.tenants)));
        self.admit_network(&config);
        *self.config.borrow_mut() = Rc::new(config);
    }
}

/// After a drain that was cut short: for the endings to be told.
const LAST_ANSWERS: Duration = Duration::from_millis(20);

/// How long clients may take for their last answers.
const CLOSING: Duration = Duration::from_secs(2);

/// Bytes of log lines that a run may write.
const LOG_LIMIT: u64 = 64 << 10;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A layer of the sandbox is missing, or the workers cannot be trusted.
    #[error("{0}")]
    Sandbox(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    fn other(what: &str, error: impl std::fmt::Display) -> StartError {
        StartError::Other(format!("{what}: {error}"))
    }
}

/// Runs the server until it is told to stop. Gives the exit status.
#[must_use]
pub fn serve(config: Config) -> ExitCode {
    telemetry::init(config.log.into());
    if let Err(error) = audit::open(config.audit_log.as_deref()) {
        return fail(&cannot_audit(&config, &error));
    }
    for notice in config.notices() {
        tracing::warn!("{notice}");
    }
    prepare_process();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&StartError::other("cannot start", error)),
    };
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, run(config));
    audit::close();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn cannot_audit(config: &Config, error: &io::Error) -> StartError {
    let path = config.audit_log.as_deref().unwrap_or(Path::new(""));
    StartError::other(&format!("cannot write the audit log {}", path.display()), error)
}

fn fail(error: &StartError) -> ExitCode {
    tracing::error!(%error, "the server does not run");
    match error {
        StartError::Sandbox(_) => ExitCode::from(CONFIGURATION),
        StartError::Other(_) => ExitCode::FAILURE,
    }
}

/// As many descriptors as allowed; and nobody of our own user reads our memory.
fn prepare_process() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "cannot hide the broker's memory from its own user");
    }
}

async fn run(config: Config) -> Result<(), StartError> {
    let config = Rc::new(config);
    let (tracer, exporting) = match config.traces.as_ref().map(export::start).transpose() {
        Ok(started) => started.unzip(),
        Err(error) => return Err(StartError::other("traces", error)),
    };
    let core = build::build(&config, tracer).await?;
    // Two stages: first no new messages come in; then, when all are answered, the ways out close.
    let (intake, end) = (Rc::new(Stop::default()), Rc::new(Stop::default()));
    let mut doors = Doors::default();
    let nats_address = doors::open_nats(&core, &intake, &end, &mut doors).await?;
    let admin_address = doors::open_pages(&core, &intake, &mut doors).await?;
    let http_address = doors::open_http(&core, &intake, &mut doors).await?;
    let control = doors::open_control(&core, http_address.port())?;
    let status = core.pool.status();
    tracing::info!(
        http = %http_address, nats = nats_address, admin = admin_address.map(|address| address.to_string()),
        control = control.as_ref().map(|control| control.path.display().to_string()),
        scripts = core.catalog.current().index.list().len(),
        workers = status.ready, took_ms = core.started.elapsed().as_millis(), version = crate::VERSION, "ready"
    );
    let control = control.map(|control| tokio::task::spawn_local(control.serve(core.clone())));
    audit::record(Act::Started, &Event::told(crate::VERSION));
    let manager = ServiceManager::from_env(&|name| std::env::var(name).ok());
    manager.ready();
    tokio::select! {
        ended = wait_for_end(&core) => ended?,
        () = manager.keep_telling() => {}
    }
    manager.stopping();
    core.orders.stopping();
    tracing::info!("stopping: no new messages, finishing what runs");
    audit::record(Act::Draining, &Event::default());
    intake.set();
    let finished = async {
        futures_util::future::join_all(doors.intake).await;
        core.pool.idle().await;
        core.podman.idle().await;
        while Rc::strong_count(&core.answering) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let until = Instant::now() + core.config().drain_timeout;
    if tokio::time::timeout_at(until.into(), finished).await.is_err() {
        tracing::warn!("the drain timeout is over: what still runs is cancelled");
        core.pool.close();
        core.podman.close();
    }
    // The last answers are on their way out; a client that takes none does not keep us.
    tokio::time::sleep(LAST_ANSWERS).await;
    end.set();
    let closing = async {
        futures_util::future::join_all(doors.end).await;
        core.podman.gone().await;
        core.locks.close().await;
        let accounts = core.accounts.doors();
        futures_util::future::join_all(accounts.iter().chain(core.door()).map(Door::flush)).await;
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
    if let Some(groups) = &core.groups {
        let _ = tokio::time::timeout(CLOSING, core.pool.end()).await;
        groups.remove();
    }
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    if let Some(control) = control {
        // Its file is gone when we are.
        control.abort();
        let _ = control.await;
    }
    tracing::info!("stopped");
    audit::record(Act::Stopped, &Event::default());
    Ok(())
}

/// Until SIGTERM, SIGINT or an order. SIGHUP reads the configuration again.
async fn wait_for_end(core: &Rc<Core>) -> Result<(), StartError> {
    let stream = |kind| signal(kind).map_err(|error: io::Error| StartError::other("signals", error));
    let mut terminate = stream(SignalKind::terminate())?;
    let mut interrupt = stream(SignalKind::interrupt())?;
    let mut hangup = stream(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = core.orders.stop() => return Ok(()),
            // The log has it.
            _ = hangup.recv() => drop(reload(core)),
        }
    }
}

/// Takes over what can change while running (limits of runs, the form of replies); the rest needs a new
/// start.
///
/// # Errors
/// An invalid configuration changes nothing; the text says what is wrong with it.
pub(crate) fn reload(core: &Core) -> Result<(), String> {
    let env = |name: &str| std::env::var(name).ok();
    let reloaded = match config::start(std::env::args_os(), &env) {
        Ok(Start::Serve(config)) => {
            core.configure(*config);
            tracing::info!("configuration reloaded");
            Ok(())
        }
        Ok(_) => Err("the command line asks for something else".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    // Opened again in any case: it may have been moved away.
    let config = core.config();
    if let Err(error) = audit::open(config.audit_log.as_deref()) {
        tracing::error!(error = %cannot_audit(&config, &error), "the audit log goes where it went before");
    }
    match &reloaded {
        Ok(()) => audit::record(Act::Reloaded, &Event::default()),
        Err(error) => {
            tracing::error!(error, "configuration not reloaded: the old one stays in force");
            audit::record(Act::NotReloaded, &Event::told(error));
        }
    }
    reloaded.map_err(|error| format!("configuration not reloaded: {error}"))
}
