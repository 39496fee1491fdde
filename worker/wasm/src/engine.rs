//! How modules are compiled and run: one configuration for both, since an artifact fits only the
//! configuration that it was compiled with.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result, Strategy,
};

/// Stack of a module, in bytes.
const WASM_STACK: usize = 512 << 10;

/// Stack that a run has all in all, in bytes: the module's, and that of the functions it calls.
const RUN_STACK: usize = 2 << 20;

/// What an instance may have of each thing. A plain module has one memory and a table or two; a component is
/// several modules.
const INSTANCES: u32 = 64;
const MEMORIES: u32 = 8;
const TABLES: u32 = 64;

/// Elements of a table at most.
const TABLE_ELEMENTS: usize = 200_000;

/// Addresses that a memory takes, in bytes: all that 32 bits reach, so that no access need be checked.
/// Reserved once, before the jail closes; only what an instance uses counts as memory.
const RESERVED: u64 = 4 << 30;

/// The engine that runs modules.
///
/// # Errors
/// When it cannot have the addresses that it reserves.
pub fn running() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(1)
        .max_core_instances_per_component(INSTANCES)
        .total_core_instances(INSTANCES)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .total_memories(MEMORIES)
        .max_memories_per_component(MEMORIES)
        .max_memory_size(RESERVED as usize)
        .total_tables(TABLES)
        .max_tables_per_module(TABLES)
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .total_stacks(2)
        .max_unused_warm_slots(0)
        // What a run leaves is wiped when it ends, before the next one's secrets come.
        .decommit_batch_size(1)
        .pagemap_scan(Enabled::No);
    let mut config = config()?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// The engine that compiles.
///
/// # Errors
/// When the configuration is refused.
pub fn compiling() -> Result<Engine> {
    Engine::new(&config()?)
}

fn config() -> Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(RUN_STACK)
        .memory_reservation(RESERVED)
        // Copy-on-write: the image is made while the worker is bound (`bound.rs`).
        .memory_init_cow(true)
        .wasm_component_model(true)
        // What no toolchain needs by default, or had its faults lately.
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false);
    Ok(config)
}
