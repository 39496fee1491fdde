//! The C side of the engine: functions that LuaJIT calls, and the reading and building of its values.
//!
//! Rules (a Lua error unwinds through these frames): nothing that needs a drop is alive while LuaJIT may
//! raise; host functions run behind `catch_unwind` on plain data and never see the state; everything that
//! may allocate happens below the one `lua_pcall` in `vm.rs`.
#![allow(unsafe_code)]

mod base;
mod place;
mod raw;
mod run;
mod values;

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr;

use mlua::ffi::{self, lua_State};
use msgscript_proto::message::Invoke;

use super::arena;
use super::places::Places;
use super::plugins::Opener;
use crate::lua::value::{Arg, HostFn, Ret};
use crate::lua::{Ctx, modules};

pub use base::{Plan, build, keep_code, on_panic, random_state};
pub use place::rewrite_place;
pub use run::{arm, on_error, run};

unsafe extern "C-unwind" {
    fn luaL_loadbufferx(
        state: *mut lua_State,
        text: *const c_char,
        size: usize,
        name: *const c_char,
        mode: *const c_char,
    ) -> c_int;
    fn luaL_traceback(state: *mut lua_State, of: *mut lua_State, message: *const c_char, level: c_int);
    /// Turns LuaJIT's compiler on, off, or flushes it.
    pub fn luaJIT_setmode(state: *mut lua_State, index: c_int, mode: c_int) -> c_int;
}

/// For [`luaJIT_setmode`]: the compiler as a whole, which this alone turns off.
pub const MODE_ENGINE: c_int = 0;
/// Turns it on.
pub const MODE_ON: c_int = 0x100;
/// Drops what it has compiled.
pub const MODE_FLUSH: c_int = 0x200;

/// Functions that answer HTTP methods, by name.
pub const METHODS: [&CStr; 7] = [c"GET", c"HEAD", c"POST", c"PUT", c"PATCH", c"DELETE", c"OPTIONS"];

/// Why a run ends although no error may be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The memory limit.
    Memory,
    /// `os.exit`.
    Exit,
    /// A plugin that only another worker has; its name is in [`Host::text`].
    Plugin,
}

/// What kind of answer the function on top of the stack is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answer {
    /// `OnMessage` ran; its result is the value.
    #[default]
    Message,
    /// A method function ran; the value is the body.
    Http {
        /// Its status.
        status: i64,
    },
    /// There is no function; these of [`METHODS`] exist (a bit each).
    NoFunction {
        /// Bits by index.
        methods: u8,
    },
}

/// Everything the C side needs besides the state. The arena knows its address.
pub struct Host {
    /// What host functions work on.
    pub ctx: Ctx,
    /// The run's message; valid while it runs.
    pub invoke: *const Invoke<'static>,
    /// What came of it.
    pub answer: Answer,
    /// Headers of an HTTP answer: name and value in turn.
    pub headers: Ret,
    /// Why it ends.
    pub stop: Option<Stop>,
    /// Chunks and their places.
    pub places: Places,
    /// Bytes of source to load.
    pub source: Vec<u8>,
    /// Error text and traceback.
    pub text: Vec<u8>,
    /// The operator's C modules, by name.
    pub plugins: Vec<(String, Opener)>,
    soft: usize,
    functions: Vec<(&'static str, HostFn)>,
    args: Vec<Arg<'static>>,
    flat: Ret,
    ret: Ret,
    seen: HashMap<usize, usize, BuildHasherDefault<AddressHasher>>,
}

impl Host {
    /// A host around a context.
    pub fn new(ctx: Ctx) -> Host {
        Host {
            ctx,
            invoke: ptr::null(),
            answer: Answer::Message,
            headers: Ret::default(),
            stop: None,
            places: Places::default(),
            source: Vec::new(),
            text: Vec::new(),
            plugins: Vec::new(),
            soft: usize::MAX,
            functions: all_functions(),
            args: Vec::with_capacity(16),
            flat: Ret::default(),
            ret: Ret::default(),
            seen: HashMap::default(),
        }
    }

    /// Makes ready for a run with that memory limit.
    pub fn start(&mut self, soft: usize) {
        self.soft = soft;
        self.stop = None;
        self.answer = Answer::Message;
        self.headers.clear();
        self.text.clear();
        self.places.truncate(1);
    }
}

/// All host functions: those of the base environment first, then each module's.
fn all_functions() -> Vec<(&'static str, HostFn)> {
    let modules = modules::ALL.iter().map(|module| module.functions);
    modules::BASE.iter().copied().chain(modules).flatten().copied().collect()
}

/// Spreads addresses; they are no secret to the script that a table is for.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64 >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The host of a state.
///
/// # Safety
/// `state` must live in an arena whose owner is set. The reference must not outlive the next call into
/// LuaJIT.
unsafe fn host<'a>(state: *mut lua_State) -> &'a mut Host {
    let mut data = ptr::null_mut();
    // SAFETY: the caller's promise; the arena's owner is a `Host`.
    unsafe {
        ffi::lua_getallocf(state, &raw mut data);
        &mut *arena::host_of(data).cast::<Host>()
    }
}

/// Pushes a string.
///
/// # Safety
/// `state` must be a living state with room on its stack, below a protected call.
pub unsafe fn push_str(state: *mut lua_State, text: &[u8]) {
    // SAFETY: a slice is valid for its length; an empty one's pointer is not read.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) }
}

/// The bytes of the string at an index, if it is one. They live as long as the value does.
///
/// # Safety
/// `state` must be a living state, `index` acceptable to it.
pub unsafe fn str_at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: for a string, `lua_tolstring` neither converts nor allocates.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut length = 0;
        let text = ffi::lua_tolstring(state, index, &raw mut length);
        Some(std::slice::from_raw_parts(text.cast(), length))
    }
}

/// Loads source text (never bytecode) as a function, which is pushed; or pushes an error and gives false.
///
/// # Safety
/// `state` must be a living state; `text` must stay in place for the call.
pub unsafe fn load_text(state: *mut lua_State, text: *const [u8], name: *const c_char) -> bool {
    // SAFETY: the caller's promise; LuaJIT protects the call itself.
    unsafe { luaL_loadbufferx(state, text.cast(), text.len(), name, c"t".as_ptr()) == 0 }
}
