//! What an instance of a component has: WASI preview 2, with `wasi:http`.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::budget::Budget;
use crate::http::Outgoing;

/// Things that a component may hold open at a time.
const RESOURCES: usize = 10_000;

/// An instance's own.
pub struct Preview2 {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    /// Its memory.
    pub budget: Budget,
}

impl Preview2 {
    /// An instance's own.
    pub fn new(wasi: WasiCtx, budget: Budget, outgoing: Outgoing) -> Preview2 {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Preview2 { wasi, http: WasiHttpCtx::new(), table, outgoing, budget }
    }
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
