//! Locks of scripts: at most one run at a time of those that name the same lock, in the whole cluster.
//!
//! Takes a name and a deadline, gives a [`Held`] that lets go when it is dropped. Two queues, each first come,
//! first served: in this broker, and, with an etcd, among brokers, which stand in line by keys
//! `msgscript/locks/<name>/<lease>-<number>`. The lease is kept alive; a broker that dies frees its locks within
//! [`lease::LIFE`] seconds. A run whose lease is lost cannot write to etcd any more, since each of its writes
//! names the key under which it holds the lock ([`Held::guard`]); its other effects happen at least once.

pub mod lease;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use etcd_client::{
    Client, EventType, GetOptions, GetResponse, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    TxnResponse, WatchOptions,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::catalog::header::Lock;
use crate::catalog::{LOCKS, Script};
use crate::etcd::{Link, text};
use crate::host::etcd::Guard;
use crate::invocation::DEFAULT_TENANT;
use lease::{Lease, Leases};

/// How long one request to hand a lock back may take.
const HAND_BACK: Duration = Duration::from_secs(2);

/// Pause before etcd is asked again after it failed.
const RETRY: Duration = Duration::from_millis(200);

/// Names that are remembered before those that nobody wants are forgotten.
const MOST_NAMES: usize = 1024;

/// Why a lock was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Its turn did not come in time.
    #[error("the lock `{0}` was held by others until the run's time was over")]
    Late(String),
    /// etcd did not answer in time.
    #[error("the lock `{0}` was not to be had: {1}")]
    Etcd(String, String),
}

/// The locks of one broker.
pub struct Locks {
    /// Who waits in this broker, by name.
    queues: RefCell<HashMap<String, Weak<Semaphore>>>,
    /// With an etcd, the cluster's.
    cluster: Option<Rc<Leases>>,
}

/// The lock that a script asks for, as the cluster knows it. A named tenant's locks are its own.
#[must_use]
pub fn name_of(script: &Script) -> Option<String> {
    let name = match script.lock.as_ref()? {
        Lock::Script => format!("{}/{}", script.subject, script.name),
        Lock::Key(key) => key.to_string(),
    };
    Some(if &*script.tenant == DEFAULT_TENANT { name } else { format!("@{}/{name}", script.tenant) })
}

/// A lock's key in etcd, before the holder's lease. One name's keys are never below another's.
fn prefix(name: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(name, NOT_IN_KEYS);
    format!("{LOCKS}{encoded}/")
}

/// What is encoded in keys.
const NOT_IN_KEYS: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'/').add(b'%');

impl Locks {
    /// Locks among the brokers of this etcd; without one, in this broker.
    #[must_use]
    pub fn new(endpoints: Option<&[String]>) -> Locks {
        let cluster = endpoints.map(|endpoints| Rc::new(Leases::new(Link::new(endpoints))));
        Locks { queues: RefCell::default(), cluster }
    }

