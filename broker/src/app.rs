//! The server put together: builds the rooms, opens the doors, waits for the end, drains.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::LocalBoxFuture;
use msgscript_proto::message::{Engine, Limits, Plugin, Setup};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::access::HttpAccess;
use crate::access::webhook::Webhook;
use crate::catalog::tenancy::Tenancy;
use crate::catalog::{Catalog, Executor, Script, file};
use crate::config::value::Backend;
use crate::config::{self, Config, Nats, Start};
use crate::host::Powers;
use crate::host::etcd::Etcd;
use crate::host::http::Client;
use crate::host::net::Net;
use crate::host::sql::Sql;
use crate::ingress::nats::{Door, Subscriptions};
use crate::ingress::{self, http, pages};
use crate::invocation::{DEFAULT_TENANT, Ending, Message, Tenant};
use crate::nats::{hub, server};
use crate::notify::ServiceManager;
use crate::podman::Podman;
use crate::policy::{Policies, Policy};
use crate::pool::spawn::SpawnPlan;
use crate::pool::terms::Terms;
use crate::pool::{self, Pool};
use crate::records::{Record, Records};
use crate::schedule::Bucket;
use crate::secrets::Secrets;
use crate::wasm::Modules;
use crate::wasm::compiler::Compiler;
use crate::wasm::file::Place;
use crate::wasm::store::Store;
use crate::{pipeline, plugins, telemetry, units};

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
    /// Compiled WebAssembly.
    pub modules: Rc<Modules>,
    /// The containers.
    pub podman: Rc<Podman>,
    /// How often tenants' functions were called of late, where that is limited.
    rates: RefCell<HashMap<Tenant, Bucket>>,
    /// The last runs.
    pub records: Records,
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
    door: OnceCell<Door>,
    /// Held by each answer over NATS until it is sent.
    pub(crate) answering: Rc<()>,
    started: Instant,
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

    /// The subject patterns in use.
    fn patterns(&self) -> Vec<Rc<str>> {
        self.catalog.current().index.patterns().cloned().collect()
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
        Limits { memory, output, log: LOG_LIMIT, host_calls: limits.host_calls }
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

/// The core as the HTTP door sees it.
pub struct Front(pub Rc<Core>);

impl ingress::App for Front {
    fn scripts(&self, subject: &str) -> Vec<Rc<Script>> {
        self.0.catalog.current().index.matching(subject).into_owned()
    }

    fn access(&self, subject: &str) -> Option<Rc<HttpAccess>> {
        if self.0.policies.borrow().are_open() {
            return None;
        }
        let tenancy = self.0.tenancy.borrow().clone();
        let policy = self.0.policy(tenancy.of_subject(subject));
        (!policy.http.is_open()).then(|| policy.http.clone())
    }

    fn is_signed(&self, webhook: &Webhook, message: &Message) -> bool {
        let config = self.0.config();
        let Some(secret) = config.tables.secrets.get(&webhook.secret) else { return false };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        match secret.source.read() {
            Ok(secret) => webhook.admits(&secret, &message.headers, &message.payload, now),
            Err(error) => {
                tracing::error!(secret = webhook.secret, %error, "a webhook's secret cannot be read");
                false
            }
        }
    }

    fn refused(&self, subject: &str, client: &str) {
        let tenancy = self.0.tenancy.borrow().clone();
        telemetry::request_refused(tenancy.of_subject(subject), subject, client);
    }

    fn longest(&self, script: &Script) -> Duration {
        self.0.policy(&script.tenant).wall(script)
    }

    async fn call(&self, message: Message, scripts: &[Rc<Script>]) -> Vec<Ending> {
        let core = &self.0;
        // Tasks of their own: a client that goes away stops nothing.
        let runs = scripts.iter().map(|script| {
            let run = pipeline::run(core.clone(), script.clone(), message.clone());
            (script, tokio::task::spawn_local(run))
        });
        let runs: Vec<_> = runs.collect();
        let mut endings = Vec::with_capacity(runs.len());
        for (script, run) in runs {
            endings.push(run.await.unwrap_or_else(|error| {
                let reason = crate::invocation::Reason::Internal;
                Ending::failed(core.pool.next_id(), script, reason, error.to_string())
            }));
        }
        endings
    }

    fn ready(&self) -> bool {
        self.0.pool.status().ready > 0
    }

    fn runs(&self, subject: &str, name: &str) -> Vec<Record> {
        self.0.records.of(subject, name)
    }

    fn page_data(&self) -> pages::PageData {
        let snapshot = self.0.catalog.current();
        let rejected = snapshot.problems.iter().filter(|problem| problem.rejects);
        pages::PageData {
            scripts: snapshot.index.list().to_vec(),
            rejected: rejected.map(ToString::to_string).collect(),
        }
    }
}

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
    if let Some(text) = config.unavailable() {
        return fail(&StartError::Other(text.to_owned()));
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
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
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

async fn run(config: Config) -> Result<(), StartError> {
    let config = Rc::new(config);
    let core = build(&config).await?;
    // Two stages: first no new messages come in; then, when all are answered, the ways out close.
    let (intake, end) = (Rc::new(Stop::default()), Rc::new(Stop::default()));
    let mut doors = Doors::default();
    let nats_address = open_nats(&core, &intake, &end, &mut doors).await?;
    let admin_address = open_pages(&core, &intake, &mut doors).await?;
    let http_address = open_http(&core, &intake, &mut doors).await?;
    let status = core.pool.status();
    tracing::info!(
        http = %http_address, nats = nats_address, admin = admin_address.map(|address| address.to_string()),
        scripts = core.catalog.current().index.list().len(),
        workers = status.ready, took_ms = core.started.elapsed().as_millis(), version = crate::VERSION, "ready"
    );
    let manager = ServiceManager::from_env(&|name| std::env::var(name).ok());
    manager.ready();
    tokio::select! {
        ended = wait_for_end(&core) => ended?,
        () = manager.keep_telling() => {}
    }
    manager.stopping();
    tracing::info!("stopping: no new messages, finishing what runs");
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
        if let Some(Door::External(client)) = core.door() {
            let _ = client.flush().await;
        }
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
    tracing::info!("stopped");
    Ok(())
}

/// Workers first, since they check the scripts; then the scripts.
async fn build(config: &Rc<Config>) -> Result<Rc<Core>, StartError> {
    let started = Instant::now();
    let (workers, queue) = (config.workers, config.queue);
    let wasm = worker_binary(config, "msgscript-worker-wasm").ok();
    let settings = pool::Settings { workers, queue, plan: spawn_plan(config)?, wasm };
    let pool = Pool::start(settings).map_err(|error| StartError::other("cannot start workers", error))?;
    pool.ready().await.map_err(StartError::Sandbox)?;
    let net = Rc::new(Net::default());
    let core = Rc::new(Core {
        policies: RefCell::new(Policies::new(config)),
        tenancy: watch::Sender::new(Rc::new(Tenancy::new(&config.tables.tenants))),
        config: RefCell::new(config.clone()),
        catalog: Catalog::default(),
        pool: pool.clone(),
        modules: modules(config, &pool),
        podman: Podman::start(config.podman.clone(), config.containers),
        rates: RefCell::default(),
        records: Records::default(),
        secrets: Secrets::default(),
        http: Client::new(net.clone()),
        etcd: Etcd::default(),
        sql: Sql::new(net.clone(), pool.clone()),
        net,
        door: OnceCell::new(),
        answering: Rc::new(()),
        started,
    });
    core.admit_network(config);
    let as_powers: Rc<dyn Powers> = core.clone();
    pool.set_powers(Rc::downgrade(&as_powers));
    read_scripts(&core).await?;
    tokio::task::spawn_local(expect_wasm(core.clone()));
    Ok(core)
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

/// Has the pool hold a worker ready as soon as there are WebAssembly functions.
async fn expect_wasm(core: Rc<Core>) {
    let mut changes = core.catalog.changes();
    loop {
        let is_wasm = |script: &Rc<Script>| script.executor == Executor::Wasm;
        if core.catalog.current().index.list().iter().any(is_wasm) {
            return core.pool.expect_wasm();
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
    let store =
        file::FileStore::open(config.folders.clone(), core.catalog.clone(), core.tenancy.subscribe(), check)
            .await;
    let store = store.map_err(|error| StartError::other("cannot read the scripts", error))?;
    tokio::task::spawn_local(store.follow());
    Ok(())
}

/// A signal to all doors.
#[derive(Default)]
struct Stop {
    stopped: std::cell::Cell<bool>,
    told: Notify,
}

impl Stop {
    fn set(&self) {
        self.stopped.set(true);
        self.told.notify_waiters();
    }

    async fn wait(self: Rc<Self>) {
        let told = self.told.notified();
        if !self.stopped.get() {
            told.await;
        }
    }
}

/// What to wait for at the end, by stage.
#[derive(Default)]
struct Doors {
    intake: Vec<LocalBoxFuture<'static, ()>>,
    end: Vec<LocalBoxFuture<'static, ()>>,
}

async fn open_nats(
    core: &Rc<Core>,
    intake: &Rc<Stop>,
    end: &Rc<Stop>,
    doors: &mut Doors,
) -> Result<String, StartError> {
    let config = core.config();
    let (door, address) = match &config.nats {
        Nats::External { url, creds, ca } => {
            let client = connect(url, creds.as_deref(), ca.as_deref()).await?;
            (Door::External(client), redacted(url))
        }
        Nats::Embedded(address) => {
            let listener = listen(&address.to_string(), "the embedded NATS server").await?;
            let address = listener.local_addr().map_err(|error| StartError::other("embedded NATS", error))?;
            let settings = hub::Settings {
                max_payload: usize::try_from(config.limits.payload).unwrap_or(usize::MAX),
                own_group: config.queue_group.clone(),
                ..hub::Settings::default()
            };
            let hub = hub::Hub::new(settings);
            hub.set_users(config.tables.users.clone());
            let serving = tokio::task::spawn_local(server::serve(listener, hub.clone(), end.clone().wait()));
            doors.end.push(Box::pin(async move {
                let _ = serving.await;
            }));
            core.net.listens(address);
            (Door::Embedded(hub), address.to_string())
        }
    };
    // Set once, here.
    let _ = core.door.set(door.clone());
    let subscriptions = Subscriptions::new(door, &config.queue_group);
    subscriptions.set(core, core.patterns()).await;
    let (core, stop) = (core.clone(), intake.clone());
    let following = tokio::task::spawn_local(async move {
        let mut changes = core.catalog.changes();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                () = stop.clone().wait() => break,
            }
            subscriptions.set(&core, core.patterns()).await;
        }
        // Leaves the queue groups: others get the messages from now on.
        subscriptions.set(&core, Vec::new()).await;
    });
    doors.intake.push(Box::pin(async move {
        let _ = following.await;
    }));
    Ok(address)
}

async fn connect(
    url: &str,
    creds: Option<&Path>,
    ca: Option<&Path>,
) -> Result<async_nats::Client, StartError> {
    let mut options = async_nats::ConnectOptions::new().name("msgscript-broker").retry_on_initial_connect();
    if let Some(path) = creds {
        let read = options.credentials_file(path).await;
        options =
            read.map_err(|error| StartError::other(&format!("nats-creds {}", path.display()), error))?;
    }
    if let Some(path) = ca {
        options = options.add_root_certificates(path.to_owned()).require_tls(true);
    }
    options = options.event_callback(|event| async move { tracing::info!(%event, "NATS connection") });
    let mut servers = Vec::new();
    for url in url.split(',') {
        let (server, login) = without_login(url.trim());
        options = match login {
            None => options,
            Some((token, None)) => options.token(token),
            Some((user, Some(password))) => options.user_and_password(user, password),
        };
        servers.push(server);
    }
    options
        .connect(servers)
        .await
        .map_err(|error| StartError::other(&format!("NATS at {}", redacted(url)), error))
}

/// A URL without its login, which the client does not look at there: user and password, or a token.
fn without_login(url: &str) -> (String, Option<(String, Option<String>)>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let Some((login, host)) = rest.rsplit_once('@') else { return (url.to_owned(), None) };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (decoded(user), Some(decoded(password))),
        None => (decoded(login), None),
    };
    (format!("{scheme}://{host}"), Some((user, password)))
}

/// URLs without user and password.
fn redacted(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("nats", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{host}")
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

async fn listen(address: &str, what: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::other(&format!("{what} cannot listen on {address}"), error))
}

fn http_settings(config: &Config) -> Result<http::HttpSettings, StartError> {
    let mut settings = http::HttpSettings::new(|text| units::parse_duration(text).ok());
    settings.max_payload = usize::try_from(config.limits.payload).unwrap_or(usize::MAX);
    settings.admin_token = config.admin_token_file.as_deref().map(read_token).transpose()?;
    if config.admin_bind.is_some() {
        settings.pages = http::Pages::Elsewhere;
    }
    Ok(settings)
}

/// Opens the listener that the operator's pages have of their own, if they do.
async fn open_pages(
    core: &Rc<Core>,
    intake: &Rc<Stop>,
    doors: &mut Doors,
) -> Result<Option<std::net::SocketAddr>, StartError> {
    let config = core.config();
    let Some(address) = &config.admin_bind else { return Ok(None) };
    let settings = http::HttpSettings { pages: http::Pages::Only, ..http_settings(&config)? };
    let listener = listen(&address.to_string(), "the operator's pages").await?;
    let address = listener.local_addr().map_err(|error| StartError::other("the operator's pages", error))?;
    core.net.listens(address);
    doors.intake.push(serve_http(core, listener, settings, intake));
    Ok(Some(address))
}

async fn open_http(
    core: &Rc<Core>,
    intake: &Rc<Stop>,
    doors: &mut Doors,
) -> Result<std::net::SocketAddr, StartError> {
    let config = core.config();
    let settings = http_settings(&config)?;
    let listener = listen(&config.http.to_string(), "HTTP").await?;
    let address = listener.local_addr().map_err(|error| StartError::other("HTTP", error))?;
    core.net.listens(address);
    doors.intake.push(serve_http(core, listener, settings, intake));
    Ok(address)
}

/// The operator's token: the file's text without white space around it.
fn read_token(path: &Path) -> Result<Rc<[u8]>, StartError> {
    let what = format!("admin-token-file {}", path.display());
    let text = std::fs::read(path).map_err(|error| StartError::other(&what, error))?;
    match text.trim_ascii() {
        [] => Err(StartError::other(&what, "the file is empty")),
        token => Ok(token.into()),
    }
}

fn serve_http(
    core: &Rc<Core>,
    listener: TcpListener,
    settings: http::HttpSettings,
    stop: &Rc<Stop>,
) -> LocalBoxFuture<'static, ()> {
    let front = Rc::new(Front(core.clone()));
    let serving = tokio::task::spawn_local(http::serve(listener, front, settings, stop.clone().wait()));
    Box::pin(async move {
        let _ = serving.await;
    })
}

/// Until SIGTERM or SIGINT. SIGHUP reads the configuration again.
async fn wait_for_end(core: &Rc<Core>) -> Result<(), StartError> {
    let stream = |kind| signal(kind).map_err(|error: io::Error| StartError::other("signals", error));
    let mut terminate = stream(SignalKind::terminate())?;
    let mut interrupt = stream(SignalKind::interrupt())?;
    let mut hangup = stream(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(core),
        }
    }
}

/// Takes over what can change while running (limits of runs, the form of replies); the rest needs a new
/// start. An invalid configuration changes nothing.
fn reload(core: &Core) {
    let env = |name: &str| std::env::var(name).ok();
    match config::start(std::env::args_os(), &env) {
        Ok(Start::Serve(config)) if config.unavailable().is_none() => {
            core.configure(*config);
            tracing::info!("configuration reloaded");
        }
        Ok(_) => tracing::error!("configuration not reloaded: it asks for what this version does not do"),
        Err(error) => tracing::error!(%error, "configuration not reloaded: the old one stays in force"),
    }
}
