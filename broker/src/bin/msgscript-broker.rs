//! The server's program: command line in, exit status out.

use std::process::ExitCode;

#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    msgscript_broker::cli::broker()
}
