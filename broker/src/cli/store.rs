//! `add`, `rm`, `list`, `lib`: scripts and libraries of an etcd.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::etcd::Etcd;
use super::list::{Row, show};
use crate::catalog::Executor;
use crate::catalog::header::{self, Header};
use crate::catalog::record::{LIBRARIES, Record, SCRIPTS};

/// The largest file that is taken, in bytes. etcd's own limit is lower, unless it is set.
const MOST: u64 = 4 << 20;

/// What `add` is told.
pub(super) struct New<'a> {
    /// The file; `-` is standard input.
    pub(super) file: &'a Path,
    /// Instead of the header's.
    pub(super) subject: Option<&'a str>,
    /// The same.
    pub(super) name: Option<&'a str>,
    /// The same.
    pub(super) executor: Option<&'a str>,
}

/// Puts a script.
pub(super) async fn add(etcd: &mut Etcd, new: &New<'_>, out: &mut dyn Write) -> Result<ExitCode> {
    let record = record(new)?;
    etcd.put_script(&record).await?;
    writeln!(out, "added {}/{}", record.subject, record.name)?;
    Ok(ExitCode::SUCCESS)
}

fn record(new: &New<'_>) -> Result<Record> {
    let place = new.file.display();
    let text = read(new.file)?;
    let header = checked(&place.to_string(), &text)?;
    let executor = match new.executor {
        None => header.executor,
        Some(name) => Executor::by_name(name)
            .with_context(|| format!("--executor {name} is none of lua, wasm, podman"))?,
    };
    let subject = new.subject.or(header.subject.as_deref());
    let name = new.name.or(header.name.as_deref());
    let Some(subject) = subject else { bail!("{place}: there is no `subject`; add `--subject SUBJECT`") };
    let Some(name) = name else { bail!("{place}: there is no `name`; add `--name NAME`") };
    let record = Record::new(subject, name, executor, &text);
    record.source().map_err(|why| anyhow::anyhow!("{place}: {why}"))?;
    Ok(record)
}

/// What a file's header says, if a server would take it.
fn checked(place: &str, text: &[u8]) -> Result<Header> {
    let header = header::parse(&header::lua_text(text));
    match header.errors.first() {
        Some(error) => bail!("{place}:{}: {error}", error.line),
        None => Ok(header),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let place = || file.display().to_string();
    let taken = if file == Path::new("-") {
        std::io::stdin().lock().take(MOST + 1).read_to_end(&mut text)
    } else {
        fs::File::open(file).with_context(place)?.take(MOST + 1).read_to_end(&mut text)
    };
    if taken.with_context(place)? as u64 > MOST {
        bail!("{} is larger than {} MiB", place(), MOST >> 20);
    }
    Ok(text)
}

/// Takes a script out.
pub(super) async fn rm(etcd: &mut Etcd, subject: &str, name: &str, out: &mut dyn Write) -> Result<ExitCode> {
    if !etcd.delete(format!("{SCRIPTS}{subject}/{name}")).await? {
        bail!("there is no script {subject}/{name}");
    }
    writeln!(out, "removed {subject}/{name}")?;
    Ok(ExitCode::SUCCESS)
}

/// Lists the scripts. What is wrong goes to `errors`.
pub(super) async fn list(
    etcd: &mut Etcd,
    json: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for script in etcd.scripts().await? {
        match script {
            Ok(Record { subject, name, executor, is_html, .. }) => {
                let executor = if executor.is_empty() { "lua".to_owned() } else { executor };
                rows.push(Row { subject, name, executor, http: is_html });
            }
            Err(error) => writeln!(errors, "{error}")?,
        }
    }
    show(&rows, json, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts libraries: files, and with `recursive` all in folders.
pub(super) async fn lib_add(
    etcd: &mut Etcd,
    paths: &[String],
    recursive: bool,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    // All are read first: a file that is bad stops it before anything is put.
    let mut libraries = Vec::new();
    for path in paths {
        gather(Path::new(path), None, recursive, &mut libraries)?;
    }
    if libraries.is_empty() {
        bail!("no library: name files that end in .lua, or folders with --recursive");
    }
    for (name, text) in libraries {
        etcd.put_library(&name, text).await?;
        writeln!(out, "added library {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads libraries. A library's name is its header's, else its path below the folder that was named, without
/// the extension.
fn gather(path: &Path, below: Option<&Path>, recursive: bool, to: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if path.is_dir() {
        if !recursive {
            bail!("{} is a folder: --recursive takes what is in it", path.display());
        }
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut entries: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        entries.retain(|entry| entry.is_dir() || entry.extension().is_some_and(|end| end == "lua"));
        entries.sort();
        return entries.iter().try_for_each(|entry| gather(entry, below.or(Some(path)), recursive, to));
    }
    let text = read(path)?;
    let header = checked(&path.display().to_string(), &text)?;
    let relative = below.and_then(|folder| path.strip_prefix(folder).ok());
    let named = relative.or(path.file_name().map(Path::new)).unwrap_or(path).with_extension("");
    let name = header.name.map_or_else(|| named.display().to_string(), |name| name.to_string());
    to.push((name, header::without_kept(&header::lua_text(&text), header::Requires::Stay)));
    Ok(())
}

/// Takes libraries out. All are tried; fails if one was not there.
pub(super) async fn lib_rm(etcd: &mut Etcd, names: &[String], out: &mut dyn Write) -> Result<ExitCode> {
    if names.is_empty() {
        bail!("name the libraries to remove");
    }
    let mut missing = Vec::new();
    for name in names {
        if etcd.delete(format!("{LIBRARIES}{name}")).await? {
            writeln!(out, "removed library {name}")?;
        } else {
            missing.push(name.as_str());
        }
    }
    if !missing.is_empty() {
        bail!("there is no library {}", missing.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the names of libraries.
pub(super) async fn lib_list(etcd: &mut Etcd, json: bool, out: &mut dyn Write) -> Result<ExitCode> {
    let libraries = etcd.libraries().await?;
    let names: Vec<&str> = libraries.iter().map(|library| library.key.as_str()).collect();
    if json {
        writeln!(out, "{}", serde_json::to_string(&names)?)?;
    } else if names.is_empty() {
        writeln!(out, "No library in store")?;
    } else {
        names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
