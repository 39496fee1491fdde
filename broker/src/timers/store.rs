//! Where states of schedules are kept, so that each due time is taken once: an etcd, a bucket of JetStream's, or
//! this broker alone. A write counts only if nobody else has written since.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, UpdateErrorKind};
use async_nats::jetstream::{self, ErrorCode, stream};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use super::AGAIN;
use super::local::Local;
use super::state::Key;
use crate::app::Core;
use crate::config::value::Backend;
use crate::etcd::{Link, text};
use crate::ingress::nats::Door;

/// The bucket's name.
const BUCKET: &str = "msgscript_schedules";

/// The stream that it is.
const STREAM: &str = "KV_msgscript_schedules";

/// How many servers of a cluster keep it.
const REPLICAS: usize = 3;

/// How often so many are asked for before one is enough.
const DEMANDS: u32 = 15;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a revision is if there is nothing.
pub const NOTHING: u64 = 0;

/// A store that was asked and has answered.
pub enum Store {
    /// Among the brokers of an etcd.
    Etcd(Box<Link>),
    /// Among the brokers of a NATS server with JetStream.
    Bucket(Box<kv::Store>),
    /// In this broker.
    Local(Local),
}

/// A value that was read, and its revision.
pub type Entry = (Vec<u8>, u64);

impl Store {
    /// Reads a value.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, key: &Key) -> Result<Option<Entry>, String> {
        within(async {
            match self {
                Store::Etcd(link) => {
                    let mut client = link.client().await.map_err(|error| text(&error))?;
                    let got = client.get(key.in_etcd(), None).await.map_err(|error| text(&error))?;
                    let entry =
                        got.kvs().first().map(|pair| (pair.value().to_vec(), revision(pair.mod_revision())));
                    Ok(entry)
                }
                Store::Bucket(bucket) => {
                    let got = bucket.entry(key.in_bucket()).await.map_err(|error| error.to_string())?;
                    let there = got.filter(|entry| entry.operation == Operation::Put);
                    Ok(there.map(|entry| (entry.value.to_vec(), entry.revision)))
                }
                Store::Local(local) => Ok(local.read(key)),
            }
        })
        .await
    }

    /// Writes a value if the one that is there has this revision. Whether it was so.
    ///
    /// # Errors
    /// When the store does not answer. It may have written all the same.
    pub async fn write(&self, key: &Key, value: Vec<u8>, expected: u64) -> Result<bool, String> {
        within(async {
            match self {
                Store::Etcd(link) => {
                    change(link, key, TxnOp::put(key.in_etcd(), value, None), expected).await
                }
                Store::Bucket(bucket) => put(bucket, key, value, expected).await,
                Store::Local(local) => Ok(local.write(key, value, expected)),
            }
        })
        .await
    }

    /// Takes a value away if it has this revision.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(&self, key: &Key, expected: u64) -> Result<(), String> {
        within(async {
            match self {
                Store::Etcd(link) => {
                    let all = change(link, key, TxnOp::delete(key.in_etcd(), None), expected).await;
                    all.map(|_| ())
                }
                Store::Bucket(bucket) => {
                    // Another revision is no error of ours.
                    let _ = bucket.delete_expect_revision(key.in_bucket(), Some(expected)).await;
                    Ok(())
                }
                Store::Local(local) => {
                    local.remove(key, expected);
                    Ok(())
                }
            }
        })
        .await
    }

    /// Who else takes due times from it, for the log.
    #[must_use]
    pub fn told(&self) -> &'static str {
        match self {
            Store::Etcd(_) => "once among the brokers of this etcd",
            Store::Bucket(_) => "once among the brokers of this NATS server (JetStream)",
            Store::Local(_) => "in this broker alone: neither etcd nor JetStream is there to share them",
        }
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

fn revision(of_etcd: i64) -> u64 {
    u64::try_from(of_etcd).unwrap_or(NOTHING)
}

/// A key that is not there has the revision 0 in etcd, too.
async fn change(link: &Link, key: &Key, change: TxnOp, expected: u64) -> Result<bool, String> {
    let mut client = link.client().await.map_err(|error| text(&error))?;
    let expected = i64::try_from(expected).unwrap_or(i64::MAX);
    let same = Compare::mod_revision(key.in_etcd(), CompareOp::Equal, expected);
    let answer = client.txn(Txn::new().when([same]).and_then([change])).await;
    Ok(answer.map_err(|error| text(&error))?.succeeded())
}

