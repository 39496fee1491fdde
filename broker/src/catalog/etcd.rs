//! The etcd store: the scripts of an etcd, kept current.
//!
//! Takes a connection, gives a [`Catalog`] that follows what is there, whoever writes it: Go servers may, too. It
//! reads only. A value that is bad costs itself only: its last good version stays in service. While etcd is away
//! what is known stays in service; afterwards all is read anew, so that nothing is missed, a compaction or not.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchStream};
use tokio::sync::watch;

use super::record::{LIBRARIES, Record, SCRIPTS};
use super::tenancy::Tenancy;
use super::versions::{Owners, Versions};
use super::{Catalog, Script};
use crate::etcd::{Link, MOST_ANSWER, text};

/// How many values are read at a time.
const PAGE: i64 = 32;

/// How long a read may take.
const READ: Duration = Duration::from_secs(10);

/// Pauses between attempts, first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long is waited for more changes before they are put in service together.
const TOGETHER: Duration = Duration::from_millis(20);

/// How often a silent watch is asked whether it is still there.
const PROGRESS: Duration = Duration::from_secs(10);

/// Keeps a [`Catalog`] current with an etcd. `check` is as in the file store.
pub struct EtcdStore<C> {
    link: Link,
    catalog: Catalog,
    check: C,
    versions: Versions,
    /// What is there, by key: the revision at which each was last changed.
    known: BTreeMap<String, i64>,
    tenancy: watch::Receiver<Rc<Tenancy>>,
}

impl<C: AsyncFn(&Rc<Script>) -> Result<(), String>> EtcdStore<C> {
    /// Reads what is there and puts it in service. Waits until etcd can be asked.
    pub async fn open(
        endpoints: &[String],
        catalog: Catalog,
        tenancy: watch::Receiver<Rc<Tenancy>>,
        check: C,
    ) -> (Self, i64) {
        let link = Link::new(endpoints);
        let versions = Versions::new(Owners::Subjects);
        let mut store = EtcdStore { link, catalog, check, versions, known: BTreeMap::new(), tenancy };
        let revision = store.read_again().await;
        (store, revision)
    }

    /// Follows etcd for ever, from what was read at that revision: a change is in service within a second. Drop
    /// it to stop.
    pub async fn follow(mut self, mut revision: i64) {
        loop {
            let why = match self.watch(revision).await {
                Ok(()) => return,
                Err(why) => why,
            };
            self.lost(&why);
            revision = self.read_again().await;
        }
    }

    fn lost(&self, why: &str) {
        if self.catalog.away().is_none() {
            tracing::warn!(error = why, "etcd cannot be asked: the scripts that are known stay in service");
        }
        self.catalog.set_away(Some(why.to_owned()));
    }

