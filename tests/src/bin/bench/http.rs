//! Requests over HTTP/1.1: so many connections, each with one request in flight.
//!
//! As fast as answers come, all connections in one thread; or at a fixed rate, each connection in a thread of its
//! own, since a runtime's timer is too coarse: latency then counts from when a request was due.

use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::options::Options;
use crate::report::Report;

/// Runs a load.
///
/// # Errors
/// When a connection fails or an answer is wrong.
pub async fn load(options: &Options) -> anyhow::Result<()> {
    match options.rate {
        None => closed(options).await,
        Some(rate) => open(options, rate),
    }
}

fn request(options: &Options) -> Vec<u8> {
    let Options { to, what, payload, .. } = options;
    let method = if payload.is_empty() { "GET" } else { "POST" };
    let head = format!(
        "{method} {what} HTTP/1.1\r\nHost: {to}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

async fn closed(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::begin();
    let mut tasks = Vec::new();
    for _ in 0..options.flight {
        let (options, mut own) = (options.clone(), Report::since(report.began()));
        tasks.push(tokio::task::spawn_local(async move {
            let request = request(&options);
            let mut stream = TcpStream::connect(&options.to).await?;
            stream.set_nodelay(true)?;
            let mut input = Vec::with_capacity(4096);
            while own.elapsed() < options.time {
                let asked = Instant::now();
                stream.write_all(&request).await?;
                while !take(&mut input, &options)? {
                    if stream.read_buf(&mut input).await? == 0 {
                        bail!("connection closed");
                    }
                }
                own.add(asked.elapsed());
            }
            Ok(own)
        }));
    }
    for task in tasks {
        report.join(task.await??);
    }
    report.print()
}

fn open(options: &Options, rate: f64) -> anyhow::Result<()> {
    // All connections stand before the first request is due.
    let began = Instant::now() + Duration::from_millis(50);
    let mut report = Report::since(began);
    let threads: Vec<_> = (0..options.flight)
        .map(|at| {
            let options = options.clone();
            std::thread::Builder::new().stack_size(256 << 10).spawn(move || one(&options, rate, began, at))
        })
        .collect();
    for thread in threads {
        report.join(thread?.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??);
    }
    report.print()
}

/// One connection at its share of a fixed rate.
fn one(options: &Options, rate: f64, began: Instant, at: usize) -> anyhow::Result<Report> {
    let request = request(options);
    let mut stream = Blocking::connect(&options.to)?;
    stream.set_nodelay(true)?;
    let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    let mut own = Report::since(began);
    let mut number = at;
    loop {
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let after = Duration::from_secs_f64(number as f64 / rate);
        if after >= options.time {
            return Ok(own);
        }
        let due = began + after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&request)?;
        while !take(&mut input, options)? {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                bail!("connection closed");
            }
            input.extend_from_slice(&chunk[..read]);
        }
        own.add(due.elapsed());
        number += options.flight;
    }
}

/// Takes a whole response off the input, if it is there.
fn take(input: &mut Vec<u8>, options: &Options) -> anyhow::Result<bool> {
    let Some(head) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let text = std::str::from_utf8(&input[..head])?.to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        bail!("{text}\n{}", String::from_utf8_lossy(&input[head..]));
    }
    let (end, whole) = if text.lines().any(|line| line == "transfer-encoding: chunked") {
        match unchunk(&input[head + 4..])? {
            None => return Ok(false),
            Some((body, size)) => (head + 4 + size, body),
        }
    } else {
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
        let end = head + 4 + length.trim().parse::<usize>()?;
        let Some(body) = input.get(head + 4..end) else { return Ok(false) };
        (end, body.to_vec())
    };
    if !options.check.admits(&whole) {
        bail!("a wrong answer: {}", String::from_utf8_lossy(&whole[..whole.len().min(300)]));
    }
    input.drain(..end);
    Ok(true)
}

/// A whole chunked body and what it took, if it is there. Some peers answer so.
fn unchunk(input: &[u8]) -> anyhow::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = input[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = usize::from_str_radix(std::str::from_utf8(&input[at..at + line])?, 16)?;
        let start = at + line + 2;
        at = start + size + 2;
        let Some(chunk) = input.get(start..start + size) else { return Ok(None) };
        if input.len() < at {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(chunk);
    }
}
