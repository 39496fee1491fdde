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
use crate::config::args::normalize_args;
use crate::config::value::{Backend, LogLevel};

mod broker;
mod check;
mod list;

pub use broker::broker;

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
        /// Its subject, if its header has none
        #[arg(short, long)]
        subject: Option<String>,
        /// Its name, if its header has none
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
    List(FolderArgs),
    /// Libraries in etcd
    #[command(subcommand)]
    Lib(Lib),
    /// Check headers and libraries of script files
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        folders: FolderArgs,
    },
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
    Add(LibPaths),
    /// Take libraries out of etcd
    Rm(LibPaths),
    /// List the libraries
    List(LibPaths),
}

#[derive(Debug, clap::Args)]
struct LibPaths {
    /// Files, folders or names
    paths: Vec<String>,
    /// Go into folders
    #[arg(short, long)]
    recursive: bool,
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
        Verb::List(folders) if args.common.backend == Backend::File => {
            list::list(&folders.folders(), out, errors)
        }
        Verb::Check { files, folders } => check::check(files, &folders.folders(), out, errors),
        Verb::Completion { shell } => {
            completion(*shell, &mut Args::command(), out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Man { folder } => {
            man(folder, Args::command()).with_context(|| folder.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        verb => bail!("{}", needs_etcd(verb, args.common.backend)),
    }
}

/// What is in folders.
fn load(folders: &Folders) -> Result<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(crate::catalog::file::load(folders))?)
}

fn needs_etcd(verb: &Verb, backend: Backend) -> &'static str {
    match (verb, backend) {
        (Verb::List(_), _) => {
            "this needs the etcd backend, which this version does not have yet; \
             for a folder of scripts: msgscriptcli list -b file --script DIR"
        }
        (_, Backend::File) => {
            "this verb is for the etcd backend, which this version does not have yet; \
             with the file backend, put files into the folder of scripts or remove them"
        }
        _ => "this needs the etcd backend, which this version does not have yet",
    }
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
