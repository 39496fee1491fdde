//! `dead list`, `show`, `replay`: messages whose runs failed too often.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{self, stream::Stream};

use crate::streams::dead::{PREFIX, STREAM};

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Dead {
    /// List them, oldest first
    #[command(visible_alias = "ls")]
    List {
        /// No more than so many
        #[arg(long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: how it died, its own headers, the message
    Show {
        /// Its number in the list
        number: u64,
    },
    /// Send it to its subject again, then remove the dead letter
    Replay {
        /// Their numbers in the list
        #[arg(required = true)]
        numbers: Vec<u64>,
    },
}

/// Runs a verb against the NATS server of that URL.
///
/// # Errors
/// When the server is not there, or has no such letter.
pub(super) async fn dead(verb: &Dead, url: &str, out: &mut dyn Write) -> Result<ExitCode> {
    let client = async_nats::connect(url).await.with_context(|| format!("NATS at {url}"))?;
    let context = jetstream::new(client);
    let stream =
        context.get_stream(STREAM).await.with_context(|| format!("no dead letters: stream {STREAM}"))?;
    match verb {
        Dead::List { limit, json } => list(&stream, *limit, *json, out).await?,
        Dead::Show { number } => show(&letter(&stream, *number).await?, out)?,
        Dead::Replay { numbers } => {
            for number in numbers {
                replay(&context, &stream, *number).await?;
                writeln!(out, "{number} replayed")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn letter(stream: &Stream, number: u64) -> Result<StreamMessage> {
    stream.get_raw_message(number).await.with_context(|| format!("dead letter {number}"))
}

/// A header that tells how a message died.
fn field<'a>(letter: &'a StreamMessage, name: &str) -> &'a str {
    letter.headers.get(format!("{PREFIX}{name}").as_str()).map_or("", |value| value.as_str())
}

/// Text for a terminal, which control characters would steer.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn list(stream: &Stream, limit: usize, json: bool, out: &mut dyn Write) -> Result<()> {
    let state = &stream.cached_info().state;
    let mut shown = 0;
    for number in state.first_sequence..=state.last_sequence {
        if shown == limit {
            break;
        }
        // One that was replayed is not there.
        let Ok(letter) = stream.get_raw_message(number).await else { continue };
        shown += 1;
        let [tenant, script, subject, reason, attempts, error] =
            ["Tenant", "Script", "Subject", "Reason", "Attempts", "Error"].map(|name| field(&letter, name));
        if json {
            let row = serde_json::json!({
                "number": number, "tenant": tenant, "script": script, "subject": subject, "reason": reason,
                "attempts": attempts.parse::<u64>().ok(), "error": error, "version": field(&letter, "Version"),
                "time": letter.time.unix_timestamp(),
            });
            writeln!(out, "{row}")?;
        } else {
            let [tenant, script, subject, reason, attempts, error] =
                [tenant, script, subject, reason, attempts, error].map(plain);
            writeln!(out, "{number}  {tenant}  {script}  {subject}  {reason}  {attempts} attempts  {error}")?;
        }
    }
    Ok(())
}

fn show(letter: &StreamMessage, out: &mut dyn Write) -> Result<()> {
    for (name, values) in letter.headers.iter() {
        for value in values {
            writeln!(out, "{name}: {}", plain(value.as_str()))?;
        }
    }
    writeln!(out)?;
    out.write_all(&letter.payload)?;
    Ok(writeln!(out)?)
}

/// Sends it, waits until a stream has it, and only then removes the letter.
async fn replay(context: &jetstream::Context, stream: &Stream, number: u64) -> Result<()> {
    let letter = letter(stream, number).await?;
    let subject = field(&letter, "Subject").to_owned();
    if subject.is_empty() || subject.starts_with('$') || subject.starts_with("_INBOX.") {
        bail!("dead letter {number}: `{subject}` is no subject to send to");
    }
    if !field(&letter, "Cut").is_empty() {
        bail!(
            "dead letter {number} is not whole ({}): send the message again where it came from",
            plain(field(&letter, "Cut"))
        );
    }
    let mut headers = HeaderMap::new();
    for (name, values) in letter.headers.iter() {
        let text: &str = name.as_ref();
        if text.starts_with(PREFIX) || text.starts_with("Nats-") {
            continue;
        }
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    let sent = context.publish_with_headers(subject.clone(), headers, letter.payload.clone()).await?;
    sent.await.with_context(|| format!("dead letter {number}: no stream took {subject}"))?;
    stream.delete_message(number).await.with_context(|| format!("dead letter {number}"))?;
    Ok(())
}
