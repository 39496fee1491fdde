//! `msgscriptcli dev` and `devhttp`: a script while it is being written, in the server's own sandbox.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use msgscript_tests::harness::{program, request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(program("msgscriptcli"));
    command.env_clear().env("PATH", "/usr/bin:/bin").args(args);
    command
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }
    folder
}

fn dev(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(&["dev"]);
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().expect("it runs")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn dev_prints_the_answer_and_what_it_took() {
    let folder = folder(&[
        (
            "hello.lua",
            "--* require: greet\nprint('on the way')\nfunction OnMessage(s, p) return greet(s, p) end\n",
        ),
        ("libs/greet.lua", "function greet(subject, who) return subject .. ': Hello ' .. who end\n"),
        ("who.txt", "Ann"),
    ]);
    let output = dev(folder.path(), &["hello.lua", "-i", "Bob"]);
    let (out, errors) = texts(&output);
    assert_eq!(out, "dev: Hello Bob\n", "{errors}");
    assert!(output.status.success());
    assert!(errors.contains("on the way"), "{errors}");
    assert!(errors.contains("ok in ") && errors.contains("peak memory "), "{errors}");
    let (out, _) = texts(&dev(folder.path(), &["hello.lua", "-subject", "a.b", "-input", "who.txt"]));
    assert_eq!(out, "a.b: Hello Ann\n", "a file's text");
    let mut child = command(&["dev", "hello.lua", "-i", "-"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"Cid").expect("written");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(texts(&output).0, "dev: Hello Cid\n", "standard input");
}

#[test]
fn dev_shows_where_an_error_is_and_what_was_refused() {
    let folder = folder(&[
        ("bad.lua", "function OnMessage()\n  local x = nil\n  return x.y\nend\n"),
        ("syntax.lua", "function OnMessage(\n"),
        ("head.lua", "--* timeout: soon\nfunction OnMessage() end\n"),
        ("env.lua", "function OnMessage() return os.getenv('SECRET_X') or 'nothing' end\n"),
        ("file.lua", "function OnMessage() return tostring(select(2, io.open('/etc/hostname'))) end\n"),
    ]);
    let output = dev(folder.path(), &["bad.lua"]);
    let (out, errors) = texts(&output);
    assert_eq!((out.as_str(), output.status.code()), ("", Some(1)));
    assert!(errors.contains("script_error in ") && errors.contains(">     3 |   return x.y"), "{errors}");
    let (_, errors) = texts(&dev(folder.path(), &["syntax.lua"]));
    assert!(errors.contains("syntax.lua:"), "{errors}");
    let output = dev(folder.path(), &["head.lua"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("head.lua:1: bad `timeout`"), "{}", texts(&output).1);
    let mut command = command(&["dev", "env.lua", "--allow", "env:SECRET_X"]);
    let output = command.current_dir(folder.path()).env("SECRET_X", "seen").output().expect("it runs");
    assert_eq!(texts(&output).0, "seen\n");
    let output = dev(folder.path(), &["env.lua", "-L", "debug"]);
    let (out, errors) = texts(&output);
    assert_eq!(out, "nothing\n");
    assert!(errors.contains("env:SECRET_X"), "the grant is named: {errors}");
    assert!(!dev(folder.path(), &["none.lua"]).status.success());
}

/// A `devhttp` that is ended with the test.
struct Devhttp {
    child: Child,
    address: SocketAddr,
}

impl Drop for Devhttp {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), Signal::SIGINT);
        let _ = self.child.wait();
    }
}

fn devhttp(folder: &Path, file: &str) -> Devhttp {
    let mut command = command(&["devhttp", file, "--port", "0"]);
    let mut child = command.current_dir(folder).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("http://")).expect("its address");
    // Somebody must read what it says.
    std::thread::spawn(move || lines.for_each(drop));
    let address = line.split('/').nth(2).expect("an address").parse().expect("an address");
    Devhttp { child, address }
}

#[test]
fn devhttp_reads_the_script_at_each_request() {
    let page = "--* subject: page\n--* http: true\nfunction GET() return 'one' end\n";
    let folder = folder(&[("page.lua", page)]);
    let server = devhttp(folder.path(), "page.lua");
    let get = |headers: &[(&str, &str)]| request(server.address, "GET", "/page", headers, b"");
    assert_eq!((get(&[]).status, get(&[]).text().as_str()), (200, "one"));
    std::fs::write(folder.path().join("page.lua"), page.replace("one", "two")).expect("written");
    assert_eq!(get(&[]).text(), "two");
    // A browser is shown the place; markup stays text.
    let broken = page.replace("'one'", "nothing.at_all --[[<b>]]");
    std::fs::write(folder.path().join("page.lua"), broken).expect("written");
    let answer = get(&[("Accept", "text/html,*/*")]);
    assert_eq!((answer.status, answer.header("content-type")), (500, Some("text/html; charset=utf-8")));
    assert!(answer.text().contains("<mark>    3 | "), "{}", answer.text());
    assert!(answer.text().contains("&lt;b&gt;") && !answer.text().contains("<b>"), "{}", answer.text());
    assert_eq!(get(&[]).header("content-type"), Some("text/plain"), "others get the usual answer");
    std::fs::write(folder.path().join("page.lua"), "--* subject: page\n--* http: true\nfunction (")
        .expect("written");
    let answer = get(&[("Accept", "text/html")]);
    assert!(answer.text().contains("<mark>    3 | function ("), "{}", answer.text());
    std::fs::write(folder.path().join("page.lua"), page).expect("written");
    assert_eq!(get(&[]).text(), "one", "and mended");
}
