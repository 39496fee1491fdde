//! `etcd`: keys and values of the operator's etcd, under the tenant's grants.
//!
//! Takes a request that policy judges first. One connection for the whole broker, made when it is first needed
//! and made again by itself; an etcd that does not answer costs these calls and nothing else.

use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, Error, GetOptions, KeyValue, Txn, TxnOp};

use super::{Answer, Caller};
use crate::etcd::{Link, text};
use crate::policy::key::KeyUse;
use crate::policy::{Permitted, Policy};

/// The longest that a call may take, whatever time its run has left.
const LONGEST: Duration = Duration::from_secs(5);

/// Time that a run keeps for telling what failed.
const RESERVE: Duration = Duration::from_millis(50);

/// Scripts' way to etcd.
#[derive(Default)]
pub struct Etcd {
    link: Link,
}

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A key gets this value.
    Put(Vec<u8>),
    /// A key is no more.
    Delete,
}

/// A lock whose holder's writes count only while it holds it: the key of the lock and the revision that made
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The lock's key.
    pub key: Vec<u8>,
    /// The revision at which its holder made it.
    pub created: i64,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// It took too long.
    #[error("etcd: context deadline exceeded")]
    Late,
    /// The lock that guards it is lost.
    #[error("etcd: the lock that guards this change is lost")]
    Unguarded,
    /// What etcd said.
    #[error("{}", text(.0))]
    Etcd(#[from] Error),
}

impl Etcd {
    /// A configuration comes into force: these endpoints, from the next call on.
    pub fn configure(&self, endpoints: &[String]) {
        self.link.configure(endpoints);
    }

    /// What lies under a key, or under all keys that begin so, in their order.
    async fn read(&self, wanted: Permitted<KeyUse>) -> Result<Vec<KeyValue>, EtcdError> {
        let KeyUse { key, prefix, .. } = wanted.into_inner();
        let options = match (prefix, key.is_empty()) {
            (false, _) => None,
            (true, false) => Some(GetOptions::new().with_prefix()),
            (true, true) => Some(GetOptions::new().with_all_keys()),
        };
        Ok(self.link.client().await?.get(key, options).await?.take_kvs())
    }

    /// Changes one key, as long as the guard holds if there is one.
    ///
    /// # Errors
    /// When the guard does not hold, or etcd refuses.
    pub async fn write(
        &self,
        wanted: Permitted<KeyUse>,
        change: Change,
        guard: Option<Guard>,
    ) -> Result<(), EtcdError> {
        let key = wanted.into_inner().key;
        let mut client = self.link.client().await?;
        if let Some(Guard { key: lock, created }) = guard {
            let change = match change {
                Change::Put(value) => TxnOp::put(key, value, None),
                Change::Delete => TxnOp::delete(key, None),
            };
            let held = Compare::create_revision(lock, CompareOp::Equal, created);
            let done = client.txn(Txn::new().when([held]).and_then([change])).await?;
            return if done.succeeded() { Ok(()) } else { Err(EtcdError::Unguarded) };
        }
        match change {
            Change::Put(value) => drop(client.put(key, value, None).await?),
            Change::Delete => drop(client.delete(key, None).await?),
        }
        Ok(())
    }
}

/// A call's result, unless its time is over first.
async fn in_time<T>(
    caller: &Caller,
    call: impl Future<Output = Result<T, EtcdError>>,
) -> Result<T, EtcdError> {
    let left = caller.invocation.deadline.saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
    tokio::time::timeout(left.min(LONGEST), call).await.unwrap_or(Err(EtcdError::Late))
}

/// What a script asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// `get(key, prefix)`.
    Get {
        /// The key, or what keys begin with.
        key: Vec<u8>,
        /// Whether all keys that begin so are meant.
        prefix: bool,
    },
    /// `put(key, value)` or `delete(key)`.
    Change {
        /// The key.
        key: Vec<u8>,
        /// What becomes of it.
        change: Change,
    },
}

impl Act {
    /// Bytes that it sends out.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Act::Get { key, .. } | Act::Change { key, change: Change::Delete } => key.len(),
            Act::Change { key, change: Change::Put(value) } => key.len() + value.len(),
        }
    }
}

/// Does what a script asks for, if it may.
pub async fn answer(etcd: &Etcd, policy: &Policy, caller: &Caller, act: Act) -> Answer {
    match act {
        Act::Get { key, prefix } => get(etcd, policy, caller, key, prefix).await,
        Act::Change { key, change } => self::change(etcd, policy, caller, key, change).await,
    }
}

async fn get(etcd: &Etcd, policy: &Policy, caller: &Caller, key: Vec<u8>, prefix: bool) -> Answer {
    let permitted = match policy.key(KeyUse { key, prefix, act: "read" }) {
        Ok(permitted) => permitted,
        Err(denied) => return denied.into(),
    };
    let found = match in_time(caller, etcd.read(permitted)).await {
        Ok(found) => found,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let size = found.iter().map(|pair| pair.key().len() + pair.value().len()).sum::<usize>();
    if size as u64 > caller.room {
        return Answer::Failed("limit of bytes that host calls may bring in reached".to_owned());
    }
    Answer::Pairs(found.iter().map(|pair| (pair.key().to_vec(), pair.value().to_vec())).collect())
}

async fn change(etcd: &Etcd, policy: &Policy, caller: &Caller, key: Vec<u8>, change: Change) -> Answer {
    let act = if change == Change::Delete { "delete" } else { "write" };
    let permitted = match policy.key(KeyUse { key, prefix: false, act }) {
        Ok(permitted) => permitted,
        Err(denied) => return denied.into(),
    };
    // A run under a lock changes nothing once the lock is lost.
    let guard = caller.invocation.held.as_ref().and_then(|held| held.guard());
    match in_time(caller, etcd.write(permitted, change, guard)).await {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(error.to_string()),
    }
}
