//! The contract's rules on Lua functions: dialect, numbers, fresh state, results and HTTP mode.
//!
//! Most tests send Lua text to one script that runs it, so that what is tried stands beside what is
//! expected.

use msgscript_tests::harness::{Broker, Response, Setup};
use serde_json::Value;

/// Runs its payload and answers `tostring` of what that returns.
const EVAL: &str = "function OnMessage(_, code) return tostring((assert(loadstring(code, '=eval')))()) end";

fn eval_broker() -> Broker {
    Setup::new().workers(1).lua("eval", EVAL).start()
}

/// That each text of Lua code gives what stands beside it.
fn assert_evals(broker: &Broker, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (code, expected) in cases {
        let response = broker.post("/eval", code);
        let got = match response.status {
            200 => response.payload("eval"),
            _ => response.text(),
        };
        if got != *expected {
            wrong.push(format!("{code}\n    expected: {expected}\n    got:      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_dialect_is_that_of_lua_5_1_with_goto() {
    assert_evals(
        &eval_broker(),
        &[
            ("local n = 0 ::again:: n = n + 1 if n < 3 then goto again end return n", "3"),
            ("for i = 1, 2 do goto continue do error('x') end ::continue:: end return 'ok'", "ok"),
            (";;local a = 1;; return a;", "1"),
            ("local function f(x) return x end return f\n(5)", "5"),
            ("for i = 1, 3 do if i == 2 then break; end end return 'ok'", "ok"),
            ("return _VERSION", "Lua 5.1"),
            ("return _GOPHER_LUA_VERSION", "GopherLua 0.1"),
            ("return #setmetatable({}, { __len = function() return 7 end })", "7"),
            ("return select('#', unpack({ 1, nil, 3 }, 1, 3))", "3"),
            ("setfenv(1, { a = 5 }) return a", "5"),
            ("return getfenv(1) == _G", "true"),
            ("return loadstring('return 1 + 1')()", "2"),
            ("return tostring(loadstring('return ='))", "nil"),
            ("return load(function() return nil end) ~= nil", "true"),
            ("return math.mod(7, 3) .. table.getn({ 1, 2 }) .. tostring(string.gfind ~= nil)", "12true"),
            ("return ('é'):upper() .. ('ÀB'):lower()", "Éàb"),
            ("return pcall(string.format, '%d', 3.7)", "true"),
            ("return select(2, pcall(error, { code = 5 })).code", "5"),
            ("return coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)(1)", "2"),
            ("return tostring(coroutine.running())", "nil"),
            ("return select(2, pcall(error, 'text', 0))", "text"),
            ("return pcall(function() coroutine.wrap(function() pcall(coroutine.yield) end)() end)", "true"),
            ("return select('#', ('x'):rep(3):byte(1, -1))", "3"),
            ("return os.getenv('HOME')", "nil"),
            ("return os.getenv('PATH')", "nil"),
            ("os.setenv('A', 'b') return os.getenv('A')", "b"),
            ("return type(os.time()) .. type(os.clock()) .. type(os.date())", "numbernumberstring"),
            ("return os.date('!%Y-%m-%d %H:%M:%S', 86400)", "1970-01-02 00:00:00"),
        ],
    );
}

#[test]
fn whole_numbers_print_in_full() {
    let broker = eval_broker();
    assert_evals(
        &broker,
        &[
            ("return 10 / 2", "5"),
            ("return 7 / 2", "3.5"),
            ("return 2 ^ 53", "9007199254740992"),
            ("return 100000000000000", "100000000000000"),
            ("return 2 ^ 62", "4611686018427387904"),
            ("return -2 ^ 62", "-4611686018427387904"),
            ("return 1e15 .. ''", "1000000000000000"),
            ("return '' .. 1234567890123456", "1234567890123456"),
            ("local n = 1e15 return n .. '/' .. n + 1", "1000000000000000/1000000000000001"),
            ("return table.concat({ 1e15, 2 ^ 53, 0.5 }, ',')", "1000000000000000,9007199254740992,0.5"),
            ("return string.format('%s %d', 1e15, 2 ^ 53)", "1000000000000000 9007199254740992"),
            ("return string.format('%d', -2 ^ 53)", "-9007199254740992"),
            ("return require('json').encode({ a = 1e15, b = 10 / 2 })", r#"{"a":1000000000000000,"b":5}"#),
            ("return ('x'):gsub('x', function() return 1e15 end)", "1000000000000000"),
            ("return 2 ^ 63", "9.2233720368548e+18"),
            (
                "local f = io.open('n', 'w') f:write(1e15, ' ', 2 ^ 53) f:close() return io.open('n'):read('*a')",
                "1000000000000000 9007199254740992",
            ),
        ],
    );
    let response = broker.post("/eval", "print(1e15, 2 ^ 53, 10 / 2) return 'ok'");
    assert_eq!(response.payload("eval"), "ok");
    broker.wait_for_words(&["1000000000000000", "9007199254740992"]);
}

#[test]
fn every_invocation_runs_in_a_fresh_state() {
    let taint = r#"
        local json = require("json")
        function OnMessage(_, how)
          Leak = "leak"
          local evil = function() return "evil" end
          string.upper = evil
          getmetatable("").__index = function() return evil end
          getmetatable("").__add = evil
          math.huge = 0
          json.encode = evil
          json.leak = 1
          package.loaded.leak = 1
          package.preload.leak = evil
          setmetatable(_G, { __index = function() return "evil" end })
          if debug and debug.setmetatable then pcall(debug.setmetatable, 1, { __index = evil }) end
          local f = io.open("leak.txt", "w") f:write("leak") f:close()
          pcall(os.setenv, "LEAK", "leak")
          math.randomseed(1)
          Co = coroutine.wrap(function() while true do coroutine.yield() end end) Co()
          setmetatable({}, { __gc = function() Leak = "gc" end })
          if how == "fail" then error("failed") end
          if how == "memory" then local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end
          if how == "loop" then while true do end end
          return "tainted"
        end"#;
    let check = r#"
        local json = require("json")
        local found = {}
        local function see(name, bad) if bad then found[#found + 1] = name end end
        function OnMessage()
          see("global", rawget(_G, "Leak") ~= nil)
          see("_G metatable", getmetatable(_G) ~= nil)
          see("upper", ("a"):upper() ~= "A" or string.upper("a") ~= "A")
          see("string metatable", getmetatable("").__index ~= string or getmetatable("").__add ~= nil)
          see("huge", math.huge == 0)
          see("json", json.encode({}) ~= "[]" or json.leak ~= nil)
          see("loaded", package.loaded.leak ~= nil or package.preload.leak ~= nil)
          see("number metatable", (pcall(function() return (1).x end)))
          see("file", io.open("leak.txt") ~= nil)
          see("environment", os.getenv("LEAK") ~= nil)
          Counter = (Counter or 0) + 1
          see("own global", Counter ~= 1)
          return table.concat(found, ", ") .. "|" .. tostring(math.random())
        end"#;
    let broker =
        Setup::new().workers(1).args(&["--timeout", "1s"]).lua("taint", taint).lua("check", check).start();
    let mut random = std::collections::HashSet::new();
    for how in ["", "fail", "", "memory", "loop"] {
        let _ = broker.post("/taint", how);
        for _ in 0..2 {
            let seen = broker.call("check", "");
            let (found, number) = seen.split_once('|').expect("two parts");
            assert_eq!(found, "", "after {how:?}");
            random.insert(number.to_owned());
        }
    }
    assert_eq!(random.len(), 10, "the same random numbers again: {random:?}");
    // The same script again finds its own state fresh, too.
    assert_eq!(broker.call("taint", ""), "tainted");
}

#[test]
fn the_scratch_folder_is_empty_private_and_writable() {
    let broker = eval_broker();
    assert_evals(
        &broker,
        &[
            (
                "local f = assert(io.open('a.txt', 'w')) f:write('one\\ntwo\\n') f:close() local l = {} for x in io.lines('a.txt') do l[#l + 1] = x end return table.concat(l, '+')",
                "one+two",
            ),
            ("return io.open('a.txt')", "nil"),
            ("return select(2, io.open('a.txt'))", "open a.txt: no such file or directory"),
            ("return (io.open('/etc/passwd'))", "nil"),
            ("return (io.open('../../../etc/passwd'))", "nil"),
            ("return (io.open('/proc/self/environ'))", "nil"),
            (
                "local n = os.tmpname() local f = io.open(n, 'w') if f then f:close() os.remove(n) end return io.open(n)",
                "nil",
            ),
            (
                "io.open('a', 'w'):close() assert(os.rename('a', 'b')) assert(os.remove('b')) return os.remove('b')",
                "nil",
            ),
            (
                "local f = io.open('c.lua', 'w') f:write('return 6 * 7') f:close() return dofile('c.lua')",
                "42",
            ),
            (
                "local f = io.open('m.lua', 'w') f:write('return { x = 9 }') f:close() return require('m').x",
                "9",
            ),
            ("return io.read()", "nil"),
            ("return os.execute('true')", "1"),
            ("return os.execute('id > /tmp/x; exit 0')", "1"),
            ("return io.popen('id')", "nil"),
            ("return select(2, io.popen('id'))", "popen: not permitted"),
        ],
    );
    // It counts against the memory limit.
    let code =
        "local f = io.open('big', 'w') for i = 1, 1000 do f:write(('x'):rep(1e6)) end return f:seek('end')";
    let (response, _) = broker.fail("eval", code);
    assert!(["memory", "script_error"].contains(&response.reason()), "{}", response.text());
    assert_evals(&broker, &[("return 1", "1")]);
}

#[test]
fn on_message_answers_with_a_string() {
    let broker = Setup::new()
        .lua("text", "function OnMessage(subject, payload) return subject .. '|' .. payload end")
        .lua("bytes", "function OnMessage(_, p) return p:reverse() end")
        .lua("number", "function OnMessage() return 42 end")
        .lua("none", "function OnMessage() end")
        .lua("table", "function OnMessage() return { 'x' } end")
        .lua("empty", "function OnMessage() return '' end")
        .lua("two", "function OnMessage() return 'first', 'second' end")
        .lua("toplevel", "function OnMessage() return 'handler' end\nreturn 'top', 201")
        .lua("nofunction", "local x = 1")
        .lua("notafunction", "OnMessage = 'text'")
        .lua("raises", "function OnMessage()\n  error({ code = 1 })\nend")
        .lua("raisesnil", "function OnMessage() error() end")
        .lua("toplevelerror", "error('at the top')\nfunction OnMessage() return 'x' end")
        .lua("exit", "function OnMessage() os.exit(3) return 'not reached' end")
        .lua(
            "headers",
            "function OnMessage(_, _, headers) return type(headers) .. tostring(headers['x-test']) end",
        )
        .start();
    assert_eq!(broker.call("text", "a b"), "text|a b");
    let response = broker.post("/bytes", b"\x00\x01\xff");
    assert_eq!(response.json()["bytes"]["payload"], "/wEA", "{}", response.text());
    for subject in ["number", "none", "table"] {
        let before = broker.count_events("Script returned no response");
        assert_eq!(broker.call(subject, ""), "", "{subject}");
        broker.wait_for_event("a warning", |event| {
            event["level"] == "WARN" && broker.count_events("Script returned no response") > before
        });
    }
    let warnings = broker.count_events("Script returned no response");
    assert_eq!(broker.call("empty", ""), "");
    assert_eq!(broker.call("two", ""), "first");
    assert_eq!(broker.call("toplevel", ""), "handler");
    assert_eq!(broker.count_events("Script returned no response"), warnings, "an empty string is an answer");
    for subject in ["nofunction", "notafunction"] {
        let (response, error) = broker.fail(subject, "");
        assert_eq!((response.status, response.reason()), (500, "script_error"));
        assert!(error.contains("OnMessage"), "{error}");
    }
    let (_, error) = broker.fail("raises", "");
    assert!(!error.contains("0x"), "{error}");
    assert!(!broker.fail("raisesnil", "").1.is_empty());
    let (_, error) = broker.fail("toplevelerror", "");
    assert!(error.contains("toplevelerror.lua:3: at the top"), "{error}");
    // It ends the script, not the server.
    let _ = broker.post("/exit", "");
    assert_eq!(broker.call("text", "still"), "text|still");
    let response = broker.request("POST", "/headers", &[("X-Test", "yes")], b"");
    assert_eq!(response.payload("headers"), "tableyes");
}

fn http_broker() -> Broker {
    let methods: String = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .map(|name| {
            format!(
                "function {name}(url, body) return '{name} [' .. url .. '] ' .. body, 200, {{ ['X-Method'] = '{name}' }} end\n"
            )
        })
        .concat();
    let echo_headers = r#"
        function GET(_, _, headers)
          local names = {}
          for name, value in pairs(headers) do names[#names + 1] = name .. "=" .. tostring(value) end
          table.sort(names)
          return table.concat(names, "\n")
        end"#;
    let answers = r#"
        local answers = {
          ["/default"] = function() return "body" end,
          ["/status"] = function() return "made", 201 end,
          ["/text-status"] = function() return "made", "202" end,
          ["/number"] = function() return 42 end,
          ["/none"] = function() end,
          ["/type"] = function() return "{}", 200, { ["Content-Type"] = "application/json" } end,
          ["/lower"] = function() return "x", 200, { ["content-type"] = "text/css" } end,
          ["/cookies"] = function() return "", 200, { ["Set-Cookie"] = { "a=1", "b=2" }, ["X-Number"] = 5 } end,
          ["/redirect"] = function() return "", 302, { Location = "/elsewhere" } end,
          ["/split"] = function() return "x", 200, { ["X-Bad"] = "a\r\nX-Evil: 1" } end,
          ["/split-name"] = function() return "x", 200, { ["X-Bad\r\nX-Evil"] = "1" } end,
          ["/length"] = function() return "hello", 200, { ["Content-Length"] = "2", ["Transfer-Encoding"] = "chunked" } end,
          ["/status-bad"] = function() return "x", 7 end,
          ["/error"] = function() error("boom") end,
          ["/nil-call"] = function() return nothing.here end,
        }
        function GET(url) return answers[url]() end"#;
    Setup::new()
        .http_script("methods", "methods", &methods)
        .http_script("headers", "headers", echo_headers)
        .http_script("answers", "answers", answers)
        .http_script(
            "onlyget",
            "onlyget",
            "function helper() return 'helped' end\nfunction GET() return 'got' end",
        )
        .http_script("empty", "empty", "function helper() return 'helped' end")
        .http_script(
            "both",
            "both",
            "function OnMessage() return 'message' end\nfunction GET() return 'http' end",
        )
        .lua("implied", "function GET(url) return 'implied' .. url end\nfunction PUT() return 'put' end")
        .lua("plain", "function OnMessage() return 'message' end\nfunction POST() return 'http' end")
        .http_script("shared", "zeta", "function GET() return 'zeta' end")
        .http_script("shared", "alpha", "function GET() return 'alpha' end")
        .script("shared", "aaa", "function OnMessage() return 'aaa' end")
        .http_script("bad", "bad", "function GET( return 1 end")
        .library("functions.lua", "function DELETE() return 'from the library' end")
        .http_script("inlib", "inlib", "--* require: functions\nlocal x = 1")
        .start()
}

#[test]
fn http_mode_calls_the_function_of_the_method() {
    let broker = http_broker();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let response = broker.request(method, "/methods/a/b%20c?x=1&y=%2F", &[], b"body");
        assert_eq!(response.status, 200, "{method}: {response:?}");
        assert_eq!(response.text(), format!("{method} [/a/b%20c?x=1&y=%2F] body"));
        assert_eq!(response.header("content-type"), Some("text/html"), "{method}");
        assert!(response.header("msgscript-invocation").is_some_and(|id| !id.is_empty()), "{response:?}");
    }
    let head = broker.request("HEAD", "/methods", &[], b"");
    assert_eq!((head.status, head.header("x-method"), head.text().as_str()), (200, Some("HEAD"), ""));
    for (path, url) in
        [("/methods", ""), ("/methods?x=1", "?x=1"), ("/methods/", "/"), ("/methods//x", "//x")]
    {
        assert_eq!(broker.get(path).text(), format!("GET [{url}] "), "{path}");
    }
    // Other methods: never a base global, a helper, or a method in another case.
    for method in ["BREW", "TRACE", "tostring", "print", "get", "helper", "OnMessage", "_G", "require"] {
        for path in ["/methods", "/onlyget"] {
            let response = broker.request(method, path, &[], b"");
            assert_eq!(response.status, 501, "{method} {path}: {response:?}");
        }
    }
    assert_eq!(broker.request("DELETE", "/inlib", &[], b"").text(), "from the library");
}

#[test]
fn http_mode_without_a_function_is_405() {
    let broker = http_broker();
    let response = broker.post("/onlyget", "");
    assert_eq!(response.status, 405, "{response:?}");
    let allow: Vec<&str> = response.header("allow").unwrap_or("").split(',').map(str::trim).collect();
    assert!(allow.contains(&"GET") && !allow.contains(&"POST"), "{allow:?}");
    let response = broker.request("DELETE", "/methods", &[], b"");
    assert_eq!(response.status, 200);
    assert_eq!(broker.get("/empty").status, 405);
    // HEAD falls back to GET.
    let head = broker.request("HEAD", "/onlyget", &[], b"");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert_eq!(broker.request("HEAD", "/inlib", &[], b"").status, 405);
}

#[test]
fn http_mode_hands_on_body_status_and_headers() {
    let broker = http_broker();
    let get = |path: &str| broker.get(&format!("/answers{path}"));
    let simple = |response: &Response| (response.status, response.text());
    assert_eq!(simple(&get("/default")), (200, "body".to_owned()));
    assert_eq!(simple(&get("/status")), (201, "made".to_owned()));
    assert_eq!(simple(&get("/text-status")), (202, "made".to_owned()));
    assert_eq!(simple(&get("/number")), (200, "42".to_owned()));
    assert_eq!(simple(&get("/none")), (200, String::new()));
    assert_eq!(get("/type").header("content-type"), Some("application/json"));
    assert_eq!(get("/lower").header_all("content-type"), ["text/css"]);
    let cookies = get("/cookies");
    assert_eq!(cookies.header_all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(cookies.header("x-number"), Some("5"));
    let redirect = get("/redirect");
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("/elsewhere")));
    // Whatever becomes of a bad header, it splits nothing.
    for path in ["/split", "/split-name"] {
        let response = get(path);
        assert_eq!(response.header("x-evil"), None, "{response:?}");
    }
    let length = get("/length");
    assert_eq!(simple(&length), (200, "hello".to_owned()), "{length:?}");
    assert_eq!(get("/status-bad").status, 500);
    let headers = broker.request("GET", "/headers", &[("X-Custom", "Value"), ("Accept", "a/b")], b"").text();
    for line in ["x-custom=Value", "accept=a/b", "remote-addr=127.0.0.1"] {
        assert!(headers.contains(line), "no {line} in {headers}");
    }
    // A client cannot say who it is.
    let headers = broker.request("GET", "/headers", &[("Remote-Addr", "1.2.3.4")], b"").text();
    assert!(!headers.contains("1.2.3.4"), "{headers}");
}

#[test]
fn http_mode_fails_with_plain_text() {
    let broker = http_broker();
    for (path, place) in
        [("/answers/error", "answers.lua:"), ("/answers/nil-call", "answers.lua:"), ("/bad", "bad.lua:4:")]
    {
        let response = broker.get(path);
        assert_eq!((response.status, response.reason()), (500, "script_error"), "{response:?}");
        assert!(
            response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
            "{response:?}"
        );
        let text = response.text();
        assert!(text.starts_with("Error: ") && text.contains(place), "{text}");
    }
    assert!(broker.get("/answers/error").text().contains("boom"));
}

#[test]
fn http_mode_is_chosen_as_the_contract_says() {
    let broker = http_broker();
    let implied = broker.get("/implied/x");
    assert_eq!((implied.status, implied.text()), (200, "implied/x".to_owned()));
    assert_eq!(implied.header("content-type"), Some("text/html"));
    let response = broker.post("/implied", "");
    assert_eq!(response.status, 405, "{response:?}");
    // With OnMessage and no header it is a plain script, whatever else it defines.
    assert_eq!(broker.call("plain", ""), "message");
    assert_eq!(broker.get("/both").text(), "http");
    let shared = broker.get("/shared");
    assert_eq!((shared.status, shared.text()), (200, "alpha".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_scripts_over_nats() {
    let broker = http_broker();
    let client = broker.nats().await;
    let reply = client.request("both", "".into()).await.expect("a reply");
    assert_eq!(&reply.payload[..], b"message");
    let reply = client.request("onlyget", "".into()).await.expect("a reply");
    let headers = reply.headers.expect("headers");
    assert_eq!(headers.get("Nats-Service-Error-Code").map(|code| code.as_str()), Some("405"), "{headers:?}");
    assert!(reply.payload.is_empty());
    // An envelope names the method.
    let envelope = r#"{"payload":"","method":"GET","url":"/x"}"#;
    let reply = client.request("implied", envelope.into()).await.expect("a reply");
    let json: Value = serde_json::from_slice(&reply.payload).expect("JSON");
    assert_eq!(json["is_html"], true, "{json}");
    assert_eq!(json["script_result"][0]["payload"], "aW1wbGllZC94", "{json}");
}

#[test]
fn print_goes_to_the_log_with_the_invocation() {
    let broker = Setup::new()
        .lua("prints", "function OnMessage(_, p) print('said', p, nil, 5) return 'ok' end")
        .lua("top", "print('at the top')\nfunction OnMessage() return 'ok' end")
        .start();
    let response = broker.post("/prints", "a\nb\u{1b}[31m");
    assert_eq!(response.status, 200);
    let event = broker.wait_for_event("the line", |event| {
        event["script"] == "prints" && event["text"].as_str().is_some_and(|text| text.starts_with("said"))
    });
    let id = response.header("msgscript-invocation").expect("an id");
    assert_eq!(event["invocation"], id, "{event}");
    assert_eq!(event["subject"], "prints");
    let text = event["text"].as_str().unwrap_or("");
    assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("nil") && text.ends_with('5'), "{text:?}");
    assert_eq!(broker.call("top", ""), "ok");
    broker.wait_for_words(&["at the top"]);
}

#[test]
fn nothing_dangerous_is_in_reach() {
    let broker = eval_broker();
    let dead = [
        "return string.dump",
        "return ffi",
        "return jit",
        "return newproxy",
        "return debug.getregistry",
        "return debug.sethook",
        "return debug.gethook",
        "return debug.upvaluejoin",
        "return debug.upvalueid",
        "return debug.setupvalue",
        "return package.loadlib",
        "return package.cpath and package.cpath ~= '' or nil",
    ];
    for code in dead {
        assert_evals(&broker, &[(code, "nil")]);
    }
    for module in
        ["ffi", "jit", "jit.util", "jit.opt", "jit.profile", "jit.vmdef", "string.buffer", "table.new"]
    {
        assert_evals(&broker, &[(&format!("return (pcall(require, '{module}'))"), "false")]);
    }
    assert_evals(
        &broker,
        &[
            ("return loadstring('\\27LJ\\2\\0')", "nil"),
            ("return load('\\27LJ\\2\\0')", "nil"),
            ("return load('\\27LJ\\2\\0', 'x', 'b')", "nil"),
            ("return load('return 1', 'x', 'b')", "nil"),
            ("local n = 0 return load(function() n = n + 1 return n == 1 and '\\27LJ' or nil end)", "nil"),
            ("local n = 0 return load(function() n = n + 1 return ({ '\\27', 'LJ\\2' })[n] end)", "nil"),
            ("local f = io.open('b', 'w') f:write('\\27LJ\\2') f:close() return loadfile('b')", "nil"),
            (
                "local f = io.open('b', 'w') f:write('\\27LJ\\2') f:close() return (pcall(dofile, 'b'))",
                "false",
            ),
            ("return (select(2, pcall(error, {})) and 'x' or '')", "x"),
            ("local t = {} return tostring(t) == tostring(t)", "true"),
            // Nor can the functions of others be taken apart.
            ("return debug.getupvalue and debug.getupvalue(string.rep, 1)", "nil"),
            ("return debug.getupvalue and debug.getupvalue(require, 1)", "nil"),
        ],
    );
    // Addresses would tell where memory lies: what is shown is a small number of the run's own.
    for value in [
        "{}",
        "print",
        "assert",
        "coroutine.create(print)",
        "function() end",
        "io.open('f', 'w')",
        "io.stdout",
    ] {
        for text in [
            format!("tostring({value})"),
            format!("string.format('%s', {value})"),
            format!("string.format('%p', {value})"),
        ] {
            let code = format!(
                "local ok, text = pcall(function() return {text} end) local n = ok and text:match('0x(%x+)') return not n or tonumber(n, 16) < 2 ^ 32"
            );
            assert_evals(&broker, &[(&code, "true")]);
        }
    }
    // A count that wraps round in LuaJIT.
    for code in ["('x'):rep(2 ^ 31)", "('x'):rep(2 ^ 40)", "string.rep('ab', 1e300)", "('x'):rep(1e9, 'sep')"]
    {
        let response = broker.post("/eval", format!("return {code}"));
        assert_eq!(response.status, 500, "{code}");
        let error = response.only()["error"].as_str().unwrap_or("").to_owned();
        let memory = response.reason() == "memory" || error.contains("not enough memory");
        assert!(memory, "{code}: {error}");
    }
    assert_evals(
        &broker,
        &[(
            "return select(2, pcall(string.rep, 'x', 2 ^ 31)):match('not enough memory')",
            "not enough memory",
        )],
    );
    assert_evals(&broker, &[("return ('x'):rep(-5) .. ('x'):rep(0) .. ('x'):rep(3)", "xxx")]);
}

/// All that a script can see, by table. A name more is a door that somebody must have judged.
const SEEN: &str = include_str!("contract_lua/globals.txt");

#[test]
fn scripts_see_this_and_nothing_else() {
    let code = r#"
        local lines, seen = {}, {}
        local function list(name, t)
          if seen[t] then return end
          seen[t] = true
          local keys = {}
          for key, value in pairs(t) do keys[#keys + 1] = tostring(key) end
          table.sort(keys)
          lines[#lines + 1] = name .. ": " .. table.concat(keys, " ")
        end
        list("_G", _G)
        local tables = {}
        for key, value in pairs(_G) do if type(value) == "table" then tables[#tables + 1] = key end end
        table.sort(tables)
        for _, key in ipairs(tables) do list(key, _G[key]) end
        list("package.loaded", package.loaded)
        list("package.preload", package.preload)
        list("metatable of strings", getmetatable(""))
        list("metatable of files", getmetatable(io.open("f", "w")) or {})
        return table.concat(lines, "\n") .. "\n""#;
    let broker = Setup::new().lua("eval", EVAL).start();
    let seen = broker.call("eval", code);
    assert_eq!(seen, SEEN, "what scripts see has changed:\n{seen}");
}
