//! The prelude in the real engine.

use std::cell::RefCell;

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Entry, Invoke, Level, Limits, Load, Part};

use super::super::{Ctx, Outside};
use crate::vm::{Ended, Vm};

/// A way out with some libraries.
struct Libraries;

impl Outside for Libraries {
    fn log(&mut self, _: Level, _: &[u8]) {}

    fn call(&mut self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        let HostCall::Library { name } = request else { return reply(HostReply::NotFound) };
        let (name, text): (&str, &[u8]) = match *name {
            b"lib" => ("lib.lua", b"local name = ... return {name = name}"),
            b"broken" => ("broken.lua", b"return ="),
            b"silent" => ("silent.lua", b"x_loaded = (x_loaded or 0) + 1"),
            b"fails" => ("fails.lua", b"error('no')"),
            _ => return reply(HostReply::NotFound),
        };
        reply(HostReply::Library(vec![Part { name, text }]));
    }

    fn start(&mut self, _: &Invoke<'_>) {}
}

/// The engine as the worker builds it.
struct State {
    vm: RefCell<Vm>,
}

impl State {
    fn new() -> State {
        fn exhausted(used: u64) -> ! {
            panic!("hard limit at {used}")
        }
        let vm = Vm::new(128 << 20, false, Ctx::new(Box::new(Libraries)), exhausted).unwrap();
        State { vm: RefCell::new(vm) }
    }

    /// What a script returns, as text. Ids of objects are numbered as they appear.
    fn run(&self, script: &str) -> String {
        let wrapped = format!(
            "local _t, _s, _c, _p = tostring, select, table.concat, pcall \
            function OnMessage() local function main() {script}\nend return (function(ok, ...) local parts = {{}} \
            for i = 1, _s('#', ...) do parts[i] = _t((_s(i, ...))) end \
            return (ok and '' or 'ERROR ') .. _c(parts, ' ') end)(_p(main)) end"
        );
        let mut vm = self.vm.borrow_mut();
        vm.load(&Load { script: 1, parts: vec![Part { name: "t.lua", text: wrapped.as_bytes() }] });
        let ended = vm.invoke(&Invoke {
            invocation: 1,
            epoch: 0,
            script: 1,
            entry: Entry::Message { subject: "s" },
            headers: vec![],
            payload: b"",
            limits: Limits {
                memory: 128 << 20,
                output: 1 << 20,
                log: 1 << 16,
                host_calls: 100,
                folders: false,
                scratch: 128 << 20,
                scratch_files: 100,
            },
        });
        match ended {
            Ended::Message(Some(text)) => numbered(&String::from_utf8_lossy(text)),
            Ended::Exit => "ERROR EXIT".to_owned(),
            Ended::Memory { .. } => "ERROR MEMORY".to_owned(),
            Ended::Error { message, .. } => panic!("{}: {script}", String::from_utf8_lossy(&message)),
            other => panic!("{other:?}: {script}"),
        }
    }

