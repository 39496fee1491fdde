//! `list`: the scripts of a store, one line for each.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::catalog::file::Folders;

/// A script of a list.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its subject.
    pub(super) subject: String,
    /// Its name.
    pub(super) name: String,
    /// What runs it.
    pub(super) executor: String,
    /// Whether it answers HTTP itself.
    pub(super) http: bool,
}

/// Lists the scripts of a folder. What is wrong goes to `errors`.
pub(super) fn list(
    folders: &Folders,
    json: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let snapshot = super::load(folders)?;
    for problem in &snapshot.problems {
        writeln!(errors, "{problem}")?;
    }
    let rows = snapshot.index.list().iter().map(|script| Row {
        subject: script.subject.to_string(),
        name: script.name.to_string(),
        executor: script.executor.name().to_owned(),
        http: script.http,
    });
    show(&rows.collect::<Vec<_>>(), json, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows scripts: subject, name, executor, HTTP mode.
pub(super) fn show(rows: &[Row], json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string(rows)?)?;
    } else if rows.is_empty() {
        writeln!(out, "No script in store")?;
    } else {
        table(rows, out)?;
    }
    Ok(())
}

fn table(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    let head = ["SUBJECT", "NAME", "EXECUTOR", "HTTP"];
    let cells = rows
        .iter()
        .map(|row| [&*row.subject, &*row.name, &*row.executor, if row.http { "true" } else { "false" }]);
    let rows: Vec<[&str; 4]> = [head].into_iter().chain(cells).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (subject, name, executor) = (width(0), width(1), width(2));
    for [a, b, c, d] in rows {
        writeln!(out, "{a:subject$}  {b:name$}  {c:executor$}  {d}")?;
    }
    Ok(())
}
