//! `msgscriptcli`: what a user does with scripts.
//!
//! Takes arguments, gives text and an exit status. Wiring: each verb has its own file below.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::catalog::Snapshot;
use crate::catalog::file::Folders;
use crate::config;
use crate::config::args::normalize_args;
use crate::config::value::{Backend, LogLevel};

mod broker;
mod call;
mod check;
mod dead;
mod dev;
mod etcd;
mod exchange;
mod list;
mod new;
mod orders;
mod remote;
mod status;
mod store;

pub use broker::broker;
use etcd::Etcd;

/// Manages the scripts of msgscript.
///
/// Every long option may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "msgscriptcli", version = crate::VERSION, propagate_version = true)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where scripts are kept
    #[arg(short, long, value_name = "BACKEND", default_value = "etcd", global = true)]
    backend: Backend,
    /// Endpoints of etcd, comma-separated; the variable ETCD_ENDPOINTS wins
    #[arg(short, long, value_name = "URL", default_value = "127.0.0.1:2379", global = true)]
    etcdurls: String,
    /// URL of the NATS server; the variable NATS_URL is used without it
    #[arg(short = 'u', long, value_name = "URL", global = true)]
    natsurl: Option<String>,
    /// What runs the script: lua, wasm, podman
    #[arg(short = 'x', long, value_name = "EXECUTOR", global = true)]
    executor: Option<String>,
    /// Least grave event to show
    #[arg(short = 'L', long, value_name = "LEVEL", default_value = "info", global = true)]
    log: LogLevel,
}

/// The folders of the file backend.
#[derive(Debug, clap::Args)]
struct FolderArgs {
    /// Folder of scripts
    #[arg(long, value_name = "DIR", default_value = ".")]
    script: PathBuf,
    /// Folder of libraries [default: libs in the folder of scripts]
    #[arg(long, value_name = "DIR")]
    library: Option<PathBuf>,
}

