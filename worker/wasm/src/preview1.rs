//! WASI preview 1 commands: plain modules with a `_start`.
//!
//! Clocks, random numbers, environment and exit are the engine's. What has to do with descriptors and paths is ours
//! ([`calls`]), in its place: the engine's would reach for a file system.

mod calls;
mod descriptors;
mod errno;
mod memory;

use wasmtime::{Caller, Engine, Extern, InstancePre, Linker, Module, Result, Store, format_err};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::budget::Budget;
use calls::Call;
pub use descriptors::Descriptors;
use errno::{Errno, Stop};
use memory::Memory;

/// What an instance of a command has.
pub struct Preview1 {
    wasi: WasiP1Ctx,
    open: Descriptors,
    /// Its memory.
    pub budget: Budget,
}

impl Preview1 {
    /// An instance's own.
    pub fn new(wasi: WasiP1Ctx, open: Descriptors, budget: Budget) -> Preview1 {
        Preview1 { wasi, open, budget }
    }
}

/// Makes a module ready to be run.
///
/// # Errors
/// What it asks for that there is not.
pub fn prepare(engine: &Engine, module: &Module) -> Result<InstancePre<Preview1>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |state: &mut Preview1| &mut state.wasi)?;
    linker.allow_shadowing(true);
    add_calls(&mut linker)?;
    linker.instantiate_pre(module)
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

/// Puts our calls in the place of the engine's, by their names and types.
macro_rules! calls {
    ($linker:ident: $($name:ident($($type:ident),*);)*) => {
        $(calls!(@one $linker $name [] [a b c d e f g h i] $($type)*);)*
    };
    (@one $linker:ident $name:ident [$($got:ident: $of:ident)*] [$next:ident $($rest:ident)*] $type:ident $($more:ident)*) => {
        calls!(@one $linker $name [$($got: $of)* $next: $type] [$($rest)*] $($more)*)
    };
    (@one $linker:ident $name:ident [$($got:ident: $of:ident)*] [$($rest:ident)*]) => {
        $linker.func_wrap(
            "wasi_snapshot_preview1",
            stringify!($name),
            |mut caller: Caller<'_, Preview1>, $($got: $of),*| answer(&mut caller, |call| call.$name($($got),*)),
        )?
    };
}

#[rustfmt::skip]
fn add_calls(linker: &mut Linker<Preview1>) -> Result<()> {
    calls! { linker:
        fd_advise(u32, u64, u64, u32);
        fd_allocate(u32, u64, u64);
        fd_close(u32);
        fd_datasync(u32);
        fd_fdstat_get(u32, u32);
        fd_fdstat_set_flags(u32, u32);
        fd_fdstat_set_rights(u32, u64, u64);
        fd_filestat_get(u32, u32);
        fd_filestat_set_size(u32, u64);
        fd_filestat_set_times(u32, u64, u64, u32);
        fd_pread(u32, u32, u32, u64, u32);
        fd_prestat_dir_name(u32, u32, u32);
        fd_prestat_get(u32, u32);
        fd_pwrite(u32, u32, u32, u64, u32);
        fd_read(u32, u32, u32, u32);
        fd_readdir(u32, u32, u32, u64, u32);
        fd_renumber(u32, u32);
        fd_seek(u32, i64, u32, u32);
        fd_sync(u32);
        fd_tell(u32, u32);
        fd_write(u32, u32, u32, u32);
        path_create_directory(u32, u32, u32);
        path_filestat_get(u32, u32, u32, u32, u32);
        path_filestat_set_times(u32, u32, u32, u32, u64, u64, u32);
        path_link(u32, u32, u32, u32, u32, u32, u32);
        path_open(u32, u32, u32, u32, u32, u64, u64, u32, u32);
        path_readlink(u32, u32, u32, u32, u32, u32);
        path_remove_directory(u32, u32, u32);
        path_rename(u32, u32, u32, u32, u32, u32);
        path_symlink(u32, u32, u32, u32, u32);
        path_unlink_file(u32, u32, u32);
    }
    Ok(())
}

/// Carries out a call; gives its error number, 0 if it did what it was to do.
fn answer(
    caller: &mut Caller<'_, Preview1>,
    act: impl FnOnce(&mut Call<'_>) -> Result<(), Stop>,
) -> Result<i32> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| format_err!("the module does not export its memory"))?;
    let (bytes, state) = memory.data_and_store_mut(caller);
    match act(&mut Call { memory: Memory(bytes), open: &mut state.open }) {
        Ok(()) => Ok(0),
        Err(Stop::Errno(errno)) => {
            if errno == Errno::Nomem {
                state.budget.note_refusal();
            }
            Ok(errno as i32)
        }
        Err(Stop::Trap(error)) => Err(error),
    }
}
