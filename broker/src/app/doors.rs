//! Opens the doors (NATS, HTTP, the operator's pages), and closes them in two stages: first no new messages
//! come in; then, when all are answered, the ways out close.

use std::path::Path;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::front::Front;
use super::{Core, StartError};
use crate::config::{Config, Nats};
use crate::control::{Control, Place};
use crate::ingress::nats::{Door, Subscriptions};
use crate::ingress::{discovery, http};
use crate::nats::{hub, server};
use crate::streams::Streams;
use crate::timers::Timers;
use crate::units;

/// A signal to all doors.
#[derive(Default)]
pub(super) struct Stop {
    stopped: std::cell::Cell<bool>,
    told: Notify,
}

impl Stop {
    pub(super) fn set(&self) {
        self.stopped.set(true);
        self.told.notify_waiters();
    }

    pub(super) async fn wait(self: Rc<Self>) {
        let told = self.told.notified();
        if !self.stopped.get() {
            told.await;
        }
    }
}

/// What to wait for at the end, by stage.
#[derive(Default)]
pub(super) struct Doors {
    pub(super) intake: Vec<LocalBoxFuture<'static, ()>>,
    pub(super) end: Vec<LocalBoxFuture<'static, ()>>,
}

pub(super) async fn open_nats(
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
    let telling = discovery::serve(core.clone(), door.clone(), intake.clone().wait());
    let telling = tokio::task::spawn_local(telling);
    doors.intake.push(Box::pin(async move {
        let _ = telling.await;
    }));
    let subscriptions = Subscriptions::new(door, &config.queue_group, None);
    let mut tenancy = core.tenancy.subscribe();
    subscriptions.set(core, core.patterns()).await;
    core.accounts.follow(core).await;
    let mut streams = Streams::new();
    streams.follow(core);
    let mut timers = Timers::default();
    timers.follow(core);
    let (core, stop) = (core.clone(), intake.clone());
    let following = tokio::task::spawn_local(async move {
        let mut changes = core.catalog.changes();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                changed = tenancy.changed() => if changed.is_err() { break },
                () = stop.clone().wait() => break,
            }
            subscriptions.set(&core, core.patterns()).await;
            core.accounts.follow(&core).await;
            streams.follow(&core);
            timers.follow(&core);
        }
        // Leaves the queue groups: others get the messages from now on.
        subscriptions.set(&core, Vec::new()).await;
        core.accounts.leave(&core).await;
        futures_util::future::join(streams.leave(), timers.leave()).await;
    });
    doors.intake.push(Box::pin(async move {
        let _ = following.await;
    }));
    Ok(address)
}

pub(super) async fn connect(
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
    let (options, servers) = nats_options(options, url);
    options
        .connect(servers)
        .await
        .map_err(|error| StartError::other(&format!("NATS at {}", redacted(url)), error))
}

/// The servers of comma-separated URLs, and the options with the login that is in them.
pub(crate) fn nats_options(
    mut options: async_nats::ConnectOptions,
    url: &str,
) -> (async_nats::ConnectOptions, Vec<String>) {
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
    (options, servers)
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
pub(crate) fn redacted(urls: &str) -> String {
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
pub(super) async fn open_pages(
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

pub(super) async fn open_http(
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

/// Opens the control socket. One that nobody asked for is not worth a broker that does not start.
pub(super) fn open_control(core: &Core, port: u16) -> Result<Option<Control>, StartError> {
    let place = &core.config().control;
    match (Control::open(place, port), place) {
        (Ok(control), _) => Ok(control),
        (Err(error), Place::At(path)) => {
            Err(StartError::other(&format!("the control socket {}", path.display()), error))
        }
        (Err(error), _) => {
            tracing::warn!(%error, "there is no control socket: see --control");
            Ok(None)
        }
    }
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
