//! The prelude in a real state, with the host functions behind a small adapter.
//!
//! Two things differ from the worker: numbers print as the plain VM prints them, and a handle is a
//! userdata made by `newproxy`.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};

use super::super::Ctx;
use super::super::modules::{self, json, re};
use super::super::testing::{Value, array, call};
use super::super::value::{Fail, Handle, HostFn, Kind};
use super::{BASE, CHUNK_NAME, LAZY};

/// Makes userdata for handles and finds their number again.
const HANDLES: &str = "
local newproxy, metatables, index_of, by_index = newproxy, {}, setmetatable({}, {__mode = 'k'}), {}
local original
local function make(index)
  if not by_index[index] then
    local handle
    if original then handle = newproxy(original) else
      handle = newproxy(true)
      original = handle
    end
    by_index[index], index_of[handle] = handle, index
  end
  return by_index[index]
end
local function finish(metatable)
  local own = getmetatable(make(0))
  for key, value in pairs(metatable) do own[key] = value end
end
return make, function(handle) return index_of[handle] end, finish
";

struct Bridge {
    ctx: Rc<RefCell<Ctx>>,
    make: Function,
    index: Function,
}

impl Bridge {
    fn function(self: &Rc<Self>, lua: &Lua, function: HostFn) -> Function {
        let bridge = Rc::clone(self);
        lua.create_function(move |lua, args: MultiValue| {
            let values: Vec<Value> = args.iter().map(|value| bridge.value_of(value)).collect();
            let result = call(function, &mut bridge.ctx.borrow_mut(), &values);
            match result {
                Ok(results) => results
                    .iter()
                    .map(|value| bridge.to_lua(lua, value))
                    .collect::<mlua::Result<MultiValue>>(),
                Err(Fail::Here(text) | Fail::Plain(text)) => Err(mlua::Error::RuntimeError(text)),
                Err(Fail::Memory) => Err(mlua::Error::RuntimeError("MEMORY".into())),
                Err(Fail::Exit) => Err(mlua::Error::RuntimeError("EXIT".into())),
            }
        })
        .unwrap()
    }

    fn value_of(&self, value: &LuaValue) -> Value {
        match value {
            LuaValue::Nil => Value::Nil,
            LuaValue::Boolean(value) => Value::Bool(*value),
            LuaValue::Integer(value) => Value::Num(*value as f64),
            LuaValue::Number(value) => Value::Num(*value),
            LuaValue::String(text) => Value::Str(text.as_bytes().to_vec()),
            LuaValue::Table(table) => Value::Table(
                table
                    .pairs::<LuaValue, LuaValue>()
                    .map(Result::unwrap)
                    .map(|(key, value)| (self.value_of(&key), self.value_of(&value)))
                    .collect(),
            ),
            LuaValue::UserData(_) => match self.index.call::<Option<u32>>(value).unwrap() {
                Some(index) => Value::Handle(Handle { kind: Kind::File, index }),
                None => Value::Other("userdata"),
            },
            _ => Value::Other("function"),
        }
    }

    fn to_lua(&self, lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
        Ok(match value {
            Value::Bool(value) => LuaValue::Boolean(*value),
            Value::Num(value) => LuaValue::Number(*value),
            Value::Str(bytes) => LuaValue::String(lua.create_string(bytes)?),
            Value::Handle(handle) => self.make.call(handle.index)?,
            Value::Table(entries) => {
                let table = lua.create_table()?;
                for (key, value) in entries {
                    table.raw_set(self.to_lua(lua, key)?, self.to_lua(lua, value)?)?;
                }
                LuaValue::Table(table)
            }
            Value::Nil | Value::Other(_) | Value::Seen => LuaValue::Nil,
        })
    }
}

/// A state as the worker builds it.
struct State {
    lua: Lua,
    ctx: Rc<RefCell<Ctx>>,
}

