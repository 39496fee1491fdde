//! The contract's rules on scripts, headers, libraries and places in errors, through the front door.
//!
//! Each test has a broker of its own with many small scripts.

use msgscript_tests::harness::{Broker, Setup};

const HELLO: &str = "function OnMessage(_, name) return 'Hello, ' .. name end";

/// The error texts of a failed call.
fn error(broker: &Broker, subject: &str) -> String {
    let (response, error) = broker.fail(subject, "");
    assert_eq!(response.status, 500, "{subject}: {}", response.text());
    assert_eq!(response.reason(), "script_error", "{subject}: {}", response.text());
    error
}

/// That a text names a place, and nothing of how it came to be.
fn assert_place(text: &str, place: &str) {
    assert!(text.contains(place), "no {place} in {text:?}");
    let inside = ["<string>", "[string", "/tmp", "scripts/", "\u{1}", "\u{2}"];
    for part in inside {
        assert!(!text.contains(part), "{part:?} in {text:?}");
    }
}

#[test]
fn headers_are_read_as_the_contract_says() {
    let broker = Setup::new()
        .file(
            "spaced.lua",
            format!("\n-- a comment\n\n--*   subject  :   head.spaced \t\n--*name:spaced  \n{HELLO}"),
        )
        .file("crlf.lua", format!("--* subject: head.crlf\r\n--* name: crlf\r\n{HELLO}\r\n"))
        .file(
            "html.lua",
            "--* subject: head.html\n--* name: h\n--* html: true\nfunction GET() return 'h' end",
        )
        .file(
            "http.lua",
            "--* subject: head.http\n--* name: h\n--* http: true\nfunction GET() return 'h' end",
        )
        .file(
            "no.lua",
            format!("--* subject: head.no\n--* name: n\n--* http: false\n--* executor: lua\n{HELLO}"),
        )
        .file("late.lua", format!("--* subject: head.late\n{HELLO}\n--* name: late-name\n"))
        .file("odd.lua", format!("--* subject: head.odd\n--* name: odd\n--* colour: green\n{HELLO}"))
        .start();
    for (subject, name) in [("head.spaced", "spaced"), ("head.crlf", "crlf"), ("head.no", "n")] {
        let response = broker.post(&format!("/{subject}"), "Ann");
        assert_eq!((response.status, response.payload(name)), (200, "Hello, Ann".to_owned()), "{subject}");
    }
    for subject in ["head.html", "head.http"] {
        let response = broker.get(&format!("/{subject}"));
        assert_eq!((response.status, response.text()), (200, "h".to_owned()), "{subject}");
    }
    // The five keys count anywhere; late ones bring a warning that names file and line.
    assert_eq!(broker.post("/head.late", "Ann").payload("late-name"), "Hello, Ann");
    let late = broker.wait_for_words(&["late.lua", "WARN", "name"]);
    assert!(late.to_string().contains('3'), "no line: {late}");
    // Unknown keys harm nothing and are warned about once, however often the folder is read.
    assert_eq!(broker.call("head.odd", "Ann"), "Hello, Ann");
    broker.wait_for_words(&["colour", "odd.lua", "WARN"]);
    broker.write("more.lua", format!("--* subject: head.more\n--* name: more\n{HELLO}"));
    broker.post_until("/head.more", "Ann", |response| response.status == 200);
    assert_eq!(broker.count_events("colour"), 1, "{}", broker.log());
    // Nothing was said about the scripts that are right.
    for file in ["spaced.lua", "crlf.lua", "html.lua", "http.lua", "no.lua"] {
        assert_eq!(broker.count_events(file), 0, "{file}: {}", broker.log());
    }
}