    /// Reads everything, however long it takes until etcd answers. Gives the revision that was read.
    async fn read_again(&mut self) -> i64 {
        let mut pause = RETRY.0;
        loop {
            let read = tokio::time::timeout(READ, self.list()).await;
            match read.unwrap_or_else(|_| Err("etcd does not answer".to_owned())) {
                Ok((found, revision)) => {
                    if self.catalog.away().is_some() {
                        tracing::info!("etcd is there again");
                    }
                    self.catalog.set_away(None);
                    self.take(found);
                    self.settle().await;
                    return revision;
                }
                Err(why) => self.lost(&why),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// All scripts and libraries of one revision.
    async fn list(&self) -> Result<(Vec<KeyValue>, i64), String> {
        let client = self.link.client().await.map_err(|error| text(&error))?;
        let mut client = client.kv_client().max_decoding_message_size(MOST_ANSWER);
        let (mut found, mut revision) = (Vec::new(), 0);
        for prefix in [SCRIPTS, LIBRARIES] {
            let end = prefix_end(prefix);
            let mut from = prefix.as_bytes().to_vec();
            loop {
                let options =
                    GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
                let mut answer = client.get(from, Some(options)).await.map_err(|error| text(&error))?;
                if revision == 0 {
                    revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
                }
                let more = answer.more();
                found.extend(answer.take_kvs());
                match found.last() {
                    // The next key there can be.
                    Some(last) if more => from = [last.key(), b"\0"].concat(),
                    _ => break,
                }
            }
        }
        Ok((found, revision))
    }

    /// Takes over all that is there; what is known and not there is gone.
    fn take(&mut self, found: Vec<KeyValue>) {
        let mut gone = std::mem::take(&mut self.known);
        for pair in found {
            let key = String::from_utf8_lossy(pair.key()).into_owned();
            if gone.remove(&key) == Some(pair.mod_revision()) {
                self.known.insert(key, pair.mod_revision());
            } else {
                self.put(key, &pair);
            }
        }
        for key in gone.into_keys() {
            self.remove(&key);
        }
    }

    fn put(&mut self, key: String, pair: &KeyValue) {
        if let Some(name) = key.strip_prefix(LIBRARIES) {
            self.versions.put_library(None, name, Ok(pair.value().to_vec()));
        } else if let Some(name) = key.strip_prefix(SCRIPTS) {
            let record = Record::parse(&key, pair.value()).map_err(|error| error.to_string());
            self.versions.put_source(name, record.and_then(|record| record.source()));
        }
        self.known.insert(key, pair.mod_revision());
    }

    fn remove(&mut self, key: &str) {
        if let Some(name) = key.strip_prefix(LIBRARIES) {
            self.versions.remove_library(None, name);
        } else if let Some(name) = key.strip_prefix(SCRIPTS) {
            self.versions.remove_script(name);
        }
        self.known.remove(key);
    }

    async fn settle(&mut self) {
        let tenancy = self.tenancy.borrow_and_update().clone();
        self.versions.set_tenancy(tenancy);
        self.versions.build(&self.check).await;
        self.catalog.publish(self.versions.snapshot());
    }

    /// Takes changes in as they come. Ends well only when nobody wants them any more.
    async fn watch(&mut self, revision: i64) -> Result<(), String> {
        let mut scripts = self.stream(SCRIPTS, revision + 1).await?;
        let mut libraries = self.stream(LIBRARIES, revision + 1).await?;
        let mut asked = tokio::time::interval(PROGRESS);
        loop {
            let events = tokio::select! {
                answer = scripts.message() => answer,
                answer = libraries.message() => answer,
                tenancy = self.tenancy.changed() => match tenancy {
                    Ok(()) => {
                        self.settle().await;
                        continue;
                    }
                    Err(_) => return Ok(()),
                },
                _ = asked.tick() => {
                    // A connection that is dead without saying so fails here, by the transport's keep-alive.
                    scripts.request_progress().await.map_err(|error| text(&error))?;
                    continue;
                }
            };
            if !self.take_events(events)? {
                continue;
            }
            let together = tokio::time::sleep(TOGETHER);
            tokio::pin!(together);
            loop {
                let events = tokio::select! {
                    () = &mut together => break,
                    answer = scripts.message() => answer,
                    answer = libraries.message() => answer,
                };
                self.take_events(events)?;
            }
            self.settle().await;
        }
    }

    async fn stream(&self, prefix: &str, revision: i64) -> Result<WatchStream, String> {
        let client = self.link.client().await.map_err(|error| text(&error))?;
        let mut client = client.watch_client().max_decoding_message_size(MOST_ANSWER);
        let options = WatchOptions::new().with_prefix().with_start_revision(revision);
        let made = tokio::time::timeout(READ, client.watch(prefix, Some(options))).await;
        made.map_err(|_| "etcd does not answer".to_owned())?.map_err(|error| text(&error))
    }

    /// Whether these changed anything.
    fn take_events(
        &mut self,
        answer: Result<Option<etcd_client::WatchResponse>, etcd_client::Error>,
    ) -> Result<bool, String> {
        let answer = answer.map_err(|error| text(&error))?;
        let answer = answer.ok_or_else(|| "the connection was closed".to_owned())?;
        if answer.canceled() {
            return Err(format!("the watch ended: {}", answer.cancel_reason()));
        }
        for event in answer.events() {
            let Some(pair) = event.kv() else { continue };
            let key = String::from_utf8_lossy(pair.key()).into_owned();
            match event.event_type() {
                EventType::Put => self.put(key, pair),
                EventType::Delete => self.remove(&key),
            }
        }
        Ok(!answer.events().is_empty())
    }
}

/// The first key behind all that begin so.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Our prefixes end with a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