    /// Waits for a lock.
    ///
    /// # Errors
    /// When it cannot be had by the deadline.
    pub async fn take(&self, name: String, deadline: Instant) -> Result<Held, LockError> {
        let queue = self.queue(&name);
        let turn = tokio::time::timeout_at(deadline.into(), queue.acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else { return Err(LockError::Late(name)) };
        let Some(leases) = &self.cluster else { return Ok(Held { name, turn: Some(turn), place: None }) };
        let mut why = None;
        let place = tokio::time::timeout_at(deadline.into(), stand(leases, &name, &mut why)).await;
        match (place, why) {
            (Ok(place), _) => Ok(Held { name, turn: Some(turn), place: Some(place) }),
            (Err(_), Some(why)) => Err(LockError::Etcd(name, why)),
            (Err(_), None) => Err(LockError::Late(name)),
        }
    }

    fn queue(&self, name: &str) -> Arc<Semaphore> {
        let mut queues = self.queues.borrow_mut();
        if let Some(queue) = queues.get(name).and_then(Weak::upgrade) {
            return queue;
        }
        if queues.len() >= MOST_NAMES {
            queues.retain(|_, queue| queue.strong_count() > 0);
        }
        let queue = Arc::new(Semaphore::new(1));
        queues.insert(name.to_owned(), Arc::downgrade(&queue));
        queue
    }

    /// Hands all locks back; nothing holds one any more.
    pub async fn close(&self) {
        if let Some(leases) = &self.cluster {
            leases.close().await;
        }
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Held {
    name: String,
    turn: Option<OwnedSemaphorePermit>,
    place: Option<Place>,
}

impl Held {
    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a write to etcd must name, so that it counts only while the lock is held. None without etcd.
    #[must_use]
    pub fn guard(&self) -> Option<Guard> {
        self.place.as_ref().map(|place| Guard { key: place.key.clone().into_bytes(), created: place.created })
    }

    /// Ends when the lock is lost, which it never is without etcd.
    pub async fn lost(&self) {
        match &self.place {
            Some(place) => place.lease.lost().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The next in this broker waits until this one's key is gone: others' turns come first.
        let turn = self.turn.take();
        if let Some(place) = self.place.take() {
            tokio::task::spawn_local(async move {
                place.leave().await;
                drop(turn);
            });
        }
    }
}

/// A place in the line for a lock: a key that lives as long as its lease.
#[derive(Debug)]
struct Place {
    key: String,
    created: i64,
    lease: Rc<Lease>,
    client: ClientHandle,
}

/// A client, which has no `Debug` of its own.
struct ClientHandle(Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Place {
    /// Takes the key away. Others wait for that, and the lease lives on with the broker: so for as long as it takes.
    async fn leave(mut self) {
        let client = &mut self.client.0;
        while self.lease.is_good() {
            match tokio::time::timeout(HAND_BACK, client.delete(&*self.key, None)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => tracing::debug!(error = text(&error), "a lock is not handed back yet"),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Stands in line until the lock is ours, however often etcd fails; `why` says how it did last.
async fn stand(leases: &Rc<Leases>, name: &str, why: &mut Option<String>) -> Place {
    loop {
        let result = match leases.get().await {
            Ok((lease, client)) => wait_turn(lease, client, name).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(Some(place)) => return place,
            // The key went with its lease: another try.
            Ok(None) => {}
            Err(error) => *why = Some(text(&error)),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A place that may not be ours yet. When the wait is given up it is left, but not before the request for it
/// was answered: a key that came after that would stay.
struct Waiting {
    place: Option<Place>,
    asked: Option<JoinHandle<Result<TxnResponse, etcd_client::Error>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let asked = self.asked.take();
        if let Some(place) = self.place.take() {
            tokio::task::spawn_local(async move {
                if let Some(asked) = asked {
                    let _ = asked.await;
                }
                place.leave().await;
            });
        }
    }
}

impl Waiting {
    /// Asks for a place, under a key that nobody else ever has. Gives the first in line.
    async fn ask(
        &mut self,
        mut client: Client,
        lease: i64,
        first: TxnOp,
    ) -> Result<Option<(Vec<u8>, i64)>, etcd_client::Error> {
        let Some(place) = &mut self.place else { return Ok(None) };
        let put = TxnOp::put(&*place.key, "", Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().and_then([put, first]);
        let asked = self.asked.insert(tokio::task::spawn_local(async move { client.txn(txn).await }));
        let answer = asked.await;
        self.asked = None;
        let Ok(answer) = answer else { return Ok(None) };
        let answer = answer?;
        place.created = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(got) => owner_of(&got),
            _ => None,
        }))
    }
}

async fn wait_turn(
    lease: Rc<Lease>,
    client: Client,
    name: &str,
) -> Result<Option<Place>, etcd_client::Error> {
    let prefix = prefix(name);
    let (id, key) = (lease.id(), format!("{prefix}{:016x}-{}", lease.id(), lease.next()));
    let mut asking = client.clone();
    let first =
        GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend).with_limit(1);
    let place = Place { key: key.clone(), created: 0, lease, client: ClientHandle(client.clone()) };
    let mut waiting = Waiting { place: Some(place), asked: None };
    let mut owner = waiting.ask(client, id, TxnOp::get(prefix.clone(), Some(first.clone()))).await?;
    let created = waiting.place.as_ref().map_or(0, |place| place.created);
    loop {
        if owner.is_some_and(|(holder, at)| holder == key.as_bytes() && at == created) {
            return Ok(waiting.place.take());
        }
        // The one before us in line; when it is gone, we look again. If there is none, our own key is gone.
        let before = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(1)
            .with_max_create_revision(created - 1);
        let answer = asking.get(prefix.clone(), Some(before)).await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        owner = match owner_of(&answer) {
            Some((before, _)) => {
                wait_gone(&mut asking, before, revision + 1).await?;
                owner_of(&asking.get(prefix.clone(), Some(first.clone())).await?)
            }
            None => {
                let now = owner_of(&asking.get(prefix.clone(), Some(first.clone())).await?);
                if now.as_ref().is_none_or(|(holder, _)| holder != key.as_bytes()) {
                    return Ok(None);
                }
                now
            }
        };
    }
}

/// The first key of an answer, and the revision that made it.
fn owner_of(answer: &GetResponse) -> Option<(Vec<u8>, i64)> {
    answer.kvs().first().map(|pair| (pair.key().to_vec(), pair.create_revision()))
}

async fn wait_gone(client: &mut Client, key: Vec<u8>, from: i64) -> Result<(), etcd_client::Error> {
    let mut changes = client.watch(key, Some(WatchOptions::new().with_start_revision(from))).await?;
    while let Some(answer) = changes.message().await? {
        let gone = answer.events().iter().any(|event| event.event_type() == EventType::Delete);
        if gone || answer.canceled() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys() {
        let mut script = Script::for_test("funcs.a", "n");
        assert_eq!(name_of(&script), None);
        script.lock = Some(Lock::Script);
        assert_eq!(name_of(&script).as_deref(), Some("funcs.a/n"));
        script.lock = Some(Lock::Key("jobs".into()));
        assert_eq!(name_of(&script).as_deref(), Some("jobs"));
        script.tenant = "acme".into();
        assert_eq!(name_of(&script).as_deref(), Some("@acme/jobs"));
        assert_eq!(prefix("funcs.a/n%"), "msgscript/locks/funcs.a%2Fn%25/");
    }

    #[tokio::test]
    async fn turns_within_a_broker() {
        let local = tokio::task::LocalSet::new();
        let turns = async {
            let locks = Rc::new(Locks::new(None));
            let soon = || Instant::now() + Duration::from_millis(20);
            let held = locks.take("a".into(), soon()).await.expect("it is free");
            assert_eq!(locks.take("a".into(), soon()).await.unwrap_err(), LockError::Late("a".into()));
            let other = locks.take("b".into(), soon()).await;
            assert!(other.is_ok() && held.guard().is_none());
            let next = tokio::task::spawn_local({
                let locks = locks.clone();
                async move { locks.take("a".into(), Instant::now() + Duration::from_secs(10)).await.is_ok() }
            });
            tokio::task::yield_now().await;
            drop(held);
            assert!(next.await.unwrap());
        };
        local.run_until(turns).await;
    }
}
