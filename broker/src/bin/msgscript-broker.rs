//! The server's program: command line in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    msgscript_broker::cli::broker()
}
