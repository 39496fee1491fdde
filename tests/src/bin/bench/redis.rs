//! Calls of a Redis function, so many in flight on one connection.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::options::Options;
use crate::report::Report;

/// Runs a load: `FCALL what 0 payload`.
///
/// # Errors
/// When the connection fails or an answer is wrong.
pub fn load(options: &Options) -> anyhow::Result<()> {
    let stream = TcpStream::connect(&options.to)?;
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let head = format!(
        "*4\r\n$5\r\nFCALL\r\n${}\r\n{}\r\n$1\r\n0\r\n${}\r\n",
        options.what.len(),
        options.what,
        options.payload.len()
    );
    let call = [head.as_bytes(), &options.payload, b"\r\n"].concat();
    let mut report = Report::begin();
    let mut sent: VecDeque<Instant> = (0..options.flight).map(|_| Instant::now()).collect();
    let mut output = call.repeat(options.flight);
    while report.elapsed() < options.time {
        writer.write_all(&output)?;
        output.clear();
        // One answer at least, and what came with it.
        loop {
            answer(&mut reader, options)?;
            report.add(sent.pop_front().context("an answer too many")?.elapsed());
            sent.push_back(Instant::now());
            output.extend_from_slice(&call);
            if reader.buffer().is_empty() {
                break;
            }
        }
    }
    report.print()
}

fn answer(reader: &mut impl BufRead, options: &Options) -> anyhow::Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let size = line.strip_prefix('$').with_context(|| format!("not a text: {line}"))?;
    let mut body = vec![0; size.trim().parse::<usize>()? + 2];
    reader.read_exact(&mut body)?;
    if !options.check.admits(&body[..body.len() - 2]) {
        bail!("a wrong answer: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
