//! `msgscript`: one name for both programs, as in the Go server's container image and unit.
//!
//! `msgscript server …` and `msgscript …` are `msgscript-broker …`, `msgscript cli …` is `msgscriptcli …`;
//! the program beside this one takes its place. `msgscript health [PORT]` asks a server on this machine
//! whether it is ready, for container images without a shell.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long a server may take to say how it fares.
const PATIENCE: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: msgscript [server] [OPTION]...   as msgscript-broker
       msgscript cli VERB...            as msgscriptcli
       msgscript health [PORT]          exit status 0 if the server on this port (7643) is ready";

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let first = args.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
    match first.as_str() {
        "server" => become_program("msgscript-broker", args.split_off(1)),
        "cli" => become_program("msgscriptcli", args.split_off(1)),
        "health" => health(args.get(1)),
        "" => become_program("msgscript-broker", args),
        option if option.starts_with('-') => become_program("msgscript-broker", args),
        _ => fail(USAGE),
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(64)
}

/// Runs the program of this name beside this one in its place. Returns only if that fails.
fn become_program(name: &str, args: Vec<OsString>) -> ExitCode {
    let own = std::env::current_exe().unwrap_or_default();
    let program = own.parent().unwrap_or(Path::new("")).join(name);
    let error = Command::new(&program).args(args).exec();
    fail(&format!("msgscript: cannot run {}: {error}", program.display()))
}

fn health(port: Option<&OsString>) -> ExitCode {
    let port = port.map_or(Some(7643), |port| port.to_str()?.parse().ok());
    let Some(port) = port else { return fail(USAGE) };
    match ask(port) {
        Ok(answer) if answer.starts_with(b"HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(answer) => {
            let line = String::from_utf8_lossy(&answer);
            let _ = writeln!(io::stderr(), "not ready: {}", line.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "no answer on 127.0.0.1:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first bytes of what the server answers.
fn ask(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /_/readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(128).read_to_end(&mut answer)?;
    Ok(answer)
}
