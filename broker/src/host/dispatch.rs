//! Which file answers which call. Asks nothing itself: each file has its request judged by the caller's
//! [`Policy`](crate::policy::Policy) first.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::{Answer, Budget, Call, Caller, Powers, library, nats};
use crate::app::Core;
use crate::telemetry;

impl Powers for Core {
    fn call(self: Rc<Self>, caller: Caller, call: Call) -> LocalBoxFuture<'static, Answer> {
        Box::pin(async move {
            let policy = self.policy(&caller.invocation.script.tenant);
            let answer = match call {
                Call::Library { name } => library::answer(&self.catalog.current(), &policy.tenant, &name),
                Call::NatsPublish { subject, payload } => {
                    nats::publish(self.door(), &policy, &caller, subject, payload).await
                }
            };
            if let Answer::Denied(text) = &answer {
                telemetry::denied(&caller.invocation, text);
            }
            answer
        })
    }

    fn budget(&self, tenant: &str) -> Budget {
        let policy = self.policy(tenant);
        Budget { out: policy.limits.host_bytes_out, into: policy.limits.host_bytes_in }
    }
}
