//! Compiling: in a jailed process of its own, with limits of its own, that ends with the work.
//!
//! Takes a module's bytes, gives an artifact. What comes back is machine code made by a process that an author's
//! bytes may have taken over; it is as hostile as the module, and only ever runs in a jail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use msgscript_proto::codec;
use msgscript_proto::message::{Engine, Setup, ToBroker, ToWorker};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::pool::solo::Solo;
use crate::pool::spawn::{SpawnPlan, Spawner};
use crate::units::{print_duration, print_size};

/// How long a module may take to compile.
const TIME: Duration = Duration::from_secs(30);

/// What the compiler may use for it, in bytes.
const MEMORY: u64 = 512 << 20;

/// Compilers at a time. A tenant has one at most, so others find one free.
const AT_A_TIME: usize = 4;

/// The exit status of a worker that ran out of memory.
const EXHAUSTED: i32 = 77;

/// Why a module was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It is not valid, or needs what is not offered.
    #[error("is not accepted: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("takes too long to compile")]
    Time,
    /// It takes too much memory.
    #[error("takes too much memory to compile")]
    Memory,
    /// The compiler is not there or died.
    #[error("was not compiled: {0}")]
    Failed(String),
}

impl CompileError {
    /// The limit that was reached, as it is printed; empty if none was.
    #[must_use]
    pub fn limit(&self) -> String {
        match self {
            CompileError::Time => print_duration(TIME),
            CompileError::Memory => print_size(MEMORY),
            CompileError::Refused(_) | CompileError::Failed(_) => String::new(),
        }
    }
}

/// Starts compilers.
#[derive(Debug)]
pub struct Compiler {
    spawner: Spawner,
    plan: Arc<SpawnPlan>,
    free: Semaphore,
}

impl Compiler {
    /// One that starts this program, set up as other workers are.
    #[must_use]
    pub fn new(spawner: Spawner, binary: PathBuf, setup: &Setup) -> Compiler {
        let setup = Setup { engine: Engine::WasmCompile, memory: MEMORY, ..setup.clone() };
        let plan = Arc::new(SpawnPlan { worker_binary: binary, setup });
        Compiler { spawner, plan, free: Semaphore::new(AT_A_TIME) }
    }

    /// Compiles a module.
    ///
    /// # Errors
    /// Why there is no artifact.
    pub async fn compile(&self, module: &[u8]) -> Result<Bytes, CompileError> {
        let failed = |error: &dyn std::fmt::Display| CompileError::Failed(error.to_string());
        let _one = self.free.acquire().await.map_err(|error| failed(&error))?;
        let started = Solo::start(&self.spawner, self.plan.clone()).await;
        let mut solo = started.map_err(|error| failed(&error))?;
        let answer = timeout(TIME, async {
            solo.send(&ToWorker::Compile { module }).await.map_err(|error| failed(&error))?;
            solo.recv().await.map_err(|error| failed(&error))
        });
        let answer = answer.await;
        // Its memory may take a while to be freed.
        let end = tokio::task::spawn_blocking(move || solo.kill()).await;
        match answer {
            Err(_) => Err(CompileError::Time),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Some(bytes))) => compiled(&bytes),
            Ok(Ok(None)) => {
                let status = end.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
                match status.code() {
                    Some(EXHAUSTED) => Err(CompileError::Memory),
                    _ => Err(CompileError::Failed(format!("the compiler ended ({status})"))),
                }
            }
        }
    }
}

fn compiled(bytes: &[u8]) -> Result<Bytes, CompileError> {
    match codec::decode(bytes) {
        Ok(ToBroker::Compiled { artifact, error: None }) => Ok(Bytes::copy_from_slice(artifact)),
        Ok(ToBroker::Compiled { error: Some(error), .. }) => Err(CompileError::Refused(error.to_owned())),
        _ => Err(CompileError::Failed("the compiler broke the protocol".to_owned())),
    }
}
