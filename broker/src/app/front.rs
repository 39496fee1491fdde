//! The core as the HTTP door sees it.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::lasting::Lasting;
use super::{Core, site};
use crate::access::HttpAccess;
use crate::access::webhook::Webhook;
use crate::catalog::Script;
use crate::ingress::{self, pages};
use crate::invocation::{Ending, Message, Reason};
use crate::telemetry::trace::Tracer;
use crate::{pipeline, telemetry};

/// The core as the HTTP door sees it.
pub struct Front(pub Rc<Core>);

impl ingress::App for Front {
    fn scripts(&self, subject: &str) -> Vec<Rc<Script>> {
        self.0.catalog.current().index.matching(subject).into_owned()
    }

    fn access(&self, subject: &str) -> Option<Rc<HttpAccess>> {
        if self.0.policies.borrow().are_open() {
            return None;
        }
        let tenancy = self.0.tenancy.borrow().clone();
        let policy = self.0.policy(tenancy.of_subject(subject));
        (!policy.http.is_open()).then(|| policy.http.clone())
    }

    fn is_signed(&self, webhook: &Webhook, message: &Message) -> bool {
        let config = self.0.config();
        let Some(secret) = config.tables.secrets.get(&webhook.secret) else { return false };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        match secret.source.read() {
            Ok(secret) => webhook.admits(&secret, &message.headers, &message.payload, now),
            Err(error) => {
                tracing::error!(secret = webhook.secret, %error, "a webhook's secret cannot be read");
                false
            }
        }
    }

    fn refused(&self, subject: &str, client: &str) {
        self.0.statistics.refused();
        let tenancy = self.0.tenancy.borrow().clone();
        telemetry::request_refused(tenancy.of_subject(subject), subject, client);
    }

    fn longest(&self, script: &Script) -> Duration {
        self.0.policy(&script.tenant).wall(script)
    }

    async fn call(&self, message: Message, scripts: &[Rc<Script>]) -> Vec<Ending> {
        if let [script] = scripts {
            return vec![run(&self.0, script, message).await];
        }
        join_all(scripts.iter().map(|script| run(&self.0, script, message.clone()))).await
    }

    fn tracer(&self) -> Option<&Tracer> {
        self.0.tracer.as_ref()
    }

    fn readiness(&self) -> pages::Readiness {
        site::readiness(&self.0)
    }

    fn page_data(&self) -> pages::PageData {
        site::all(&self.0)
    }

    fn script(&self, subject: &str, name: &str) -> Option<pages::ScriptData> {
        site::script(&self.0, subject, name)
    }

    fn overview(&self) -> pages::Overview {
        site::overview(&self.0)
    }

    fn metrics(&self) -> String {
        telemetry::metrics::render(&self.0)
    }
}

/// One script's run. A client that goes away does not stop it.
async fn run(core: &Rc<Core>, script: &Rc<Script>, message: Message) -> Ending {
    let run = AssertUnwindSafe(pipeline::run(core.clone(), script.clone(), message));
    Lasting::new(run.catch_unwind()).await.unwrap_or_else(|_| {
        let text = "the broker failed at this message; its log tells where".to_owned();
        Ending::failed(core.pool.next_id(), script, Reason::Internal, text)
    })
}
