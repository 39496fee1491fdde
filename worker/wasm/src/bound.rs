//! The module that a worker is bound to: ready to be instantiated again and again.
//!
//! Takes an artifact, gives what can be run. What is here is done before the second filter closes and runs
//! nothing of the module.

#![allow(unsafe_code)]

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, Module, Precompiled, Result, bail};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::preview1::{self, Prepared};
use crate::preview2::{self, Preview2};

/// A module, ready to run.
pub enum Bound {
    /// A WASI preview 1 command.
    Command(Prepared),
    /// A component of the world `wasi:cli/command`.
    Component(CommandPre<Preview2>),
    /// A component of the world `wasi:http/proxy`.
    Proxy(ProxyPre<Preview2>),
}

/// Why a module cannot be run.
#[derive(Debug)]
pub enum Unbound {
    /// The artifact is damaged or of another build.
    Artifact(String),
    /// The module asks for what there is not, or is of no kind that runs here.
    Module(String),
}

/// Makes an artifact ready to run.
///
/// # Errors
/// Why it cannot be.
pub fn bind(engine: &Engine, artifact: &[u8]) -> Result<Bound, Unbound> {
    let damaged = |error: wasmtime::Error| match format!("{error:#}") {
        // Sound, but it wants more of something than an instance may have (`engine.rs`). The engine has no
        // type for this, and says it here only.
        text if text.contains("does not fit in pooling allocator") => Unbound::Module(text),
        text => Unbound::Artifact(text),
    };
    let refused = |error: wasmtime::Error| Unbound::Module(format!("{error:#}"));
    match Engine::detect_precompiled(artifact) {
        Some(Precompiled::Module) => {
            // SAFETY: the broker hands over only what a compiling worker gave and its own key has signed.
            let module = unsafe { Module::deserialize(engine, artifact) }.map_err(damaged)?;
            module.initialize_copy_on_write_image().map_err(damaged)?;
            command(engine, &module).map_err(refused)
        }
        Some(Precompiled::Component) => {
            // SAFETY: as above.
            let component = unsafe { Component::deserialize(engine, artifact) }.map_err(damaged)?;
            component.initialize_copy_on_write_image().map_err(damaged)?;
            of_component(engine, &component).map_err(refused)
        }
        None => Err(Unbound::Artifact("these bytes are no compiled module".to_owned())),
    }
}

fn command(engine: &Engine, module: &Module) -> Result<Bound> {
    let pre = preview1::prepare(engine, module)?;
    if module.get_export("_start").is_none() {
        bail!("it exports no `_start`: build it as a WASI command, not as a library");
    }
    Ok(Bound::Command(pre))
}

fn of_component(engine: &Engine, component: &Component) -> Result<Bound> {
    let pre = preview2::prepare(engine, component)?;
    let exports = |interface: &str| {
        let ty = component.component_type();
        ty.exports(engine).any(|(name, item)| {
            matches!(item.ty, ComponentItem::ComponentInstance(_))
                && name.split('@').next() == Some(interface)
        })
    };
    if exports("wasi:http/incoming-handler") {
        return Ok(Bound::Proxy(ProxyPre::new(pre)?));
    }
    if exports("wasi:cli/run") {
        return Ok(Bound::Component(CommandPre::new(pre)?));
    }
    bail!("it exports neither wasi:cli/run nor wasi:http/incoming-handler")
}
