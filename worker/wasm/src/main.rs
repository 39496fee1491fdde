//! The WebAssembly worker's start: one message that says what to be, then that.
//!
//! A program of its own beside `msgscript-worker`: linked into that one, the engine would cost every idle
//! Lua worker megabytes. Jail, link and memory count are the same code.

use msgscript_proto::message::{Engine, Setup, ToWorker};
use msgscript_proto::{VERSION, codec};
use msgscript_worker::jail::sys;
use msgscript_worker::link::Link;
use msgscript_worker::{heap, serve::PROTOCOL, slate};

mod bound;
mod budget;
mod command;
mod compile;
mod engine;
mod files;
mod http;
mod preview1;
mod preview2;
mod run;
mod serve;
mod signals;
mod streams;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// The exit status after a panic.
const PANICKED: i32 = 101;

fn main() {
    // The default hook formats, locks and may read files.
    std::panic::set_hook(Box::new(|_| {
        let _ = nix::unistd::write(std::io::stderr(), b"msgscript-worker-wasm: panicked\n");
        sys::exit_now(PANICKED)
    }));
    sys::exit_now(run())
}

/// Gives the status to exit with.
fn run() -> i32 {
    if slate::open().is_err() {
        return PROTOCOL;
    }
    let mut link = Link::new();
    let Some(setup) = read_setup(&mut link) else { return PROTOCOL };
    match setup.engine {
        Engine::Wasm => serve::serve(&mut link, &setup),
        Engine::WasmCompile => compile::serve(&mut link, &setup),
        _ => PROTOCOL,
    }
}

fn read_setup(link: &mut Link) -> Option<Setup> {
    let bytes = link.recv().ok()??;
    match codec::decode(bytes) {
        Ok(ToWorker::Setup(setup)) if setup.version == VERSION => Some(setup),
        _ => None,
    }
}

/// Says why on the log pipe; gives the status of an engine that cannot be built (`EX_SOFTWARE`).
fn no_engine(error: &wasmtime::Error) -> i32 {
    let text = format!("msgscript-worker-wasm: {error:#}\n");
    let _ = nix::unistd::write(std::io::stderr(), text.as_bytes());
    70
}
