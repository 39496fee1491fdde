//! The hub as connections use it: clients come and go, subscribe, and publish.

use std::rc::Rc;

use super::{Hub, Publish, Target};
use crate::nats::client::Client;
use crate::nats::subject::valid_pattern;

impl Hub {
    /// A new client, or `None` if there are too many.
    pub(in crate::nats) fn connect(&self, ip: String) -> Option<Rc<Client>> {
        if self.client_count() >= self.settings.max_connections {
            return None;
        }
        let client = Rc::new(Client::new(self.next_id(), ip, self.settings.max_pending));
        self.clients.borrow_mut().insert(client.id, client.clone());
        Some(client)
    }

    /// Forgets a client and its subscriptions.
    pub(in crate::nats) fn disconnect(&self, client: &Client) {
        self.clients.borrow_mut().remove(&client.id);
        for subscription in client.subscriptions.take().values() {
            self.remove(subscription);
        }
    }

    /// All that are connected.
    pub(in crate::nats) fn clients(&self) -> Vec<Rc<Client>> {
        self.clients.borrow().values().cloned().collect()
    }

    /// Subscribes a client; a `sid` that is in use keeps its first meaning. What the client is told if
    /// it cannot be.
    pub(in crate::nats) fn subscribe_client(
        &self,
        client: &Rc<Client>,
        pattern: &str,
        queue: Option<&str>,
        sid: &[u8],
    ) -> Result<(), &'static str> {
        let mut subscriptions = client.subscriptions.borrow_mut();
        if subscriptions.contains_key(sid) {
            return Ok(());
        }
        if subscriptions.len() >= self.settings.max_subscriptions {
            return Err("maximum subscriptions exceeded");
        }
        let target = Target::Client { client: client.clone(), sid: sid.into() };
        let subscription = self.new_subscription(pattern, queue, target);
        if !valid_pattern(pattern) || !self.insert(&subscription) {
            return Err("Invalid Subject");
        }
        subscriptions.insert(sid.into(), subscription);
        Ok(())
    }

    /// Ends a client's subscription, now or after `max` deliveries in all.
    pub(in crate::nats) fn unsubscribe_client(&self, client: &Client, sid: &[u8], max: u64) {
        let mut subscriptions = client.subscriptions.borrow_mut();
        let Some(subscription) = subscriptions.get(sid) else { return };
        if max > subscription.delivered.get() {
            subscription.max.set(max);
        } else if let Some(subscription) = subscriptions.remove(sid) {
            self.remove(&subscription);
        }
    }

    /// Publishes for a client, which is told if nobody got its request.
    pub(in crate::nats) fn publish_from(&self, client: &Rc<Client>, message: &Publish<'_>) {
        let delivered = self.route(Some(client), message);
        if let (false, true, Some(reply)) = (delivered, client.options.get().no_responders, message.reply) {
            self.no_responders(client, reply);
        }
    }

    fn no_responders(&self, client: &Rc<Client>, reply: &str) {
        let mut found = self.found.take();
        self.sublist.borrow().matching(reply, &mut found);
        let own =
            found.iter().flat_map(|leaf| &leaf.plain).find_map(|subscription| match &subscription.target {
                Target::Client { client: other, sid } if Rc::ptr_eq(other, client) => Some(sid),
                _ => None,
            });
        if let Some(sid) = own {
            let nobody =
                Publish { subject: reply, reply: None, headers: Some(b"NATS/1.0 503\r\n\r\n"), payload: b"" };
            client.push_message(sid, &nobody);
        }
        found.clear();
        self.found.replace(found);
    }
}
