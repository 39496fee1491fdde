//! `$SRV`: tells who asks by the protocol of NATS services (ADR-32) which brokers there are, which scripts they
//! serve, and what these have done.
//!
//! Takes requests, gives documents. Tells of scripts of the tenant `default` only: whoever may ask here is not
//! to learn what others have. Of failures it tells the reason, never the text.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::nats::{Door, is_trigger};
use crate::app::Core;
use crate::catalog::Script;
use crate::catalog::trigger::token;
use crate::invocation::{DEFAULT_TENANT, Reason};
use crate::nats::hub::{Delivery, random_seed};
use crate::statistics::ScriptStatistics;

/// The name of the service.
const NAME: &str = "msgscript";

/// Scripts in one document, so that it fits into a message.
const MOST: usize = 500;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ping,
    Info,
    Stats,
}

impl Kind {
    const ALL: [(Kind, &'static str); 3] =
        [(Kind::Ping, "PING"), (Kind::Info, "INFO"), (Kind::Stats, "STATS")];

    /// What a request to this subject asks.
    fn of(subject: &str) -> Option<Kind> {
        let verb = subject.split('.').nth(1)?;
        Kind::ALL.into_iter().find_map(|(kind, word)| (word == verb).then_some(kind))
    }
}

/// This broker as a service.
struct Service {
    id: String,
    started: String,
}

impl Service {
    fn new() -> Service {
        Service { id: format!("{:016x}", random_seed()), started: rfc3339(SystemTime::now()) }
    }

    /// The subjects by which it is asked: all services, those of its name, itself.
    fn subjects(&self) -> Vec<String> {
        let forms = |word: &str| {
            [format!("$SRV.{word}"), format!("$SRV.{word}.{NAME}"), format!("$SRV.{word}.{NAME}.{}", self.id)]
        };
        Kind::ALL.iter().flat_map(|(_, word)| forms(word)).collect()
    }

    /// The answer.
    fn document(&self, kind: Kind, endpoints: Vec<Value>) -> Value {
        let mut document = json!({
            "name": NAME, "id": self.id, "version": crate::VERSION, "metadata": {}, "type": match kind {
                Kind::Ping => "io.nats.micro.v1.ping_response",
                Kind::Info => "io.nats.micro.v1.info_response",
                Kind::Stats => "io.nats.micro.v1.stats_response",
            },
        });
        match kind {
            Kind::Ping => return document,
            Kind::Info => document["description"] = "runs scripts for messages".into(),
            Kind::Stats => document["started"] = self.started.as_str().into(),
        }
        document["endpoints"] = endpoints.into();
        document
    }
}

/// What is told of a script.
fn endpoint(kind: Kind, script: &Script, group: &str, run: Option<&ScriptStatistics>) -> Value {
    let mut value = json!({ "name": token(&script.name), "subject": &*script.subject, "queue_group": group });
    if kind == Kind::Info {
        value["metadata"] = json!({ "script": &*script.name, "executor": script.executor.name() });
        return value;
    }
    let (reasons, took) = run.map_or_else(Default::default, |run| (run.reasons(), run.latency().sum()));
    let last = run.and_then(|run| run.last().into_iter().find(|run| run.reason != Reason::Ok));
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    value["num_requests"] = reasons.total().into();
    value["num_errors"] = reasons.failures().into();
    // As clients of NATS write them: code, colon, text.
    let last = last.map(|run| format!("{}:{}", run.reason.status(), run.reason.word()));
    value["last_error"] = last.unwrap_or_default().into();
    value["processing_time"] = nanos(took).into();
    value["average_processing_time"] = nanos(took).checked_div(reasons.total()).unwrap_or(0).into();
    value
}

fn endpoints(core: &Core, kind: Kind) -> Vec<Value> {
    let (snapshot, config) = (core.catalog.current(), core.config());
    let shown = snapshot.index.list().iter();
    let shown = shown.filter(|script| &*script.tenant == DEFAULT_TENANT && script.trigger.is_none());
    let one = |script: &Rc<Script>| {
        endpoint(kind, script, &config.queue_group, core.statistics.script(script).as_deref())
    };
    shown.take(MOST).map(one).collect()
}

/// Answers one request.
async fn answer(core: Rc<Core>, door: Door, service: Rc<Service>, subject: String, reply: Option<String>) {
    let (Some(kind), Some(reply)) = (Kind::of(&subject), reply) else { return };
    if is_trigger(&core, &reply) {
        return tracing::warn!(subject, reply, "request refused: its reply would be a trigger");
    }
    let endpoints = if kind == Kind::Ping { Vec::new() } else { endpoints(&core, kind) };
    let payload = service.document(kind, endpoints).to_string();
    if let Err(error) = door.publish(&reply, None, &[], payload.into()).await {
        tracing::warn!(subject, error, "a question about this service is not answered");
    }
}

/// Answers requests until `stop` ends.
pub async fn serve(core: Rc<Core>, door: Door, stop: impl Future<Output = ()>) {
    let service = Rc::new(Service::new());
    let (own, subjects) = (door.clone(), service.subjects());
    let handler = Rc::new(move |delivery: Delivery<'_>| {
        let (subject, reply) = (delivery.subject.to_owned(), delivery.reply.map(str::to_owned));
        let answer = answer(core.clone(), own.clone(), service.clone(), subject, reply);
        tokio::task::spawn_local(answer);
    });
    let subscribe = |subject: &String| door.subscribe(subject, None, handler.clone()).ok();
    let subscribed: Vec<_> = subjects.iter().filter_map(subscribe).collect();
    stop.await;
    subscribed.into_iter().for_each(|id| door.unsubscribe(id));
}

/// A time in UTC as RFC 3339 writes it, to the second.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn subjects_ask_what_they_say() {
        assert_eq!(Kind::of("$SRV.STATS.msgscript.x"), Some(Kind::Stats));
        assert_eq!((Kind::of("$SRV"), Kind::of("$SRV.OTHER")), (None, None));
        assert_eq!(Service::new().subjects().len(), 9);
    }

    #[test]
    fn a_script_that_never_ran_has_counts() {
        let value = endpoint(Kind::Stats, &Script::for_test("a.*", "x.y"), "g", None);
        assert_eq!((&value["name"], &value["num_requests"]), (&"x_y".into(), &0.into()));
        assert_eq!(value["average_processing_time"], 0);
    }
}
