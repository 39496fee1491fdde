//! The operator's Lua C modules: Debian's, one in Rust, one that is hostile; and what is no module.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use msgscript_tests::harness::{Broker, Setup};
use tempfile::TempDir;

/// A folder that workers, which have users of their own, may read.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn with_plugins(folder: &Path) -> Setup {
    Setup::new().args(&["--plugin", folder.to_str().unwrap()])
}

/// Where Debian keeps its modules for Lua 5.1.
fn debian() -> PathBuf {
    let triplet = format!("/usr/lib/{}-linux-gnu/lua/5.1", std::env::consts::ARCH);
    let path = PathBuf::from(triplet);
    assert!(path.join("cjson.so").exists(), "lua-cjson is missing: scripts/test installs it");
    assert!(path.join("lpeg.so").exists(), "lua-lpeg is missing: scripts/test installs it");
    path
}

/// Compiles a module written in C.
fn compile(folder: &Path, name: &str, source: &str) {
    let file = folder.join(format!("{name}.c"));
    std::fs::write(&file, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.join(format!("{name}.so"))).arg(&file);
    assert!(cc.status().unwrap().success(), "{name}.c does not compile");
}

#[test]
fn modules_of_debian_work() {
    let json = r#"local cjson = require("cjson")
function OnMessage(_, text) return cjson.encode({cjson.decode(text).a, 2}) end"#;
    let safe =
        "local c = require('cjson.safe') function OnMessage() return tostring(select(2, c.decode('{'))) end";
    let peg = r#"local lpeg = require "lpeg"
local sum = lpeg.Cf(lpeg.C(lpeg.R("09")^1) * ("+" * lpeg.C(lpeg.R("09")^1))^0, function(a, b) return a + b end)
function OnMessage(_, text) count = (count or 0) + 1 return lpeg.match(sum, text) .. " " .. count end"#;
    let setup = with_plugins(&debian()).lua("json", json).lua("safe", safe).lua("peg", peg);
    let broker = setup.lua("plain", "function OnMessage(_, t) return t end").start();
    for round in 0..5 {
        assert_eq!(broker.call("json", &format!(r#"{{"a":{round}}}"#)), format!("[{round},2]"));
        assert_eq!(broker.call("peg", &format!("1+2+{round}")), format!("{} 1", 3 + round));
        assert_eq!(broker.call("plain", "x"), "x");
    }
    assert!(broker.call("safe", "").contains("Expected object key"));
}

#[test]
fn a_name_that_is_found_as_it_runs_has_the_script_run_again() {
    let late = r#"function OnMessage(_, text)
  local name = "cj" .. text
  print("looking for", name)
  return require(name).encode({1})
end"#;
    let too_late = r#"function OnMessage(_, text)
  require("nats").publish("elsewhere", "x")
  local ok, problem = pcall(require, "cj" .. text)
  return tostring(ok) .. " " .. tostring(problem)
end"#;
    let library =
        "local function encode(v) return require('cj' .. 'son').encode(v) end return {encode = encode}";
    let by_library = "function OnMessage() return require('codec').encode({2}) end";
    let broker = with_plugins(&debian())
        .lua("late", late)
        .lua("toolate", too_late)
        .lua("library", by_library)
        .library("codec.lua", library)
        .start();
    for _ in 0..3 {
        assert_eq!(broker.call("late", "son"), "[1]");
        assert_eq!(broker.call("library", ""), "[2]");
    }
    let told = broker.call("toolate", "son");
    assert!(told.starts_with("false ") && told.contains("with its name in quotes"), "{told}");
    let missing = broker.fail("late", "nobody").1;
    assert!(missing.contains("module cjnobody not found"), "{missing}");
}

#[test]
fn what_is_no_module_is_skipped_with_one_warning() {
    let folder = folder();
    compile(folder.path(), "gopher", "int Preload(void) { return 0; }");
    std::fs::write(folder.path().join("text.so"), "not an object").unwrap();
    std::fs::write(folder.path().join("empty.so"), "").unwrap();
    compile(
        folder.path(),
        "needs",
        "int missing_function(void); int luaopen_needs(void *l) { return missing_function(); }",
    );
    let broker = with_plugins(folder.path())
        .lua("hello", "function OnMessage() return 'hi' end")
        .lua("needs", "local n = require('needs') function OnMessage() end")
        .lua("gopher", "local n = require('gopher') function OnMessage() end")
        .start();
    assert_eq!(broker.call("hello", ""), "hi");
    for name in ["gopher.so", "text.so", "empty.so"] {
        let skipped = |event: &&serde_json::Value| {
            let text = event.to_string();
            text.contains("plugin skipped") && text.contains(name)
        };
        assert_eq!(broker.events().iter().filter(skipped).count(), 1, "{name}");
    }
    let (_, error) = broker.fail("needs", "");
    assert!(error.contains("error loading module needs") && error.contains("missing_function"), "{error}");
    let (_, error) = broker.fail("gopher", "");
    assert!(error.contains("module gopher not found"), "{error}");
}

#[test]
fn the_example_in_rust_works() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins");
    let target = folder();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--manifest-path"]).arg(source.join("greet/Cargo.toml"));
    cargo.arg("--target-dir").arg(target.path());
    assert!(cargo.status().unwrap().success(), "the example does not build");
    let plugins = folder();
    std::fs::copy(target.path().join("debug/libgreet.so"), plugins.path().join("greet.so")).unwrap();
    let script = std::fs::read_to_string(source.join("greet.lua")).unwrap();
    let broker = with_plugins(plugins.path()).file("greet.lua", script).start();
    assert_eq!(broker.call("greet.plugin", "John"), "Hello, John, from Rust!");
}

/// Tries from its constructor, and again when it is opened, what no module may do.
const HOSTILE: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
typedef struct lua_State lua_State;
void lua_pushstring(lua_State *, const char *);
static char told[1000];
static void tell(const char *what, long result) {
    char *end = told + strlen(told);
    snprintf(end, sizeof told - (end - told), "%s=%s ", what, result < 0 ? "refused" : "DONE");
}
static void __attribute__((constructor)) begin(void) {
    struct sockaddr_in canary = {AF_INET, htons(PORT), {htonl(INADDR_LOOPBACK)}, {0}};
    char *args[] = {"/bin/true", 0};
    tell("write", open("/etc/passwd", O_WRONLY));
    tell("create", open("/tmp/msgscript-hostile", O_WRONLY | O_CREAT, 0600));
    tell("read", open("/etc/shadow", O_RDONLY));
    tell("proc", open("/proc/self/environ", O_RDONLY));
    tell("script", open("SCRIPTS", O_RDONLY));
    int s = socket(AF_INET, SOCK_STREAM, 0);
    tell("socket", s);
    tell("connect", connect(s, (struct sockaddr *)&canary, sizeof canary));
    tell("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    tell("exec", execve(args[0], args, args + 1));
    tell("kill", syscall(SYS_kill, BROKER, 9));
    tell("ptrace", syscall(SYS_ptrace, 16, BROKER, 0, 0));
}
int luaopen_hostile(lua_State *l) { lua_pushstring(l, told); return 1; }
"#;

#[test]
fn a_constructor_finds_itself_jailed() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let port = canary.local_addr().unwrap().port();
    let folder = folder();
    let source = HOSTILE
        .replace("PORT", &port.to_string())
        .replace("BROKER", &std::process::id().to_string())
        .replace("SCRIPTS", file!())
        .replace("#include <errno.h>", "#include <errno.h>\n#include <signal.h>");
    compile(folder.path(), "hostile", &source);
    let broker: Broker = with_plugins(folder.path())
        .lua("hostile", "local told = require('hostile') function OnMessage() return told end")
        .start();
    let told = broker.call("hostile", "");
    assert_eq!(told.matches("=refused").count(), 11, "{told}");
    assert!(!told.contains("DONE"), "{told}");
    assert!(canary.accept().is_err() && !Path::new("/tmp/msgscript-hostile").exists());
}

#[test]
fn a_module_is_held_after_it_was_opened() {
    let folder = folder();
    let source = r#"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
typedef struct lua_State lua_State;
void lua_pushnumber(lua_State *, double);
static int runs;
int luaopen_count(lua_State *l) { lua_pushnumber(l, ++runs); return 1; }
int luaopen_escape(lua_State *l) { lua_pushnumber(l, open("/etc/passwd", O_RDONLY)); return 1; }
int luaopen_eater(lua_State *l) {
    for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); }
}
"#;
    compile(folder.path(), "many", source);
    let broker = with_plugins(folder.path())
        .lua("count", "local n = require('count') function OnMessage() return tostring(n) end")
        .lua("escape", "function OnMessage() return tostring(require('escape')) end")
        .lua("eater", "function OnMessage() return require('eater') end")
        .start();
    // What a module keeps does not outlive the run: each has a process of its own.
    for _ in 0..4 {
        assert_eq!(broker.call("count", ""), "1");
    }
    let (response, _) = broker.fail("escape", "");
    assert_eq!(response.header("msgscript-reason"), Some("killed_syscall"));
    let (response, _) = broker.fail("eater", "");
    assert_eq!(response.status, 500);
    assert_eq!(broker.call("count", ""), "1");
}
