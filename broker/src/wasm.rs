//! WebAssembly functions: from the path in a script to a compiled module that a worker can be bound to.
//!
//! Takes a script, gives a [`Module`]; compiles it if it has not been yet. [`file`] reads what the script names,
//! [`compiler`] compiles it in a jail, [`store`] keeps the result over restarts. A module belongs to one tenant:
//! another tenant's equal module is compiled and kept apart.

pub mod compiler;
pub mod file;
pub mod store;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell, oneshot};

use crate::invocation::{Reason, Tenant};
use crate::progress;
use compiler::{CompileError, Compiler};
use file::{Contents, Digest, FileError, Spot, Stamp};
use store::Store;

/// What tells one compiled module from another: tenant, module, compiler and machine.
pub type Key = [u8; 32];

/// A compiled module.
#[derive(Debug)]
pub struct Module {
    /// Its key.
    pub key: Key,
    /// What a worker is bound to.
    pub artifact: Bytes,
    /// Whether a worker could not use it: it is made anew then.
    pub bad: Cell<bool>,
}

impl Module {
    fn new(key: Key, artifact: Bytes) -> Rc<Module> {
        Rc::new(Module { key, artifact, bad: Cell::new(false) })
    }
}

/// What is read at once of a large file, in bytes.
const PIECE: usize = 256 << 10;

/// How long a file is taken to be as it was: changes take effect within a second.
const FRESH: Duration = Duration::from_millis(250);

/// Files and refusals that are remembered.
const MOST_KNOWN: usize = 4096;

/// Bytes of artifacts kept in memory.
const MOST_BYTES: usize = 256 << 20;

/// How long a module that took too long, or a compiler that failed, is not tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Why a script's module cannot run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModuleError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The compiler.
    #[error("{path} {error}")]
    Compile {
        /// As written.
        path: String,
        /// What it said.
        error: CompileError,
    },
    /// The program is not installed.
    #[error("this server runs no WebAssembly: msgscript-worker-wasm is not beside msgscript-worker")]
    NoWorker,
    /// Too many calls wait for compilers.
    #[error("too many messages are waiting for modules to be compiled")]
    Overloaded,
    /// The module is being compiled still.
    #[error("{0} is still being compiled")]
    Wait(String),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl ModuleError {
    /// Its reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            ModuleError::File(_) | ModuleError::NoWorker => Reason::ScriptError,
            ModuleError::Compile { error: CompileError::Failed(_), .. } => Reason::Internal,
            ModuleError::Compile { .. } => Reason::ScriptError,
            ModuleError::Internal(_) => Reason::Internal,
            ModuleError::Overloaded => Reason::Overloaded,
            ModuleError::Wait(_) => Reason::Wait,
        }
    }

    /// The limit that was reached, as it is printed; empty if none was.
    #[must_use]
    pub fn limit(&self) -> String {
        if let ModuleError::Compile { error, .. } = self { error.limit() } else { String::new() }
    }
}

/// The modules of all scripts.
pub struct Modules {
    compiler: Option<Compiler>,
    store: Option<Arc<Store>>,
    build: OnceCell<Digest>,
    binary: Option<PathBuf>,
    waiting: Cell<usize>,
    most_waiting: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<(Tenant, Spot), Seen>,
    ready: HashMap<Key, (Rc<Module>, u64)>,
    tick: u64,
    pending: HashMap<Key, Shared<LocalBoxFuture<'static, Outcome>>>,
    refused: HashMap<Key, (CompileError, Instant)>,
    turns: HashMap<Tenant, Rc<Mutex<()>>>,
}

type Outcome = Result<Rc<Module>, ModuleError>;

/// A file as it was when it was looked at last.
struct Seen {
    at: Instant,
    stamp: Stamp,
    digest: Digest,
}

impl Modules {
    /// Without a compiler, every call fails with the reason. `store` keeps artifacts, if there is one.
    /// `most_waiting` calls may wait for compilers.
    #[must_use]
    pub fn new(
        compiler: Option<(Compiler, PathBuf)>,
        store: Option<Store>,
        most_waiting: usize,
    ) -> Rc<Modules> {
        let (compiler, binary) = compiler.unzip();
        Rc::new(Modules {
            compiler,
            store: store.map(Arc::new),
            build: OnceCell::new(),
            binary,
            waiting: Cell::new(0),
            most_waiting,
            state: RefCell::default(),
        })
    }

