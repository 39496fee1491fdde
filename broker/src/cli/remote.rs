//! The command line's end of the control socket: which broker, and what it answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use nix::unistd::Uid;
use serde::de::DeserializeOwned;

use crate::control::place;
use crate::control::wire::{Request, Word, line};

/// The longest line that a broker sends, in bytes.
const MOST: u64 = 64 << 20;

/// Which broker to ask.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Its control socket [default: $MSGSCRIPT_CONTROL, else the one where brokers have it by themselves]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The port of its HTTP door, where several brokers run
    #[arg(long, value_name = "PORT", conflicts_with = "control")]
    port: Option<u16>,
}

impl Target {
    /// Asks. The answers are read from what this gives.
    pub(super) fn ask(&self, request: &Request) -> Result<Answers> {
        let path = self.path()?;
        let what = || format!("the control socket {}", path.display());
        let mut stream =
            Stream::connect(path.as_path().to_fs_name::<GenericFilePath>()?).with_context(what)?;
        let user = stream.peer_creds().ok().and_then(|peer| peer.euid());
        if user.is_none_or(|user| user != 0 && user != Uid::effective().as_raw())
            && !Uid::effective().is_root()
        {
            bail!("{} is another user's", what());
        }
        stream.write_all(&line(request)).with_context(what)?;
        Ok(Answers(BufReader::new(stream)))
    }

    fn path(&self) -> Result<PathBuf> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = self.control.clone();
        let given =
            given.or_else(|| self.port.is_none().then(|| env("MSGSCRIPT_CONTROL"))?.map(PathBuf::from));
        if let Some(path) = given {
            return Ok(path);
        }
        let name = self.port.map(place::name);
        let wanted = |path: &PathBuf| {
            name.as_ref().is_none_or(|name| path.file_name().is_some_and(|it| it == name.as_str()))
        };
        choose(place::find(&env).into_iter().filter(wanted).collect())
    }
}

/// The one socket, or of several the one that a broker without options has.
fn choose(found: Vec<PathBuf>) -> Result<PathBuf> {
    let usual = place::name(7643);
    match found.as_slice() {
        [] => bail!("no broker's control socket was found; name it: --control PATH"),
        [only] => Ok(only.clone()),
        several => {
            let living = |path: &&PathBuf| is_living(path);
            let living: Vec<&PathBuf> = several.iter().filter(living).collect();
            let is_usual = |path: &&&PathBuf| path.file_name().is_some_and(|it| it == usual.as_str());
            match (living.as_slice(), living.iter().find(is_usual)) {
                ([only], _) => Ok((*only).clone()),
                (_, Some(usual)) => Ok((**usual).clone()),
                _ => {
                    let paths: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
                    bail!("several brokers run; choose with --port or --control: {}", paths.join(", "))
                }
            }
        }
    }
}

/// Whether a broker listens there: one that was killed leaves its socket.
fn is_living(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// A broker's answers.
pub(super) struct Answers(BufReader<Stream>);

impl Answers {
    /// The next line, without its end; `None` if there is none.
    pub(super) fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        match (&mut self.0).take(MOST).read_until(b'\n', &mut text) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error).context("the broker's answer"),
        }
        if text.pop() != Some(b'\n') {
            bail!("the broker's answer has no end");
        }
        Ok(Some(text))
    }

    /// The one answer.
    pub(super) fn one<T: DeserializeOwned>(mut self) -> Result<T> {
        let Some(text) = self.next_line()? else { bail!("the broker did not answer") };
        if let Ok(Word::Error(why)) = serde_json::from_slice(&text) {
            bail!("{}", plain(&why));
        }
        serde_json::from_slice(&text).context("the broker's answer")
    }
}

/// Text for a terminal: control characters are shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}