    fn logged(&self) -> Vec<String> {
        let mut vm = self.vm.borrow_mut();
        vm.ctx().log_sink.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

/// Replaces ids of objects by 0x0000abcd, 0x0000abce, … in the order of their first appearance.
fn numbered(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x0") {
        let (before, id) = rest.split_at(at);
        out.push_str(before);
        let digits = id[2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let (id, after) = id.split_at(2 + digits);
        if digits == 8 {
            let number = seen.iter().position(|known| known == id).unwrap_or_else(|| {
                seen.push(id.to_owned());
                seen.len() - 1
            });
            out.push_str(&format!("0x0000{:04x}", 0xabcd + number));
        } else {
            out.push_str(id);
        }
        rest = after;
    }
    out + rest
}

fn check(cases: &[(&str, &str)]) {
    let state = State::new();
    for (script, wanted) in cases {
        assert_eq!(state.run(script), *wanted, "{script}");
    }
}

/// The first line of what a script returns must begin so.
fn check_start(cases: &[(&str, &str)]) {
    let state = State::new();
    for (script, wanted) in cases {
        let got = state.run(script);
        assert!(got.starts_with(wanted), "{script}\n got {got}\n not {wanted}");
    }
}

#[test]
fn what_is_dangerous_is_gone() {
    let state = State::new();
    for name in [
        "ffi",
        "jit",
        "newproxy",
        "gcinfo",
        "string.dump",
        "package.loadlib",
        "package.searchpath",
        "debug.sethook",
        "debug.getregistry",
        "debug.setmetatable",
        "debug.getmetatable",
        "debug.getupvalue",
        "debug.setupvalue",
        "debug.upvaluejoin",
        "debug.getlocal",
        "debug.debug",
        "os.setenviron",
        "package.loaded.ffi",
        "package.loaded.jit",
        "package.loaded['jit.util']",
        "package.preload.ffi",
        "package.preload['table.new']",
        "package.preload['string.buffer']",
        "package.searchers",
        "host",
        "text",
    ] {
        assert_eq!(state.run(&format!("return {name}")), "nil", "{name}");
    }
    for name in ["ffi", "jit", "jit.util", "jit.profile", "table.new", "string.buffer", "string.dump"] {
        let got = state.run(&format!("return (require('{name}'))"));
        assert!(
            got.starts_with(&format!(
                "ERROR t.lua:1: module {name} not found:\n\tno field package.preload['{name}']"
            )),
            "{got}"
        );
    }
}

#[test]
fn binary_chunks_are_refused() {
    check(&[
        (r"return load('\27LJ\2\0')", "nil attempt to load chunk with wrong mode"),
        (r"return load('\27LJ', 'x', 'b')", "nil attempt to load chunk with wrong mode"),
        (r"return load('\27LJ', 'x', 'bt')", "nil attempt to load chunk with wrong mode"),
        (r"return loadstring('\27LJ')", "nil attempt to load chunk with wrong mode"),
        (
            r"local n = 0 return load(function() n = n + 1 return n == 1 and '\27LJ' or nil end)",
            "nil attempt to load chunk with wrong mode",
        ),
        (
            r"local f = io.open('b', 'w') f:write('\27LJ') f:close() return loadfile('b')",
            "nil attempt to load chunk with wrong mode",
        ),
        ("return load('return ...')(7)", "7"),
        ("return load('return x', 'c', 't', {x = 5})()", "5"),
        ("return loadstring('return 1, 2')()", "1 2"),
        ("return select(2, loadstring('x =', '=mine'))", "mine:1: unexpected symbol near '<eof>'"),
    ]);
}

#[test]
fn files_of_code_come_from_the_scratch_folder() {
    check(&[
        ("return loadfile('/etc/passwd')", "nil can not open file: /etc/passwd"),
        ("return (dofile('no.lua'))", "ERROR t.lua:1: can not open file: no.lua"),
        (
            r"local f = io.open('a.lua', 'w') f:write('#!shebang\nreturn 3, ...') f:close() return dofile('a.lua')",
            "3",
        ),
        (r"local f = io.open('m.lua', 'w') f:write('return {n = ...}') f:close() return require('m').n", "m"),
    ]);
}

#[test]
fn values_print_without_addresses() {
    let state = State::new();
    assert_eq!(
        state.run("return tostring({}), tostring(print), coroutine.create(print)"),
        "table: 0x0000abcd function: 0x0000abce thread: 0x0000abcf"
    );
    assert_eq!(state.run("local t = {} return tostring(t) == tostring(t)"), "true");
    check(&[
        ("return ('%s|%p'):format(string.find, {})", "function: 0x0000abcd|0x0000abce"),
        ("return ('%p'):format('x'):match('^0x%x+$') ~= nil", "true"),
        (
            "return tostring(setmetatable({}, {__tostring = function() return 'mine' end, __metatable = 1}))",
            "mine",
        ),
        ("return tostring(nil), tostring(true), tostring(1.5), tostring('x')", "nil true 1.5 x"),
        ("return (debug.traceback('x'):find('0x'))", "nil"),
    ]);
}

#[test]
fn print_and_write_end_in_the_log() {
    let state = State::new();
    state.run(
        "print('a', 1, nil, true) print() print(setmetatable({}, {__tostring = function() return 'T' end}))
        io.write('x', 2, 'y\\nz') io.stderr:write('e\\n')",
    );
    assert_eq!(state.logged(), ["a\t1\tnil\ttrue", "", "T", "x2y", "e", "z"]);
}

#[test]
fn formats_never_raise() {
    check(&[
        ("return ('%d %5.2f|%s|%%|%x'):format(3.7, 2, 'a', 255)", "3  2.00|a|%|ff"),
        ("return ('%d %d %d'):format('12', '12.5', 'abc')", "12 12 0"),
        ("return ('%d|%d|%d'):format(true, nil, {})", "%!d(boolean=true)|&{}|%!d(table=table: 0x0000abcd)"),
        ("return ('%s %d'):format('x')", "x %!d(MISSING)"),
        ("return ('%v %v %v %t %T'):format(1, 'a', nil, true, {})", "1 a nil true table"),
        ("return ('100%'):format()", "100%!(NOVERB)"),
        ("return ('%s'):format(setmetatable({}, {__tostring = function() return 'T' end}))", "T"),
        ("return ('%s %s'):format(nil, false)", "nil false"),
        ("return #('%120s'):format('x'), #('%-120d'):format(5)", "120 120"),
        ("return ('%0150d'):format(-5):match('^%-0+5$') ~= nil", "true"),
        ("return ('%f'):format('abc'), ('%x'):format('az')", "%!f(string=abc) 617a"),
        ("return ('%y'):format(1), ('%9999999s'):format(1)", "%!y(number=1) %!(BADWIDTH)"),
        ("return ('%q'):format('a\"b'), ('%q'):format(true)", r#""a\"b" "true""#),
        ("return ('%.2s|%-4s|%05d|%+d'):format('abc', 'x', 42, 3)", "ab|x   |00042|+3"),
        ("return ('%5%%d'):format(1)", "%1"),
        ("return ('a'):format(1, 2, 3)", "a"),
        ("return (string.format(12))", "12"),
    ]);
    let state = State::new();
    for n in 0..200 {
        assert_eq!(state.run(&format!("return ('%d-{n}'):format({n})")), format!("{n}-{n}"));
    }
}

#[test]
fn strings_are_forgiving_and_bounded() {
    check(&[
        (
            "return ('été'):upper(), ('ÀB'):lower(), ('abc'):upper(), (12):rep(2)",
            "ERROR t.lua:1: attempt to index a number value",
        ),
        ("return ('été'):upper(), ('ÀB'):lower(), ('abc'):upper(), string.rep(12, 2)", "ÉTÉ àb ABC 1212"),
        ("return ('ab'):rep(3, '-'), ('x'):rep(-1), ('x'):rep('2')", "ab-ab-ab  xx"),
        ("return (('x'):rep(2^31))", "ERROR t.lua:1: not enough memory"),
        ("return (('x'):rep(2^40))", "ERROR t.lua:1: not enough memory"),
        ("return (('xxxx'):rep(2^28))", "ERROR t.lua:1: not enough memory"),
        ("return (''):rep(2^40)", ""),
        ("return #('x'):rep(2000000)", "2000000"),
        ("for w in string.gfind('a b', '%a') do x = (x or '') .. w end return x", "ab"),
        ("return math.mod(7, 3), _GOPHER_LUA_VERSION, _VERSION", "1 GopherLua 0.1 Lua 5.1"),
    ]);
    check_start(&[
        ("return (string.rep())", "ERROR t.lua:1: bad argument #1 to 'rep'"),
        ("return (string.upper())", "ERROR t.lua:1: bad argument #1 to 'upper'"),
        ("return (string.format())", "ERROR t.lua:1: bad argument #1 to 'format'"),
    ]);
}

#[test]
fn numbers_are_read_strictly() {
    check(&[
        ("return tonumber('inf'), tonumber('nan'), tonumber('1e999'), tonumber('-inf')", "nil nil nil nil"),
        (
            "return tonumber('12'), tonumber(' 0x10 '), tonumber('z', 36), tonumber(nil), tonumber({})",
            "12 16 35 nil nil",
        ),
        ("return tonumber(1/0) == 1/0", "true"),
    ]);
}

#[test]
fn tables_are_forgiving() {
    check(&[
        ("local t = {1} table.insert(t, 1, 'a', 'extra') return t[1], t[2]", "a 1"),
        ("local t = {} table.insert(t, 'x') table.insert(t, nil) return #t, table.getn(t)", "1 1"),
        (
            "return table.concat({1, 2, 3}, ',', 0, 99), table.concat({1, 2, 3}, ',', 2), table.concat({}, ',')",
            "1,2,3 2,3 ",
        ),
        ("return table.concat({1, 2, 3}, ',', 2, 2), table.concat({1, 2}, ',', 3)", "2 "),
        ("local t = {3, 1, 2} table.sort(t) return t[1], t[2], t[3]", "1 2 3"),
        (
            "local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t[1], t[2], t[3]",
            "3 2 1",
        ),
        (
            "local t = {} for i = 1, 100 do t[i] = i % 7 end table.sort(t, function(a, b) return a <= b end) \
            for i = 2, 100 do assert(t[i - 1] <= t[i]) end return #t",
            "100",
        ),
        (
            "local t = {} for i = 1, 500 do t[i] = i end table.sort(t, function() return true end) return #t",
            "500",
        ),
        ("local t = {} for i = 1, 50 do t[i] = i % 3 == 0 and 0/0 or i end table.sort(t) return #t", "50"),
        (
            "local t = {} for i = 1, 99 do t[i] = {k = i % 5, i = i} end table.sort(t, function(a, b) return a.k < b.k end) \
            for i = 2, 99 do local a, b = t[i - 1], t[i] assert(a.k < b.k or a.k == b.k and a.i < b.i) end return 'stable'",
            "stable",
        ),
        ("table.sort({1, 'x'})", "ERROR t.lua:1: attempt to compare string with number"),
    ]);
}

#[test]
fn requires_modules_libraries_and_preloaded() {
    check(&[
        (
            "return require('lib').name, require('lib') == require('lib'), package.loaded.lib.name",
            "lib true lib",
        ),
        ("package.preload.p = function(name) return {n = name} end return require('p').n", "p"),
        ("return require('silent'), require('silent'), x_loaded", "true true 1"),
        ("return require('string') == string, require('io') == io, require('os') == os", "true true true"),
        ("return require('json').encode({a = {1, 2}})", r#"{"a":[1,2]}"#),
        ("return require('json').decode('{\"a\":[1,null,2]}').a[2]", "2"),
        (
            "return (require('nope'))",
            "ERROR t.lua:1: module nope not found:\n\tno field package.preload['nope']\n\t\
            no built-in module 'nope'\n\tno library 'nope'\n\tstat ./nope.lua: no such file or directory",
        ),
        (
            "require('broken')",
            "ERROR error loading module broken:\n\tbroken.lua:1: unexpected symbol near '='",
        ),
        ("return pcall(require, 'fails')", "false fails.lua:1: no"),
        (
            "pcall(require, 'fails') return (require('fails'))",
            "ERROR t.lua:1: loop or previous error loading module: fails",
        ),
        ("require({})", "ERROR t.lua:1: bad argument #1 to require (string expected, got table)"),
        (
            "table.insert(package.loaders, 1, function(name) return function() return name .. '!' end end) return require('q')",
            "q!",
        ),
        (
            "module('mod.sub', package.seeall) x = 1 print('seen') local mod = package.loaded['mod.sub'] \
            return _NAME, mod.x, require('mod.sub') == mod",
            "mod.sub 1 true",
        ),
    ]);
}

#[test]
fn files_work_as_in_lua() {
    check(&[
        (
            "local f = assert(io.open('a', 'w')) return f:write('1\\r\\n2\\n3'), f:close(), tostring(f), io.type(f)",
            "true true file (closed) closed file",
        ),
        (
            "local f = assert(io.open('a', 'w')) f:write('1\\r\\n2\\n3') f:close() local r = {} for l in io.lines('a') do r[#r + 1] = l end return table.concat(r, ',')",
            "1,2,3",
        ),
        (
            "local f = assert(io.open('a', 'w')) f:write('1\\r\\n2\\n3') f:close() local f = io.open('a') local r = '' for l in f:lines() do r = r .. l end return r, io.type(f), tostring(f)",
            "123 file file",
        ),
        (
            "local f = assert(io.open('a', 'w')) f:write('1\\r\\n2\\n3') f:close() local r = '' for a, b in io.lines('a', '*n', '*L') do r = r .. a .. '=' .. (b or 'E'):byte() .. ' ' end return r",
            "1=13 2=10 3=69 ",
        ),
        ("return io.open('no')", "nil open no: no such file or directory 1"),
        ("io.lines('no')", "ERROR t.lua:1: open no: no such file or directory"),
        ("return io.popen('id')", "nil popen: not permitted"),
        ("return io.read(), io.read('*a'), io.stdin:read('*n')", "nil  nil"),
        ("for l in io.lines() do error('none') end return 'empty'", "empty"),
        (
            "io.output('o') io.write('hey') io.close() io.output(io.stdout) io.input('o') return io.read('*a')",
            "hey",
        ),
        ("return os.execute('true'), os.setlocale('C')", "1 false"),
        ("os.setenv('A', 'b') return os.getenv('A'), os.getenv('PATH')", "b nil"),
        (
            "local f = assert(io.open('a', 'w')) f:write('1\\r\\n2\\n3') f:close() return os.rename('a', 'z'), os.remove('z'), os.remove('z')",
            "true true nil remove z: no such file or directory",
        ),
        (
            "return type(os.time()), type(os.date()), type(os.clock()), os.difftime(3, 1)",
            "number string number 2",
        ),
        ("local n = os.tmpname() io.open(n, 'w'):close() return n ~= os.tmpname()", "true"),
        ("local f = io.tmpfile() f:write('x') f:seek('set') return f:read('*a')", "x"),
        ("return getmetatable(io.stdout), type(io.stdout)", "false userdata"),
        ("return io.type(5), io.type(io.stdout)", "nil file"),
    ]);
    check_start(&[
        ("os.exit(0)", "ERROR "),
        ("io.stdout:nope()", "ERROR t.lua:1: attempt to call method 'nope'"),
    ]);
}

#[test]
fn debug_only_looks() {
    check(&[
        (
            "return debug.getinfo(1, 'l').currentline, debug.getinfo(1, 'S').short_src, debug.getinfo(1, 'S').source",
            "1 t.lua @t.lua",
        ),
        ("return debug.getinfo(print).what, debug.getinfo(1, 'n').name, debug.getinfo(99)", "Lua nil nil"),
        (
            "return debug.getinfo(1, '>S') ~= nil, debug.getinfo(coroutine.create(print), 0) == nil",
            "true true",
        ),
        (
            "local t = debug.traceback('msg') return t:match('^msg\\nstack traceback:\\n\\tt%.lua:1:') ~= nil",
            "true",
        ),
        ("return debug.traceback(nil):match('^stack'), debug.traceback({}) ~= nil", "stack true"),
        (
            "return (select(2, xpcall(function() error('x') end, debug.traceback)):match('^t.lua:1: x%sstack'))",
            "t.lua:1: x\nstack",
        ),
    ]);
}

#[test]
fn coroutines_and_asserts_keep_lua_51s_ways() {
    check(&[
        ("return coroutine.running()", "nil"),
        ("return type(coroutine.wrap(function() return coroutine.running() end)())", "thread"),
        ("assert(false)", "ERROR t.lua:1: assertion failed!"),
        ("assert(nil, 'why')", "ERROR t.lua:1: why"),
        ("return assert(1, 2, 3)", "1 2 3"),
    ]);
}

#[test]
fn channels_are_queues() {
    check(&[
        (
            "local c = channel.make(2) c:send('a') c:send('b') local _, v = c:receive() return v, c:receive()",
            "a true b",
        ),
        ("local c = channel.make() c:close() return c:receive()", "false nil"),
        (
            "local c = channel.make() return channel.select({'|<-', c}, {'default', function() hit = 1 end}), hit",
            "2 1",
        ),
        ("local c = channel.make() c:send(5) return channel.select({'|<-', c})", "1 5 true"),
        (
            "local c = channel.make() local i = channel.select({'<-|', c, 9}) local ok, v = c:receive() return i, ok, v",
            "1 true 9",
        ),
        (
            "local c = channel.make() channel.select({'|<-', c})",
            "ERROR t.lua:1: all channels would block for ever",
        ),
    ]);
}

#[test]
fn patterns_loop_in_lua() {
    check(&[
        (
            "local r = '' for k, v in require('re').gmatch('a=1, b=2', [[(\\w)=(\\w)]]) do r = r .. k .. v end return r",
            "a1b2",
        ),
        (
            "local r = {} for w in require('re').gmatch('x yy', [[\\w+]]) do r[#r + 1] = w end return table.concat(r, ',')",
            "x,yy",
        ),
        ("return require('re').gsub('a b c', [[\\w]], {a = 'A', b = 2, c = {}})", "A 2  3"),
        (
            "return require('re').gsub('a b', [[(\\w)]], function(w) if w == 'b' then return w:upper() end end)",
            "a B 2",
        ),
        ("return require('re').gsub('abc', '', function() return '-' end)", "-a-b-c- 4"),
        ("return require('re').gsub('aaa', 'a', function() return 'b' end, 2)", "bba 2"),
        ("return require('re').gsub('aaa', 'a', {}, 0)", "aaa 0"),
        ("return require('re').gsub('hello', '(l+)', '<$1>')", "he<ll>o 1"),
        ("return require('re').match('k=v', [[(\\w)=(\\w)]])", "k v"),
        ("return require('re').quote('a.b')", "a\\.b"),
    ]);
    check_start(&[("require('re').gmatch('x', '(')", "ERROR ")]);
}

#[test]
fn a_script_cannot_break_what_the_prelude_uses() {
    check(&[(
        "string.format, string.find, table.concat, type, select = nil print('still') return ('%v'):rep(2)",
        "%v%v",
    )]);
    let state = State::new();
    state.run("for k in pairs(string) do string[k] = nil end tostring = nil print({}, 1)");
    assert_eq!(numbered(&state.logged().join("\n")), "table: 0x0000abcd\t1");
}