    /// The module at this spot, compiled, at the latest at the deadline. A compiler that has begun goes on:
    /// a later call finds what it made.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(self: &Rc<Self>, tenant: &Tenant, spot: Spot, deadline: Instant) -> Outcome {
        let path = spot.written.clone();
        let found = tokio::time::timeout_at(deadline.into(), self.find(tenant, spot)).await;
        found.unwrap_or(Err(ModuleError::Wait(path)))
    }

    /// Learns what the first call would have to wait for: the compiler's build, a large file to read.
    pub async fn prepare(&self) {
        if self.compiler.is_some() {
            // A failure is told by the call that meets it.
            let _ = self.build.get_or_try_init(|| build(self.binary.clone())).await;
        }
    }

    async fn find(self: &Rc<Self>, tenant: &Tenant, spot: Spot) -> Outcome {
        if self.compiler.is_none() {
            return Err(ModuleError::NoWorker);
        }
        let (digest, contents) = self.look(tenant, &spot).await?;
        let key = self.key(tenant, &digest).await?;
        if let Some(module) = self.ready(&key) {
            return Ok(module);
        }
        self.check_refused(&key, &spot)?;
        let Some(_place) = Waiting::enter(self) else { return Err(ModuleError::Overloaded) };
        let pending = self.state.borrow().pending.get(&key).cloned();
        match pending {
            Some(pending) => pending.await,
            None => self.start(key, tenant.clone(), spot, contents).await,
        }
    }

    /// The digest of a file, which may be that of a moment ago, and its bytes if they were read just now.
    async fn look(&self, tenant: &Tenant, spot: &Spot) -> Result<(Digest, Option<Contents>), ModuleError> {
        let name = (tenant.clone(), spot.clone());
        let known = self.state.borrow().files.get(&name).map(|seen| (seen.at, seen.stamp, seen.digest));
        if let Some((_, _, digest)) = known.filter(|(at, ..)| at.elapsed() < FRESH) {
            return Ok((digest, None));
        }
        let at = Instant::now();
        let stamp = known.map(|(_, stamp, _)| stamp);
        let read = read(spot.clone(), stamp).await;
        let mut state = self.state.borrow_mut();
        let (stamp, digest, contents) = match (read, known) {
            (Ok(Some(contents)), _) => (contents.stamp, contents.digest, Some(contents)),
            (Ok(None), Some((_, stamp, digest))) => (stamp, digest, None),
            (Ok(None), None) => return Err(ModuleError::Internal("a file was not read".to_owned())),
            (Err(error), _) => {
                state.files.remove(&name);
                return Err(error);
            }
        };
        if state.files.len() >= MOST_KNOWN {
            state.files.clear();
        }
        state.files.insert(name, Seen { at, stamp, digest });
        Ok((digest, contents))
    }

    async fn key(&self, tenant: &Tenant, digest: &Digest) -> Result<Key, ModuleError> {
        let build = self.build.get_or_try_init(|| build(self.binary.clone())).await?;
        let mut hash = Sha256::new_with_prefix(b"msgscript wasm 1\0");
        hash.update(build);
        hash.update(digest);
        hash.update(tenant.as_bytes());
        Ok(hash.finalize().into())
    }

    fn ready(&self, key: &Key) -> Option<Rc<Module>> {
        let mut state = self.state.borrow_mut();
        state.tick += 1;
        let tick = state.tick;
        let (module, used) = state.ready.get_mut(key)?;
        if module.bad.get() {
            state.ready.remove(key);
            if let Some(store) = &self.store {
                store.remove(key);
            }
            return None;
        }
        *used = tick;
        Some(module.clone())
    }

    fn check_refused(&self, key: &Key, spot: &Spot) -> Result<(), ModuleError> {
        let mut state = self.state.borrow_mut();
        let Some((error, since)) = state.refused.get(key) else { return Ok(()) };
        let error = error.clone();
        // What is no valid module stays so.
        if !matches!(error, CompileError::Refused(_)) && since.elapsed() >= AGAIN {
            state.refused.remove(key);
            return Ok(());
        }
        Err(ModuleError::Compile { path: spot.written.clone(), error })
    }

    /// Begins to make a module, in a task of its own; waits for it.
    async fn start(
        self: &Rc<Self>,
        key: Key,
        tenant: Tenant,
        spot: Spot,
        contents: Option<Contents>,
    ) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let lost = || ModuleError::Internal("the compiler's task was lost".to_owned());
        let outcome = outcome.map(move |outcome| outcome.unwrap_or_else(|_| Err(lost())));
        let outcome = outcome.boxed_local().shared();
        self.state.borrow_mut().pending.insert(key, outcome.clone());
        let modules = self.clone();
        tokio::task::spawn_local(async move {
            let made = modules.make(key, tenant, spot, contents).await;
            modules.settle(key, &made);
            // Those who waited may be gone.
            let _ = done.send(made);
        });
        outcome.await
    }

    fn settle(&self, key: Key, made: &Outcome) {
        let mut state = self.state.borrow_mut();
        state.pending.remove(&key);
        match made {
            Ok(module) => {
                let tick = state.tick;
                state.ready.insert(key, (module.clone(), tick));
                let mut bytes: usize = state.ready.values().map(|(module, _)| module.artifact.len()).sum();
                while bytes > MOST_BYTES && state.ready.len() > 1 {
                    let oldest = state.ready.iter().filter(|(other, _)| **other != key);
                    let Some((&oldest, _)) = oldest.min_by_key(|(_, (_, used))| *used) else { break };
                    bytes -= state.ready.remove(&oldest).map_or(0, |(module, _)| module.artifact.len());
                }
            }
            Err(ModuleError::Compile { error, .. }) => {
                if state.refused.len() >= MOST_KNOWN {
                    state.refused.clear();
                }
                state.refused.insert(key, (error.clone(), Instant::now()));
            }
            Err(_) => {}
        }
    }

    /// Finds the artifact in the store, or compiles the module.
    async fn make(&self, key: Key, tenant: Tenant, spot: Spot, contents: Option<Contents>) -> Outcome {
        if let Some(artifact) = self.load(key).await {
            return Ok(Module::new(key, artifact));
        }
        let Some(compiler) = &self.compiler else { return Err(ModuleError::NoWorker) };
        let contents = match contents {
            Some(contents) => contents,
            None => read(spot.clone(), None)
                .await?
                .ok_or_else(|| ModuleError::Internal("a file was not read".to_owned()))?,
        };
        if self.key(&tenant, &contents.digest).await? != key {
            let text = format!("{} was changed while it was read: call again", spot.written);
            return Err(ModuleError::Internal(text));
        }
        // A tenant has one compiler at a time: what is slow costs that tenant only.
        let turn = self.state.borrow_mut().turns.entry(tenant.clone()).or_default().clone();
        let _turn = turn.lock().await;
        let began = Instant::now();
        let what = format!("compiling a module of {} KiB", contents.bytes.len() / 1024);
        let compiled = progress::during(&what, compiler.compile(&contents.bytes)).await;
        let took_ms = began.elapsed().as_millis();
        match compiled {
            Ok(artifact) => {
                let (module, size) = (contents.bytes.len(), artifact.len());
                tracing::info!(tenant = &*tenant, path = spot.written, module, size, took_ms, "compiled");
                self.save(key, artifact.clone()).await;
                Ok(Module::new(key, artifact))
            }
            Err(error) => {
                tracing::warn!(tenant = &*tenant, path = spot.written, %error, took_ms, "not compiled");
                Err(ModuleError::Compile { path: spot.written, error })
            }
        }
    }

    async fn load(&self, key: Key) -> Option<Bytes> {
        let store = self.store.clone()?;
        tokio::task::spawn_blocking(move || store.load(&key)).await.ok()?
    }

    /// A full disk costs the next start time, not this call.
    async fn save(&self, key: Key, artifact: Bytes) {
        let Some(store) = self.store.clone() else { return };
        let saved = tokio::task::spawn_blocking(move || store.save(&key, &artifact)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "a compiled module was not kept");
        }
    }
}

