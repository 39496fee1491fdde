//! Tests of the verbs, as the program runs them.

use super::*;
use std::fs;

/// Exit status (as printed), standard output, standard error.
fn run_cli(args: &[&str]) -> (bool, String, String) {
    let args = ["msgscriptcli"].iter().chain(args).map(std::ffi::OsString::from);
    let args = Args::try_parse_from(normalize_args(args, &Args::command())).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let good = match run(&args, &mut out, &mut errors) {
        Ok(status) => status == ExitCode::SUCCESS,
        Err(error) => {
            errors.extend(error.to_string().bytes());
            false
        }
    };
    (good, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("libs")).unwrap();
    let files = [
        ("hello.lua", "--* subject: funcs.hello\n--* name: hello\n--* require: web\n"),
        ("site.lua", "--* subject: site\n--* name: s\n--* http: true\n"),
        ("bad.lua", "--* subject: bad\n--* name: b\n--* http: maybe\n"),
        ("libs/web.lua", "local web = {}\n"),
    ];
    for (name, text) in files {
        fs::write(root.path().join(name), text).unwrap();
    }
    root
}

#[test]
fn the_command_is_well_formed() {
    Args::command().debug_assert();
}

#[test]
fn list_shows_a_folder() {
    let root = folder();
    let (good, out, errors) = run_cli(&["ls", "-b", "file", "-script", root.path().to_str().unwrap()]);
    let expected = "SUBJECT      NAME   EXECUTOR  HTTP\n\
                    bad          b      lua       false\n\
                    funcs.hello  hello  lua       false\n\
                    site         s      lua       true\n";
    assert!(good);
    assert_eq!(out, expected);
    assert_eq!(errors, "bad.lua:3: bad `http`: `maybe` is neither true nor false\n");
    let empty = tempfile::tempdir().unwrap();
    let (_, out, _) = run_cli(&["-backend=file", "list", "--script", empty.path().to_str().unwrap()]);
    assert_eq!(out, "No script in store\n");
    assert!(!run_cli(&["list", "-b", "file", "--script", "/nonexistent"]).0);
}

#[test]
fn check_names_file_and_line() {
    let root = folder();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let script = path("");
    let check = |files: &[&str]| {
        let files: Vec<_> = files.iter().map(|file| path(file)).collect();
        let mut args = vec!["check", "--no-compile", "--script", &script];
        args.extend(files.iter().map(String::as_str));
        run_cli(&args)
    };
    assert_eq!(check(&["hello.lua", "site.lua", "libs/web.lua"]), (true, "3 good\n".into(), String::new()));
    let (good, _, errors) = check(&["bad.lua", "hello.lua", "none.lua"]);
    assert!(!good);
    assert!(errors.contains("bad.lua:3: bad `http`"), "{errors}");
    assert!(errors.contains("none.lua: No such file"), "{errors}");
    assert!(errors.ends_with("2 of 3 would be rejected\n"), "{errors}");
    fs::write(root.path().join("hello.lua"), "--* subject: a\n--* name: n\n--* require: x\n--* key: v\n")
        .unwrap();
    let (good, _, errors) = check(&["hello.lua"]);
    assert!(!good && errors.contains("library `x`, required by"), "{errors}");
    assert!(errors.contains("warning: ") && errors.contains("unknown key `key`"), "{errors}");
}

#[test]
fn an_etcd_that_is_not_there_is_named() {
    for args in [
        &["add", "x.lua", "-subject", "a", "-name", "b", "-e", "127.0.0.1:1"][..],
        &["rm", "-s", "a", "-n", "b", "-e", "127.0.0.1:1"],
        &["list", "-e", "127.0.0.1:1"],
        &["lib", "list", "-e", "127.0.0.1:1"],
    ] {
        let (good, _, errors) = run_cli(args);
        assert!(!good && errors.contains("etcd at 127.0.0.1:1"), "{errors}");
    }
    let (good, _, errors) = run_cli(&["-b", "file", "add", "-"]);
    assert!(!good && errors.contains("folder of scripts"), "{errors}");
}

#[test]
fn completion_scripts_are_written() {
    let (good, out, _) = run_cli(&["completion", "bash"]);
    assert!(good && out.contains("msgscriptcli") && out.contains("completion"));
}

#[test]
fn manual_pages_are_written_for_each_verb() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _, errors) = run_cli(&["man", folder.path().to_str().unwrap()]);
    assert!(good, "{errors}");
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("msgscriptcli.1").contains("Manages the scripts"));
    assert!(page("msgscriptcli-list.1").contains("script"));
    assert!(page("msgscriptcli-lib-add.1").contains("recursive"));
    assert!(!folder.path().join("msgscriptcli-man.1").exists(), "not for users");
    let missing = folder.path().join("none");
    let (good, _, errors) = run_cli(&["man", missing.to_str().unwrap()]);
    assert!(!good && errors.contains("none"), "{errors}");
}
