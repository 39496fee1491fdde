//! Opens the doors (NATS, HTTP, the operator's pages), and closes them in two stages: first no new messages
//! come in; then, when all are answered, the ways out close.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

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
use crate::upstream::address::redacted;
use crate::upstream::{self, Upstream};

/// How long the start waits for an external NATS server; without one, the rest is served.
const PATIENCE: Duration = Duration::from_secs(2);

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
            let door = connect(url, creds.clone(), ca.clone(), "")?;
            if !door.connected(PATIENCE).await {
                tracing::warn!(
                    nats = redacted(url),
                    "there is no NATS server yet: messages come when it is there"
                );
            }
            (door, redacted(url))
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

/// A client of an external server. It connects when it can.
pub(super) fn connect(
    urls: &str,
    creds: Option<PathBuf>,
    ca: Option<PathBuf>,
    whose: &str,
) -> Result<Door, StartError> {
    let options = upstream::Options { urls: urls.to_owned(), creds, ca, whose: whose.to_owned() };
    let opened = Upstream::open(options);
    opened.map(Door::External).map_err(|error| StartError::other("NATS", error))
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
