//! Commands of the host: what `cmd.exec`, `os.execute` and `io.popen` give, and what a command cannot do.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use msgscript_tests::harness::{Broker, PATIENCE, Setup, wait_until};
use tempfile::TempDir;

/// A script that runs its payload as code.
const RUN: &str = r##"local cmd = require("cmd")
function OnMessage(_, code)
  local function texts(first, ...)
    if select("#", ...) == 0 then return tostring(first) end
    return tostring(first) .. "|" .. texts(...)
  end
  return texts(assert(loadstring("local cmd = ... " .. code))(cmd))
end
function sh(line, seconds)
  local r, problem = cmd.exec(line, seconds)
  if not r then return nil, problem end
  return r.status, r.stdout, r.stderr
end"##;

fn broker(args: &[&str]) -> Broker {
    Setup::new().lua("run", RUN).args(args).env("GREETING", "hello").env("HIDDEN", "no").start()
}

#[test]
fn commands_are_refused_without_their_grant() {
    let broker = broker(&[]);
    let text = broker.call("run", "return cmd.exec('true')");
    assert_eq!(text, "nil|denied: default has no grant to run commands (cmd)");
    assert_eq!(broker.call("run", "return os.execute('true')"), "1");
    for mode in ["r", "w"] {
        let text = broker.call("run", &format!("return io.popen('true', '{mode}')"));
        assert_eq!(text, "nil|popen: not permitted");
    }
}

#[test]
fn commands_give_their_status_and_output() {
    let broker = broker(&["--allow", "cmd", "--allow", "env:GREETING"]);
    let run = |code: &str| broker.call("run", code);
    assert_eq!(run("return sh('echo out; echo err >&2; exit 3')"), "3|out\n|err\n");
    assert_eq!(run("return sh('kill -9 $$')"), "-1||");
    assert_eq!(run("return (sh('nonsense-nobody-has'))"), "127");
    assert_eq!(run("return sh('cat; pwd -P | grep -c msgscript-cmd; echo x > f; cat f')"), "0|1\nx\n|");
    assert_eq!(run("return sh('echo $GREETING:$HIDDEN:$HOME | grep -c ^hello::/')"), "0|1\n|");
    assert_eq!(run("return os.execute('exit 0'), os.execute('exit 7')"), "0|1");
    assert_eq!(
        run("local p = io.popen('echo a; echo b; exit 5') return tostring(p), p:read('*a'), p:close()"),
        "process|a\nb\n|5"
    );
    assert_eq!(
        run("local p = io.popen('cat >&2; exit 4', 'w') p:write('said ', 'so\\n') return p:close()"),
        "4"
    );
    broker.wait_for_words(&["said so"]);
    assert_eq!(run("return #select(2, sh('head -c 3000000 /dev/zero'))"), "3000000");
    assert_eq!(run("local s, o = sh('sleep 60', 1) return s, o"), "nil|execute timeout");
    assert_eq!(run("return cmd.exec('true', 0)"), "nil|execute timeout");
}

