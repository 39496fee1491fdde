//! `new`: a script to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::route::check_script_subject;

/// What `new` is told.
#[derive(Debug, clap::Args)]
pub(super) struct NewArgs {
    /// The file to write; it must not be there
    file: PathBuf,
    /// Its subject [default: the file's name without `.lua`]
    #[arg(short, long)]
    subject: Option<String>,
    /// Its name [default: the file's name without `.lua`]
    #[arg(short, long)]
    name: Option<String>,
    /// One that answers HTTP requests itself
    #[arg(long)]
    http: bool,
}

/// Answers messages.
const MESSAGE: &str = r#"
-- Called for each message; what it returns is the answer.
function OnMessage(subject, payload, headers)
    return "Hello, " .. (payload ~= "" and payload or "world") .. "!"
end
"#;

/// Answers HTTP requests.
const HTTP: &str = r#"
-- Called for each GET request: body, status, headers. Other methods have functions of their names.
function GET(url, body, headers)
    return "<!doctype html><h1>Hello, world!</h1>", 200, { ["Content-Type"] = "text/html; charset=utf-8" }
end
"#;

/// Writes it.
pub(super) fn new(new: &NewArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let stem = new.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if new.file.extension().is_none_or(|it| it != "lua") {
        bail!("{}: the name of a script's file ends in `.lua`", new.file.display());
    }
    let subject = new.subject.clone().unwrap_or_else(|| stem.clone());
    let name = new.name.clone().unwrap_or(stem);
    check_script_subject(&subject)
        .with_context(|| format!("the subject `{subject}`; choose one: --subject"))?;
    let mut text = format!("--* subject: {subject}\n--* name: {name}\n");
    text += if new.http { "--* http: true\n" } else { "" };
    text += if new.http { HTTP } else { MESSAGE };
    if let Some(problem) = problem(&new.file, &text) {
        bail!("{problem}; choose another: --name");
    }
    let file = OpenOptions::new().write(true).create_new(true).open(&new.file);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| new.file.display().to_string())?;
    writeln!(out, "wrote {}", new.file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// What a broker would say of it.
fn problem(file: &Path, text: &str) -> Option<String> {
    let header = crate::catalog::header::parse(&crate::catalog::header::lua_text(text.as_bytes()));
    let error = header.errors.first()?;
    Some(format!("{}:{}: {error}", file.display(), error.line))
}
