//! The modules that run in the worker, as scripts see them: results, the form of failures, and the examples.

use std::path::Path;

use msgscript_tests::harness::{Broker, Setup};

/// Runs its payload and answers `tostring` of all that returns, or of what it raises.
const EVAL: &str = r#"
    local function texts(fine, ...)
      local parts = {fine and "" or "false"}
      for i = 1, select('#', ...) do parts[i + 1] = tostring((select(i, ...))) end
      return table.concat(parts, "|", fine and 2 or 1)
    end
    function OnMessage(_, code) return texts(pcall(assert(loadstring(code, "=eval")))) end"#;

fn eval_broker() -> Broker {
    Setup::new().workers(1).lua("eval", EVAL).start()
}

/// That each text of Lua code gives what stands beside it; `prelude` comes first.
fn assert_evals(broker: &Broker, prelude: &str, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (code, expected) in cases {
        let got = broker.call("eval", &format!("{prelude} {code}"));
        if got != *expected {
            wrong.push(format!("{code}\n    expected: {expected}\n    got:      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn evals(prelude: &str, cases: &[(&str, &str)]) {
    assert_evals(&eval_broker(), prelude, cases);
}

#[test]
fn strings() {
    evals(
        "local s = require('strings')",
        &[
            ("return table.concat(s.split('a,,b,', ','), ';')", "a;;b;"),
            ("return #s.split('', ','), #s.split('')", "1|0"),
            ("return pcall(s.split, 'a', nil)", "false|bad argument #2 to split (string expected, got nil)"),
            ("return table.concat(s.fields(' a  b '), ';')", "a;b"),
            (
                "return s.has_prefix('ab', 'a'), s.has_suffix('ab', 'a'), s.contains('ab', 'b')",
                "true|false|true",
            ),
            (
                "return s.trim('xax', 'x') .. s.trim_space(' b ') .. s.trim_prefix('pc', 'p') .. s.trim_suffix('ds', 's')",
                "abcd",
            ),
            ("return pcall(s.trim, 'x')", "false|bad argument #2 to trim (string expected, got nil)"),
            (
                "local r = s.new_reader('one\\r\\ntwo\\n 12.5e1 rest') return r:read(), r:read(1), r:read('*l'), r:read('*n'), r:read('*a'), r:read('*a'), r:read(), r:read(1), r:read(0), r:read('*n')",
                "one|t|wo|125| rest||nil|nil||0",
            ),
            ("s.new_reader('x'):read('l')", "false|eval:1: unknown fmt string"),
            ("s.new_reader('x'):read('*n')", "false|eval:1: expected number"),
            ("s.new_reader(nil)", "false|eval:1: bad argument #1 to new_reader (string expected, got nil)"),
            (
                "local b = s.new_builder() local n = select('#', b:write('a', 1, 2.5)) b:write() b:write('c') return n, b:string(), b:string()",
                "0|a12.5c|a12.5c",
            ),
            (
                "s.new_builder():write('a', {})",
                "false|eval:1: bad argument #3 to write (string expected, got table)",
            ),
            (
                "return type(s.new_reader('')), getmetatable(s.new_reader('')) == s.Reader, getmetatable(s.new_builder()) == s.Builder",
                "userdata|true|true",
            ),
            ("return _G['strings.Reader'] == s.Reader", "true"),
            (
                "return pcall(s.new_builder().write, s.new_reader(''), 'x')",
                "false|bad argument #1 to write (strings.Builder expected)",
            ),
            ("s.new_reader(''):close() s.new_builder():close() return 'closed'", "closed"),
        ],
    );
}

#[test]
fn filepath() {
    evals(
        "local p = require('filepath')",
        &[
            ("return p.join('a', nil, 5, true, '')", "a/nil/5/true"),
            (
                "return p.join(), p.basename(''), p.dir('x'), p.ext('a.tar.gz'), p.clean('a/../b')",
                "|.|.|.gz|b",
            ),
            ("return p.abs('x'), p.is_abs('/x'), p.rel('/a', '/a/b')", "/scratch/x|true|b"),
            ("return p.rel('a', '/b')", "|Rel: can't make /b relative to a"),
            ("return p.eval_symlinks('/nope')", "|lstat /nope: no such file or directory"),
            ("return p.match('a*', 'abc'), p.match('[', 'a')", "true|false|syntax error in pattern"),
            (
                "io.open('b', 'w') io.open('a', 'w') return table.concat(p.glob('[ab]'), ';'), #p.glob('x*')",
                "a;b|0",
            ),
            ("return p.glob('[')", "nil|syntax error in pattern"),
            ("return p.split('a/b'), p.split('b')", "a/||b"),
            ("return #p.split_list('a:b'), #p.split_list('')", "2|0"),
            (
                "return p.separator(), p.list_separator(), p.to_slash('a'), p.from_slash('b'), p.volume_name('c')",
                "/|:|a|b|",
            ),
            ("p.clean({})", "false|eval:1: bad argument #1 to clean (string expected, got table)"),
        ],
    );
}

#[test]
fn time() {
    let broker = eval_broker();
    assert_evals(
        &broker,
        "local t = require('time')",
        &[
            ("return t.format(0, '2006-01-02 15:04:05 MST', 'UTC')", "1970-01-01 00:00:00 UTC"),
            ("return t.format(1234567890, '15:04 -0700', 'America/New_York')", "18:31 -0500"),
            ("return t.format(0, '2006', 'Nope/Zone')", "nil|unknown time zone Nope/Zone"),
            ("return t.parse('2009-02-13 23:31:30.5', '2006-01-02 15:04:05')", "1234567890.5"),
            (
                "return t.parse('x', '2006')",
                "nil|parsing time \"x\" as \"2006\": cannot parse \"x\" as \"2006\"",
            ),
            ("t.parse('x')", "false|eval:1: bad argument #2 to parse (string expected, got nil)"),
            (
                "return math.abs(t.unix() - os.time()) < 5, math.abs(t.unix_nano() / 1e9 - os.time()) < 5",
                "true|true",
            ),
            (
                "local from = t.unix() local n = select('#', t.sleep(0.05)) return n, t.unix() - from >= 0.05",
                "0|true",
            ),
            ("t.sleep('0.01') t.sleep(0) t.sleep(-1) return 'slept'", "slept"),
            ("t.sleep('x')", "false|eval:1: bad argument #1 to sleep (number expected, got string)"),
            // What is local is so to `os.date` too.
            ("return t.format(86400, '2006-01-02 15:04:05') == os.date('%Y-%m-%d %H:%M:%S', 86400)", "true"),
            ("return t.format(1e9, '-0700', 'Local') == os.date('%z', 1e9)", "true"),
        ],
    );
}

#[test]
fn a_sleep_ends_with_the_run_and_holds_up_no_others() {
    let sleep = "function OnMessage(_, n) require('time').sleep(n) return 'woke' end";
    let broker = Setup::new()
        .workers(2)
        .args(&["--timeout", "1s"])
        .lua("sleep", sleep)
        .lua("quick", "function OnMessage() return 'quick' end")
        .start();
    assert_eq!(broker.call("sleep", "0.01"), "woke");
    let (response, _) = broker.fail("sleep", "1e30");
    assert_eq!(response.reason(), "wall_time");
    assert_eq!(broker.call("quick", ""), "quick");
}

#[test]
fn runtime() {
    let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    evals("local r = require('runtime')", &[("return r.goos(), r.goarch()", &format!("linux|{arch}"))]);
}

#[test]
fn crypto() {
    evals(
        "local c = require('crypto')",
        &[
            ("return c.md5('abc')", "900150983cd24fb0d6963f7d28e17f72"),
            ("return c.sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("return #c.sha1('x'), #c.sha512('x')", "40|128"),
            (
                "return c.hmac('sha1', 'Jefe', 'what do ya want for nothing?')",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            ("return c.hmac('x', '', '')", "nil|unknown algorithm: x"),
            ("return c.equal('a', 'a'), c.equal('a', 'b')", "true|false"),
            ("c.md5(nil)", "false|eval:1: bad argument #1 to md5 (string expected, got nil)"),
            ("c.equal('a')", "false|eval:1: bad argument #2 to equal (string expected, got nil)"),
        ],
    );
}

#[test]
fn hello() {
    let broker = eval_broker();
    assert_eq!(broker.call("eval", "return require('hello').print()"), "Hello from a Go plugin!");
    broker.wait_for_words(&["Hello from a Go plugin!"]);
}

#[test]
fn inspect() {
    evals(
        "local i = require('inspect')",
        &[
            ("return i({1, 2, 3})", "{ 1, 2, 3 }"),
            ("return i({})", "{}"),
            ("return i({a = 1, b = {c = 2}})", "{\n  a = 1,\n  b = {\n    c = 2\n  }\n}"),
            (
                "return i({1, 'x', a = true, [5] = false, ['a b'] = 1})",
                "{ 1, \"x\",\n  [5] = false,\n  a = true,\n  [\"a b\"] = 1\n}",
            ),
            ("return i('a\"b'), i([[a\"b'c]]), i('\\1\\n\\0012')", "'a\"b'|\"a\\\"b'c\"|\"\\1\\n\\0012\""),
            ("local t = {} t.t = t return i(t)", "<1>{\n  t = <table 1>\n}"),
            ("local t = {} return i({t, t})", "{ <1>{}, <table 1> }"),
            ("return i({print, print, os.time})", "{ <function 1>, <function 1>, <function 2> }"),
            ("return i(setmetatable({1}, {x = 1}))", "{ 1,\n  <metatable> = {\n    x = 1\n  }\n}"),
            ("return i({a = {b = {}}}, {depth = 1})", "{\n  a = {...}\n}"),
            ("return i({a = 1}, {newline = '', indent = ''})", "{a = 1}"),
            (
                "return i({a = 1, b = 2}, {process = function(item, path) if path[#path] ~= 'a' then return item end end})",
                "{\n  b = 2\n}",
            ),
            ("return i.inspect(10 / 2), i(nil), i(1e15)", "5|nil|1000000000000000"),
            ("return i({[i.KEY] = i.METATABLE})", "{\n  [inspect.KEY] = inspect.METATABLE\n}"),
        ],
    );
}

#[test]
fn log() {
    let broker = eval_broker();
    let read = "local function read(p) return (io.open(p):read('*a'):gsub('%d', '0')) end";
    assert_evals(
        &broker,
        &format!("local log = require('log') {read}"),
        &[
            (
                "local l = log.new('f', 'p: ') l:print('p', 1, nil, true, 1.5) l:print('a', 'b') l:print('c\\n') return read('f')",
                "p: p0 nil true 0.0\np: ab\np: c\n",
            ),
            (
                "local l = log.new('f') l:println('a', 1, nil) l:printf('%s-%d', 'x', 5) l:printf('%s') return read('f')",
                "a 0 nil\nx-0\n%!s(MISSING)\n",
            ),
            (
                "local l = log.new('f', '', {date = true, microseconds = true, utc = true}) l:print('x') return read('f')",
                "0000/00/00 00:00:00.000000 x\n",
            ),
            (
                "local l = log.new('f') l:set_flags({time = true, other = 5}) l:set_prefix('q ') l:print() return read('f')",
                "q 00:00:00 \n",
            ),
            (
                "local l = log.new('f', '', {longfile = true})\nl:print('x') l:println('y') l:printf('%d', 1) return read('f')",
                "eval:0: x\neval:0: y\neval:0: 0\n",
            ),
            ("log.new('f'):print(1) log.new('f'):print(2) return read('f')", "0\n0\n"),
            (
                "local l = log.new('f') l:print('x') return select('#', l:close()), l:close()",
                "0|close f: file already closed",
            ),
            ("local l = log.new('f') l:close() l:print('lost') return read('f')", ""),
            ("log.new('no/where'):print('BAD-PATH') return 'ignored'", "ignored"),
            (
                "local l = log.new() return l:set_output('no/where'), select('#', l:set_output('STDOUT'))",
                "open no/where: no such file or directory|0",
            ),
            ("log.new('-', '', {date = 1})", "false|eval:1: bad argument #1 to new (date: must be bool)"),
            (
                "log.new('-'):set_flags(1)",
                "false|eval:1: bad argument #2 to set_flags (table expected, got number)",
            ),
            ("log.new('-'):printf()", "false|eval:1: bad argument #2 to printf (string expected, got nil)"),
            ("return type(log.new()), getmetatable(log.new()) == logger_ud, log.emit", "userdata|true|nil"),
            ("log.new('STDERR', '[ERROR] '):print('OUT-LINE') return log.new('-'):print('OTHER-LINE')", ""),
        ],
    );
    broker.wait_for_words(&["BAD-PATH"]);
    broker.wait_for_words(&["OTHER-LINE"]);
    let event = broker.wait_for_words(&["[ERROR] OUT-LINE"]);
    assert_eq!(event["level"].as_str().map(str::to_lowercase).as_deref(), Some("error"), "{event}");
}

#[test]
fn loglevel() {
    let broker = eval_broker();
    assert_evals(
        &broker,
        "local l = require('loglevel')",
        &[
            (
                "return l.get_level(), l.default_output(), l.levels.WARN, l.new == require('log').new",
                "INFO|STDERR|2|true",
            ),
            ("l.DEBUG:print('SILENT') l.INFO:print('LOUD') return 'ok'", "ok"),
            (
                "l.set_default_output('f') l.set_level('error') l.WARN:print('no') l.ERROR:print('yes') return l.get_level(), (io.open('f'):read('*a'):gsub('%d', '0'))",
                "ERROR|[ERROR] 0000/00/00 yes\n",
            ),
            ("l.set_level('loud')", "false|eval:1: Illegal level loud"),
        ],
    );
    broker.wait_for_words(&["[INFO] ", "LOUD"]);
    assert_eq!(broker.count_events("SILENT"), 0);
}

#[test]
fn ioutil() {
    evals(
        "local u, s = require('ioutil'), require('strings')",
        &[
            ("return select('#', u.write_file('f', 'abc')), u.read_file('f')", "0|abc"),
            ("return u.write_file('no/f', '')", "open no/f: no such file or directory"),
            ("return u.read_file('f')", "nil|open f: no such file or directory"),
            ("require('lfs').mkdir('d') return u.read_file('d')", "nil|read d: is a directory"),
            (
                "local b = s.new_builder() return select('#', u.copy(b, s.new_reader(('x'):rep(100000)))), #b:string()",
                "0|100000",
            ),
            (
                "local f = io.open('f', 'w') u.copy(f, s.new_reader('abc')) f:close() local b = s.new_builder() u.copy(b, io.open('f')) return b:string()",
                "abc",
            ),
            (
                "local b = s.new_builder() return select('#', u.copyn(b, s.new_reader('abc'), 2)), b:string()",
                "0|ab",
            ),
            ("local b = s.new_builder() return u.copyn(b, s.new_reader('abc'), 5), b:string()", "EOF|abc"),
            (
                "local r = {read = function(self, n) if not self.done then self.done = true return 'own' end end} local b = s.new_builder() u.copy(b, r) return b:string()",
                "own",
            ),
            ("return u.copy({write = function() return nil, 'full' end}, s.new_reader('x'))", "full"),
            ("return u.copy(s.new_builder(), {read = function() return nil, 'broken' end})", "broken"),
            ("u.copy(5, s.new_reader(''))", "false|eval:1: bad argument #1 to copy (expected writer)"),
            ("u.copy(s.new_builder(), {})", "false|eval:1: bad argument #2 to copy (expected reader)"),
            (
                "u.copyn(s.new_builder(), s.new_reader(''), '1')",
                "false|eval:1: bad argument #3 to copyn (number expected, got string)",
            ),
        ],
    );
}

#[test]
fn lfs() {
    evals(
        "local l = require('lfs')",
        &[
            ("return l.mkdir('d'), l.mkdir('d')", "true|nil|mkdir d: file exists"),
            (
                "l.mkdir('d') io.open('d/f', 'w'):write('abc') return l.attributes('d/f', 'size'), l.attributes('d').mode, l.attributes('d', 'x')",
                "3|directory|nil",
            ),
            ("return l.attributes('x')", "nil|stat x: no such file or directory"),
            (
                "l.attributes('x', nil)",
                "false|eval:1: bad argument #2 to attributes (string expected, got nil)",
            ),
            (
                "io.open('f', 'w') l.link('f', 'g', true) return l.symlinkattributes('g').target, l.symlinkattributes('g', 'mode')",
                "/scratch/f|link",
            ),
            ("return l.symlinkattributes('x')", "nil|lstat x: no such file or directory"),
            (
                "for _, n in ipairs {'a', 'b'} do io.open(n, 'w') end local r = {} for n in l.dir('.') do r[#r + 1] = n end return table.concat(r, ';'), select('#', l.dir('.'))",
                "a;b|2",
            ),
            ("l.dir('x')", "false|eval:1: open x: no such file or directory"),
            (
                "l.mkdir('d') return l.chdir('d'), l.currentdir(), l.chdir('x')",
                "true|/scratch/d|nil|chdir x: no such file or directory",
            ),
            ("l.mkdir('d') return l.rmdir('d'), l.rmdir('d')", "true|nil|stat d: no such file or directory"),
            ("io.open('f', 'w') return l.link('f', 'g'), l.link('f', 'g')", "true|nil|link f g: file exists"),
            (
                "io.open('f', 'w') return l.touch('f', 5), l.attributes('f', 'access'), l.touch('x')",
                "true|5|nil|chtimes x: no such file or directory",
            ),
            ("l.lock()", "false|eval:1: unimplemented function"),
            ("l.setmode()", "false|eval:1: unimplemented function"),
            ("return (l.attributes('/etc/passwd'))", "nil"),
        ],
    );
}

#[test]
fn storage() {
    evals(
        "local st = require('storage')",
        &[
            (
                "local s = st.open('f') return select('#', s:set('k', {a = 1})), s:get('k').a, select(2, s:get('k')), s:get('k') ~= s:get('k')",
                "0|1|true|true",
            ),
            ("local s = st.open('f') s:set('k', nil) return s:get('k')", "nil|true"),
            ("return st.open('f'):get('x')", "nil|false"),
            ("st.open('f'):set('k', 5) return st.open('f'):get('k')", "5|true"),
            (
                "local s = st.open('f') s:set('k', 1, 0.5) s:set('l', 2, -1) return #s:keys(), s:get('k')",
                "2|1|true",
            ),
            (
                "local s = st.open('f') s:set('k', 1, 1) require('time').sleep(1.01) local _, found = s:get('k') local before = #s:keys() s:sync() return found, before, #s:keys()",
                "false|1|0",
            ),
            (
                "local s = st.open('f') s:set('k', {x = 'y'}) return s:dump().k.x, s:close(), io.open('f'):read('*a')",
                "y|nil|{\"data\":{\"k\":{\"value\":\"eyJ4IjoieSJ9\",\"max_valid_at\":9200000000000000000}}}",
            ),
            (
                "st.open('f') return io.open('f'):read('*a'), io.open('f.tmp')",
                "{\"data\":{}}|nil|open f.tmp: no such file or directory|1",
            ),
            (
                "local f = io.open('g', 'w') f:write('{\"data\":{\"k\":{\"value\":\"NQ==\",\"max_valid_at\":9000000000000000000}}}') f:close() return st.open('g'):get('k')",
                "5|true",
            ),
            ("io.open('g', 'w'):write('{') return st.open('g')", "nil|unexpected end of JSON input"),
            ("require('lfs').mkdir('d') return st.open('d')", "nil|read d: is a directory"),
            ("return st.open('no/f')", "nil|open no/f: no such file or directory"),
            ("return st.open('f', 'disk')", "nil|driver not found"),
            (
                "st.open('f'):set('k', 1, '5')",
                "false|eval:1: bad argument #4 to set (must be integer or nil)",
            ),
            ("st.open('f'):set('k')", "false|eval:1: bad argument #3 to set (value expected)"),
            ("return st.open('f'):set('k', {1, nil, 3}):match('sparse array')", "sparse array"),
            ("return type(st.open('f')), getmetatable(st.open('f')) == storage_ud", "userdata|true"),
        ],
    );
}

#[test]
fn tac() {
    evals(
        "local tac = require('tac') local function all(text) local f = io.open('f', 'w') f:write(text) f:close() \
         local t, r = tac.open('f'), {} for line in function() return t:line() end do r[#r + 1] = #line > 99 and #line or line end \
         return table.concat(r, ',') end",
        &[
            ("return all('one\\r\\ntwo\\nthree\\n')", "three,two,one"),
            ("return all('one\\n\\ntwo')", "two,,one"),
            ("return all(''), all('\\n')", "|"),
            ("return all('x\\n' .. ('y'):rep(5000) .. '\\nz\\n')", "z,5000,x"),
            ("return all('x\\n' .. ('y'):rep(20000) .. '\\nz\\n')", "z"),
            ("return #all(('abcdefghi\\n'):rep(10000))", "99999"),
            ("return tac.open('x')", "nil|open x: no such file or directory"),
            ("tac.open(nil)", "false|eval:1: bad argument #1 to open (string expected, got nil)"),
            (
                "io.open('f', 'w') local t = tac.open('f') t:close() t:line()",
                "false|eval:1: tac not initialized",
            ),
            ("io.open('f', 'w') return getmetatable(tac.open('f')) == tac_ud", "true"),
        ],
    );
}

/// The examples, what they are sent and what they answer.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("crypto", "hello", "5d41402abc4b2a76b9719d911017c592 true"),
    ("filepath", "/srv/../tmp/report.tar.gz", "/tmp/report.tar.gz /tmp report.tar.gz .gz a.txt+b.txt"),
    ("hello", "", "Hello from a Go plugin!"),
    (
        "inspect",
        r#"{"user":{"name":"Ann","tags":["a","b"]}}"#,
        "{\n  user = {\n    name = \"Ann\",\n    tags = { \"a\", \"b\" }\n  }\n}",
    ),
    ("ioutil", "some text", "SOME! of some text"),
    ("lfs", "reports", "/scratch/reports one.txt=5"),
    ("log", "disk is full", "app: DATE disk is full (12 bytes)\n"),
    ("loglevel", "debug", "DEBUG"),
    ("runtime", "", "linux/"),
    ("storage", "ann", "ann true false"),
    ("strings", " ann, bob ", "[ann][bob]"),
    ("tac", "one\ntwo\nthree\n", "three two one"),
    ("time", "2009-02-14 00:31", "Friday, 13 February 2009 6:31pm EST"),
];

#[test]
fn every_example_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/modules");
    let mut setup = Setup::new().workers(1);
    for (name, ..) in EXAMPLES {
        let text = std::fs::read(folder.join(format!("{name}.lua"))).expect("an example for each module");
        setup = setup.file(&format!("{name}.lua"), text);
    }
    let broker = setup.start();
    for (name, payload, answer) in EXAMPLES {
        let response = broker.post(&format!("/example.{name}"), payload);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let got = response.payload(name);
        assert!(if *name == "runtime" { got.starts_with(answer) } else { got == *answer }, "{name}: {got}");
    }
}
