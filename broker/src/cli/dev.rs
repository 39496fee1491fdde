//! `dev`, `devhttp`: a script while it is being written, run as the server would run it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::net::TcpListener;

use super::Common;
use crate::app::{self, Core, Front};
use crate::catalog::{Executor, Script};
use crate::config::{self, Config, Start};
use crate::ingress::http;
use crate::invocation::{Answer, Call, Ending, Message, Reason};
use crate::workbench::front::DevFront;
use crate::workbench::{Given, Workbench, fault};
use crate::{pipeline, telemetry, units};

/// What both verbs are told of the script and its surroundings.
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// The script's file
    file: PathBuf,
    /// Folder of libraries [default: libs beside the file, if it is there]
    #[arg(short, long, value_name = "DIR")]
    library: Option<PathBuf>,
    /// Folder of Lua modules written in C
    #[arg(short, long, value_name = "DIR", visible_alias = "pluginDir")]
    plugin: Option<PathBuf>,
    /// A power for the script, as the server's option of this name (repeatable)
    #[arg(long, value_name = "GRANT")]
    allow: Vec<String>,
    /// The server's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the worker's program, if it is not beside this one
    #[arg(long, value_name = "DIR")]
    worker_dir: Option<PathBuf>,
}

impl DevArgs {
    /// The server's configuration, as its own command line would give it.
    fn config(&self, common: &Common) -> Result<Config> {
        let mut args = vec!["msgscript-broker".to_owned(), "--workers=1".to_owned()];
        let folder = self.file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let mut option = |name: &str, value: &str| args.push(format!("--{name}={value}"));
        option("script", &folder.display().to_string());
        option("etcdurl", &common.etcdurls);
        option("log", &tracing::Level::from(common.log).to_string().to_lowercase());
        if let Some(url) = &common.natsurl {
            option("natsurl", url);
        }
        let paths = [
            ("library", &self.library),
            ("plugin", &self.plugin),
            ("config", &self.config),
            ("worker-dir", &self.worker_dir),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                option(name, &path.display().to_string());
            }
        }
        self.allow.iter().for_each(|grant| option("allow", grant));
        match config::start(args.into_iter().map(Into::into), &|name| std::env::var(name).ok())? {
            Start::Serve(config) => Ok(*config),
            _ => bail!("this is no command line of a server"),
        }
    }

    fn bench(&self, given: Given, core: &Core) -> Workbench {
        Workbench::new(&self.file, self.library.clone(), given, core.catalog.clone())
    }
}

/// What runs the script, if the command line says so.
fn executor(common: &Common) -> Result<Option<Executor>> {
    let by_name = |name: &String| {
        Executor::by_name(name).with_context(|| format!("--executor {name} is none of lua, wasm, podman"))
    };
    common.executor.as_ref().map(by_name).transpose()
}

/// What `dev` is told besides.
#[derive(Debug, clap::Args)]
pub(super) struct Input {
    /// Its subject, instead of the one in its header
    #[arg(short, long)]
    subject: Option<String>,
    /// Its name, instead of the one in its header
    #[arg(short, long)]
    name: Option<String>,
    /// The payload: a file, or the text itself; `-` is standard input
    #[arg(short, long, default_value = "")]
    input: String,
}

impl Input {
    fn read(&self) -> Result<Bytes> {
        if self.input == "-" {
            let mut text = Vec::new();
            std::io::stdin().lock().read_to_end(&mut text).context("standard input")?;
            return Ok(text.into());
        }
        let path = Path::new(&self.input);
        if path.is_file() {
            return Ok(std::fs::read(path).with_context(|| self.input.clone())?.into());
        }
        Ok(Bytes::copy_from_slice(self.input.as_bytes()))
    }
}

