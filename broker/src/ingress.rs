//! The doors: bytes from outside become messages, and endings become answers.
//!
//! A door knows the pipeline behind it only as an [`App`].

pub mod discovery;
pub mod envelope;
pub mod http;
pub mod nats;
pub mod pages;

use std::rc::Rc;
use std::time::Duration;

use crate::access::HttpAccess;
use crate::access::webhook::Webhook;
use crate::catalog::Script;
use crate::invocation::{Ending, Message};
use crate::telemetry::trace::Tracer;

/// What a door needs of the server behind it.
pub trait App: 'static {
    /// The scripts that answer a literal subject; empty if there are none. They stay those of the moment,
    /// whatever changes afterwards.
    fn scripts(&self, subject: &str) -> Vec<Rc<Script>>;

    /// Who may call functions of this subject; `None`: anyone.
    fn access(&self, subject: &str) -> Option<Rc<HttpAccess>>;

    /// Whether a request carries the signature that its subject's webhook demands.
    fn is_signed(&self, webhook: &Webhook, message: &Message) -> bool;

    /// A request was refused.
    fn refused(&self, subject: &str, client: &str);

    /// The longest that this script may run.
    fn longest(&self, script: &Script) -> Duration;

    /// Runs each script for the message. Gives one ending per script, in the same order. The runs are
    /// tasks of their own from the first poll on: dropping the future stops waiting and nothing else.
    fn call(&self, message: Message, scripts: &[Rc<Script>]) -> impl Future<Output = Vec<Ending>>;

    /// What makes spans, if messages are traced.
    fn tracer(&self) -> Option<&Tracer>;

    /// Whether messages can be served, and what limps.
    fn readiness(&self) -> pages::Readiness;

    /// What the operator's pages show about scripts. Called for each page, so gathered then; as the others.
    fn page_data(&self) -> pages::PageData;

    /// What the page of one script shows, if there is such a script.
    fn script(&self, subject: &str, name: &str) -> Option<pages::ScriptData>;

    /// What the overview shows.
    fn overview(&self) -> pages::Overview;

    /// All figures, in Prometheus' text format.
    fn metrics(&self) -> String;
}
