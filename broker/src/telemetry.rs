//! What the broker says of itself: structured log events with fixed field names.
//!
//! Script output is data in a field, never a log format. Names: `tenant`, `subject`, `script`,
//! `invocation`, `reason`, `worker`.

pub mod export;
pub mod metrics;
pub mod trace;

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::audit::{self, Act, Event};
use crate::catalog::Script;
use crate::control::feed;
use crate::invocation::{Ending, Invocation, Reason, format_id};

/// Sets up logging to standard error: text on a terminal, JSON elsewhere. Who follows the log over the control
/// socket gets the same events.
pub fn init(level: Level) {
    let filter = EnvFilter::new(format!("warn,msgscript_broker={level},script={level},audit={level}"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (tests) keeps the first set-up.
    let _ = if std::io::stderr().is_terminal() {
        subscriber.finish().with(feed::Layer).try_init()
    } else {
        subscriber.json().flatten_event(true).finish().with(feed::Layer).try_init()
    };
}

/// Sets up logging for one who looks at one script: text, what it says and what it is refused; endings are told
/// otherwise.
pub fn init_for_author(level: Level) {
    let broker = if level == Level::DEBUG { level } else { Level::WARN };
    let filter =
        format!("warn,msgscript_broker={broker},msgscript_broker::ending=off,script={level},audit=off");
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    let _ = subscriber.without_time().with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// A line that a script printed or logged.
pub fn script_line(script: &Script, invocation: u64, level: Level, text: &str) {
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "script", $level, tenant = &*script.tenant, subject = &*script.subject,
                script = &*script.name, invocation = format_id(invocation), text = text.escape_debug().to_string(),
            )
        };
    }
    match level {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        Level::INFO => line!(Level::INFO),
        _ => line!(Level::DEBUG),
    }
}

/// Policy refused a host call. One that scripts make to see whether they may is worth a line only when
/// asked for (`quiet`).
pub fn denied(caller: &Invocation, text: &str, quiet: bool) {
    let script = &caller.script;
    let (tenant, subject, name) = (&*script.tenant, &*script.subject, &*script.name);
    let reason = Reason::Denied.word();
    let event = Event { invocation: Some(caller.id), reason, text, ..Event::of(script) };
    audit::record(Act::CallDenied, &event);
    let invocation = format_id(caller.id);
    if quiet {
        tracing::debug!(tenant, subject, script = name, invocation, text, "host call denied");
    } else {
        tracing::warn!(tenant, subject, script = name, invocation, text, "host call denied");
    }
}

/// A request over HTTP did not show what its subject demands.
pub fn request_refused(tenant: &str, subject: &str, client: &str) {
    let reason = Reason::Denied.word();
    audit::record(Act::Refused, &Event { tenant, subject, client, reason, ..Event::default() });
    tracing::warn!(tenant, subject, client, reason, "request refused");
}

/// An invocation ended: failures are worth a line, answers only when asked for.
pub fn ended(script: &Script, ending: &Ending) {
    audit::ended(script, ending);
    if ending.reason == Reason::Ok {
        tracing::debug!(
            tenant = &*script.tenant,
            subject = &*script.subject,
            script = &*script.name,
            invocation = format_id(ending.invocation),
            reason = "ok",
        );
        return;
    }
    tracing::warn!(
        target: "msgscript_broker::ending",
        tenant = &*script.tenant,
        subject = &*script.subject,
        script = &*script.name,
        invocation = format_id(ending.invocation),
        reason = ending.reason.word(),
        error = ending.error,
        limit = ending.limit,
        measured = ending.measured,
        "invocation failed",
    );
}