#[test]
fn a_command_reaches_nothing_but_its_own() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = canary.local_addr().unwrap().port();
    canary.set_nonblocking(true).unwrap();
    let folder = TempDir::new().unwrap();
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    std::fs::write(folder.path().join("file"), "mine").unwrap();
    let broker = broker(&["--allow", "cmd"]);
    let run = |line: &str| broker.call("run", &format!("return sh([==[{line}]==])"));
    let at = folder.path().display();
    let pid = broker.pid();
    for line in [
        "echo x > /etc/msgscript-test".to_owned(),
        "echo x > /tmp/msgscript-test".to_owned(),
        "echo x > /var/tmp/msgscript-test".to_owned(),
        "echo x > /dev/shm/msgscript-test".to_owned(),
        format!("cat {at}/file"),
        format!("echo x > {at}/file"),
        "cat /etc/shadow".to_owned(),
        "ls /root".to_owned(),
        format!("cat /proc/{pid}/environ"),
        format!("cat /proc/{pid}/maps"),
        format!("kill -9 {pid}"),
        "kill -9 $PPID".to_owned(),
        "kill -9 -1".to_owned(),
        "unshare -U true".to_owned(),
        "mount -t tmpfs none .".to_owned(),
        format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"),
        "python3 -c 'import socket; socket.socket(socket.AF_INET6)'".to_owned(),
        format!("python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{at}/socket\")'"),
        format!(
            "python3 -c 'import ctypes, sys; l = ctypes.CDLL(None); sys.exit(l.ptrace(16, {pid}, 0, 0) != 0)'"
        ),
        "python3 -c 'import ctypes, os, sys; l = ctypes.CDLL(None); sys.exit(l.ptrace(16, os.getppid(), 0, 0) != 0)'"
            .to_owned(),
        format!("python3 -c 'import os, signal; os.pidfd_open({pid})'"),
        "python3 -c 'import resource, os; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))'"
            .to_owned(),
    ] {
        let result = run(&line);
        assert!(!result.starts_with("0|") && !result.starts_with("nil"), "{line}: {result}");
    }
    assert!(canary.accept().is_err(), "a command has reached the network");
    assert!(broker.is_running());
    assert!(!std::path::Path::new("/etc/msgscript-test").exists());
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"mine");
}

#[test]
fn a_command_writes_to_granted_folders() {
    let folder = TempDir::new().unwrap();
    let open = |path: &std::path::Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).unwrap();
    };
    open(folder.path());
    for name in ["open", "fixed"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        open(&folder.path().join(name));
    }
    let at = folder.path().display();
    let grants = [format!("files:{at}/open"), format!("files:{at}/fixed:ro")];
    let broker = broker(&["--allow", "cmd", "--allow", &grants[0], "--allow", &grants[1]]);
    let run = |line: &str| broker.call("run", &format!("return (sh([==[{line}]==]))"));
    assert_eq!(run(&format!("echo x > {at}/open/new && cat {at}/open/new")), "0");
    assert_ne!(run(&format!("echo x > {at}/fixed/new")), "0");
    assert_eq!(run(&format!("ls {at}/fixed")), "0");
    assert_ne!(run(&format!("ls {at}")), "0");
}

/// Processes whose command line has this word.
fn processes(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(word) && line.starts_with("sleep")).collect()
}

#[test]
fn nothing_is_left_of_a_command() {
    let broker = broker(&["--allow", "cmd"]);
    // Each sleeps a time that nobody else does, to be told apart.
    let mark = format!("{}.{}", 7000 + std::process::id() % 1000, std::process::id());
    let daemons = [
        format!("sleep {mark} & echo started"),
        format!("setsid sleep {mark} >/dev/null 2>&1 </dev/null & echo started"),
        format!("(setsid sh -c 'trap \"\" HUP TERM; sleep {mark} & wait' >/dev/null 2>&1 &) ; echo started"),
    ];
    for line in daemons {
        let began = Instant::now();
        let result = broker.call("run", &format!("return sh([==[{line}]==])"));
        assert_eq!(result, "0|started\n|");
        assert!(began.elapsed() < PATIENCE);
        wait_until("the daemon is gone", || processes(&mark).is_empty());
    }
    // At the time-out, and with the invocation.
    let late = broker.call("run", &format!("return cmd.exec('setsid sleep {mark} & sleep {mark}', 1)"));
    assert_eq!(late, "nil|execute timeout");
    wait_until("it is gone", || processes(&mark).is_empty());
    let bomb = broker.call("run", "return (sh('f() { f | f & }; f; sleep 1'))");
    assert!(!bomb.starts_with("nil"), "{bomb}");
    assert_eq!(broker.call("run", "return sh('echo still here')"), "0|still here\n|");
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let own = format!("msgscript-cmd-{}-", broker.pid());
    assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own)).count(), 0);
}
