//! What the verbs do with an etcd: values put, taken and read, each call with an end to its patience.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_client::{Client, GetOptions};

use crate::catalog::record::{LIBRARIES, Record, SCRIPTS};
use crate::etcd::{Link, MOST_ANSWER, text};

/// How long one call may take.
const LONGEST: Duration = Duration::from_secs(5);

/// A value of a list.
pub(super) struct Found {
    /// Its key.
    pub(super) key: String,
    /// The value.
    pub(super) value: Vec<u8>,
}

/// An etcd that answers.
pub(super) struct Etcd {
    client: Client,
    endpoints: String,
}

impl Etcd {
    /// Asks whether it is there.
    pub(super) async fn connect(endpoints: &[String]) -> Result<Etcd> {
        let client = Link::new(endpoints).client().await.map_err(|error| anyhow::anyhow!(text(&error)))?;
        let mut etcd = Etcd { client, endpoints: endpoints.join(",") };
        let mut client = etcd.client.clone();
        etcd.call(client.status()).await?;
        Ok(etcd)
    }

    async fn call<T>(&mut self, call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T> {
        let place = || format!("etcd at {}", self.endpoints);
        match tokio::time::timeout(LONGEST, call).await {
            Ok(answer) => answer.map_err(|error| anyhow::anyhow!(text(&error))).with_context(place),
            Err(_) => bail!("{} does not answer", place()),
        }
    }

    /// Puts a script.
    pub(super) async fn put_script(&mut self, record: &Record) -> Result<()> {
        self.put(record.key(), record.to_json()).await
    }

    /// Puts a library.
    pub(super) async fn put_library(&mut self, name: &str, text: Vec<u8>) -> Result<()> {
        self.put(format!("{LIBRARIES}{name}"), text).await
    }

    async fn put(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        let mut client = self.client.clone();
        self.call(client.put(key, value, None)).await.map(drop)
    }

    /// Takes a key out. Gives whether it was there.
    pub(super) async fn delete(&mut self, key: String) -> Result<bool> {
        let mut client = self.client.clone();
        Ok(self.call(client.delete(key, None)).await?.deleted() > 0)
    }

    /// The scripts, by key; those that cannot be read with the reason why.
    pub(super) async fn scripts(&mut self) -> Result<Vec<Result<Record, String>>> {
        let found = self.list(SCRIPTS).await?;
        let read = |found: &Found| {
            Record::parse(&found.key, &found.value).map_err(|error| format!("{}: {error}", found.key))
        };
        Ok(found.iter().map(read).collect())
    }

    /// The libraries, by name.
    pub(super) async fn libraries(&mut self) -> Result<Vec<Found>> {
        let mut found = self.list(LIBRARIES).await?;
        for library in &mut found {
            library.key.drain(..LIBRARIES.len());
        }
        Ok(found)
    }

    async fn list(&mut self, prefix: &str) -> Result<Vec<Found>> {
        let mut client = self.client.kv_client().max_decoding_message_size(MOST_ANSWER);
        let mut answer = self.call(client.get(prefix, Some(GetOptions::new().with_prefix()))).await?;
        let found = answer.take_kvs().into_iter().map(|pair| {
            let (key, value) = pair.into_key_value();
            Found { key: String::from_utf8_lossy(&key).into_owned(), value }
        });
        Ok(found.collect())
    }
}
