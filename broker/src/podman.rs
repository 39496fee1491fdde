//! The other runner: functions in containers, over Podman's socket.
//!
//! Takes invocations, gives their endings. A bounded number of containers runs at a time, fair by tenant;
//! each is removed whatever happens, if need be by the next broker's [`sweep`]. A Podman that is not there
//! costs nothing but the functions that need it.

pub mod client;
pub mod container;
pub mod description;
mod fault;
pub mod gate;
pub mod images;
pub mod mount;
pub mod owner;
mod run;
pub mod socket;
pub mod spec;
pub mod sweep;
pub mod wire;

use std::cell::Cell;
use std::rc::Rc;

use msgscript_proto::message::Limits;
use tokio::sync::{Notify, oneshot};

use crate::invocation::{Ending, Invocation};
use crate::policy::Policy;
use client::Client;
use container::Container;
use gate::Gate;
use images::Images;
use owner::Owner;
use socket::Socket;

/// The runner.
#[derive(Debug)]
pub struct Podman {
    client: Client,
    images: Images,
    gate: Rc<Gate>,
    owner: Owner,
    closing: Cell<bool>,
    /// Told when it closes, when an invocation ends and when a container is gone.
    changed: Notify,
    running: Cell<usize>,
    leaving: Cell<usize>,
    /// Whether what earlier brokers left has been looked for.
    swept: Cell<bool>,
}

impl Podman {
    /// A runner of so many containers at a time. Looks for what earlier brokers left behind.
    #[must_use]
    pub fn start(socket: Socket, containers: usize) -> Rc<Podman> {
        let client = Client::new(socket);
        let podman = Rc::new(Podman {
            images: Images::new(client.clone()),
            client,
            gate: Gate::new(containers),
            owner: Owner::this(),
            closing: Cell::new(false),
            changed: Notify::new(),
            running: Cell::new(0),
            leaving: Cell::new(0),
            swept: Cell::new(false),
        });
        podman.sweep();
        podman
    }

    /// Runs a script in its container; ends with it. Dropping the receiver does not stop the run.
    pub fn run(
        self: &Rc<Self>,
        invocation: Rc<Invocation>,
        policy: Rc<Policy>,
        limits: Limits,
    ) -> oneshot::Receiver<Ending> {
        let (reply, ending) = oneshot::channel();
        self.sweep();
        let count = Count::new(self, |podman| &podman.running);
        let run = run::Run { podman: self.clone(), invocation, policy, limits };
        tokio::task::spawn_local(async move {
            let ending = run.conduct().await;
            // Whoever waited may be gone; the run has ended all the same.
            drop(reply.send(ending));
            drop(count);
        });
        ending
    }

    /// Removes what earlier brokers left behind, once; if Podman is not there, before a later run.
    fn sweep(self: &Rc<Self>) {
        if self.swept.replace(true) {
            return;
        }
        let podman = self.clone();
        tokio::task::spawn_local(async move {
            match sweep::sweep(&podman.client).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "removed containers that an earlier broker left behind"),
                Err(error) => {
                    podman.swept.set(false);
                    tracing::debug!(%error, "no containers looked for");
                }
            }
        });
    }

    async fn removed(self: Rc<Self>, container: Container) {
        let count = Count::new(&self, |podman| &podman.leaving);
        container.remove().await;
        drop(count);
    }

    /// Takes no more invocations; those there are end as cancelled.
    pub fn close(&self) {
        self.closing.set(true);
        self.changed.notify_waiters();
    }

    async fn closed(&self) {
        self.until(|podman| podman.closing.get()).await;
    }

    /// Waits until no invocation runs or waits.
    pub async fn idle(&self) {
        self.until(|podman| podman.running.get() == 0).await;
    }

    /// Waits until no container is left.
    pub async fn gone(&self) {
        self.until(|podman| podman.running.get() + podman.leaving.get() == 0).await;
    }

    async fn until(&self, test: impl Fn(&Podman) -> bool) {
        loop {
            let changed = self.changed.notified();
            if test(self) {
                return;
            }
            changed.await;
        }
    }
}

/// Counts something for as long as it lives.
struct Count {
    podman: Rc<Podman>,
    what: fn(&Podman) -> &Cell<usize>,
}

impl Count {
    fn new(podman: &Rc<Podman>, what: fn(&Podman) -> &Cell<usize>) -> Count {
        what(podman).set(what(podman).get() + 1);
        Count { podman: podman.clone(), what }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let cell = (self.what)(&self.podman);
        cell.set(cell.get() - 1);
        self.podman.changed.notify_waiters();
    }
}
