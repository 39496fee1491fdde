//! Granted folders and environment names: what scripts reach of the host, and what they do not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use msgscript_tests::harness::{Broker, Setup};
use tempfile::TempDir;

/// A script that runs its payload and gives what that returns, line by line.
const RUN: &str = r##"function OnMessage(_, code)
  local function texts(first, ...)
    if select("#", ...) == 0 then return tostring(first) end
    return tostring(first) .. "\n" .. texts(...)
  end
  return texts(assert(loadstring(code))())
end"##;

/// A server with a folder that scripts may write, one that they may read, and one that is none of theirs.
struct Host {
    folder: TempDir,
    broker: Broker,
}

impl Host {
    fn new() -> Host {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["open", "fixed", "secret"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("secret/key"), "secret").unwrap();
        fs::write(at("fixed/a.txt"), "one\ntwo\n").unwrap();
        let grants = [
            format!("files:{}", at("open").display()),
            format!("files:{}:ro", at("fixed").display()),
            "env:GREETING".to_owned(),
            "env:EMPTY".to_owned(),
        ];
        let mut args = vec!["--log", "debug"];
        args.extend(grants.iter().flat_map(|grant| ["--allow", grant]));
        let setup = Setup::new().lua("run", RUN).args(&args).env("GREETING", "hello").env("EMPTY", "");
        let broker = setup.env("HIDDEN", "no").start();
        Host { folder, broker }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs code in which `OPEN`, `FIXED` and `SECRET` are the folders.
    fn run(&self, code: &str) -> String {
        let code = code
            .replace("OPEN", &self.path("open"))
            .replace("FIXED", &self.path("fixed"))
            .replace("SECRET", &self.path("secret"));
        self.broker.call("run", &code).replace(&self.path(""), "@/")
    }
}

#[test]
fn granted_names_of_the_environment_are_read() {
    let host = Host::new();
    assert_eq!(
        host.run("return os.getenv('GREETING'), os.getenv('EMPTY'), os.getenv('HIDDEN')"),
        "hello\nnil\nnil"
    );
    assert_eq!(host.run("os.setenv('GREETING', 'own'); return os.getenv('GREETING')"), "own");
    assert_eq!(host.run("return os.getenv('GREETING'), os.getenv('A=B'), os.getenv('')"), "hello\nnil\nnil");
    host.broker.wait_for_words(&["DEBUG", "denied: default", "env:HIDDEN"]);
}

#[test]
fn files_of_a_granted_folder_are_read_and_written() {
    let host = Host::new();
    let code = r#"local f = assert(io.open("OPEN/new.txt", "w"))
        f:write("one\n", 2, "\nthree"); f:close()
        f = io.open("OPEN/./x/../new.txt", "r+")
        local first, rest = f:read("*l"), f:read("*a")
        local e = f:seek("end"); f:write("!"); f:seek("set", 0)
        local all = f:read("*a"); f:close()
        f = io.open("OPEN/new.txt", "a"); f:write("?"); f:close()
        return first, rest, e, all, #io.open("OPEN/new.txt"):read("*a")"#;
    assert_eq!(host.run(code), "one\n2\nthree\n11\none\n2\nthree!\n13");
    assert_eq!(fs::read(host.path("open/new.txt")).unwrap(), b"one\n2\nthree!?");
    let code = r#"return os.rename("OPEN/new.txt", "OPEN/b"), io.open("OPEN/new.txt"), os.remove("OPEN/b"), os.remove("OPEN/b")"#;
    let gone = "open @/open/new.txt: no such file or directory";
    assert_eq!(
        host.run(&code.replace("io.open(\"OPEN/new.txt\")", "(select(2, io.open(\"OPEN/new.txt\")))")),
        format!("true\n{gone}\ntrue\nnil\nremove @/open/b: no such file or directory")
    );
    assert_eq!(host.run("local n = 0 for l in io.lines('FIXED/a.txt') do n = n + #l end return n"), "6");
    assert_eq!(host.run("return (select(2, io.open('OPEN', 'w')))"), "open @/open: is a directory");
}

#[test]
fn a_large_file_is_read_in_pieces() {
    let host = Host::new();
    let line = "x".repeat(99) + "\n";
    fs::write(host.path("open/large"), line.repeat(100_000)).unwrap();
    assert_eq!(host.run("local n = 0 for l in io.lines('OPEN/large') do n = n + #l end return n"), "9900000");
    assert_eq!(host.run("return #io.open('OPEN/large'):read('*a')"), "10000000");
    assert_eq!(
        host.run("local f = io.open('OPEN/large') f:seek('set', 9999990) return f:read(5), f:read('*a')"),
        "xxxxx\nxxxx\n"
    );
}

#[test]
fn what_is_granted_to_read_is_not_written() {
    let host = Host::new();
    for (code, error) in [
        ("io.open('FIXED/a.txt', 'w')", "open @/fixed/a.txt: permission denied"),
        ("io.open('FIXED/a.txt', 'a')", "open @/fixed/a.txt: permission denied"),
        ("io.open('FIXED/a.txt', 'r+')", "open @/fixed/a.txt: permission denied"),
        ("io.open('FIXED/new', 'w')", "open @/fixed/new: permission denied"),
        ("os.remove('FIXED/a.txt')", "remove @/fixed/a.txt: permission denied"),
        ("os.rename('FIXED/a.txt', 'FIXED/b')", "rename @/fixed/a.txt @/fixed/b: permission denied"),
        ("os.rename('FIXED/a.txt', 'OPEN/b')", "rename @/fixed/a.txt @/open/b: permission denied"),
        ("os.rename('OPEN/x', 'FIXED/b')", "rename @/open/x @/fixed/b: permission denied"),
    ] {
        assert_eq!(host.run(&format!("return (select(2, {code}))")), error, "{code}");
    }
    assert_eq!(fs::read(host.path("fixed/a.txt")).unwrap(), b"one\ntwo\n");
    host.broker.wait_for_words(&["WARN", "denied: default has no grant to write", "fixed"]);
}

#[test]
fn nothing_leads_out_of_a_granted_folder() {
    let host = Host::new();
    let open = host.path("open");
    let link = |target: &str, name: &str| symlink(target, Path::new(&open).join(name)).unwrap();
    link("../secret", "folder");
    link(&host.path("secret/key"), "file");
    link("/proc/self/environ", "proc");
    link("/proc/self/root/etc/passwd", "magic");
    link("loop", "loop");
    let fifo = Path::new(&open).join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(Path::new(&open).join("socket")).unwrap();
    for (path, error) in [
        ("OPEN/folder/key", "permission denied"),
        ("OPEN/file", "permission denied"),
        ("OPEN/proc", "permission denied"),
        ("OPEN/magic", "permission denied"),
        ("OPEN/loop", "too many levels of symbolic links"),
        ("OPEN/fifo", "permission denied"),
        ("OPEN/socket", "permission denied"),
        // The scratch folder has none of these.
        ("OPEN/../secret/key", "no such file or directory"),
        ("SECRET/key", "no such file or directory"),
        ("OPENx/key", "no such file or directory"),
        ("/etc/passwd", "no such file or directory"),
        ("/proc/self/environ", "no such file or directory"),
    ] {
        for mode in ["r", "r+"] {
            let text = host.run(&format!("return (select(2, io.open('{path}', '{mode}')))"));
            assert!(text.ends_with(error), "{path} {mode}: {text}");
        }
    }
    for code in [
        "io.open('OPEN/folder/new', 'w')",
        "os.remove('OPEN/folder/key')",
        "os.rename('OPEN/folder/key', 'OPEN/stolen')",
        "os.rename('OPEN/fifo', 'OPEN/folder/fifo')",
    ] {
        assert!(host.run(&format!("return (select(2, {code}))")).ends_with("permission denied"), "{code}");
    }
    let across = host.run("io.open('a', 'w'):close() return (select(2, os.rename('a', 'OPEN/a')))");
    assert_eq!(across, "rename a @/open/a: invalid cross-device link");
    assert_eq!(host.run("return (select(2, os.remove('OPEN')))"), "remove @/open: device or resource busy");
    assert_eq!(fs::read_dir(host.path("secret")).unwrap().count(), 1);
}

#[test]
fn a_script_that_uses_no_absolute_path_asks_nothing() {
    let host = Host::new();
    let code = "local f = io.open('x', 'w') f:write('y') f:close() return io.open('/scratch/x'):read('*a')";
    assert_eq!(host.run(code), "y");
    assert_eq!(host.run("local f = io.tmpfile() f:write('a') f:seek('set') return f:read('*a')"), "a");
}