#[test]
fn a_bad_script_costs_only_itself() {
    let broker = Setup::new()
        .file("no-subject.lua", format!("--* name: x\n{HELLO}"))
        .file("no-name.lua", format!("--* subject: bad.name\n{HELLO}"))
        .file("boolean.lua", format!("--* subject: bad.boolean\n--* name: x\n--* http: maybe\n{HELLO}"))
        .file(
            "executor.lua",
            format!("--* subject: bad.executor\n--* name: x\n\n--* executor: perl\n{HELLO}"),
        )
        .file("timeout.lua", format!("--* subject: bad.timeout\n--* name: x\n--* timeout: soon\n{HELLO}"))
        .file("memory.lua", format!("--* subject: bad.memory\n--* name: x\n--* memory: lots\n{HELLO}"))
        .file("inbox.lua", format!("--* subject: _INBOX.x\n--* name: x\n{HELLO}"))
        .file("dollar.lua", format!("--* subject: $SYS.x\n--* name: x\n{HELLO}"))
        .file("dots.lua", format!("--* subject: bad..dots\n--* name: x\n{HELLO}"))
        .file("star.lua", format!("--* subject: bad.st*r\n--* name: x\n{HELLO}"))
        .file("syntax.lua", "--* subject: bad.syntax\n--* name: x\nlocal a = 1\nlocal b = = 2\n")
        .file("bytecode.lua", b"\x1bLJ\x02\n--* subject: bad.bytecode\n--* name: x\n\xff\xfe".as_slice())
        .file("mine.lua", "--* subject: bad.shared\n--* name: broken\nfunction OnMessage( return 1 end")
        .file("yours.lua", format!("--* subject: bad.shared\n--* name: fine\n{HELLO}"))
        .lua("good", HELLO)
        .start();
    assert_eq!(broker.call("good", "Ann"), "Hello, Ann");
    // Each is rejected with a message that names the file.
    let files = [
        "no-subject",
        "no-name",
        "boolean",
        "executor",
        "timeout",
        "memory",
        "inbox",
        "dollar",
        "dots",
        "star",
    ];
    for file in files.into_iter().chain(["syntax", "bytecode", "mine"]) {
        broker.wait_for_words(&[&format!("{file}.lua")]);
    }
    broker.wait_for_words(&["no-subject.lua", "subject"]);
    broker.wait_for_words(&["no-name.lua", "name"]);
    // With no good version the subject stays and answers with file and line.
    for (subject, place) in [
        ("bad.boolean", "boolean.lua:3:"),
        ("bad.executor", "executor.lua:4:"),
        ("bad.timeout", "timeout.lua:3:"),
        ("bad.memory", "memory.lua:3:"),
        ("bad.syntax", "syntax.lua:4:"),
        ("bad.bytecode", "bytecode.lua"),
    ] {
        assert_place(&error(&broker, subject), place);
    }
    // A neighbour on the same subject still answers.
    let response = broker.post("/bad.shared", "Ann");
    assert_eq!((response.status, response.payload("fine")), (200, "Hello, Ann".to_owned()));
    let json = response.json();
    assert_eq!(json["broken"]["http_code"], 500, "{json}");
    assert_place(json["broken"]["error"].as_str().unwrap_or(""), "mine.lua:3:");
    // Subjects that may not run a script do not exist.
    assert_eq!(broker.post("/_INBOX.x", "").status, 404);
    assert_eq!(broker.post("/$SYS.x", "").status, 404);
    assert_eq!(broker.post("/nothing.here", "").status, 404);
}

#[test]
fn the_last_good_version_stays_in_service() {
    let broker =
        Setup::new().lua("edited", "function OnMessage() return 'one' end").lua("other", HELLO).start();
    assert_eq!(broker.call("edited", ""), "one");
    broker.write("edited.lua", "--* subject: edited\n--* name: edited\nfunction OnMessage() return 'two'\n");
    broker.wait_for_words(&["edited.lua:"]);
    assert_eq!(broker.call("edited", ""), "one");
    broker.write("edited.lua", "--* subject: edited\n--* name: edited\n--* http: perhaps\n");
    broker.wait_for_words(&["edited.lua:3"]);
    assert_eq!(broker.call("edited", ""), "one");
    assert_eq!(broker.call("other", "Ann"), "Hello, Ann");
    broker.write(
        "edited.lua",
        "--* subject: edited\n--* name: edited\nfunction OnMessage() return 'three' end\n",
    );
    broker.post_until("/edited", "", |response| response.payload("edited") == "three");
}

#[test]
fn libraries_become_part_of_the_script() {
    let broker = Setup::new()
        .library("web.lua", "local greeting = 'hi '\nfunction greet(name) return greeting .. name end\n")
        .library("file-name.lua", "--* name: named\nlocal from_named = 'named'\n")
        .library("deep/er.lua", "local from_deep = (from_named or 'nothing') .. '+deep'\n")
        .library("base.lua", "loads = (loads or 0) + 1\nlocal base = 'base'\n")
        .library("left.lua", "--* require: base\nlocal left = base .. '-left'\n")
        .library("right.lua", "--* require: base\nlocal right = base .. '-right'\n")
        .library("one.lua", "--* require: two\n")
        .library("two.lua", "--* require: three\n")
        .library("three.lua", "--* require: one\n")
        .library("module.lua", "local M = {}\nfunction M.twice(n) return n * 2 end\nreturn M\n")
        .library("json.lua", "return { encode = function() return 'mine' end }\n")
        .lua("web", "--* require: web\nfunction OnMessage(_, n) return greeting .. n .. '/' .. greet(n) end")
        .lua("order", "--* require: named\n--* require: deep/er\nfunction OnMessage() return from_deep end")
        .lua(
            "diamond",
            "--* require: left\n--* require: right\nfunction OnMessage() return left .. right .. loads end",
        )
        .lua("cycle", &format!("--* require: one\n{HELLO}"))
        .lua("missing", &format!("--* require: nowhere\n{HELLO}"))
        .lua("fromlua", "local m = require('module')\nfunction OnMessage() return tostring(m.twice(21)) end")
        .lua("late", "function OnMessage() return tostring(require('module') == require('module')) end")
        .lua("builtin", "function OnMessage() return require('json').encode({}) end")
        .lua("absent", "local x = require('no.such.module')\nfunction OnMessage() return x end")
        .start();
    assert_eq!(broker.call("web", "Ann"), "hi Ann/hi Ann");
    assert_eq!(broker.call("order", ""), "named+deep");
    assert_eq!(broker.call("diamond", ""), "base-leftbase-right1");
    let cycle = error(&broker, "cycle");
    for name in ["one", "two", "three"] {
        assert!(cycle.contains(name), "{cycle}");
    }
    assert_place(&cycle, "cycle.lua");
    let missing = error(&broker, "missing");
    assert_place(&missing, "missing.lua:3:");
    assert!(missing.contains("nowhere"), "{missing}");
    assert_eq!(broker.call("fromlua", ""), "42");
    assert_eq!(broker.call("late", ""), "true");
    // A module of ours comes first.
    assert_eq!(broker.call("builtin", ""), "[]");
    let absent = error(&broker, "absent");
    assert!(absent.contains("no.such.module"), "{absent}");
    assert_place(&absent, "absent.lua:3:");
    // Libraries are no scripts: the file of a library folder has no subject of its own.
    assert_eq!(broker.count_events("web.lua"), 0, "{}", broker.log());
}

