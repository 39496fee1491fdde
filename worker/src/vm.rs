//! A Lua state that can be rewound: all its memory lies in one arena, which is copied back after each run.
//!
//! Takes scripts and invocations, gives how they ended; each run finds the state exactly as the one before
//! it did. The unsafe part is in `arena` (the allocator), `glue` (what LuaJIT calls) and `text` (what the
//! linker has LuaJIT call); `image` and `places` are pure. Outside of `vm` nothing sees a Lua state.
#![allow(unsafe_code)]

mod arena;
mod equal;
mod glue;
mod image;
mod places;
mod plugins;
mod text;

use std::collections::HashMap;
use std::ffi::CString;

use mlua::ffi::{self, lua_State};
use msgscript_proto::message::{Invoke, Load, Part, Plugin};

use crate::lua::Ctx;
use crate::lua::modules::base::NO_MEMORY;
use crate::lua::value::Tokens;
use arena::{Arena, Ends};
use glue::{Answer, Host, Stop};
use image::{Delta, Image};
use plugins::Opener;

/// Memory that loading a script may take, in bytes, whatever its runs may.
const LOAD_LIMIT: usize = 128 << 20;

/// How a run ended. Borrows from the state, which stays as it is until the next call.
#[derive(Debug)]
pub enum Ended<'a> {
    /// `OnMessage` returned this string, or something else.
    Message(Option<&'a [u8]>),
    /// A method function returned.
    Http {
        /// The body.
        body: &'a [u8],
        /// The status.
        status: i64,
        /// Names and values in turn.
        headers: Tokens<'a>,
    },
    /// There is no function for the entry; these answer methods.
    NoFunction(Vec<&'static str>),
    /// The script raised an error.
    Error {
        /// The message, with the author's places.
        message: Vec<u8>,
        /// Where it came from, for the log.
        traceback: Vec<u8>,
    },
    /// The memory limit was reached.
    Memory {
        /// Bytes that were in use, or asked for.
        measured: u64,
    },
    /// The script asked for this plugin, which only another worker has.
    NeedsPlugin(&'a [u8]),
    /// The script called `os.exit`.
    Exit,
}

/// Why no state can be built.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The kernel gave no memory for the arena.
    #[error("cannot map the arena: {0}")]
    Arena(#[from] nix::Error),
    /// LuaJIT could not make a state.
    #[error("LuaJIT cannot make a state")]
    State,
    /// Our own Lua code failed.
    #[error("cannot build the base state: {0}")]
    Build(String),
}

/// A script that is ready, or why it is not.
type Loaded = Result<Delta, Vec<u8>>;

/// The state, its base image, and what each script adds to it.
pub struct Vm {
    arena: Arena,
    state: *mut lua_State,
    host: Box<Host>,
    base: Image,
    scripts: HashMap<u64, (Loaded, places::Places)>,
    /// The script whose image the arena holds untouched.
    fresh: Option<u64>,
    random: *mut u64,
    seed: u64,
    jit: bool,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Vm").field("scripts", &self.scripts.len()).finish_non_exhaustive()
    }
}

impl Vm {
    /// Builds a state for runs of at most `memory` bytes. `exhausted` is called when a run passes its
    /// limit so far that it can only end with the process; it is given the bytes asked for.
    ///
    /// # Errors
    /// When memory or our own Lua code fails.
    pub fn new(memory: u64, jit: bool, ctx: Ctx, exhausted: fn(u64) -> !) -> Result<Vm, VmError> {
        std::hint::black_box(text::link());
        let memory = usize::try_from(memory).map_err(|_| nix::Error::EINVAL)?.max(LOAD_LIMIT);
        let mut host = Box::new(Host::new(ctx));
        let mut plan = glue::Plan { jit };
        let mut build = |seats: Building| Built::new(memory, exhausted, &mut host, &mut plan, seats);
        // Built once to see which blocks stay, and again with those side by side.
        let stays = build(Building::Noting)?.arena.noted_seats();
        let mut built = build(Building::Seated(stays))?;
        if !built.arena.take_seats() {
            built = build(Building::Plain)?;
        }
        let Built { mut arena, state, random } = built;
        arena.set_limits(usize::MAX / 2);
        let mut seed = [0; 8];
        // SAFETY: a buffer of eight bytes. Should the kernel have no randomness, the address must do.
        unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
        Ok(Vm {
            base: Image::of(arena.bytes()),
            arena,
            state,
            host,
            scripts: HashMap::new(),
            fresh: None,
            random,
            seed: u64::from_ne_bytes(seed) ^ state as u64,
            jit,
        })
    }

    fn settle(&mut self) {
        // SAFETY: the state is idle.
        unsafe { settle(self.state, self.jit) }
    }

    /// Compiles a script and keeps it. One that does not compile is kept with its error.
    pub fn load(&mut self, load: &Load<'_>) {
        let loaded = self.image(&load.parts);
        let places = std::mem::take(&mut self.host.places);
        self.scripts.insert(load.script, (loaded, places));
    }

    /// Whether a script compiles.
    ///
    /// # Errors
    /// The compiler's message, with the author's places.
    pub fn check(&mut self, load: &Load<'_>) -> Result<(), Vec<u8>> {
        self.image(&load.parts).map(|_| ())
    }

    /// Forgets a script.
    pub fn unload(&mut self, script: u64) {
        self.scripts.remove(&script);
        if self.fresh == Some(script) {
            self.fresh = None;
        }
    }

    /// Bytes that the scripts' images take.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.scripts.values().map(|(loaded, _)| loaded.as_ref().map_or(0, Delta::size)).sum()
    }

    fn image(&mut self, parts: &[Part<'_>]) -> Loaded {
        self.rewind_to(None);
        self.arena.set_limits(LOAD_LIMIT);
        self.host.start(LOAD_LIMIT);
        self.host.places = places::Places::default();
        let mut source = Vec::new();
        let name = self.host.places.add(parts, &mut source);
        let name = CString::new(name).unwrap_or_default();
        let state = self.state;
        // SAFETY: the state is idle and fresh; `source` and `name` live during the call. Nothing here can
        // raise: loading is protected, allocation never fails, and the stack is empty.
        unsafe {
            if !glue::load_text(state, source.as_slice(), name.as_ptr()) {
                let mut message = Vec::new();
                self.host.places.rewrite(glue::str_at(state, -1).unwrap_or(b"?"), &mut message);
                return Err(message);
            }
            ffi::lua_pushcclosure(state, glue::run, 1);
            ffi::lua_pushcclosure(state, glue::on_error, 0);
            glue::keep_code(state, &source);
        }
        self.settle();
        self.arena.set_limits(usize::MAX / 2);
        Ok(Delta::between(&self.base, self.arena.bytes()))
    }

    /// Brings the state back to a script's image (or the bare base): not on a caller's time, if it can be
    /// had.
    pub fn prepare(&mut self, script: u64) {
        if self.fresh != Some(script) && matches!(self.scripts.get(&script), Some((Ok(_), _))) {
            self.rewind_to(Some(script));
        }
    }

    fn rewind_to(&mut self, script: Option<u64>) {
        if self.jit {
            // SAFETY: no Lua frame is active.
            unsafe { glue::luaJIT_setmode(self.state, 0, glue::MODE_ENGINE | glue::MODE_FLUSH) };
        }
        let delta = script.and_then(|id| self.scripts.get(&id)).and_then(|(loaded, _)| loaded.as_ref().ok());
        let length = delta.map_or(self.base.len(), Delta::length);
        self.arena.restore(&self.base, length, |state| {
            if let Some(delta) = delta {
                delta.apply(state);
            }
        });
        self.host.ctx.reset();
        self.fresh = script;
    }

    /// Runs a script once.
    pub fn invoke(&mut self, invoke: &Invoke<'_>) -> Ended<'_> {
        match self.scripts.get_mut(&invoke.script) {
            None => return failed(b"script is not loaded"),
            Some((Err(message), _)) => return failed(message),
            Some((Ok(_), places)) => std::mem::swap(places, &mut self.host.places),
        }
        self.prepare(invoke.script);
        self.fresh = None;
        let soft = usize::try_from(invoke.limits.memory).unwrap_or(usize::MAX / 4);
        self.arena.set_limits(soft);
        self.host.start(soft);
        self.host.ctx.start(invoke);
        let words = [(); 4].map(|()| self.next_random());
        self.arena.poke(self.random, words);
        // SAFETY: cuts the lifetime; `glue::run` reads it only during the call below.
        self.host.invoke =
            unsafe { std::mem::transmute::<*const Invoke<'_>, *const Invoke<'static>>(invoke) };
        let state = self.state;
        // SAFETY: the image has the trampoline at 1 and the message handler at 2; the state is idle.
        let status = unsafe {
            ffi::lua_pushvalue(state, 1);
            ffi::lua_pcall(state, 0, 1, 2)
        };
        self.host.invoke = std::ptr::null();
        self.host.ctx.finish_processes();
        self.host.ctx.finish_lines();
        if let Some((_, places)) = self.scripts.get_mut(&invoke.script) {
            std::mem::swap(places, &mut self.host.places);
        }
        self.ended(status, invoke.script)
    }

    fn ended(&self, status: i32, script: u64) -> Ended<'_> {
        match self.host.stop {
            Some(Stop::Memory) => return Ended::Memory { measured: self.peak() },
            Some(Stop::Exit) => return Ended::Exit,
            Some(Stop::Plugin) => return Ended::NeedsPlugin(&self.host.text),
            None => {}
        }
        // SAFETY: the result or error is on top of the stack, and stays until the next `&mut self`.
        let top = unsafe { glue::str_at(self.state, -1) };
        if status != 0 {
            if let Some(measured) = self.host.ctx.refused_memory
                && top.is_some_and(|text| text.ends_with(NO_MEMORY.as_bytes()))
            {
                return Ended::Memory { measured };
            }
            let default = places::Places::default();
            let places = self.scripts.get(&script).map_or(&default, |(_, places)| places);
            let (mut message, mut traceback) = (Vec::new(), Vec::new());
            places.rewrite(top.unwrap_or(b"error in error handling"), &mut message);
            places.rewrite(&self.host.text, &mut traceback);
            return Ended::Error { message, traceback };
        }
        match self.host.answer {
            Answer::Message => Ended::Message(top),
            Answer::Http { status } => {
                Ended::Http { body: top.unwrap_or(b""), status, headers: self.host.headers.tokens() }
            }
            Answer::NoFunction { methods } => {
                let exists = |index: &usize| methods & (1 << index) != 0;
                let names = (0..glue::METHODS.len()).filter(exists);
                Ended::NoFunction(names.filter_map(|index| glue::METHODS[index].to_str().ok()).collect())
            }
        }
    }

    /// Says which plugins there are: scripts that ask for one are told to run elsewhere.
    pub fn offer(&mut self, plugins: &[Plugin]) {
        self.host.plugins = plugins.iter().map(|plugin| (plugin.name.clone(), Opener::Elsewhere)).collect();
    }

    /// Loads the plugins, which runs their code. No run may be undone after that: what they keep lies
    /// outside of the arena.
    pub fn load_plugins(&mut self, plugins: &[Plugin]) {
        self.host.plugins =
            plugins.iter().map(|plugin| (plugin.name.clone(), plugins::open(plugin))).collect();
    }

    /// Peak bytes of the last run.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.arena.usage().1 as u64
    }

    /// What host functions work on.
    pub fn ctx(&mut self) -> &mut Ctx {
        &mut self.host.ctx
    }

    /// The used part of the arena, for tests that compare states.
    #[must_use]
    pub fn arena_bytes(&self) -> &[u8] {
        self.arena.bytes()
    }

    /// splitmix64: each run's `math.random` starts elsewhere. A word's high bit set is what LuaJIT's
    /// generator needs of its state.
    fn next_random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.seed;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) | 1 << 62
    }
}

