//! The engine alone: runs are equal to first runs, whatever ran before.

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Entry, Invoke, Level, Limits, Load, Part};

use super::{Ended, Vm};
use crate::lua::{Ctx, Outside};

struct Nowhere;

impl Outside for Nowhere {
    fn log(&mut self, _: Level, _: &[u8]) {}
    fn call(&mut self, _: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        reply(HostReply::NotFound);
    }
    fn start(&mut self, _: &Invoke<'_>) {}
}

fn vm(jit: bool) -> Vm {
    fn exhausted(used: u64) -> ! {
        panic!("hard limit at {used}")
    }
    Vm::new(64 << 20, jit, Ctx::new(Box::new(Nowhere)), exhausted).unwrap()
}

fn load(vm: &mut Vm, script: u64, text: &str) {
    vm.load(&Load { script, parts: vec![Part { name: "t.lua", text: text.as_bytes() }] });
}

fn run(vm: &mut Vm, script: u64, payload: &str) -> Result<String, String> {
    let invoke = Invoke {
        invocation: 1,
        script,
        entry: Entry::Message { subject: "s" },
        headers: vec![],
        payload: payload.as_bytes(),
        limits: Limits { memory: 32 << 20, output: 1 << 20, log: 1 << 16, host_calls: 10 },
    };
    match vm.invoke(&invoke) {
        Ended::Message(Some(text)) => Ok(String::from_utf8_lossy(text).into_owned()),
        Ended::Error { message, .. } => Err(String::from_utf8_lossy(&message).into_owned()),
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
