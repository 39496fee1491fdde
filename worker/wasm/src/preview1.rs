//! WASI preview 1 commands: plain modules with a `_start`.

use wasmtime::{InstancePre, Result, Store};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::budget::Budget;

/// What an instance of a command has.
pub struct Preview1 {
    wasi: WasiP1Ctx,
    /// Its memory.
    pub budget: Budget,
}

impl Preview1 {
    /// An instance's own.
    pub fn new(wasi: WasiP1Ctx, budget: Budget) -> Preview1 {
        Preview1 { wasi, budget }
    }

    /// For the linker.
    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }
}

/// Runs it to its end.
///
/// # Errors
/// A trap, a limit, or an exit status: see [`crate::run::judge`].
pub async fn run(pre: &InstancePre<Preview1>, store: &mut Store<Preview1>) -> Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(store, ()).await
}
