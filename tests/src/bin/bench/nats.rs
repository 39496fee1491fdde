//! Requests over NATS, by the bare protocol: the generator must cost less than what it measures.
//!
//! One connection with so many requests in flight; or one on which a thread sends at a fixed rate, whatever
//! becomes of the answers, and latency counts from when a request was due.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::options::Options;
use crate::report::Report;

/// How long answers are waited for once all is sent.
const LATE: Duration = Duration::from_secs(5);

/// Runs a load.
///
/// # Errors
/// When the connection fails or an answer is wrong.
pub fn load(options: &Options) -> anyhow::Result<()> {
    match options.rate {
        None => closed(options),
        Some(rate) => open(options, rate),
    }
}

fn connect(options: &Options) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(&options.to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LATE))?;
    stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")?;
    write!(stream, "SUB {}.* 1\r\n", inbox())?;
    Ok(stream)
}

/// The answer to a ping of the server's.
const PONG: &[u8] = b"PONG\r\n";

/// Where answers go. What another run did not wait for must not come to this one.
fn inbox() -> String {
    format!("_INBOX.bench-{}", std::process::id())
}

fn ask(output: &mut Vec<u8>, options: &Options, inbox: &str, id: u64) {
    // Writing to a vector cannot fail.
    let _ = write!(output, "PUB {} {}.{id} {}\r\n", options.what, inbox, options.payload.len());
    output.extend_from_slice(&options.payload);
    output.extend_from_slice(b"\r\n");
}

fn closed(options: &Options) -> anyhow::Result<()> {
    let mut stream = connect(options)?;
    let (mut input, mut output) = (Input::default(), Vec::new());
    let mut sent: HashMap<u64, Instant> = HashMap::new();
    let mut next = 0;
    let inbox = inbox();
    let mut more = |output: &mut Vec<u8>, sent: &mut HashMap<u64, Instant>| {
        next += 1;
        ask(output, options, &inbox, next);
        sent.insert(next, Instant::now());
    };
    for _ in 0..options.flight {
        more(&mut output, &mut sent);
    }
    let mut report = Report::begin();
    while report.elapsed() < options.time {
        stream.write_all(&output)?;
        output.clear();
        input.fill(&mut stream)?;
        while let Some(id) = input.next(options, &mut output)? {
            let began = sent.remove(&id).context("an answer that was not asked for")?;
            report.add(began.elapsed());
            more(&mut output, &mut sent);
        }
    }
    report.print()
}

fn open(options: &Options, rate: f64) -> anyhow::Result<()> {
    let mut stream = connect(options)?;
    let began = Instant::now();
    let due = move |id: u64| {
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let at = Duration::from_secs_f64(id as f64 / rate);
        began + at
    };
    let total = (options.time.as_secs_f64() * rate) as u64;
    let mut writer = stream.try_clone()?;
    let sending = options.clone();
    // The server's pings, which the sender answers: it may be in the midst of a request.
    let pings = Arc::new(AtomicUsize::new(0));
    let pinged = pings.clone();
    let sender = std::thread::spawn(move || -> anyhow::Result<()> {
        let (mut output, inbox) = (Vec::new(), inbox());
        let mut id = 0;
        while id < total {
            if let Some(early) = due(id).checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            while id < total && due(id) <= Instant::now() {
                ask(&mut output, &sending, &inbox, id);
                id += 1;
            }
            output.extend(PONG.repeat(pinged.swap(0, Relaxed)));
            writer.write_all(&output)?;
            output.clear();
        }
        Ok(())
    });
    let (mut input, mut output) = (Input::default(), Vec::new());
    let mut report = Report::since(began);
    let mut answered = 0;
    while answered < total {
        input.fill(&mut stream)?;
        while let Some(id) = input.next(options, &mut output)? {
            report.add(due(id).elapsed());
            answered += 1;
        }
        if sender.is_finished() {
            stream.write_all(&output)?;
        } else {
            pings.fetch_add(output.len() / PONG.len(), Relaxed);
        }
        output.clear();
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    report.print()
}

/// What has come in and is not taken yet.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    taken: usize,
}

impl Input {
    fn fill(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let old = self.bytes.len();
        self.bytes.resize(old + (64 << 10), 0);
        let read = stream.read(&mut self.bytes[old..])?;
        self.bytes.truncate(old + read);
        if read == 0 {
            bail!("connection closed");
        }
        Ok(())
    }

    /// Takes one whole `MSG` or `HMSG` off the input: its number. Pings are answered into `output`.
    fn next(&mut self, options: &Options, output: &mut Vec<u8>) -> anyhow::Result<Option<u64>> {
        loop {
            let input = &self.bytes[self.taken..];
            let Some(end) = input.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
            let line = std::str::from_utf8(&input[..end])?;
            if !line.starts_with("MSG ") && !line.starts_with("HMSG ") {
                if line == "PING" {
                    output.extend_from_slice(PONG);
                } else if line.starts_with("-ERR") {
                    bail!("{line}");
                }
                self.taken += end + 2;
                continue;
            }
            let fields: Vec<&str> = line.split(' ').collect();
            let id = fields[1].rsplit('.').next().unwrap_or("").parse()?;
            let size: usize = fields[fields.len() - 1].parse()?;
            let head: usize = if fields[0] == "HMSG" { fields[fields.len() - 2].parse()? } else { 0 };
            let start = end + 2;
            if input.len() < start + size + 2 {
                return Ok(None);
            }
            let answer = &input[start + head..start + size];
            if !options.check.admits(answer) {
                bail!("a wrong answer: {}", String::from_utf8_lossy(&input[start..start + size.min(300)]));
            }
            self.taken += start + size + 2;
            return Ok(Some(id));
        }
    }
}
