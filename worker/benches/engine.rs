//! The step "run" by itself: a script in the engine, in a fresh state each time, without process or jail. The
//! other steps are in tests/benches/steps.
//!
//! ```text
//! cargo bench -p msgscript-worker --bench engine [-- FILTER]
//! ```

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Entry, Invoke, Level, Limits, Load, Part};
use msgscript_worker::lua::{Ctx, Outside};
use msgscript_worker::vm::{Ended, Vm};

const HELLO: &str = "function OnMessage(_, payload) return 'Hello ' .. #payload end";

/// What a run may use, as it is by default.
const LIMITS: Limits = Limits {
    memory: 128 << 20,
    output: 8 << 20,
    log: 64 << 10,
    host_calls: 10_000,
    folders: false,
    scratch: 32 << 20,
    scratch_files: 1000,
};

/// Nobody answers: these scripts ask for nothing.
struct Nobody;

impl Outside for Nobody {
    fn log(&mut self, _: Level, _: &[u8]) {}

    fn call(&mut self, _: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        reply(HostReply::Failed("nobody answers"));
    }

    fn start(&mut self, _: &Invoke<'_>) {}
}

const JSON: &str = "local json = require('json')
    function OnMessage(_, payload)
        local all = json.decode(payload)
        for _, one in ipairs(all) do one.total = one.price * one.count end
        return json.encode(all)
    end";

/// Modules that scripts often begin with.
const MODULES: [&str; 6] = ["json", "re", "crypto", "time", "http", "log"];

/// About 10 KB.
fn document() -> Vec<u8> {
    let one =
        |n: u32| format!(r#"{{"id":{n},"name":"item number {n}","price":{n}.5,"count":3,"tags":["a","b"]}}"#);
    format!("[{}]", (0..130).map(one).collect::<Vec<_>>().join(",")).into_bytes()
}

/// An engine with this script loaded.
fn vm(text: &str, jit: bool) -> Vm {
    let ctx = Ctx::new(Box::new(Nobody));
    let vm = Vm::new(LIMITS.memory, jit, ctx, |_| panic!("out of memory"));
    let mut vm = vm.unwrap_or_else(|error| panic!("{error}"));
    vm.load(&Load { script: 1, parts: vec![Part { name: "hello.lua", text: text.as_bytes() }] });
    vm
}

fn run(vm: &mut Vm, payload: &[u8]) {
    let entry = Entry::Message { subject: "bench.hello" };
    let (headers, limits) = (Vec::new(), LIMITS);
    let ended = vm.invoke(&Invoke { invocation: 1, epoch: 0, script: 1, entry, headers, payload, limits });
    assert!(matches!(ended, Ended::Message(Some(_))), "the script did not answer");
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("5 engine");
    let document = document();
    let cases: [(&str, &str, &[u8], bool); 4] = [
        ("hello", HELLO, &[b'x'; 100], false),
        ("hello, with LuaJIT's compiler", HELLO, &[b'x'; 100], true),
        ("JSON of 10 KB", JSON, &document, false),
        ("JSON of 10 KB, with LuaJIT's compiler", JSON, &document, true),
    ];
    for (name, text, payload, jit) in cases {
        let mut vm = vm(text, jit);
        group.bench_function(name, |bencher| bencher.iter(|| run(&mut vm, black_box(payload))));
    }
    for module in MODULES {
        let text = format!("local it = require('{module}') function OnMessage() return 'x' end");
        let mut vm = vm(&text, false);
        group.bench_function(format!("`{module}` required"), |bencher| bencher.iter(|| run(&mut vm, b"")));
    }
    group.bench_function("a script loaded", |bencher| {
        let mut vm = vm(HELLO, false);
        bencher.iter(|| {
            let parts = vec![Part { name: "hello.lua", text: HELLO.as_bytes() }];
            vm.load(&Load { script: 1, parts });
            vm.unload(1);
        });
    });
    group.finish();
}
