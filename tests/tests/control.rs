//! The control socket and the command line's verbs that speak to a running broker.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use msgscript_tests::harness::{Broker, PATIENCE, Setup, program};
use serde_json::Value;

const ECHO: &str = "function OnMessage(_, payload) return payload end";

/// Says its payload in the log, or fails.
const TALK: &str = "function OnMessage(_, payload) \
    if payload == 'fail' then error('no luck') end print('heard ' .. payload) return 'ok' end";

fn cli(args: &[&str]) -> Command {
    let mut command = Command::new(program("msgscriptcli"));
    command.env_clear().env("PATH", "/usr/bin:/bin").args(args).stdin(Stdio::null());
    command
}

/// A verb at this broker's control socket.
fn ask(broker: &Broker, args: &[&str]) -> Output {
    cli(args).arg("--control").arg(broker.control()).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// Bytes sent to the socket as they are: all that comes back.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("the socket is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

#[test]
fn status_tells_of_pool_tenants_and_scripts() {
    let broker = Setup::new().workers(3).lua("echo", ECHO).lua("talk", TALK).lua("idle", ECHO).start();
    for _ in 0..4 {
        assert_eq!(broker.call("echo", "x"), "x");
    }
    assert_eq!(broker.post("/talk", "fail").status, 500);
    let status: Value = serde_json::from_str(&good(&ask(&broker, &["status", "--json"]))).expect("JSON");
    assert_eq!((&status["ready"], &status["draining"]), (&true.into(), &false.into()), "{status}");
    assert_eq!((&status["pool"]["workers"], &status["pool"]["queue"]), (&3.into(), &1024.into()));
    assert_eq!((&status["total"]["runs"], &status["total"]["failures"]), (&5.into(), &1.into()));
    assert_eq!(status["tenants"][0]["tenant"], "default");
    let names: Vec<_> = status["scripts"].as_array().unwrap().iter().map(|it| it["name"].as_str()).collect();
    assert_eq!(names, [Some("echo"), Some("idle"), Some("talk")]);
    assert!(status["scripts"][0]["p99"].as_f64().is_some_and(|millis| millis > 0.0), "{status}");
    assert_eq!(status["scripts"][2]["reasons"]["script_error"], 1);
    let shown = good(&ask(&broker, &["status"]));
    assert!(shown.starts_with("ready, up ") && shown.contains("workers 3/3"), "{shown}");
    assert!(shown.contains("(script_error 1)"), "{shown}");
    let looks = good(&ask(&broker, &["top", "--count", "2", "--interval", "0.1", "--json"]));
    assert_eq!(looks.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 2);
    assert!(!good(&ask(&broker, &["top", "--count", "1"])).contains('\x1b'), "no terminal, no escapes");
}

#[test]
fn the_socket_is_the_owners_and_goes_with_the_broker() {
    let broker = Setup::new().lua("echo", ECHO).start();
    let path = broker.control();
    let is = std::fs::metadata(&path).expect("it is there");
    assert!(is.file_type().is_socket());
    assert_eq!(is.mode() & 0o777, 0o600);
    let ready = broker.wait_for_event("ready", |event| event["message"] == "ready");
    assert_eq!(ready["control"].as_str(), path.to_str());
    good(&ask(&broker, &["drain"]));
    assert!(broker.wait().success());
    assert!(!path.exists(), "its file is gone");
    let gone = ask(&broker, &["status"]);
    assert!(
        !gone.status.success() && text(&gone.stderr).contains("control socket"),
        "{}",
        text(&gone.stderr)
    );
}

#[test]
fn a_drain_finishes_what_runs() {
    let slow = "function OnMessage() require('time').sleep(1) return 'done' end";
    let broker = Setup::new().lua("slow", slow).start();
    let address = broker.http();
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        stream
            .write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    while !good(&ask(&broker, &["status"])).contains("running 1,") {
        assert!(std::time::Instant::now() < deadline, "it does not run");
    }
    assert_eq!(good(&ask(&broker, &["drain"])), "stopped\n");
    assert!(client.join().expect("no panic").starts_with("HTTP/1.1 200"));
    assert!(broker.wait().success());
}

#[test]
fn reload_takes_a_new_configuration_or_says_why_not() {
    let broker = Setup::new().config("[broker]\nmax-payload = \"1KiB\"\n").lua("echo", ECHO).start();
    assert_eq!(good(&ask(&broker, &["reload"])), "configuration reloaded\n");
    let file = broker.control().with_file_name("config.toml");
    std::fs::write(file, "[broker]\nwokers = 1\n").expect("written");
    let refused = ask(&broker, &["reload"]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("wokers"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(broker.call("echo", "x"), "x");
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn logs_are_followed_by_tenant_and_subject() {
    let broker = Setup::new().lua("one.a", TALK).lua("two.b", TALK).start();
    let mut command =
        cli(&["logs", "-f", "--subject", "one.*", "--tenant", "default", "--json", "--control"]);
    let child = command.arg(broker.control()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Running(child.expect("the program runs"));
    let mut notes = BufReader::new(child.0.stderr.take().expect("a pipe"));
    let mut note = String::new();
    notes.read_line(&mut note).expect("a line");
    assert!(note.starts_with("following"), "{note}");
    // Not before it follows, and only what it asked for.
    for (subject, payload) in [("two.b", "x"), ("one.a", "y"), ("two.b", "fail"), ("one.a", "fail")] {
        let _ = broker.post(&format!("/{subject}"), payload);
    }
    let lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
    let events: Vec<Value> =
        lines.take(2).map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect();
    assert!(events.iter().all(|event| event["subject"] == "one.a"), "{events:?}");
    assert_eq!((&events[0]["text"], &events[1]["reason"]), (&"heard y".into(), &"script_error".into()));
    // What was kept, without following.
    let kept = good(&ask(&broker, &["logs", "--subject", "two.b"]));
    assert!(kept.contains("heard x") && kept.contains("no luck") && !kept.contains("one.a"), "{kept}");
}

#[test]
fn who_does_not_read_holds_nobody() {
    let chatty = "function OnMessage(_, payload) for _ = 1, 60 do print(('x'):rep(1000)) end return 'ok' end";
    let broker = Setup::new().lua("chatty", chatty).start();
    let mut stream = UnixStream::connect(broker.control()).expect("the socket is there");
    stream.write_all(b"{\"do\":\"logs\",\"follow\":true}\n").expect("asked");
    let mut lines = BufReader::new(stream.try_clone().expect("a copy"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    assert!(first.contains("following"), "{first}");
    for _ in 0..60 {
        assert_eq!(broker.call("chatty", ""), "ok");
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let lost = lines.lines().map(|line| line.expect("a line")).find(|line| line.starts_with("{\"lost\":"));
    assert!(lost.is_some(), "it is told that lines are missing");
}

#[test]
fn hostile_bytes_change_nothing() {
    let broker = Setup::new().lua("echo", ECHO).start();
    let path = broker.control();
    let deep = [vec![b'['; 4000], b"\n".to_vec()].concat();
    for bytes in [
        &b"\n"[..],
        b"",
        b"\0\xff\xfe\n",
        b"{\"do\":\"status\"",
        b"{\"do\":\"kill\"}\n",
        b"{\"do\":\"status\",\"x\":1}\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &deep,
        &vec![b'x'; 1 << 20],
    ] {
        let answer = raw(&path, bytes);
        assert!(answer.is_empty() || answer.starts_with("{\"error\":"), "{answer}");
    }
    // Many that say nothing: the next one waits for none of them once they go, and functions never do.
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).expect("a connection")).collect();
    assert_eq!(broker.call("echo", "x"), "x");
    drop(silent);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !ask(&broker, &["status"]).status.success() {
        assert!(std::time::Instant::now() < deadline, "the socket answers no more");
    }
    assert!(broker.is_running());
}

#[test]
fn a_script_with_a_folder_in_reach_does_not_reach_the_socket() {
    let code = "function OnMessage(_, path) local file, why = io.open(path, 'r+') return tostring(file) .. tostring(why) end";
    let broker = Setup::new().lua("open", code).start();
    let answer = broker.call("open", broker.control().to_str().expect("text"));
    assert!(answer.starts_with("nil"), "{answer}");
}

#[test]
fn what_a_killed_broker_left_is_replaced_and_anothers_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "nobody removed it");
    let control = format!("--control={}", path.display());
    let first = Setup::new().args(&[&control]).lua("echo", ECHO).start();
    let second = Setup::new().args(&[&control]).lua("echo", ECHO).spawn();
    assert!(!second.wait().success());
    assert!(second.log().contains("another broker"), "{}", second.log());
    let status = cli(&["status", "--control"]).arg(&path).output().expect("the program runs");
    assert!(status.status.success(), "{}", text(&status.stderr));
    drop(first);
}

#[test]
fn the_usual_place_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let runtime = folder.path().to_str().expect("text");
    let none = cli(&["status", "--port", "1"]).env("XDG_RUNTIME_DIR", runtime).output().expect("it runs");
    assert!(text(&none.stderr).contains("--control"), "{}", text(&none.stderr));
    let broker = Setup::new().usual_control().env("XDG_RUNTIME_DIR", runtime).lua("echo", ECHO).start();
    let port = broker.http().port().to_string();
    let status = cli(&["status", "--port", &port]).env("XDG_RUNTIME_DIR", runtime).output().expect("it runs");
    assert!(good(&status).starts_with("ready"));
    assert!(folder.path().join(format!("msgscript/control-{port}.sock")).exists());
    assert_eq!(broker.call("echo", "x"), "x");
}

#[test]
fn functions_are_called() {
    let broker = Setup::new().lua("echo", ECHO).lua("talk", TALK).start();
    let url = broker.nats_url();
    let call = |args: &[&str]| cli(&["call", "-u", &url]).args(args).output().expect("the program runs");
    assert_eq!(good(&call(&["echo", "hello"])), "hello\n");
    let seen = call(&["-v", "echo", "x"]);
    assert!(text(&seen.stderr).contains("Msgscript-Invocation: "), "{}", text(&seen.stderr));
    let failed = call(&["talk", "fail"]);
    assert_eq!(failed.status.code(), Some(1));
    let why = text(&failed.stderr);
    assert!(why.contains("no luck") && why.contains("(script_error, 500)"), "{why}");
    let nobody = call(&["nobody"]);
    assert!(
        !nobody.status.success() && text(&nobody.stderr).contains("nobody answers"),
        "{}",
        text(&nobody.stderr)
    );
}

#[test]
fn a_new_script_is_good_and_never_overwrites() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let mut command = cli(args);
        command.current_dir(folder.path()).output().expect("the program runs")
    };
    good(&run(&["new", "hello.lua"]));
    good(&run(&["new", "--http", "-s", "web.site", "site.lua"]));
    good(&run(&["check", "hello.lua", "site.lua"]));
    let again = run(&["new", "hello.lua"]);
    assert!(!again.status.success() && text(&again.stderr).contains("exists"), "{}", text(&again.stderr));
    assert!(!run(&["new", "two words.lua"]).status.success());
    assert!(!folder.path().join("two words.lua").exists());
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("written");
    let broker = Setup::new().file("hello.lua", read("hello.lua")).file("site.lua", read("site.lua")).start();
    assert_eq!(broker.call("hello", "you"), "Hello, you!");
    assert_eq!(broker.get("/web.site").status, 200);
}

#[test]
fn check_compiles_as_a_broker_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let check = |args: &[&str]| {
        cli(args)
            .current_dir(folder.path())
            .output()
            .map(|it| (it.status.code(), text(&it.stderr)))
            .expect("runs")
    };
    write("a.lua", "--* subject: a\n--* name: a\n--* require: web\nfunction OnMessage() return page end\n");
    write("sub/b.lua", "--* subject: b\n--* name: b\nfunction OnMessage( return 1 end\n");
    write("sub/c.lua", "--* subject: c\nreturn 1\n");
    write("sub/notes.txt", "not Lua");
    write("libs/web.lua", "page = 'x'\n");
    let (status, errors) = check(&["check", "."]);
    assert_eq!(status, Some(1), "{errors}");
    assert!(
        errors.contains("sub/b.lua:3: ") && errors.contains("sub/c.lua:1: there is no `name`"),
        "{errors}"
    );
    assert!(errors.ends_with("2 of 4 would be rejected\n"), "{errors}");
    let (status, errors) = check(&["check", "a.lua", "libs"]);
    assert_eq!((status, &*errors), (Some(0), ""));
    write("libs/web.lua", "page = = 'x'\n");
    let (status, errors) = check(&["check", "a.lua"]);
    assert!(status == Some(1) && errors.contains("web.lua:1:"), "{errors}");
    assert_eq!(check(&["check", "--no-compile", "sub/b.lua"]).0, Some(0));
}