async fn put(bucket: &kv::Store, key: &Key, value: Vec<u8>, expected: u64) -> Result<bool, String> {
    if expected == NOTHING {
        return match bucket.create(key.in_bucket(), value.into()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.to_string()),
        };
    }
    match bucket.update(key.in_bucket(), value.into(), expected).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// The store of a broker, found when it is first needed.
#[derive(Default)]
pub struct Stores {
    found: RefCell<Option<Rc<Store>>>,
    /// One looks, the others wait for what it finds.
    looking: tokio::sync::Mutex<()>,
    demands: Cell<u32>,
    /// When it was last not found, and why: who waited meanwhile need not look again.
    failed: RefCell<Option<(Instant, String)>>,
}

impl Stores {
    /// The store.
    ///
    /// # Errors
    /// When it cannot be told yet which one it is to be.
    pub async fn get(&self, core: &Core) -> Result<Rc<Store>, String> {
        let _looking = self.looking.lock().await;
        if let Some(store) = &*self.found.borrow() {
            return Ok(store.clone());
        }
        if let Some((when, error)) = &*self.failed.borrow()
            && when.elapsed() < AGAIN / 2
        {
            return Err(error.clone());
        }
        let found = self.look(core).await;
        let found =
            found.inspect_err(|error| *self.failed.borrow_mut() = Some((Instant::now(), error.clone())));
        let store = Rc::new(found?);
        tracing::info!("each due time of a schedule is taken {}", store.told());
        *self.found.borrow_mut() = Some(store.clone());
        Ok(store)
    }

    async fn look(&self, core: &Core) -> Result<Store, String> {
        let config = core.config();
        Ok(match (config.backend, core.door()) {
            (Backend::Etcd, _) => Store::Etcd(Box::new(Link::new(&config.etcd))),
            (Backend::File, Some(Door::External(upstream))) => {
                let client = upstream.jetstream().await?;
                match within(self.bucket(&client)).await? {
                    Some(bucket) => Store::Bucket(Box::new(bucket)),
                    None => Store::Local(Local::open(config.state_dir.as_deref())),
                }
            }
            (Backend::File, _) => Store::Local(Local::open(config.state_dir.as_deref())),
        })
    }

    /// The bucket, made if it is not there; `None` if the server has no JetStream.
    async fn bucket(&self, client: &async_nats::Client) -> Result<Option<kv::Store>, String> {
        let context = jetstream::new(client.clone());
        let is_there = match context.get_stream(STREAM).await {
            Ok(_) => true,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if is_without(error.error_code()) => return Ok(None),
                GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    false
                }
                GetStreamErrorKind::Request if is_unheard(&error) && !client.server_info().jetstream => {
                    return Ok(None);
                }
                _ => return Err(format!("JetStream: {error}")),
            },
        };
        if !is_there {
            // A cluster that is about to come up has too few servers for a moment.
            let demands = self.demands.get();
            self.demands.set(demands + 1);
            let is_cluster = client.server_info().cluster.is_some();
            let replicas = if is_cluster && demands < DEMANDS { REPLICAS } else { 1 };
            let made = context.create_stream(bucket_config(replicas)).await;
            made.map_err(|error| format!("the bucket {BUCKET}: {error}"))?;
        }
        let bucket = context.get_key_value(BUCKET).await;
        bucket.map(Some).map_err(|error| format!("the bucket {BUCKET}: {error}"))
    }
}

/// The bucket as a stream, so that nothing else has to be asked of old servers, and so that it is read where it is
/// written: others may be behind.
fn bucket_config(num_replicas: usize) -> stream::Config {
    stream::Config {
        name: STREAM.to_owned(),
        description: Some("The last due times of msgscript's schedules".to_owned()),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        num_replicas,
        ..stream::Config::default()
    }
}

/// Whether nobody listens for such requests.
fn is_unheard(error: &GetStreamError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RequestError>());
    source.is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
}

/// Whether the server says that there is no JetStream, and will not be any.
fn is_without(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT)
}