impl FolderArgs {
    fn folders(&self) -> Folders {
        Folders::new(&self.script, self.library.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put a script into etcd
    Add {
        /// The script's file; `-` is standard input
        file: PathBuf,
        /// Its subject, instead of the one in its header
        #[arg(short, long)]
        subject: Option<String>,
        /// Its name, instead of the one in its header
        #[arg(short, long)]
        name: Option<String>,
    },
    /// Take a script out of etcd
    Rm {
        /// Its subject
        #[arg(short, long)]
        subject: String,
        /// Its name
        #[arg(short, long)]
        name: String,
    },
    /// List the scripts
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        folders: FolderArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Libraries in etcd
    #[command(subcommand)]
    Lib(Lib),
    /// Messages of streams whose runs failed too often
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Run a script once, as a server would, and print its answer
    Dev {
        #[command(flatten)]
        script: dev::DevArgs,
        #[command(flatten)]
        input: dev::Input,
    },
    /// Serve a script over HTTP while it is being written
    Devhttp {
        #[command(flatten)]
        script: dev::DevArgs,
        /// The port, on this machine only
        #[arg(long, default_value_t = 7634)]
        port: u16,
    },
    /// Show how a folder of scripts differs from etcd: + only there, - only in etcd, ~ not the same
    Diff(FolderArgs),
    /// Put a folder's scripts and libraries into etcd
    Import(FolderArgs),
    /// Write etcd's scripts and libraries into a folder
    Export {
        /// The folder
        folder: PathBuf,
        /// Overwrite files that differ
        #[arg(long)]
        force: bool,
    },
    /// Check headers, libraries and syntax of script files
    Check {
        #[command(flatten)]
        args: check::CheckArgs,
        #[command(flatten)]
        folders: FolderArgs,
    },
    /// Write a script to begin with
    New(new::NewArgs),
    /// Send a message to a function over NATS and print its answer; the status is 1 if that is an error
    Call(call::CallArgs),
    /// Show how a broker on this machine fares: workers, queue, runs by tenant and script
    Status {
        #[command(flatten)]
        target: remote::Target,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The same again and again, the busiest scripts first
    Top {
        #[command(flatten)]
        target: remote::Target,
        #[command(flatten)]
        options: status::TopArgs,
        /// As JSON, an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show what scripts of a broker on this machine logged, and how they failed
    Logs {
        #[command(flatten)]
        target: remote::Target,
        #[command(flatten)]
        options: orders::LogsArgs,
    },
    /// Stop a broker on this machine: no new messages, finish what runs. Waits until it has
    Drain(remote::Target),
    /// Have a broker on this machine read its configuration again
    Reload(remote::Target),
    /// Write a completion script for a shell to standard output
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Lib {
    /// Put libraries into etcd
    Add {
        /// Files, and folders with --recursive
        #[arg(required = true)]
        paths: Vec<String>,
        /// Go into folders
        #[arg(short, long)]
        recursive: bool,
    },
    /// Take libraries out of etcd
    Rm {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List the libraries
    #[command(visible_alias = "ls")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program with this process's arguments. A failure's reason goes to standard error.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse_from(normalize_args(std::env::args_os(), &Args::command())) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = run(&args, &mut io::stdout().lock(), &mut io::stderr().lock());
    match result {
        Ok(status) => status,
        // Who reads our output has enough of it.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "msgscriptcli: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<ExitCode> {
    match &args.verb {
        Verb::List { folders, json } if args.common.backend == Backend::File => {
            list::list(&folders.folders(), *json, out, errors)
        }
        Verb::Check { args, folders } => check::check(args, &folders.folders(), out, errors),
        Verb::Completion { shell } => {
            completion(*shell, &mut Args::command(), out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Man { folder } => {
            man(folder, Args::command()).with_context(|| folder.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Dead(verb) => {
            let url = args.common.natsurl.clone().or_else(|| std::env::var("NATS_URL").ok());
            let url = url.context("give the URL of the NATS server: --natsurl, or the variable NATS_URL")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(dead::dead(verb, &url, out))
        }
        Verb::New(options) => new::new(options, out),
        Verb::Call(options) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call::call(options, args.common.natsurl.as_deref(), out, errors))
        }
        Verb::Status { target, json } => status::status(target, *json, out),
        Verb::Top { target, options, json } => status::top(target, options, *json, out),
        Verb::Logs { target, options } => orders::logs(target, options, out, errors),
        Verb::Drain(target) => orders::drain(target, out),
        Verb::Reload(target) => orders::reload(target, out),
        Verb::Dev { script, input } => dev::dev(script, input, &args.common, out),
        Verb::Devhttp { script, port } => dev::devhttp(script, *port, &args.common),
        _ if args.common.backend == Backend::File => bail!(
            "this verb is for the etcd backend; with the file backend, put files into the folder of scripts or \
             remove them"
        ),
        verb => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(in_etcd(verb, &args.common, out, errors))
        }
    }
}

/// Verbs that work on an etcd.
async fn in_etcd(
    verb: &Verb,
    common: &Common,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let endpoints = config::etcd(std::env::var("ETCD_ENDPOINTS").ok(), Some(&common.etcdurls))?;
    let etcd = &mut Etcd::connect(&endpoints).await?;
    match verb {
        Verb::Add { file, subject, name } => {
            let (subject, name, executor) = (subject.as_deref(), name.as_deref(), common.executor.as_deref());
            store::add(etcd, &store::New { file, subject, name, executor }, out).await
        }
        Verb::Rm { subject, name } => store::rm(etcd, subject, name, out).await,
        Verb::List { json, .. } => store::list(etcd, *json, out, errors).await,
        Verb::Lib(Lib::Add { paths, recursive }) => store::lib_add(etcd, paths, *recursive, out).await,
        Verb::Lib(Lib::Rm { names }) => store::lib_rm(etcd, names, out).await,
        Verb::Lib(Lib::List { json }) => store::lib_list(etcd, *json, out).await,
        Verb::Diff(folders) => exchange::diff(etcd, &folders.folders(), out, errors).await,
        Verb::Import(folders) => exchange::import(etcd, &folders.folders(), out, errors).await,
        Verb::Export { folder, force } => exchange::export(etcd, folder, *force, out, errors).await,
        _ => bail!("this verb needs no etcd"),
    }
}

/// What is in folders.
fn load(folders: &Folders) -> Result<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(crate::catalog::file::load(folders))?)
}

/// Writes a program's completion script for a shell.
///
/// # Errors
/// When it cannot be written.
pub fn completion(shell: Shell, command: &mut clap::Command, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    out.write_all(&script)
}

/// Writes a program's manual pages into a folder that is there: one for it and one for each verb.
///
/// # Errors
/// When one cannot be written.
pub fn man(folder: &Path, command: clap::Command) -> io::Result<()> {
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)
}

#[cfg(test)]
mod tests;
