//! Keeps a client connected: finds a server, works with it, finds the next.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use super::dial::{Dialed, Papers, dial, write};
use super::link::{Link, Stop};
use super::servers::{Server, Servers};
use super::shared::{Shared, State};
use crate::nats::hub::random_seed;

struct Keeper {
    shared: Rc<Shared>,
    servers: RefCell<Servers>,
    papers: Papers,
    /// For the log.
    whose: String,
}

/// Works until nobody uses the client any longer.
pub(super) async fn keep(shared: Rc<Shared>, servers: Servers, papers: Papers, whose: String) {
    let keeper = Keeper { shared, servers: RefCell::new(servers), papers, whose };
    let mut next = None;
    loop {
        let dialed = match next.take() {
            Some(dialed) => dialed,
            None => tokio::select! {
                dialed = keeper.reach(None) => dialed,
                () = keeper.shared.until(State::Closing) => return,
            },
        };
        match keeper.work(dialed).await {
            ControlFlow::Continue(dialed) => next = dialed,
            ControlFlow::Break(()) => return,
        }
    }
}

impl Keeper {
    /// Connects to some server, however long it takes; not to `but`, if given.
    async fn reach(&self, but: Option<&Server>) -> Dialed {
        let mut told = String::new();
        loop {
            let mut round = self.servers.borrow().round(but, random_seed).into_iter();
            loop {
                let wait = self.servers.borrow_mut().wait(random_seed());
                tokio::time::sleep(wait).await;
                let Some(server) = round.next() else { break };
                let error = match dial(&server, &self.papers).await {
                    Ok(dialed) => {
                        self.servers.borrow_mut().connected(&server);
                        return dialed;
                    }
                    Err(error) => error,
                };
                self.servers.borrow_mut().failed(&server);
                let (server, whose) = (server.address.to_string(), &*self.whose);
                let text = format!("{server}: {error}");
                if text == told {
                    tracing::debug!(server, whose, error, "the NATS server cannot be reached");
                } else {
                    tracing::warn!(server, whose, error, "the NATS server cannot be reached");
                    told = text;
                }
            }
        }
    }

    /// Works with a server until the connection ends; gives the next one if there is one already. A server that is
    /// about to leave is left for another one first, so that there is always one that sends us messages.
    async fn work(&self, dialed: Dialed) -> ControlFlow<(), Option<Dialed>> {
        let version = dialed.info.version.clone().unwrap_or_default();
        let mut link = Link::new(dialed, &self.shared, &self.servers);
        let (server, whose) = (link.server.address.to_string(), &*self.whose);
        let max_payload = self.shared.max_payload.get();
        tracing::info!(server, whose, version, max_payload, "NATS connected");
        let (mut lame, mut next) = (false, None);
        let (own, began) = (link.server.clone(), Instant::now());
        let stop = loop {
            let elsewhere = async {
                let mut dialed = self.reach(Some(&own)).await;
                let (lines, known) = self.shared.introduction(&[]);
                write(&mut dialed.stream, &lines).await.map(|()| Dialed { announced: known, ..dialed })
            };
            tokio::select! {
                stop = link.run() => match stop {
                    Stop::Lame => {
                        tracing::info!(server, whose, "the NATS server is about to leave (lame duck mode)");
                        lame = true;
                    }
                    stop => break stop,
                },
                dialed = elsewhere, if lame && next.is_none() => {
                    if let Ok(dialed) = dialed {
                        next = Some(dialed);
                        self.shared.leave();
                    }
                }
            }
        };
        let lost = self.shared.lost();
        self.servers.borrow_mut().lost(&own, began.elapsed());
        match stop {
            Stop::Closed => return ControlFlow::Break(()),
            Stop::Gone(error) => tracing::warn!(server, whose, error, lost, "NATS connection lost"),
            Stop::Left | Stop::Lame => tracing::info!(server, whose, "NATS connection left for another"),
        }
        ControlFlow::Continue(next)
    }
}
