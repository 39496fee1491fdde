//! A WASI command run by wasmtime alone, without a broker or a jail, for `scripts/bench-wasm` to compare with:
//! what `wasmtime run` does with a module, with a compiled one, and what a server that embeds the engine pays.
//!
//! `wasm_peer FILE RUNS` prints microseconds of each as JSON: compile and run, read the compiled form and run, and
//! (the mean of RUNS) a fresh instance's run, which is also given in CPU time.

#![allow(unsafe_code)]

use std::time::Instant;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Result,
    Store,
};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

fn engine() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_stacks(2).total_memories(2).total_core_instances(2).total_tables(4);
    let mut config = Config::new();
    config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

fn prepare(module: &Module) -> Result<InstancePre<WasiP1Ctx>> {
    let mut linker = Linker::new(module.engine());
    add_to_linker_async(&mut linker, |state| state)?;
    linker.instantiate_pre(module)
}

async fn run(pre: &InstancePre<WasiP1Ctx>) -> Result<usize> {
    let out = MemoryOutputPipe::new(1 << 20);
    let mut builder = WasiCtxBuilder::new();
    builder
        .arg("function")
        .env("SUBJECT", "f")
        .env("METHOD", "POST")
        .env("URL", "")
        .env("PAYLOAD", "one two");
    builder.stdin(MemoryInputPipe::new(&b"one two"[..])).stdout(out.clone());
    let mut store = Store::new(pre.module().engine(), builder.build_p1());
    store.set_epoch_deadline(1);
    let instance = pre.instantiate_async(&mut store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    match start.call_async(&mut store, ()).await {
        Err(error) if error.downcast_ref::<I32Exit>().is_none() => return Err(error),
        _ => {}
    }
    Ok(out.contents().len())
}

/// CPU time of this thread, in nanoseconds.
fn cpu_nanos() -> anyhow::Result<u128> {
    let all = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = all.split_whitespace().next();
    Ok(first.and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(runs)) = (args.next(), args.next()) else { anyhow::bail!("wasm_peer FILE RUNS") };
    let runs: u32 = runs.parse()?;
    let bytes = std::fs::read(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let micros = |began: Instant| began.elapsed().as_micros();

    let began = Instant::now();
    let engine_ = engine().map_err(anyhow::Error::msg)?;
    let module = Module::new(&engine_, &bytes).map_err(anyhow::Error::msg)?;
    let pre = prepare(&module).map_err(anyhow::Error::msg)?;
    runtime.block_on(run(&pre)).map_err(anyhow::Error::msg)?;
    let compile = micros(began);
    let artifact = module.serialize().map_err(anyhow::Error::msg)?;
    drop((pre, module, engine_));

    let began = Instant::now();
    let engine = engine().map_err(anyhow::Error::msg)?;
    // SAFETY: the bytes were made a moment ago, by this process.
    let module = unsafe { Module::deserialize(&engine, &artifact) }.map_err(anyhow::Error::msg)?;
    let pre = prepare(&module).map_err(anyhow::Error::msg)?;
    runtime.block_on(run(&pre)).map_err(anyhow::Error::msg)?;
    let read = micros(began);

    let used = cpu_nanos()?;
    let began = Instant::now();
    for _ in 0..runs {
        runtime.block_on(run(&pre)).map_err(anyhow::Error::msg)?;
    }
    let each = |nanos: u128| nanos as f64 / f64::from(runs) / 1000.0;
    let (warm, used) = (each(began.elapsed().as_nanos()), each(cpu_nanos()? - used));
    println!(
        r#"{{"compile_us":{compile},"artifact_us":{read},"warm_us":{warm:.1},"warm_cpu_us":{used:.1}}}"#
    );
    Ok(())
}
