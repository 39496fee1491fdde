//! The engine alone: runs are equal to first runs, whatever ran before.

use msgscript_proto::message::{Entry, Invoke, Limits, Load, Part};

use super::{Ended, Vm};
use crate::lua::Ctx;

fn vm(jit: bool) -> Vm {
    fn exhausted(used: u64) -> ! {
        panic!("hard limit at {used}")
    }
    Vm::new(64 << 20, jit, Ctx::default(), exhausted).unwrap()
}

fn load(vm: &mut Vm, script: u64, text: &str) {
    vm.load(&Load { script, parts: vec![Part { name: "t.lua", text: text.as_bytes() }] });
}

fn run(vm: &mut Vm, script: u64, payload: &str) -> Result<String, String> {
    let invoke = Invoke {
        invocation: 1,
        epoch: 0,
        script,
        entry: Entry::Message { subject: "s" },
        headers: vec![],
        payload: payload.as_bytes(),
        limits: Limits {
            memory: 32 << 20,
            output: 1 << 20,
            log: 1 << 16,
            host_calls: 10,
            folders: false,
            scratch: 32 << 20,
            scratch_files: 100,
        },
    };
    match vm.invoke(&invoke) {
        Ended::Message(Some(text)) => Ok(String::from_utf8_lossy(text).into_owned()),
        Ended::Error { message, .. } => Err(String::from_utf8_lossy(&message).into_owned()),
        Ended::Memory { .. } => Err("Memory".to_owned()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn hello() {
    let mut vm = vm(false);
    load(&mut vm, 1, "function OnMessage(s, p) return 'Hello ' .. p end");
    for _ in 0..3 {
        assert_eq!(run(&mut vm, 1, "John"), Ok("Hello John".into()));
    }
}

#[test]
fn globals_do_not_survive() {
    let mut vm = vm(false);
    let text = "n = (n or 0) + 1; string.x = (string.x or 0) + 1 function OnMessage() return n .. ':' .. string.x end";
    load(&mut vm, 1, text);
    for _ in 0..3 {
        assert_eq!(run(&mut vm, 1, ""), Ok("1:1".into()));
    }
}

#[test]
fn whole_numbers_print_in_full() {
    let mut vm = vm(false);
    load(
        &mut vm,
        1,
        "function OnMessage() return 1e15 .. ' ' .. tostring(2^53) .. ' ' .. table.concat{1e14, -0} .. ' ' .. 0.1 end",
    );
    assert_eq!(run(&mut vm, 1, ""), Ok("1000000000000000 9007199254740992 1000000000000000 0.1".into()));
}

#[test]
fn errors_name_the_authors_line() {
    let mut vm = vm(false);
    let parts = vec![
        Part { name: "lib.lua", text: b"function boom()\n  error('x')\nend" },
        Part {
            name: "dir/s.lua",
            text: b"function OnMessage(s, p)\n  if p == 'a' then boom() end\n  local _ = nil .. 'x'\nend\n",
        },
    ];
    vm.load(&Load { script: 1, parts });
    assert_eq!(run(&mut vm, 1, "a"), Err("lib.lua:2: x".into()));
    assert_eq!(run(&mut vm, 1, "b"), Err("dir/s.lua:3: attempt to concatenate a nil value".into()));
    load(&mut vm, 2, "x = = 1");
    assert_eq!(run(&mut vm, 2, ""), Err("t.lua:1: unexpected symbol near '='".into()));
}

#[test]
fn memory_limit_cannot_be_caught() {
    let mut vm = vm(false);
    load(
        &mut vm,
        1,
        "local function grow() local t = {} for i = 1, 1e9 do t[i] = {i} end end
        function OnMessage(s, p) while true do pcall(grow) end end",
    );
    assert_eq!(run(&mut vm, 1, ""), Err("Memory".into()));
    load(
        &mut vm,
        2,
        "function OnMessage(s, p) for i = 1, 3000 do local s = ('x'):rep(1e6) .. i end return 'ok' end",
    );
    assert_eq!(run(&mut vm, 2, ""), Ok("ok".into()));
}

#[test]
fn random_differs_between_runs() {
    let mut vm = vm(false);
    load(&mut vm, 1, "function OnMessage() return tostring(math.random()) end");
    assert_ne!(run(&mut vm, 1, ""), run(&mut vm, 1, ""));
}

// === no state crosses runs ===

use proptest::prelude::*;

/// Statements that leave traces wherever a script can, fail in all ways, or use much memory. `N` is a number.
const STATEMENTS: &[&str] = &[
    "g = (g or 0) + N",
    "string['f' .. N] = N",
    "getmetatable('').__index = nil",
    "getmetatable('').__add = function(a) return a end",
    "setmetatable(_G, {__index = function(t, k) return k end})",
    "math.huge = N",
    "table.insert = nil",
    "tostring = function() return 'N' end",
    "local t = {} for i = 1, N * 100 do t[i] = {i} end keep = t",
    "local s = '' for i = 1, N do s = s .. ('x'):rep(i) end keep = s",
    "keep = coroutine.wrap(function() coroutine.yield(N) end) keep()",
    "for i = 1, N do coroutine.wrap(function() coroutine.yield() end)() end",
    "pcall(error, {N})",
    "pcall(function() local x = nil + N end)",
    "xpcall(function() error('N') end, function(m) error(m) end)",
    "pcall(string.rep)",
    "pcall(function() local function f() return f() + 1 end f() end)",
    "local ok = pcall(string.format, '%d', 'x')",
    "loadstring('h = (h or 0) + N')()",
    "local f = loadstring('return')  setfenv(f, {}) f()",
    "collectgarbage()",
    "collectgarbage('stop')",
    "collectgarbage('setpause', N + 100)",
    "debug.setmetatable = nil",
    "for w in ('a b c'):gmatch('%a') do g = (g or '') .. w end",
    "table.sort({3, 1, 2}, function(a, b) return a < b end)",
    "error('N')",
    "error({N})",
    "error(setmetatable({}, {__tostring = function() return 'N' end}))",
    "local t = setmetatable({}, {__mode = 'k'}) t[{}] = N keep = t",
    "_G[N] = N",
    "package = nil require = nil",
];

fn script() -> impl Strategy<Value = String> {
    let statement = (0..STATEMENTS.len(), 1u32..40).prop_map(|(index, number)| {
        format!("do {} end", STATEMENTS[index].replace('N', &number.to_string()))
    });
    let block = || prop::collection::vec(statement.clone(), 0..4).prop_map(|block| block.join("\n"));
    (block(), block()).prop_map(|(top, inner)| {
        format!(
            "{top}\nfunction OnMessage(s, p)\n{inner}\nlocal seen = {{}}\n\
             for k in next, _G do if rawtype == nil then seen[#seen + 1] = type(k) .. ':' .. (type(k) == 'table' and '' or k) end end\n\
             table.sort(seen)\nreturn table.concat(seen, ',') .. '|' .. type(g) .. type(h) .. type(keep)\nend"
        )
    })
}

#[test]
fn a_base_image_has_no_holes() {
    // A build that asks for other blocks the second time would show in a few.
    for jit in [false, true].repeat(8) {
        let vm = vm(jit);
        let (image, used) = (vm.base.len(), vm.arena.usage().0);
        assert!(image < used + used / 20, "{image} bytes for {used}");
    }
}

/// The arena's bytes without the state of `math.random`, which differs for each run on purpose.
fn settled(vm: &Vm) -> Vec<u8> {
    let mut bytes = vm.arena_bytes().to_vec();
    let at = vm.arena.offset(vm.random.cast());
    bytes[at..at + 32].fill(0);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_run_is_like_the_first_in_a_new_state(scripts in prop::collection::vec(script(), 1..5), order in prop::collection::vec(any::<prop::sample::Index>(), 1..25)) {
        let mut old = vm(false);
        let mut images = Vec::new();
        for (id, text) in scripts.iter().enumerate() {
            load(&mut old, id as u64, text);
            old.prepare(id as u64);
            images.push(settled(&old));
        }
        let first: Vec<_> = scripts.iter().enumerate().map(|(id, text)| {
            let mut new = vm(false);
            load(&mut new, id as u64, text);
            run(&mut new, id as u64, "p")
        }).collect();
        let mut after: Vec<Option<Vec<u8>>> = vec![None; scripts.len()];
        for index in order {
            let id = index.index(scripts.len());
            prop_assert_eq!(&run(&mut old, id as u64, "p"), &first[id], "{}", scripts[id]);
            // Nothing outside of the arena has a say: what a run leaves is the same to the bit each time.
            let left = settled(&old);
            if let Some(before) = &after[id] {
                prop_assert!(*before == left, "another state after {}", scripts[id]);
            }
            after[id] = Some(left);
            old.prepare(id as u64);
            prop_assert!(settled(&old) == images[id], "not rewound after {}", scripts[id]);
        }
    }
}

#[test]
fn compiled_code_is_gone_after_a_run() {
    let mut vm = vm(true);
    load(
        &mut vm,
        1,
        "n = (n or 0) + 1 function OnMessage() local x = 0 for i = 1, 1e5 do x = x + i % 7 end return n .. ':' .. x end",
    );
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap_or_default().lines().count();
    let first = run(&mut vm, 1, "");
    let before = maps();
    for _ in 0..300 {
        assert_eq!(run(&mut vm, 1, ""), first);
    }
    assert!(maps() <= before + 8, "{before} mappings became {}", maps());
}

/// A module whose name a script's text has in quotes is compiled with the script: nothing else may differ.
#[test]
fn modules_named_in_the_text_are_the_same() {
    let list = "local function names(of)
            local all = {}
            for key, value in pairs(of) do all[#all + 1] = tostring(key) .. ' ' .. type(value) end
            table.sort(all)
            return table.concat(all, ',')
        end
        function OnMessage() return names(it) .. ';' .. names(_G) end";
    let mut vm = vm(false);
    for module in crate::lua::modules::ALL {
        vm.unload(2);
        let (start, end) = module.name.split_at(1);
        load(&mut vm, 1, &format!("it = require(\"{}\") {list}", module.name));
        let named = vm.image_bytes();
        load(&mut vm, 2, &format!("it = require(\"{start}\" .. \"{end}\") {list}"));
        let made_up = vm.image_bytes() - named;
        assert_eq!(run(&mut vm, 1, ""), run(&mut vm, 2, ""), "{}", module.name);
        assert_eq!(named > made_up + 256, module.lua.is_some(), "{}: {named} {made_up}", module.name);
    }
}

#[test]
fn methods_answer_http() {
    let mut vm = vm(false);
    load(
        &mut vm,
        1,
        "function GET(url, body, headers) return 12, '201', {['X-A'] = 1, ['Set-Cookie'] = {'a', 'b'}} end",
    );
    let mut http = |method, declared| {
        let invoke = Invoke {
            invocation: 1,
            epoch: 0,
            script: 1,
            entry: Entry::Http { subject: "s", method, url: "/x", declared },
            headers: vec![("h", b"v")],
            payload: b"",
            limits: Limits {
                memory: 32 << 20,
                output: 1 << 20,
                log: 1 << 16,
                host_calls: 10,
                folders: false,
                scratch: 32 << 20,
                scratch_files: 100,
            },
        };
        let ended = vm.invoke(&invoke);
        let headers = match &ended {
            Ended::Http { headers, .. } => {
                let mut all: Vec<String> = headers
                    .filter_map(|token| match token {
                        crate::lua::value::Token::Str(text) => {
                            Some(String::from_utf8_lossy(text).into_owned())
                        }
                        _ => None,
                    })
                    .collect();
                all.sort();
                all.join(" ")
            }
            _ => String::new(),
        };
        (format!("{ended:?}"), headers)
    };
    let (ended, headers) = http("HEAD", true);
    assert!(ended.contains("status: 201") && ended.contains("[49, 50]"), "{ended}");
    assert_eq!(headers, "1 Set-Cookie Set-Cookie X-A a b");
    assert_eq!(http("POST", false).0, "NoFunction([\"GET\"])");
    assert_eq!(http("tostring", true).0, "NoFunction([\"GET\"])");
}