impl State {
    #[allow(unsafe_code)]
    fn new() -> State {
        // SAFETY: only this file's own scripts run in it; `debug` is what the prelude has to tame.
        let lua = unsafe {
            Lua::unsafe_new_with(mlua::StdLib::ALL, mlua::LuaOptions::new().catch_rust_panics(false))
        };
        lua.load("jit.off()").exec().unwrap();
        let ctx = Rc::new(RefCell::new(Ctx::default()));
        let (make, index, finish): (Function, Function, Function) = lua.load(HANDLES).eval().unwrap();
        let bridge = Rc::new(Bridge { ctx: ctx.clone(), make, index });
        let host = lua.create_table().unwrap();
        for (name, function) in modules::BASE.iter().copied().flatten() {
            host.set(*name, bridge.function(&lua, *function)).unwrap();
        }
        add_glue(&lua, &host, &bridge);
        for (name, source) in BASE {
            let chunk = lua.load(*source).set_name(CHUNK_NAME);
            chunk.call::<()>(&host).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let kinds: Table = host.get("kinds").unwrap();
        finish.call::<()>(kinds.get::<Table>(0).unwrap()).unwrap();
        State { lua, ctx }
    }

    /// What a script returns, as text.
    fn run(&self, script: &str) -> String {
        let wrapped = format!(
            "local _t, _s, _c, _p = tostring, select, table.concat, pcall \
            local function main() {script}\nend return (function(ok, ...) local parts = {{}} \
            for i = 1, _s('#', ...) do parts[i] = _t((_s(i, ...))) end \
            return (ok and '' or 'ERROR ') .. _c(parts, ' ') end)(_p(main))"
        );
        let text: mlua::LuaString = self.lua.load(wrapped).set_name("=t.lua").eval().unwrap();
        String::from_utf8_lossy(&text.as_bytes()).into_owned()
    }

    fn logged(&self) -> Vec<String> {
        self.ctx
            .borrow()
            .log_sink
            .iter()
            .map(|(_, line)| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

/// What the state's own glue adds in the worker.
fn add_glue(lua: &Lua, host: &Table, bridge: &Rc<Bridge>) {
    host.set("kinds", lua.create_table().unwrap()).unwrap();
    host.set(
        "place",
        lua.create_function(|_, text: mlua::LuaString| {
            Ok(text.to_string_lossy().replace("t.lua:", "dir/t.lua:"))
        })
        .unwrap(),
    )
    .unwrap();
    let ids = lua.load("local ids, last = setmetatable({}, {__mode = 'k'}), 0xabcc
        return function(value) if not ids[value] then last = last + 1 ids[value] = last end return ids[value] end");
    host.set("id", ids.eval::<Function>().unwrap()).unwrap();
    host.set(
        "library",
        lua.create_function(|_, name: String| {
            Ok(match name.as_str() {
                "lib" => (Some("local name = ... return {name = name}"), Some("=lib.lua")),
                "broken" => (Some("return ="), Some("=broken.lua")),
                "silent" => (Some("x_loaded = (x_loaded or 0) + 1"), Some("=silent.lua")),
                "fails" => (Some("error('no')"), Some("=fails.lua")),
                _ => (None, None),
            })
        })
        .unwrap(),
    )
    .unwrap();
    host.set(
        "chunk",
        lua.create_function(|lua, name: String| {
            let (_, source) = LAZY.iter().find(|(known, _)| *known == name).expect("a lazy chunk");
            lua.load(*source).set_name(CHUNK_NAME).into_function()
        })
        .unwrap(),
    )
    .unwrap();
    let bridge = Rc::clone(bridge);
    host.set(
        "module",
        lua.create_function(move |lua, name: String| {
            let Some(module) = [json::MODULE, re::MODULE].into_iter().find(|module| module.name == name)
            else {
                return Ok(LuaValue::Nil);
            };
            let functions = lua.create_table()?;
            for (name, function) in module.functions {
                functions.set(*name, bridge.function(lua, *function))?;
            }
            match module.lua {
                Some(source) => lua.load(source).set_name(CHUNK_NAME).call(functions),
                None => Ok(LuaValue::Table(functions)),
            }
        })
        .unwrap(),
    )
    .unwrap();
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
        ("return ('%p'):format('x'):match('^0x0000') ~= nil", "true"),
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
    state.ctx.borrow_mut().finish_lines();
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
        ("return (require('fails'))", "ERROR t.lua:1: loop or previous error loading module: fails"),
        ("require({})", "ERROR t.lua:1: bad argument #1 to require (string expected, got table)"),
        (
            "table.insert(package.loaders, 1, function(name) return function() return name .. '!' end end) return require('q')",
            "q!",
        ),
        ("module('mod.sub', package.seeall) x = 1 print('seen') return _NAME", "mod.sub"),
        ("return mod.sub.x, require('mod.sub') == mod.sub", "1 true"),
    ]);
}

#[test]
fn files_work_as_in_lua() {
    check(&[
        (
            "local f = assert(io.open('a', 'w')) return f:write('1\\r\\n2\\n3'), f:close(), tostring(f), io.type(f)",
            "true true file (closed) closed file",
        ),
        ("local r = {} for l in io.lines('a') do r[#r + 1] = l end return table.concat(r, ',')", "1,2,3"),
        (
            "local f = io.open('a') local r = '' for l in f:lines() do r = r .. l end return r, io.type(f), tostring(f)",
            "123 file file",
        ),
        (
            "local r = '' for a, b in io.lines('a', '*n', '*L') do r = r .. a .. '=' .. (b or 'E'):byte() .. ' ' end return r",
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
            "return os.rename('a', 'z'), os.remove('z'), os.remove('z')",
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
            "1 dir/t.lua @dir/t.lua",
        ),
        ("return debug.getinfo(print).what, debug.getinfo(1, 'n').name, debug.getinfo(99)", "Lua nil nil"),
        (
            "return debug.getinfo(1, '>S') ~= nil, debug.getinfo(coroutine.create(print), 0) == nil",
            "true true",
        ),
        (
            "local t = debug.traceback('msg') return t:match('^msg\\nstack traceback:\\n\\tdir/t%.lua:1:') ~= nil",
            "true",
        ),
        ("return debug.traceback(nil):match('^stack'), debug.traceback({}) ~= nil", "stack true"),
        (
            "return (select(2, xpcall(function() error('x') end, debug.traceback)):match('^dir/t.lua:1: x%sstack'))",
            "dir/t.lua:1: x\nstack",
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
    assert_eq!(state.logged(), ["table: 0x0000abcd\t1"]);
}

#[test]
fn the_adapter_carries_tables() {
    let state = State::new();
    assert_eq!(state.run("return require('json').encode({1, 'x', {}})"), r#"[1,"x",[]]"#);
    assert_eq!(array([]), Value::Table(vec![]));
}
