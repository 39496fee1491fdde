//! Gives the program its version with the commit it was built from: `MSGSCRIPT_VERSION`.
//!
//! The variable MSGSCRIPT_COMMIT wins, for builds from an archive; then git is asked, in release builds
//! only, so that a commit costs nobody a rebuild of what is being worked on. Neither is needed.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MSGSCRIPT_COMMIT");
    let given = std::env::var("MSGSCRIPT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| if is_release { from_git() } else { None });
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = commit.map_or(version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=MSGSCRIPT_VERSION={version}");
}

/// The commit that is checked out, shortened, if this is a clone of our own and not a folder in another's.
fn from_git() -> Option<String> {
    if !Path::new("../.git").exists() {
        return None;
    }
    // Grows with each commit and each checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
}
