//! `logs`, `drain`, `reload`: what else a broker does when it is asked over its control socket.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::remote::{Target, plain};
use crate::control::wire::{Filter, Request, Word};

/// What `logs` is told.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// Show events as they happen, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only this tenant's
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only those of scripts with this subject; NATS wildcards work
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// As JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// Shows log events, until the broker ends if they are followed.
pub(super) fn logs(
    target: &Target,
    options: &LogsArgs,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let filter = Filter { tenant: options.tenant.clone(), subject: options.subject.clone() };
    let mut answers = target.ask(&Request::Logs { follow: options.follow, filter })?;
    while let Some(line) = answers.next_line()? {
        match serde_json::from_slice(&line) {
            Ok(Word::Error(why)) => bail!("{}", plain(&why)),
            Ok(Word::Lost(count)) => writeln!(errors, "{count} lines were lost: they came too fast")?,
            Ok(Word::Done(_)) => writeln!(errors, "following; interrupt to stop")?,
            Err(_) if options.json => {
                out.write_all(&line)?;
                writeln!(out)?;
            }
            Err(_) => writeln!(out, "{}", event(&serde_json::from_slice(&line)?))?,
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An event for people: when, how grave, whose, what; then all else.
fn event(fields: &Map<String, Value>) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
    let mut words = vec![text("timestamp"), format!("{:5}", text("level"))];
    if fields.contains_key("subject") {
        words.push(format!("{}/{}", text("subject"), text("script")));
    }
    words.extend(["message", "text"].map(text).into_iter().filter(|text| !text.is_empty()));
    let told = ["timestamp", "level", "subject", "script", "message", "text"];
    for (name, value) in fields.iter().filter(|(name, _)| !told.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), plain);
        if !value.is_empty() {
            words.push(format!("{}={value}", plain(name)));
        }
    }
    words.join(" ")
}

/// Has the broker stop, and waits until it has.
pub(super) fn drain(target: &Target, out: &mut dyn Write) -> Result<ExitCode> {
    let mut answers = target.ask(&Request::Drain {})?;
    let mut accepted = false;
    while let Some(line) = answers.next_line()? {
        match serde_json::from_slice(&line)? {
            Word::Error(why) => bail!("{}", plain(&why)),
            _ => accepted = true,
        }
    }
    if !accepted {
        bail!("the broker did not answer");
    }
    writeln!(out, "stopped")?;
    Ok(ExitCode::SUCCESS)
}

/// Has the broker read its configuration again.
pub(super) fn reload(target: &Target, out: &mut dyn Write) -> Result<ExitCode> {
    match target.ask(&Request::Reload {})?.one()? {
        Word::Done(text) => writeln!(out, "{}", plain(&text))?,
        other => bail!("an unexpected answer: {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_line_without_control_characters() {
        let fields = serde_json::json!({
            "timestamp": "T", "level": "WARN", "subject": "a.b", "script": "n", "message": "invocation failed",
            "error": "x\u{1b}[2J\ny", "limit": "", "worker": 3,
        });
        let shown = event(fields.as_object().unwrap());
        assert_eq!(shown, "T WARN  a.b/n invocation failed error=x\\u{1b}[2J\\ny worker=3");
    }
}
