//! What a load is to do, from arguments `KEY=VALUE`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};

/// What a load is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server: `ADDR:PORT`.
    pub to: String,
    /// The subject, path or function.
    pub what: String,
    /// Requests that are on their way at the same time.
    pub flight: usize,
    /// For how long.
    pub time: Duration,
    /// Requests a second, whatever becomes of them; none: as fast as answers come.
    pub rate: Option<f64>,
    /// What is sent.
    pub payload: Vec<u8>,
    /// What each answer must be.
    pub check: Check,
}

/// What an answer must be. Each answer is looked at, else a fast error would be a good figure.
#[derive(Debug, Clone)]
pub enum Check {
    /// It ends so.
    Ends(Vec<u8>),
    /// It has that many bytes.
    Size(usize),
    /// It has this in it.
    Has(Vec<u8>),
}

impl Check {
    /// Whether this is the answer.
    pub fn admits(&self, answer: &[u8]) -> bool {
        match self {
            Check::Ends(text) => answer.ends_with(text),
            Check::Size(size) => answer.len() == *size,
            Check::Has(text) => answer.windows(text.len().max(1)).any(|window| window == text),
        }
    }
}

impl Options {
    /// Reads `to=`, `what=`, `flight=` (1), `seconds=` (2), `rate=`, `size=` (100 bytes of payload) or
    /// `payload=FILE`, and `ends=`, `answer-size=` or `has=` (the answer ends with the payload).
    ///
    /// # Errors
    /// When one is unknown, missing or no number.
    pub fn parse(args: &[&str]) -> anyhow::Result<Options> {
        let mut given = HashMap::new();
        for arg in args {
            let (name, value) = arg.split_once('=').with_context(|| format!("{arg} is not KEY=VALUE"))?;
            given.insert(name, value);
        }
        let mut take = |name: &str| given.remove(name);
        let payload = match take("payload") {
            Some(file) => std::fs::read(file).with_context(|| file.to_owned())?,
            None => vec![b'x'; take("size").unwrap_or("100").parse()?],
        };
        let options = Options {
            to: take("to").context("to= is missing")?.to_owned(),
            what: take("what").unwrap_or("").to_owned(),
            flight: take("flight").unwrap_or("1").parse()?,
            time: Duration::from_secs_f64(take("seconds").unwrap_or("2").parse()?),
            rate: take("rate").map(str::parse).transpose()?,
            check: match (take("ends"), take("answer-size"), take("has")) {
                (Some(text), None, None) => Check::Ends(text.as_bytes().to_vec()),
                (None, Some(size), None) => Check::Size(size.parse()?),
                (None, None, Some(text)) => Check::Has(text.as_bytes().to_vec()),
                (None, None, None) => Check::Ends(payload.clone()),
                _ => bail!("ends=, answer-size= and has= exclude each other"),
            },
            payload,
        };
        match given.keys().next() {
            Some(name) => bail!("{name}= is unknown"),
            None => Ok(options),
        }
    }
}
