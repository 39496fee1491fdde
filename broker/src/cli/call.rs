//! `call`: a message to a function over NATS, and its answer.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode};
use futures_util::StreamExt;

use super::remote::plain;
use crate::config::value::{Parsed, Span};
use crate::upstream::address;

/// What `call` is told.
#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// The subject
    subject: String,
    /// The payload; `-` is standard input, `@FILE` a file
    #[arg(default_value = "")]
    payload: String,
    /// A header of the message. May be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Show the answer's headers
    #[arg(short, long)]
    verbose: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: Parsed<Span>,
    /// Number of answers to wait for: one for each script of the subject
    #[arg(long, value_name = "N", default_value_t = 1)]
    replies: usize,
}

/// Sends it and prints the answers. Status 1 if one is an error.
pub(super) async fn call(
    call: &CallArgs,
    natsurl: Option<&str>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let payload = payload(&call.payload)?;
    let headers = headers(&call.header)?;
    let env = std::env::var("NATS_URL").ok().filter(|url| !url.is_empty());
    let url = natsurl.map(str::to_owned).or(env).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let (options, servers) =
        address::nats_options(async_nats::ConnectOptions::new().name("msgscriptcli"), &url);
    let client =
        options.connect(servers).await.with_context(|| format!("NATS at {}", address::redacted(&url)))?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply_and_headers(call.subject.clone(), inbox, headers, payload.into()).await?;
    client.flush().await?;
    let wait: Duration = call.timeout.0.0;
    let until = tokio::time::Instant::now() + wait;
    let mut status = ExitCode::SUCCESS;
    for _ in 0..call.replies.max(1) {
        match tokio::time::timeout_at(until, answers.next()).await {
            Err(_) => bail!("no answer on `{}` within {}", call.subject, crate::units::print_duration(wait)),
            Ok(None) => bail!("the connection to NATS ended"),
            Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                bail!("nobody answers `{}`: no script has this subject", call.subject)
            }
            Ok(Some(message)) => {
                if !show(&message, call.verbose, out, errors)? {
                    status = ExitCode::FAILURE;
                }
            }
        }
    }
    Ok(status)
}

fn payload(text: &str) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    match text.strip_prefix('@') {
        Some(path) => payload = std::fs::read(path).with_context(|| path.to_owned())?,
        None if text == "-" => {
            std::io::stdin().read_to_end(&mut payload).context("standard input")?;
        }
        None => payload.extend_from_slice(text.as_bytes()),
    }
    Ok(payload)
}

fn headers(given: &[String]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in given {
        let split = header.split_once(':');
        let (name, value) = split.with_context(|| format!("`{header}` is no header; write NAME: VALUE"))?;
        let name: HeaderName = name.trim().parse().with_context(|| format!("the header `{header}`"))?;
        let value: HeaderValue = value.trim().parse().with_context(|| format!("the header `{header}`"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Prints an answer. Whether it is no error.
fn show(message: &Message, verbose: bool, out: &mut dyn Write, errors: &mut dyn Write) -> Result<bool> {
    let headers = message.headers.clone().unwrap_or_default();
    if verbose {
        for (name, values) in headers.iter() {
            for value in values {
                writeln!(errors, "{}: {}", plain(name.as_ref()), plain(value.as_str()))?;
            }
        }
    }
    let text = |name: &str| headers.get(name).map(|value| plain(value.as_str()));
    if !message.payload.is_empty() {
        out.write_all(&message.payload)?;
        if !message.payload.ends_with(b"\n") {
            writeln!(out)?;
        }
        out.flush()?;
    }
    let Some(error) = text("Nats-Service-Error") else { return Ok(true) };
    let reason = text("Msgscript-Reason").unwrap_or_default();
    let code = text("Nats-Service-Error-Code").unwrap_or_default();
    writeln!(errors, "{error} ({reason}, {code})")?;
    Ok(false)
}