#[test]
fn places_are_those_of_the_authors_files() {
    let broker = Setup::new()
        .library("lib.lua", "\n\nfunction fail() error('from the library') end\nfunction call(f) return (f()) end\n")
        .library("net/far.lua", "function far()\n  error('from far')\nend\n")
        .library("top.lua", "--* name: top\n\nif OnTop then error('never') end\nerror('at load')\n")
        .library("lines.lua", "local M = {}\nfunction M.fail()\n  error('required')\nend\nreturn M\n")
        .library("noncode.lua", "local x = 1\nlocal = 2\n")
        .file(
            "sub/folder/deep.lua",
            "--* subject: place.deep\n--* name: deep\n--* require: lib\n\nfunction OnMessage()\n  error('deep')\nend",
        )
        .lua("inlib", "--* require: lib\n--* require: net/far\nfunction OnMessage() fail() end")
        .lua("infar", "--* require: lib\n--* require: net/far\nfunction OnMessage()\n  far()\nend")
        .lua("toplib", &format!("--* require: top\n{HELLO}"))
        .lua("badlib", &format!("--* require: noncode\n{HELLO}"))
        .lua("required", "function OnMessage() require('lines').fail() end")
        .lua("native", "--* require: lib\n\nfunction OnMessage()\n  return nil .. 'x'\nend")
        .lua("caught", "--* require: lib\nfunction OnMessage()\n  local _, e = pcall(fail)\n  return e\nend")
        .lua(
            "trace",
            "--* require: lib\nfunction OnMessage()\n  return call(function()\n    return (debug.traceback('t'))\n  end) .. ''\nend",
        )
        .lua("chunk", "function OnMessage() local f = loadstring('error(1 .. \"x\")', '=mine')\n return f() end")
        .lua("level", "local function f() error('two', 2) end\n\nfunction OnMessage()\n  f()\nend")
        .start();
    for (subject, place) in [
        ("place.deep", "sub/folder/deep.lua:6: deep"),
        ("inlib", "lib.lua:3: from the library"),
        ("infar", "net/far.lua:2: from far"),
        ("toplib", "top.lua:4: at load"),
        ("badlib", "noncode.lua:2:"),
        ("required", "lines.lua:3: required"),
        ("native", "native.lua:6: attempt to concatenate"),
        ("chunk", "mine:1: 1x"),
        ("level", "level.lua:6: two"),
    ] {
        assert_place(&error(&broker, subject), place);
    }
    assert_place(&broker.call("caught", ""), "lib.lua:3: from the library");
    let trace = broker.call("trace", "");
    assert_place(&trace, "trace.lua:6:");
    assert_place(&trace, "lib.lua:4:");
}

#[test]
fn subjects_may_be_shared_and_have_wildcards() {
    let say = |text: &str| format!("function OnMessage(s, p) return '{text}:' .. s .. ':' .. p end");
    let broker = Setup::new()
        .script("twin", "a", &say("a"))
        .script("twin", "b", &say("b"))
        .script("wild.*.end", "star", &say("star"))
        .script("wild.>", "rest", &say("rest"))
        .script("wild.mid.end", "exact", &say("exact"))
        .file("sub/same-name.lua", format!("--* subject: elsewhere\n--* name: a\n{}", say("c")))
        .start();
    let twin = broker.post("/twin", "x");
    assert_eq!((twin.payload("a"), twin.payload("b")), ("a:twin:x".to_owned(), "b:twin:x".to_owned()));
    assert_eq!(twin.json().as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(broker.call("elsewhere", "x"), "c:elsewhere:x");
    let all = broker.post("/wild.mid.end", "x");
    assert_eq!(all.json().as_object().map(serde_json::Map::len), Some(3), "{}", all.text());
    for name in ["star", "rest", "exact"] {
        assert_eq!(all.payload(name), format!("{name}:wild.mid.end:x"));
    }
    assert_eq!(broker.call("wild.a.b.c", "x"), "rest:wild.a.b.c:x");
    assert_eq!(broker.post("/wild", "x").status, 404);
    assert_eq!(broker.post("/wildly.mid.end", "x").status, 404);
}
