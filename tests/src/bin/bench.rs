//! The parts of `scripts/bench`: load generators that check each answer, and bare peers to compare with.
//!
//! `bench load-nats ADDR SUBJECT IN_FLIGHT SECONDS`, `bench load-http ADDR PATH CONNECTIONS SECONDS`,
//! `bench echo URL SUBJECT`, `bench hello ADDR`. Loads print one JSON object: requests a second, latency in
//! microseconds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match args[..] {
            ["load-nats", to, subject, flight, seconds] => {
                load_nats(to, subject, flight.parse()?, seconds.parse()?).await
            }
            ["load-http", to, path, connections, seconds] => {
                load_http(to, path, connections.parse()?, seconds.parse()?).await
            }
            ["echo", url, subject] => echo(url, subject).await,
            ["hello", address] => hello(address).await,
            _ => bail!("see the source for the arguments"),
        }
    })
}

/// A payload of 100 bytes.
const PAYLOAD: [u8; 100] = [b'x'; 100];

/// What a load came to.
struct Report {
    began: Instant,
    micros: Vec<u32>,
}

impl Report {
    fn print(mut self, seconds: f64) {
        self.micros.sort_unstable();
        let at = |share: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list of measurements"
            )]
            let index = (self.micros.len() as f64 * share) as usize;
            self.micros.get(index).copied().unwrap_or(0)
        };
        #[allow(clippy::cast_precision_loss, reason = "a count for a report")]
        let rate = self.micros.len() as f64 / self.began.elapsed().as_secs_f64().min(seconds + 1.0);
        println!(
            "{{\"rate\":{rate:.0},\"p50\":{},\"p90\":{},\"p99\":{},\"p999\":{},\"requests\":{}}}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            self.micros.len()
        );
    }
}

/// One connection with so many requests in flight, by the bare protocol: the generator must cost less than
/// what it measures.
async fn load_nats(to: &str, subject: &str, flight: usize, seconds: f64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(1 << 16);
    stream.read_buf(&mut input).await?;
    input.clear();
    let mut output = Vec::new();
    output.extend_from_slice(
        b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.b.* 1\r\n",
    );
    let mut sent: HashMap<u64, Instant> = HashMap::new();
    let mut next = 0;
    let mut ask = |output: &mut Vec<u8>, sent: &mut HashMap<u64, Instant>| {
        next += 1;
        output.extend_from_slice(format!("PUB {subject} _INBOX.b.{next} {}\r\n", PAYLOAD.len()).as_bytes());
        output.extend_from_slice(&PAYLOAD);
        output.extend_from_slice(b"\r\n");
        sent.insert(next, Instant::now());
    };
    for _ in 0..flight {
        ask(&mut output, &mut sent);
    }
    let mut report = Report { began: Instant::now(), micros: Vec::new() };
    while report.began.elapsed().as_secs_f64() < seconds {
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        if stream.read_buf(&mut input).await? == 0 {
            bail!("connection closed");
        }
        while let Some((id, ok)) = next_message(&mut input, &mut output)? {
            let began = sent.remove(&id).context("an answer that was not asked for")?;
            if !ok {
                bail!("a wrong answer");
            }
            #[allow(clippy::cast_possible_truncation, reason = "microseconds of one request")]
            report.micros.push(began.elapsed().as_micros() as u32);
            ask(&mut output, &mut sent);
        }
    }
    report.print(seconds);
    Ok(())
}

/// Takes one whole `MSG` or `HMSG` off the input: its number, and whether it ends in our payload.
fn next_message(input: &mut BytesMut, output: &mut Vec<u8>) -> anyhow::Result<Option<(u64, bool)>> {
    loop {
        let Some(end) = input.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&input[..end])?;
        if !line.starts_with("MSG ") && !line.starts_with("HMSG ") {
            if line == "PING" {
                output.extend_from_slice(b"PONG\r\n");
            } else if line.starts_with("-ERR") {
                bail!("{line}");
            }
            input.advance(end + 2);
            continue;
        }
        let fields: Vec<&str> = line.split(' ').collect();
        let id = fields[1].rsplit('.').next().unwrap_or("").parse()?;
        let size: usize = fields[fields.len() - 1].parse()?;
        if input.len() < end + 2 + size + 2 {
            return Ok(None);
        }
        let ok = input[end + 2..end + 2 + size].ends_with(&PAYLOAD);
        input.advance(end + 2 + size + 2);
        return Ok(Some((id, ok)));
    }
}

/// So many connections, each with one request in flight.
async fn load_http(to: &str, path: &str, connections: usize, seconds: f64) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (to, path) = (to.to_owned(), path.to_owned());
        tasks.push(tokio::task::spawn_local(async move {
            let mut stream = TcpStream::connect(&to).await?;
            stream.set_nodelay(true)?;
            let mut request =
                format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n\r\n", PAYLOAD.len())
                    .into_bytes();
            request.extend_from_slice(&PAYLOAD);
            let mut input = BytesMut::with_capacity(4096);
            let mut micros = Vec::new();
            while began.elapsed().as_secs_f64() < seconds {
                let asked = Instant::now();
                stream.write_all(&request).await?;
                read_response(&mut stream, &mut input).await?;
                #[allow(clippy::cast_possible_truncation, reason = "microseconds of one request")]
                micros.push(asked.elapsed().as_micros() as u32);
            }
            anyhow::Ok(micros)
        }));
    }
    let mut report = Report { began, micros: Vec::new() };
    for task in tasks {
        report.micros.extend(task.await??);
    }
    report.print(seconds);
    Ok(())
}

async fn read_response(stream: &mut TcpStream, input: &mut BytesMut) -> anyhow::Result<()> {
    loop {
        if let Some(head) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = std::str::from_utf8(&input[..head])?.to_ascii_lowercase();
            if !text.starts_with("http/1.1 200") {
                bail!("{text}");
            }
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
            let whole = head + 4 + length.trim().parse::<usize>()?;
            if input.len() >= whole {
                input.advance(whole);
                return Ok(());
            }
        }
        if stream.read_buf(input).await? == 0 {
            bail!("connection closed");
        }
    }
}

/// The bare NATS peer: answers each message with its payload.
async fn echo(url: &str, subject: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut messages = client.queue_subscribe(subject.to_owned(), "q".to_owned()).await?;
    client.flush().await?;
    println!("ready");
    while let Some(message) = messages.next().await {
        if let Some(reply) = message.reply {
            client.publish(reply, message.payload).await?;
        }
    }
    Ok(())
}

/// The bare HTTP peer: reads the body and says hello.
async fn hello(address: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let body = http_body_util::BodyExt::collect(request.into_body()).await;
                let size = body.map(|body| body.to_bytes().len()).unwrap_or(0);
                let text = Bytes::from(format!("Hello, {size} bytes"));
                Ok::<_, Infallible>(hyper::Response::new(Full::new(text)))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let _ = http.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
        });
    }
}
