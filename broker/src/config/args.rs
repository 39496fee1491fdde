//! The command line of `msgscript-broker`.
//!
//! Takes arguments, gives what was asked for in [`Args`]. Pure.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Command, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::settings::Settings;

/// Runs Lua functions in sandboxed worker processes, for messages over NATS and HTTP.
///
/// Every long option may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "msgscript-broker", version = crate::VERSION, propagate_version = true)]
pub struct Args {
    /// Read settings from this TOML file; the command line and the environment win over it
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Use no more of Landlock than this version of its interface has.
    #[arg(long, value_name = "N", hide = true, global = true)]
    pub landlock_abi: Option<u8>,

    /// All the others.
    #[command(flatten)]
    pub settings: Settings,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Tell which layers of the sandbox this machine has, and whether workers start
    Doctor,
    /// Write a completion script for a shell to standard output
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

impl Args {
    /// Reads the arguments, the program's name first.
    ///
    /// # Errors
    /// When they are wrong, or ask for the help text or the version.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
        Args::try_parse_from(normalize_args(args, &Args::command()))
    }
}

/// Gives long options that are written with one dash their second, as Go's programs take both.
///
/// Only what is a long option of the command or of one of its subcommands is touched, and nothing behind
/// `--`.
#[must_use]
pub fn normalize_args(args: impl IntoIterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut long = HashSet::from(["help".to_owned(), "version".to_owned()]);
    gather(command, &mut long);
    let mut only_values = false;
    let normal = |arg: OsString| {
        only_values |= arg == *"--";
        let bytes = arg.as_encoded_bytes();
        let name = bytes.strip_prefix(b"-").and_then(|rest| rest.split(|byte| *byte == b'=').next());
        let known =
            name.and_then(|name| std::str::from_utf8(name).ok()).is_some_and(|name| long.contains(name));
        if known && !only_values { [OsStr::new("-"), &arg].into_iter().collect() } else { arg }
    };
    args.into_iter().map(normal).collect()
}

/// Adds the long names, longer than a letter, of a command and all below it.
fn gather(command: &Command, long: &mut HashSet<String>) {
    for arg in command.get_arguments() {
        let names = arg.get_long_and_visible_aliases().into_iter().flatten();
        let hidden = arg.get_all_aliases().into_iter().flatten();
        long.extend(names.chain(hidden).filter(|name| name.len() > 1).map(str::to_owned));
    }
    command.get_subcommands().for_each(|command| gather(command, long));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(args: &[&str]) -> Vec<String> {
        let args = normalize_args(args.iter().map(OsString::from), &Args::command());
        args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn one_dash_becomes_two() {
        let args =
            ["broker", "-script", "x", "-log=debug", "--port", "1", "-h", "-help", "-x", "-", "-1", "", "-é"];
        let expected = [
            "broker",
            "--script",
            "x",
            "--log=debug",
            "--port",
            "1",
            "-h",
            "--help",
            "-x",
            "-",
            "-1",
            "",
            "-é",
        ];
        assert_eq!(normal(&args), expected);
        assert_eq!(normal(&["-version", "--", "-script"]), ["--version", "--", "-script"]);
        assert_eq!(normal(&["-sandbox-without=uid", "-landlock-abi", "3"])[0], "--sandbox-without=uid");
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        use std::os::unix::ffi::OsStringExt;
        let arg = OsString::from_vec(b"-\xff\xfe".to_vec());
        assert_eq!(normalize_args([arg.clone()], &Args::command()), [arg]);
    }

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn sandbox_flags_stand_on_either_side_of_doctor() {
        for args in [["-sandbox-without", "uid", "doctor"], ["doctor", "-sandbox-without", "uid"]] {
            let args = Args::read(["broker"].iter().chain(&args).map(OsString::from)).unwrap();
            assert_eq!(args.verb, Some(Verb::Doctor));
            assert_eq!(args.settings.sandbox_without.unwrap().len(), 1);
        }
    }
}
