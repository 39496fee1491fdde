//! The lease under which a broker holds its locks: kept alive, and known to be lost when it may be.
//!
//! A lease counts as lost from the moment at which etcd may have ended it, by this machine's clock, which goes on
//! while the process is stopped; so a broker that was stopped for too long knows before it does anything else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use etcd_client::{Client, Error};
use tokio::sync::Notify;

use crate::etcd::Link;

/// How long a lease lives without a word, in seconds: a broker that dies frees its locks after this.
pub const LIFE: u64 = 5;

/// How often it is renewed.
const RENEW: Duration = Duration::from_millis(LIFE * 1000 / 5);

/// A lease.
#[derive(Debug)]
pub struct Lease {
    id: i64,
    until: Cell<Instant>,
    over: Cell<bool>,
    told: Notify,
    /// The number of the last key under it.
    last: Cell<u64>,
}

impl Lease {
    /// A number that no key under it has had.
    #[must_use]
    pub fn next(&self) -> u64 {
        let next = self.last.get() + 1;
        self.last.set(next);
        next
    }

    /// Whether etcd cannot have ended it yet.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.over.get() && Instant::now() < self.until.get()
    }

    /// Its id in etcd.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    fn end(&self) {
        self.over.set(true);
        self.told.notify_waiters();
    }

    /// Ends when the lease is lost.
    pub async fn lost(&self) {
        while !self.over.get() {
            let told = self.told.notified();
            if self.over.get() {
                return;
            }
            // Even if nobody renews it any more.
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep_until(self.until.get().into()) => if !self.is_good() { return },
            }
        }
    }
}

/// The broker's lease: granted when it is first needed, and a new one after a loss.
pub struct Leases {
    link: Link,
    current: RefCell<Option<Rc<Lease>>>,
    /// One asks for a lease, the others wait for what it gets.
    asking: tokio::sync::Mutex<()>,
}

impl Leases {
    /// Leases of this etcd.
    #[must_use]
    pub fn new(link: Link) -> Leases {
        Leases { link, current: RefCell::default(), asking: tokio::sync::Mutex::new(()) }
    }

    fn good(&self) -> Option<Rc<Lease>> {
        self.current.borrow().clone().filter(|lease| lease.is_good())
    }

    /// A lease that is good, and a client.
    ///
    /// # Errors
    /// When etcd gives none.
    pub async fn get(self: &Rc<Self>) -> Result<(Rc<Lease>, Client), Error> {
        let mut client = self.link.client().await?;
        if let Some(lease) = self.good() {
            return Ok((lease, client));
        }
        let _asking = self.asking.lock().await;
        if let Some(lease) = self.good() {
            return Ok((lease, client));
        }
        let asked = Instant::now();
        let granted = client.lease_grant(i64::try_from(LIFE).unwrap_or(i64::MAX), None).await?;
        let until = asked + Duration::from_secs(LIFE);
        let lease = Rc::new(Lease {
            id: granted.id(),
            until: Cell::new(until),
            over: Cell::new(false),
            told: Notify::new(),
            last: Cell::new(0),
        });
        if let Some(old) = self.current.borrow_mut().replace(lease.clone()) {
            old.end();
        }
        tokio::task::spawn_local(keep(lease.clone(), client.clone()));
        Ok((lease, client))
    }

    /// Gives the lease back, and with it every lock.
    pub async fn close(&self) {
        let Some(lease) = self.current.borrow_mut().take() else { return };
        lease.end();
        if let Ok(mut client) = self.link.client().await {
            let _ = client.lease_revoke(lease.id).await;
        }
    }
}

/// Renews a lease until it is lost or given back.
async fn keep(lease: Rc<Lease>, mut client: Client) {
    while lease.is_good() {
        let left = lease.until.get().saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, renew(&lease, &mut client)).await {
            Ok(Ok(())) => {}
            // etcd says that it is over.
            Ok(Err(None)) => break,
            Ok(Err(Some(error))) => {
                tracing::debug!(%error, "the lease of locks is not renewed yet");
                tokio::time::sleep(RENEW / 4).await;
            }
            Err(_) => break,
        }
    }
    if !lease.over.get() {
        tracing::warn!("the lease of locks is lost: runs that hold one are ended");
        lease.end();
        // It may live on where this machine's clock does not reach: nobody is to wait for it.
        let _ = tokio::time::timeout(Duration::from_secs(LIFE), client.lease_revoke(lease.id)).await;
    }
}

/// Renews over one stream, as long as that works. An error without a text: the lease is no more.
async fn renew(lease: &Lease, client: &mut Client) -> Result<(), Option<Error>> {
    let (mut keeper, mut answers) = client.lease_keep_alive(lease.id).await.map_err(Some)?;
    loop {
        let asked = Instant::now();
        keeper.keep_alive().await.map_err(Some)?;
        match answers.message().await.map_err(Some)? {
            Some(answer) if answer.ttl() > 0 => {
                if !lease.is_good() {
                    return Err(None);
                }
                let life = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0));
                lease.until.set(asked + life);
            }
            Some(_) => return Err(None),
            None => return Ok(()),
        }
        tokio::time::sleep(RENEW).await;
        if lease.over.get() {
            return Err(None);
        }
    }
}