/// Runs the script once: its answer goes to `out`, all else to standard error.
pub(super) fn dev(args: &DevArgs, input: &Input, common: &Common, out: &mut dyn Write) -> Result<ExitCode> {
    let config = Rc::new(args.config(common)?);
    let given =
        Given { subject: input.subject.clone(), name: input.name.clone(), executor: executor(common)? };
    let payload = input.read()?;
    telemetry::init_for_author(config.log.into());
    in_runtime(async {
        let core = app::workbench(&config).await?;
        let (script, problems) = args.bench(given, &core).refresh();
        for problem in &problems {
            eprintln!("{}{problem}", if problem.rejects { "" } else { "warning: " });
        }
        let Some(script) = script.filter(|script| script.broken.is_none()) else {
            return Ok(ExitCode::FAILURE);
        };
        let message = message(&script, payload);
        let began = Instant::now();
        let ending = pipeline::run(core.clone(), script.clone(), message).await;
        let took = began.elapsed();
        answer(&ending, out)?;
        eprintln!("{}", summary(&core, &ending, took));
        core.pool.close();
        if ending.reason == Reason::Ok {
            return Ok(ExitCode::SUCCESS);
        }
        explain(&script, &ending);
        Ok(ExitCode::FAILURE)
    })
}

fn message(script: &Script, payload: Bytes) -> Message {
    let method = if payload.is_empty() { "GET" } else { "POST" };
    let call =
        if script.http { Call::Http { method: method.into(), url: "/".into() } } else { Call::Message };
    Message {
        subject: script.subject.clone(),
        shown_subject: script.subject.clone(),
        call,
        payload,
        headers: Rc::new([]),
        arrived: Instant::now(),
        trace: None,
    }
}

fn answer(ending: &Ending, out: &mut dyn Write) -> Result<()> {
    match &ending.answer {
        Answer::None | Answer::NoFunction { .. } => return Ok(()),
        Answer::Message(payload) => out.write_all(payload)?,
        Answer::Http { body, status, headers } | Answer::Result { payload: body, status, headers } => {
            eprintln!("status {status}");
            headers
                .iter()
                .for_each(|(name, value)| eprintln!("{}", format!("{name}: {value}").escape_debug()));
            out.write_all(body)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// How it ended, how long that took, what memory the worker needed at most, what was asked of the host.
fn summary(core: &Core, ending: &Ending, took: Duration) -> String {
    let mut parts = vec![format!("{} in {}", ending.reason.word(), units::print_duration(took))];
    if let Some(peak) = core.pool.pids().first().and_then(|pid| peak_memory(*pid)) {
        parts.push(format!("the worker's peak memory {}", units::print_size(peak)));
    }
    let mut calls: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((_, kind, outcome), count) in core.statistics.host_calls() {
        calls.entry(kind).or_default().push(format!("{count} {}", outcome.word()));
    }
    for (kind, counts) in calls {
        parts.push(format!("{kind} {}", counts.join(", ")));
    }
    parts.join("; ")
}

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn explain(script: &Script, ending: &Ending) {
    eprintln!("{}", ending.error);
    if let Some(excerpt) = fault::excerpt(script, &ending.error) {
        eprint!("{}", excerpt.text());
    }
}

/// Serves the script over HTTP until it is interrupted; its files are read again at each request.
pub(super) fn devhttp(args: &DevArgs, port: u16, common: &Common) -> Result<ExitCode> {
    let config = Rc::new(args.config(common)?);
    let executor = executor(common)?;
    telemetry::init_for_author(config.log.into());
    in_runtime(async {
        let core = app::workbench(&config).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("cannot listen on port {port}"))?;
        let bench = args.bench(Given { executor, ..Given::default() }, &core);
        let (script, problems) = bench.refresh();
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        let subject = script.map_or_else(|| "SUBJECT".to_owned(), |script| script.subject.to_string());
        eprintln!("http://{}/{subject}", listener.local_addr()?);
        let front = Rc::new(DevFront { front: Front(core.clone()), bench, told });
        let settings = http::HttpSettings::new(|text| units::parse_duration(text).ok());
        http::serve(listener, front, settings, async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
        core.pool.close();
        Ok(ExitCode::SUCCESS)
    })
}

/// A line for each request.
fn told(message: &Message, script: &Script, ending: &Ending, took: Duration) {
    let asked = match &message.call {
        Call::Http { method, url } => format!("{method} {url}"),
        Call::Message => "message".to_owned(),
    };
    let took = units::print_duration(took);
    eprintln!("{} {} {} in {took}", script.subject, asked.escape_debug(), ending.reason.word());
    if ending.reason != Reason::Ok {
        explain(script, ending);
    }
}

fn in_runtime(run: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run)
}
