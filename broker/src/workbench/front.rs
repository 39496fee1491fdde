//! The HTTP door's view of a workbench: the server's own, but that files are read at each request, and that a
//! browser is shown where an error is.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Workbench, fault};
use crate::access::HttpAccess;
use crate::access::webhook::Webhook;
use crate::app::Front;
use crate::catalog::Script;
use crate::ingress::{App, pages};
use crate::invocation::{Answer, Call, Ending, Message, Reason};
use crate::telemetry::trace::Tracer;

/// The server's view, and the script that is being written.
pub struct DevFront {
    /// The server's.
    pub front: Front,
    /// The script's.
    pub bench: Workbench,
    /// Told of each run: what was asked, how it ended, and how long it took.
    pub told: fn(&Message, &Script, &Ending, Duration),
}

/// Whether a browser asks.
fn wants_page(message: &Message) -> bool {
    let accept = message.headers.iter().find(|(name, _)| name == "accept");
    accept.is_some_and(|(_, value)| String::from_utf8_lossy(value).contains("text/html"))
}

impl App for DevFront {
    fn scripts(&self, subject: &str) -> Vec<Rc<Script>> {
        self.bench.refresh();
        self.front.scripts(subject)
    }

    fn access(&self, subject: &str) -> Option<Rc<HttpAccess>> {
        self.front.access(subject)
    }

    fn is_signed(&self, webhook: &Webhook, message: &Message) -> bool {
        self.front.is_signed(webhook, message)
    }

    fn refused(&self, subject: &str, client: &str) {
        self.front.refused(subject, client);
    }

    fn longest(&self, script: &Script) -> Duration {
        self.front.longest(script)
    }

    async fn call(&self, message: Message, scripts: &[Rc<Script>]) -> Vec<Ending> {
        let mut endings = self.front.call(message.clone(), scripts).await;
        for (script, ending) in scripts.iter().zip(&mut endings) {
            (self.told)(&message, script, ending, message.arrived.elapsed());
            let failed = ending.reason != Reason::Ok && matches!(ending.answer, Answer::None);
            if failed && wants_page(&message) && matches!(message.call, Call::Http { .. }) {
                let headers = [
                    ("content-type", "text/html; charset=utf-8"),
                    ("content-security-policy", "default-src 'none'"),
                    ("cache-control", "no-store"),
                ];
                ending.answer = Answer::Http {
                    body: Bytes::from(fault::page(script, ending)),
                    status: ending.reason.status(),
                    headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
                };
                ending.reason = Reason::Ok;
            }
        }
        endings
    }

    fn tracer(&self) -> Option<&Tracer> {
        self.front.tracer()
    }

    fn readiness(&self) -> pages::Readiness {
        self.front.readiness()
    }

    fn page_data(&self) -> pages::PageData {
        self.bench.refresh();
        self.front.page_data()
    }

    fn script(&self, subject: &str, name: &str) -> Option<pages::ScriptData> {
        self.front.script(subject, name)
    }

    fn overview(&self) -> pages::Overview {
        self.front.overview()
    }

    fn metrics(&self) -> String {
        self.front.metrics()
    }
}
