//! The worker's start: one message that says what to be, then that.

use msgscript_proto::message::{Engine, Setup, ToWorker};
use msgscript_proto::{VERSION, codec};
use msgscript_worker::jail::sys;
use msgscript_worker::link::Link;
use msgscript_worker::{command, heap, probe, serve, slate, sqlite};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// The exit status of a worker that was not told what to be (`EX_PROTOCOL`).
const NOT_TOLD: i32 = 76;

/// The exit status after a panic.
const PANICKED: i32 = 101;

fn main() {
    // The default hook formats, locks and may read files; and no panic may reach a frame of C.
    std::panic::set_hook(Box::new(|_| {
        let _ = nix::unistd::write(std::io::stderr(), b"msgscript-worker: panicked\n");
        sys::exit_now(PANICKED)
    }));
    sys::exit_now(run())
}

/// Gives the status to exit with.
fn run() -> i32 {
    if slate::open().is_err() {
        return NOT_TOLD;
    }
    let mut link = Link::new();
    let Some(setup) = read_setup(&mut link) else { return NOT_TOLD };
    match setup.engine {
        Engine::Sqlite => sqlite::serve(&mut link, &setup),
        Engine::Command => command::serve(&mut link, &setup),
        Engine::Lua | Engine::LuaJit | Engine::Plugin => serve::serve(&mut link, &setup),
        Engine::Probe
        | Engine::ProbeJit
        | Engine::ProbeWasm
        | Engine::ProbeWasmBound
        | Engine::ProbeWasmCompile => probe::serve(&mut link, &setup),
        // Another program's: msgscript-worker-wasm.
        Engine::Wasm | Engine::WasmCompile => NOT_TOLD,
    }
}

fn read_setup(link: &mut Link) -> Option<Setup> {
    let bytes = link.recv().ok()??;
    match codec::decode(bytes) {
        Ok(ToWorker::Setup(setup)) if setup.version == VERSION => Some(setup),
        _ => None,
    }
}
