//! Tenants with an account of their own on an external NATS server: a connection for each, with its
//! subscriptions. Their messages come and go by it and by no other.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::Core;
use super::doors::connect;
use crate::config::tenant::NatsAccount;
use crate::config::{Config, Nats};
use crate::ingress::nats::{Door, Subscriptions};
use crate::invocation::Tenant;
use crate::upstream::address::redacted;

/// How long a server may take to have heard of subscriptions.
const PATIENCE: Duration = Duration::from_secs(2);

/// The connections, by tenant.
#[derive(Default)]
pub struct Accounts {
    open: RefCell<HashMap<Tenant, Rc<Account>>>,
    /// How many were opened so far.
    opened: Cell<u64>,
}

struct Account {
    /// No other has had it.
    number: u64,
    settings: NatsAccount,
    door: Door,
    subscriptions: Subscriptions,
}

impl Accounts {
    /// A tenant's own door, if it is open.
    pub(super) fn door(&self, tenant: &str) -> Option<Door> {
        self.open.borrow().get(tenant).map(|account| account.door.clone())
    }

    /// The number of a tenant's own connection, which no other has had, if it is open.
    pub(super) fn number(&self, tenant: &str) -> Option<u64> {
        self.open.borrow().get(tenant).map(|account| account.number)
    }

    /// All that are open.
    pub(super) fn doors(&self) -> Vec<Door> {
        self.open.borrow().values().map(|account| account.door.clone()).collect()
    }

    /// Opens and closes connections as the configuration in force says, and subscribes to what scripts answer.
    /// One that cannot be opened is told, tried again at the next change, and keeps nobody else.
    pub(super) async fn follow(&self, core: &Rc<Core>) {
        let config = core.config();
        let wanted: HashMap<Tenant, NatsAccount> =
            config.tables.tenants.iter().filter_map(of_tenant).collect();
        let open: Vec<(Tenant, Rc<Account>)> =
            self.open.borrow().iter().map(|(tenant, account)| (tenant.clone(), account.clone())).collect();
        for (tenant, account) in open {
            if wanted.get(&tenant) != Some(&account.settings) {
                self.open.borrow_mut().remove(&tenant);
                let _ = tokio::time::timeout(PATIENCE, account.subscriptions.set(core, Vec::new())).await;
            }
        }
        let mut new = Vec::new();
        for (tenant, settings) in wanted {
            if self.open.borrow().contains_key(&tenant) {
                continue;
            }
            self.opened.set(self.opened.get() + 1);
            match Account::open(&config, &tenant, settings, self.opened.get()) {
                Ok(account) => {
                    new.push(account.clone());
                    self.open.borrow_mut().insert(tenant, account);
                }
                Err(error) => tracing::error!(tenant = &*tenant, error, "no connection to its NATS account"),
            }
        }
        futures_util::future::join_all(new.iter().map(|account| account.door.connected(PATIENCE))).await;
        self.subscribe(core, patterns).await;
    }

    /// Has each account subscribed to these patterns. A server that does not answer is not waited for: the
    /// client subscribes when it is connected.
    async fn subscribe(&self, core: &Rc<Core>, patterns: impl Fn(&Core, &str) -> Vec<Rc<str>>) {
        let open: Vec<(Tenant, Rc<Account>)> =
            self.open.borrow().iter().map(|(tenant, account)| (tenant.clone(), account.clone())).collect();
        let all = open.iter().map(|(tenant, account)| {
            tokio::time::timeout(PATIENCE, account.subscriptions.set(core, patterns(core, tenant)))
        });
        futures_util::future::join_all(all).await;
    }

    /// Leaves all queue groups: others get the messages from now on.
    pub(super) async fn leave(&self, core: &Rc<Core>) {
        self.subscribe(core, |_, _| Vec::new()).await;
    }
}

fn of_tenant(tenant: &crate::config::tenant::Tenant) -> Option<(Tenant, NatsAccount)> {
    Some((tenant.name.as_str().into(), tenant.nats.clone()?))
}

/// The subject patterns of a tenant's scripts that plain messages call.
fn patterns(core: &Core, tenant: &str) -> Vec<Rc<str>> {
    let snapshot = core.catalog.current();
    let own =
        snapshot.index.list().iter().filter(|script| &*script.tenant == tenant && script.trigger.is_none());
    let mut patterns: Vec<Rc<str>> = own.map(|script| script.subject.clone()).collect();
    patterns.dedup();
    patterns
}

impl Account {
    fn open(
        config: &Config,
        tenant: &Tenant,
        settings: NatsAccount,
        number: u64,
    ) -> Result<Rc<Account>, String> {
        let Nats::External { url: server, ca, .. } = &config.nats else {
            return Err("there is no external NATS server (natsurl)".to_owned());
        };
        let url = match &settings.url {
            None => server.clone(),
            Some(source) => {
                let text = source.read().map_err(|error| format!("its URL cannot be read: {error}"))?;
                String::from_utf8(text).map_err(|_| "its URL is no UTF-8".to_owned())?
            }
        };
        let door = connect(&url, settings.creds.clone(), ca.clone(), tenant);
        let door = door.map_err(|error| error.to_string())?;
        tracing::info!(tenant = &**tenant, nats = redacted(&url), "a NATS account of its own");
        let subscriptions = Subscriptions::new(door.clone(), &config.queue_group, Some(tenant.clone()));
        Ok(Rc::new(Account { number, settings, door, subscriptions }))
    }
}
