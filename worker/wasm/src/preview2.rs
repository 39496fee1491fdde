//! What an instance of a component has: WASI preview 2, with `wasi:http`.

mod files;
mod streams;

use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::budget::Budget;
use crate::files::Files;
use crate::http::Outgoing;

/// Things that a component may hold open at a time.
const RESOURCES: usize = 10_000;

/// An instance's own.
pub struct Preview2 {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    files: Files,
    /// Its memory.
    pub budget: Budget,
}

impl Preview2 {
    /// An instance's own.
    pub fn new(wasi: WasiCtx, files: Files, budget: Budget, outgoing: Outgoing) -> Preview2 {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Preview2 { wasi, http: WasiHttpCtx::new(), table, outgoing, files, budget }
    }
}

/// Makes a component ready to be instantiated.
///
/// # Errors
/// What it asks for that there is not.
pub fn prepare(engine: &Engine, component: &Component) -> Result<InstancePre<Preview2>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    files::add_to_linker(&mut linker)?;
    linker.instantiate_pre(component)
}

impl WasiView for Preview2 {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Preview2 {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}
