//! Which file answers which call. Asks nothing itself: each file has its request judged by the caller's
//! [`Policy`](crate::policy::Policy) first.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::{Answer, Budget, Call, Caller, Powers, command, env, etcd, files, library, nats, sleep, tcp};
use crate::app::Core;
use crate::host::http::Fetched;
use crate::invocation::{Reason, Tenant};
use crate::statistics::{Outcome, Statistics};
use crate::telemetry;
use crate::telemetry::trace::Span;

/// Counts a call, or each request of a batch.
fn count(statistics: &Statistics, tenant: &Tenant, kind: &'static str, answer: &Answer) {
    let one = |outcome| statistics.host_call(tenant, kind, outcome);
    match answer {
        Answer::Http(fetched) => fetched.iter().for_each(|fetched| match fetched {
            Fetched::Response(_) => one(Outcome::Made),
            Fetched::Failed(_) => one(Outcome::Failed),
            Fetched::Denied(_) => one(Outcome::Denied),
        }),
        Answer::Denied(_) => one(Outcome::Denied),
        Answer::Failed(_) => one(Outcome::Failed),
        _ => one(Outcome::Made),
    }
}

/// How a call ended, for its span.
fn trace_end(span: &Span, answer: &Answer) {
    match answer {
        Answer::Denied(text) => {
            span.set("msgscript.reason", Reason::Denied.word());
            span.fail(text.clone());
        }
        Answer::Failed(text) => span.fail(text.clone()),
        _ => {}
    }
    span.end();
}

impl Powers for Core {
    fn call(self: Rc<Self>, caller: Caller, call: Call) -> LocalBoxFuture<'static, Answer> {
        Box::pin(async move {
            let policy = self.policy(&caller.invocation.script.tenant);
            let (span, (kind, _)) = (caller.span.clone(), call.kind());
            // Scripts ask for what may not be there, and go on without.
            let quiet = matches!(call, Call::Env { .. });
            let answer = match call {
                Call::Library { name } => library::answer(&self.catalog.current(), &policy.tenant, &name),
                Call::Env { name } => env::answer(&policy, name),
                Call::Folders => Answer::Folders(policy.grants.files.clone()),
                Call::Command(command) => command::answer(&self, &policy, &caller, command).await,
                Call::File(operation) => files::answer(&policy, &caller, operation).await,
                Call::Sleep { millis } => sleep::sleep(&caller, millis).await,
                Call::NatsPublish { subject, payload } => {
                    nats::publish(self.door_of(&policy.tenant).as_ref(), &policy, &caller, subject, payload)
                        .await
                }
                Call::NatsRequest { subject, payload, timeout } => {
                    let asked = nats::Request { subject, payload, timeout };
                    nats::request(self.door_of(&policy.tenant).as_ref(), &policy, &caller, asked).await
                }
                Call::Http(requests) => self.http.fetch_all(&policy, &self.secrets, &caller, requests).await,
                Call::Tcp(act) => tcp::act(&self.net, &policy, &caller, act).await,
                Call::Etcd(act) => etcd::answer(&self.etcd, &policy, &caller, act).await,
                Call::Sql(act) => self.sql.answer(&policy, &self.secrets, &caller, act).await,
            };
            count(&self.statistics, &policy.tenant, kind, &answer);
            if let Some(span) = &span {
                trace_end(span, &answer);
            }
            if let Answer::Denied(text) = &answer {
                telemetry::denied(&caller.invocation, text, quiet);
            }
            answer
        })
    }

    fn budget(&self, tenant: &str) -> Budget {
        let policy = self.policy(tenant);
        Budget { out: policy.limits.host_bytes_out, into: policy.limits.host_bytes_in }
    }
}
