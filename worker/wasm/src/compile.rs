//! The compiler, in a jail of its own: bytes of a module in, machine code out, none of it ever run here.
//!
//! Serves one request after another; the broker sends one and ends the worker.

use msgscript_proto::codec;
use msgscript_proto::message::{Setup, ToBroker, ToWorker};
use msgscript_worker::link::Link;
use msgscript_worker::serve::PROTOCOL;
use msgscript_worker::{heap, jail};
use wasmtime::Engine;

use crate::{engine, no_engine};

/// Memory besides what the compiler may use, in bytes: messages, the engine itself.
const OWN_MEMORY: u64 = 192 << 20;

/// The longest error text, in bytes.
const ERROR: usize = 4 << 10;

/// Serves until the broker is gone. Gives the status to exit with.
pub fn serve(link: &mut Link, setup: &Setup) -> i32 {
    let engine = match engine::compiling() {
        Ok(engine) => engine,
        Err(error) => return no_engine(&error),
    };
    if let Err(status) = jail::enter(link, setup, setup.memory.saturating_add(OWN_MEMORY), None) {
        return status;
    }
    let mut out = Link::new();
    loop {
        let bytes = match link.recv() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return 0,
            Err(_) => return PROTOCOL,
        };
        let Ok(ToWorker::Compile { module }) = codec::decode(bytes) else { return PROTOCOL };
        heap::limit(usize::try_from(setup.memory).ok());
        let compiled = compile(&engine, module);
        heap::limit(None);
        let answer = match &compiled {
            Ok(artifact) => ToBroker::Compiled { artifact, error: None },
            Err(error) => ToBroker::Compiled { artifact: &[], error: Some(error) },
        };
        if out.send(&answer).is_err() {
            // Too large for a message, or the broker is gone.
            let error = Some("its compiled form is too large");
            if out.send(&ToBroker::Compiled { artifact: &[], error }).is_err() {
                return PROTOCOL;
            }
        }
    }
}

/// The layer of a component's header; a module has version 1 there.
fn compile(engine: &Engine, module: &[u8]) -> Result<Vec<u8>, String> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    let compiled = if module.starts_with(MODULE) {
        engine.precompile_module(module)
    } else {
        engine.precompile_component(module)
    };
    compiled.map_err(|error| {
        let mut text = format!("{error:#}");
        text.truncate(text.floor_char_boundary(ERROR));
        text
    })
}
