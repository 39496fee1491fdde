//! `check`: what a broker would say of files, without one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::catalog::file::{Folders, check_file};

/// Writes what is wrong with each file to `errors`. Status 1 if any would be rejected.
pub(super) fn check(
    files: &[PathBuf],
    folders: &Folders,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let snapshot = super::load(folders)?;
    let mut rejected = 0;
    for file in files {
        let problems = check_file(file, is_library(file, folders), &snapshot.libraries.shared);
        for problem in &problems {
            let kind = if problem.rejects { "" } else { "warning: " };
            writeln!(errors, "{kind}{problem}")?;
        }
        rejected += usize::from(problems.iter().any(|problem| problem.rejects));
    }
    if rejected > 0 {
        writeln!(errors, "{rejected} of {} would be rejected", files.len())?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "{} good", files.len())?;
    Ok(ExitCode::SUCCESS)
}

fn is_library(file: &Path, folders: &Folders) -> bool {
    match (file.canonicalize(), folders.libraries.canonicalize()) {
        (Ok(file), Ok(libraries)) => file.starts_with(libraries),
        _ => false,
    }
}
