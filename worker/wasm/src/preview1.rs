//! WASI preview 1 commands: plain modules with a `_start`.
//!
//! Clocks and random numbers are the engine's. What has to do with descriptors and paths is ours ([`calls`]), in its
//! place: the engine's would reach for a file system. So are environment and exit, which nearly every command asks
//! for: one that asks for nothing else never pays for the engine's context, nor for a stack to wait on.

mod calls;
mod descriptors;
mod environment;
mod errno;
mod memory;

use wasmtime::{Caller, Engine, Extern, InstancePre, Linker, Module, Result, Store, bail, format_err};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::budget::Budget;
use crate::command::Surroundings;
use crate::streams::Sink;
use calls::Call;
pub use descriptors::Descriptors;
pub use environment::Environment;
use errno::{Errno, Stop};
use memory::Memory;

/// What an instance of a command has.
pub struct Preview1 {
    /// Made when it is first asked for something: that takes a few system calls for seeds.
    wasi: Option<WasiP1Ctx>,
    output: (Sink, Sink),
    environment: Environment,
    open: Descriptors,
    /// Its memory.
    pub budget: Budget,
}

impl Preview1 {
    /// An instance's own. `output`: standard output and error.
    pub fn new(
        output: (Sink, Sink),
        environment: Environment,
        open: Descriptors,
        budget: Budget,
    ) -> Preview1 {
        Preview1 { wasi: None, output, environment, open, budget }
    }

    fn wasi(&mut self) -> &mut WasiP1Ctx {
        let (stdout, stderr) = &self.output;
        self.wasi
            .get_or_insert_with(|| Surroundings::writing(stdout.clone(), stderr.clone()).builder().build_p1())
    }
}

/// A module that is ready to be run.
pub struct Prepared {
    pre: InstancePre<Preview1>,
    waits: bool,
}

impl Prepared {
    /// The engine that it is for.
    pub fn engine(&self) -> &Engine {
        self.pre.module().engine()
    }
}

/// Makes a module ready to be run.
///
/// # Errors
/// What it asks for that there is not.
pub fn prepare(engine: &Engine, module: &Module) -> Result<Prepared> {
    let mut linker = Linker::new(engine);
    add_calls(&mut linker)?;
    if let Ok(pre) = linker.instantiate_pre(module) {
        return Ok(Prepared { pre, waits: false });
    }
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Preview1::wasi)?;
    linker.allow_shadowing(true);
    add_calls(&mut linker)?;
    Ok(Prepared { pre: linker.instantiate_pre(module)?, waits: true })
}

/// Runs it to its end.
///
/// # Errors
/// A trap, a limit, or an exit status: see [`crate::run::judge`].
pub async fn run(prepared: &Prepared, store: &mut Store<Preview1>) -> Result<()> {
    let pre = &prepared.pre;
    if !prepared.waits {
        // Nothing that it may call ever waits: it runs on this stack.
        let instance = pre.instantiate(&mut *store)?;
        return instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(store, ());
    }
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
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit)?;
    calls! { linker:
        args_get(u32, u32);
        args_sizes_get(u32, u32);
        environ_get(u32, u32);
        environ_sizes_get(u32, u32);
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

/// Ends the run: an exit status goes the way of an error.
fn exit(status: i32) -> Result<()> {
    // As the engine has it: others are for programs that a signal ended.
    if !(0..126).contains(&status) {
        bail!("exit with invalid exit status outside of [0..126)");
    }
    Err(I32Exit(status).into())
}

/// Carries out a call; gives its error number, 0 if it did what it was to do.
fn answer(
    caller: &mut Caller<'_, Preview1>,
    act: impl FnOnce(&mut Call<'_>) -> Result<(), Stop>,
) -> Result<i32> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| format_err!("the module does not export its memory"))?;
    let (bytes, state) = memory.data_and_store_mut(caller);
    let Preview1 { open, environment, .. } = &mut *state;
    match act(&mut Call { memory: Memory(bytes), open, environment }) {
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
