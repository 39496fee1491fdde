//! `msgscript-broker`: serve, or look at the sandbox.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::config::args::Args;
use crate::config::{self, ConfigError, Start};
use crate::doctor::Options;

/// Exit status of a command line or configuration that makes no sense (`EX_USAGE`).
const USAGE: u8 = 64;

/// The whole program.
#[must_use]
pub fn broker() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    match config::start(std::env::args_os(), &env) {
        Ok(Start::Serve(config)) => crate::app::serve(*config),
        Ok(Start::Doctor(config)) => doctor(&config),
        Ok(Start::Completion(shell)) => {
            // Who reads our output may have enough of it.
            let _ = super::completion(shell, &mut Args::command(), &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Ok(Start::Man(folder)) => man(&folder),
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "msgscript-broker: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn man(folder: &Path) -> ExitCode {
    match super::man(folder, Args::command()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "msgscript-broker: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// Prints what the kernel offers and what the sandbox holds; fails if any escape gets through.
fn doctor(config: &crate::config::Config) -> ExitCode {
    let plan = match crate::app::spawn_plan(config) {
        Ok(plan) => plan,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "msgscript-broker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let local = tokio::task::LocalSet::new();
    let podman = config.podman.clone();
    let options = Options { worker_binary: plan.worker_binary, without: plan.setup.without, podman };
    let report = match local.block_on(&runtime, crate::doctor::doctor(options)) {
        Ok(report) => report,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "msgscript-broker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = std::io::stdout();
    for line in &report.lines {
        let _ = writeln!(out, "{line}");
    }
    if report.held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
