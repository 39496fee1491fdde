//! Loads of the ill-behaved: a neighbour that takes whatever it gets, and many runs with hostile ones among them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn post(to: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A whole response, whatever it says: status and body.
async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> anyhow::Result<(u16, Bytes)> {
    loop {
        if let Some(head) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = std::str::from_utf8(&input[..head])?.to_ascii_lowercase();
            let status = text.get(9..12).context("no status")?.parse()?;
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("no length")?.trim().parse()?;
            if input.len() >= head + 4 + length {
                input.advance(head + 4);
                return Ok((status, input.split_to(length).freeze()));
            }
        }
        anyhow::ensure!(stream.read_buf(input).await? > 0, "connection closed");
    }
}

/// So many connections that ask again and again and take whatever they get, refusals and lost connections too.
/// Prints how many were served.
///
/// # Errors
/// None: that it cannot connect is told by what it prints.
pub async fn attack(to: &str, path: &str, connections: usize, seconds: f64) -> anyhow::Result<()> {
    let began = Instant::now();
    let served = Rc::new(Cell::new(0_u32));
    let asking = (0..connections).map(|_| {
        let (request, to, served) = (post(to, path, &[b'x'; 100]), to.to_owned(), served.clone());
        async move {
            while let Ok(mut stream) = TcpStream::connect(&to).await {
                let mut input = BytesMut::with_capacity(4096);
                while stream.write_all(&request).await.is_ok()
                    && let Ok((status, _)) = read(&mut stream, &mut input).await
                {
                    served.set(served.get() + u32::from(status == 200));
                    if status == 503 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        }
    });
    let all = futures_util::future::join_all(asking);
    let _ = tokio::time::timeout(Duration::from_secs_f64(seconds), all).await;
    let rate = f64::from(served.get()) / began.elapsed().as_secs_f64();
    println!("{{\"rate\":{rate:.0},\"requests\":{}}}", served.get());
    Ok(())
}

/// Which of the runs are hostile: one in `share`, of the scripts `/hT.sS`.
#[derive(Debug, Clone, Copy)]
pub struct Hostile {
    /// One in so many.
    pub share: u64,
    /// Their tenants.
    pub tenants: u64,
    /// Scripts of each tenant.
    pub scripts: u64,
}

/// Connections of the soak.
const SOAKING: u64 = 32;

/// So many runs, hostile ones among them; the others are of `/hello` and must have their own answers. Prints
/// how many there were of each.
///
/// # Errors
/// When a connection is lost.
pub async fn soak(to: &str, runs: u64, hostile: Hostile) -> anyhow::Result<()> {
    let asked = Rc::new(Cell::new(0));
    let asking = (0..SOAKING).map(|connection| soak_one(to, connection, runs, asked.clone(), hostile));
    let mut all = [0; 3];
    for told in futures_util::future::join_all(asking).await {
        let told = told?;
        all = std::array::from_fn(|at| all[at] + told[at]);
    }
    let [honest, bad, wrong] = all;
    println!("{{\"honest\":{honest},\"hostile\":{bad},\"wrong\":{wrong}}}");
    Ok(())
}

/// One connection of it: honest runs, hostile runs, wrong answers.
async fn soak_one(
    to: &str,
    connection: u64,
    runs: u64,
    asked: Rc<Cell<u64>>,
    hostile: Hostile,
) -> anyhow::Result<[u64; 3]> {
    let [mut honest, mut bad, mut wrong] = [0; 3];
    // Numbers that look random (xorshift).
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(connection + 1) ^ u64::from(std::process::id());
    let mut stream = TcpStream::connect(to).await?;
    let mut input = BytesMut::with_capacity(4096);
    while asked.get() < runs {
        let number = asked.replace(asked.get() + 1);
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let body = format!("{connection}.{number}");
        if dice.is_multiple_of(hostile.share) {
            bad += 1;
            let (tenant, script) = ((dice >> 20) % hostile.tenants, (dice >> 40) % hostile.scripts);
            stream.write_all(&post(to, &format!("/h{tenant}.s{script}"), body.as_bytes())).await?;
            read(&mut stream, &mut input).await?;
        } else {
            honest += 1;
            stream.write_all(&post(to, "/hello", body.as_bytes())).await?;
            let (status, answer) = read(&mut stream, &mut input).await?;
            wrong += u64::from(status != 200 || !is_hello(&answer, &body));
        }
    }
    Ok([honest, bad, wrong])
}

/// Whether an answer is the hello to this body.
fn is_hello(answer: &[u8], body: &str) -> bool {
    let json: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let payload = json["n"]["payload"].as_str().unwrap_or("");
    let engine = base64::engine::general_purpose::STANDARD;
    base64::Engine::decode(&engine, payload).is_ok_and(|text| text == format!("Hello {body}").as_bytes())
}