/// How the blocks of a base state are seated (see `arena/seats.rs`).
enum Building {
    Noting,
    Seated(Vec<bool>),
    Plain,
}

/// A base state. Dropped before its host.
struct Built {
    arena: Arena,
    state: *mut lua_State,
    random: *mut u64,
}

impl Built {
    fn new(
        memory: usize,
        exhausted: fn(u64) -> !,
        host: &mut Host,
        plan: &mut glue::Plan,
        building: Building,
    ) -> Result<Built, VmError> {
        let mut arena = Arena::new(memory, Ends { soft: glue::arm, hard: exhausted })?;
        let allocator = match building {
            Building::Noting => {
                arena.note_seats();
                arena::seat
            }
            Building::Seated(stays) => {
                arena.give_seats(stays);
                arena::seat
            }
            Building::Plain => arena::allocate,
        };
        // SAFETY: the arena outlives the state, which is never closed: its memory goes as a whole. `build` gets
        // the argument it expects. A block of either allocator is one of `allocate`'s, once seats are taken.
        unsafe {
            let state = ffi::lua_newstate(allocator, arena.data());
            if state.is_null() {
                return Err(VmError::State);
            }
            arena.set_owner(state, std::ptr::from_mut(host).cast());
            arena.set_limits(LOAD_LIMIT);
            host.start(LOAD_LIMIT);
            ffi::lua_atpanic(state, glue::on_panic);
            call(state, glue::build, plan)?;
            let random = glue::random_state(state);
            settle(state, plan.jit);
            ffi::lua_setallocf(state, arena::allocate, arena.data());
            host.ctx.reset();
            Ok(Built { arena, state, random })
        }
    }
}

/// Leaves no garbage and, with the compiler, no trace. An even number of collections: each swaps the
/// collector's two colours, and base and script image shall have the same.
///
/// # Safety
/// The state must be living and idle.
unsafe fn settle(state: *mut lua_State, jit: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if jit {
            glue::luaJIT_setmode(state, 0, glue::MODE_ENGINE | glue::MODE_FLUSH);
        }
        ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
        ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
    }
}

/// Runs a function of `glue` that takes the plan, protected.
///
/// # Safety
/// The state must be living and idle.
unsafe fn call(
    state: *mut lua_State,
    function: ffi::lua_CFunction,
    plan: &mut glue::Plan,
) -> Result<(), VmError> {
    // SAFETY: the caller's promise; the plan outlives the call.
    unsafe {
        if ffi::lua_cpcall(state, function, std::ptr::from_mut(plan).cast()) != 0 {
            let message = glue::str_at(state, -1).unwrap_or(b"?");
            return Err(VmError::Build(String::from_utf8_lossy(message).into_owned()));
        }
    }
    Ok(())
}

fn failed(message: &[u8]) -> Ended<'static> {
    Ended::Error { message: message.to_vec(), traceback: Vec::new() }
}

#[cfg(test)]
mod tests;
