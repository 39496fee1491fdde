//! `check`: what a broker would say of files, without one.
//!
//! Headers and libraries are read here; Lua is compiled in a jailed worker, as a broker does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use crate::app::{self, Core};
use crate::catalog::build::Source;
use crate::catalog::file::{Folders, check_file, read};
use crate::catalog::library::Libraries;
use crate::catalog::{Executor, Problem, Script};
use crate::config::{self, Start};
use crate::invocation::{DEFAULT_TENANT, Tenant};
use crate::pool::terms::Terms;

/// How deep folders are looked into.
const MAX_DEPTH: usize = 64;

/// Due times of a schedule that are told.
const DUE_TIMES: usize = 3;

/// What `check` is told besides the folders.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Files, and folders with files in them
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Look at headers and libraries only: no worker is started
    #[arg(long)]
    no_compile: bool,
    /// Folder of the worker's program, if it is not beside this one
    #[arg(long, value_name = "DIR")]
    worker_dir: Option<PathBuf>,
}

/// Writes what is wrong with each file to `errors`. Status 1 if any would be rejected.
pub(super) fn check(
    args: &CheckArgs,
    folders: &Folders,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let mut files = Vec::new();
    for path in &args.files {
        gather(path, 0, &mut files).with_context(|| path.display().to_string())?;
    }
    if files.is_empty() {
        bail!("there is no `.lua` file in these folders");
    }
    let snapshot = super::load(folders)?;
    let libraries = &snapshot.libraries.shared;
    let mut found: Vec<Vec<Problem>> =
        files.iter().map(|file| check_file(file, is_library(file, folders), libraries)).collect();
    if !args.no_compile {
        compile(args, &files, libraries, &mut found)?;
    }
    let mut rejected = 0;
    for problems in &found {
        for problem in problems {
            let kind = if problem.rejects { "" } else { "warning: " };
            writeln!(errors, "{kind}{problem}")?;
        }
        rejected += usize::from(problems.iter().any(|problem| problem.rejects));
    }
    if rejected > 0 {
        writeln!(errors, "{rejected} of {} would be rejected", files.len())?;
        return Ok(ExitCode::FAILURE);
    }
    for file in files.iter().filter(|file| !is_library(file, folders)) {
        due(file, out)?;
    }
    writeln!(out, "{} good", files.len())?;
    Ok(ExitCode::SUCCESS)
}

/// Tells when a script with a schedule is due next.
fn due(file: &Path, out: &mut dyn Write) -> Result<()> {
    let source = Source::new(&file.display().to_string(), &read(file)?);
    let Some(timer) = source.header.timer.timer() else { return Ok(()) };
    let due = timer.coming(jiff::Timestamp::now(), DUE_TIMES);
    writeln!(out, "{}: due {}, ... ({})", file.display(), due.join(", "), timer.zone())?;
    Ok(())
}

/// A file, or the `.lua` files of a folder in the order of their names. Links in it are not followed.
fn gather(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() || depth > MAX_DEPTH {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<_> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth < MAX_DEPTH
            || kind.is_file() && path.extension().is_some_and(|it| it == "lua")
        {
            gather(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn is_library(file: &Path, folders: &Folders) -> bool {
    match (file.canonicalize(), folders.libraries.canonicalize()) {
        (Ok(file), Ok(libraries)) => file.starts_with(libraries),
        _ => false,
    }
}

/// Has what is good so far compiled, and adds what the compiler says of it.
fn compile(
    args: &CheckArgs,
    files: &[PathBuf],
    libraries: &Libraries,
    found: &mut [Vec<Problem>],
) -> Result<()> {
    let mut line = vec!["msgscript-broker".to_owned(), "--workers=1".to_owned()];
    line.extend(args.worker_dir.as_ref().map(|folder| format!("--worker-dir={}", folder.display())));
    let Start::Serve(config) = config::start(line.into_iter().map(Into::into), &|_| None)? else {
        bail!("this is no command line of a server");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let core = app::workbench(&Rc::new(*config)).await.context("to compile (or use --no-compile)")?;
        let tenant: Tenant = DEFAULT_TENANT.into();
        for (file, problems) in files.iter().zip(found) {
            if problems.iter().any(|problem| problem.rejects) {
                continue;
            }
            let source = Source::new(&file.display().to_string(), &read(file)?);
            match source.script(0, &tenant, libraries) {
                Ok(script) if script.executor == Executor::Lua => {
                    let said = compiled(&core, Rc::new(script)).await;
                    problems.extend(said.err().map(|text| source.compiler_problem(&text)));
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        core.pool.close();
        Ok(())
    })
}

async fn compiled(core: &Rc<Core>, script: Rc<Script>) -> Result<(), String> {
    let terms = Terms::of(&core.policy(&script.tenant));
    core.pool.check(script.clone(), core.limits(&script), terms).await
}