/// A call that waits for a module to be made.
struct Waiting<'a>(&'a Modules);

impl Waiting<'_> {
    fn enter(modules: &Modules) -> Option<Waiting<'_>> {
        let count = modules.waiting.get();
        if count >= modules.most_waiting {
            return None;
        }
        modules.waiting.set(count + 1);
        Some(Waiting(modules))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// Reads a file on a thread of its own: file systems may block.
async fn read(spot: Spot, known: Option<Stamp>) -> Result<Option<Contents>, ModuleError> {
    let read = tokio::task::spawn_blocking(move || spot.read(known)).await;
    Ok(read.map_err(|error| ModuleError::Internal(error.to_string()))??)
}

/// What an artifact depends on beside its module: the compiler's build, its settings and version with it, and
/// what this machine's processor can do.
async fn build(binary: Option<PathBuf>) -> Result<Digest, ModuleError> {
    let hash = move || -> std::io::Result<Digest> {
        let mut hash = Sha256::new();
        let mut file = BufReader::with_capacity(PIECE, File::open(binary.unwrap_or_default())?);
        loop {
            let piece = file.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            hash.update(piece);
            let size = piece.len();
            file.consume(size);
        }
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let features = cpu.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        hash.update(features.unwrap_or_default());
        hash.update(std::env::consts::ARCH);
        Ok(hash.finalize().into())
    };
    let hashed = tokio::task::spawn_blocking(hash).await;
    let unreadable = |error: &dyn std::fmt::Display| {
        ModuleError::Internal(format!("cannot read msgscript-worker-wasm: {error}"))
    };
    hashed.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))
}
