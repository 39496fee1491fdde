//! `msgscriptcli`: see [`msgscript_broker::cli`].

fn main() -> std::process::ExitCode {
    msgscript_broker::cli::main()
}
