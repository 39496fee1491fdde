//! `list`: the scripts of a folder.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::catalog::Snapshot;
use crate::catalog::file::Folders;

/// Writes one line for each script: subject, name, executor, HTTP mode. What is wrong goes to `errors`.
pub(super) fn list(folders: &Folders, out: &mut dyn Write, errors: &mut dyn Write) -> Result<ExitCode> {
    let snapshot = super::load(folders)?;
    for problem in &snapshot.problems {
        writeln!(errors, "{problem}")?;
    }
    if snapshot.index.list().is_empty() {
        writeln!(out, "No script in store")?;
    } else {
        table(&rows(&snapshot), out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(snapshot: &Snapshot) -> Vec<[&str; 4]> {
    let head = ["SUBJECT", "NAME", "EXECUTOR", "HTTP"];
    let scripts = snapshot.index.list().iter().map(|script| {
        [&*script.subject, &*script.name, script.executor.name(), if script.http { "true" } else { "false" }]
    });
    [head].into_iter().chain(scripts).collect()
}

fn table(rows: &[[&str; 4]], out: &mut dyn Write) -> std::io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (subject, name, executor) = (width(0), width(1), width(2));
    for [a, b, c, d] in rows {
        writeln!(out, "{a:subject$}  {b:name$}  {c:executor$}  {d}")?;
    }
    Ok(())
}
