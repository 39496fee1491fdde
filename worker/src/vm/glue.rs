//! The C side of the engine: functions that LuaJIT calls, and the reading and building of its values.
//!
//! Rules (a Lua error unwinds through these frames): nothing that needs a drop is alive while LuaJIT may
//! raise; host functions run behind `catch_unwind` on plain data and never see the state; everything that
//! may allocate happens below the one `lua_pcall` in `vm.rs`.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi::{self, lua_State};
use msgscript_proto::message::{Entry, Invoke};

use super::arena;
use super::places::{INTERNAL, Places, SCRIPT};
use crate::lua::value::{Arg, Args, Fail, Handle, HostFn, Kind, MAX_DEPTH, Ret, Token, Tokens};
use crate::lua::{Ctx, modules, prelude};

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

/// Functions that answer HTTP methods, by name.
pub const METHODS: [&CStr; 7] = [c"GET", c"HEAD", c"POST", c"PUT", c"PATCH", c"DELETE", c"OPTIONS"];

/// Room for a chunk's short name (LuaJIT's `LUA_IDSIZE` is 60) and a line.
const PLACE_SIZE: usize = 80;

/// Why a run ends although no error may be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The memory limit.
    Memory,
    /// `os.exit`.
    Exit,
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

// === the run ===

/// What is called for each invocation: runs the chunk (upvalue 1), then the script's function.
pub unsafe extern "C-unwind" fn run(state: *mut lua_State) -> c_int {
    // SAFETY: called by `Vm::invoke` under `lua_pcall`; `invoke` is valid during that. No value here
    // needs a drop.
    unsafe {
        let invoke = host(state).invoke;
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_call(state, 0, 0);
        match (*invoke).entry {
            Entry::Message { subject } => on_message(state, subject, &*invoke),
            Entry::Http { subject, declared, .. } if !declared && has_function(state, c"OnMessage") => {
                on_message(state, subject, &*invoke)
            }
            Entry::Http { method, url, .. } => on_method(state, method, url, &*invoke),
        }
    }
}

unsafe fn has_function(state: *mut lua_State, name: &CStr) -> bool {
    // SAFETY: below `run`.
    unsafe {
        push_global(state, name);
        let found = ffi::lua_type(state, -1) == ffi::LUA_TFUNCTION;
        ffi::lua_pop(state, 1);
        found
    }
}

/// Pushes the global of that name, without metamethods.
unsafe fn push_global(state: *mut lua_State, name: &CStr) {
    // SAFETY: below `run`.
    unsafe {
        push_str(state, name.to_bytes());
        ffi::lua_rawget_(state, ffi::LUA_GLOBALSINDEX);
    }
}

unsafe fn on_message(state: *mut lua_State, subject: &str, invoke: &Invoke<'_>) -> c_int {
    // SAFETY: below `run`.
    unsafe {
        push_global(state, c"OnMessage");
        if ffi::lua_type(state, -1) != ffi::LUA_TFUNCTION {
            return no_function(state);
        }
        push_str(state, subject.as_bytes());
        push_str(state, invoke.payload);
        push_headers(state, invoke);
        ffi::lua_call(state, 3, 1);
        host(state).answer = Answer::Message;
        1
    }
}

unsafe fn no_function(state: *mut lua_State) -> c_int {
    let mut methods = 0;
    for (index, name) in METHODS.iter().enumerate() {
        // SAFETY: below `run`.
        if unsafe { has_function(state, name) } {
            methods |= 1 << index;
        }
    }
    // SAFETY: below `run`.
    unsafe { host(state) }.answer = Answer::NoFunction { methods };
    0
}

unsafe fn on_method(state: *mut lua_State, method: &str, url: &str, invoke: &Invoke<'_>) -> c_int {
    // SAFETY: below `run`.
    unsafe {
        let known = METHODS.iter().find(|name| name.to_bytes() == method.as_bytes());
        let Some(mut name) = known.copied() else { return no_function(state) };
        if name == c"HEAD" && !has_function(state, name) {
            name = c"GET";
        }
        push_global(state, name);
        if ffi::lua_type(state, -1) != ffi::LUA_TFUNCTION {
            return no_function(state);
        }
        push_str(state, url.as_bytes());
        push_str(state, invoke.payload);
        push_headers(state, invoke);
        ffi::lua_call(state, 3, 3);
        take_headers(state);
        let status = ffi::lua_tonumber(state, -2);
        #[allow(clippy::cast_possible_truncation, reason = "saturates; the broker checks the range")]
        let status = if status.is_nan() || status.trunc() == 0.0 { 200 } else { status as i64 };
        host(state).answer = Answer::Http { status };
        ffi::lua_pop(state, 2);
        if ffi::lua_type(state, -1) == ffi::LUA_TNUMBER {
            ffi::lua_tolstring(state, -1, ptr::null_mut());
        }
        1
    }
}

unsafe fn push_headers(state: *mut lua_State, invoke: &Invoke<'_>) {
    // SAFETY: below `run`.
    unsafe {
        let count = c_int::try_from(invoke.headers.len()).unwrap_or(0);
        ffi::lua_createtable(state, 0, count);
        for (name, value) in &invoke.headers {
            push_str(state, name.as_bytes());
            push_str(state, value);
            ffi::lua_rawset(state, -3);
        }
    }
}

/// Reads the headers table on top of the stack into `Host::headers`.
unsafe fn take_headers(state: *mut lua_State) {
    // SAFETY: below `run`; `lua_next` gets the keys that it gave.
    unsafe {
        if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
            return;
        }
        ffi::luaL_checkstack(state, 8, c"headers".as_ptr());
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                ffi::lua_pushnil(state);
                while ffi::lua_next(state, -2) != 0 {
                    add_header(state, -4, -1);
                    ffi::lua_pop(state, 1);
                }
            } else {
                add_header(state, -2, -1);
            }
            ffi::lua_pop(state, 1);
        }
    }
}

/// Adds one header. Copies are converted, since a key must stay as it is for `lua_next`.
unsafe fn add_header(state: *mut lua_State, name: c_int, value: c_int) {
    // SAFETY: below `run`; both indexes are relative to the top before the pushes.
    unsafe {
        ffi::lua_pushvalue(state, name);
        ffi::lua_pushvalue(state, value - 1);
        for index in [-1, -2] {
            if ffi::lua_type(state, index) == ffi::LUA_TNUMBER {
                ffi::lua_tolstring(state, index, ptr::null_mut());
            }
        }
        let headers = &mut host(state).headers;
        if let Some(name) = str_at(state, -2) {
            headers.str(name);
            headers.str(str_at(state, -1).unwrap_or(b""));
        }
        ffi::lua_pop(state, 2);
    }
}

/// The message handler of a run: keeps the traceback, and makes text of the error where it can.
pub unsafe extern "C-unwind" fn on_error(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT with the error at index 1.
    unsafe {
        if host(state).stop.is_some() {
            return 1;
        }
        if ffi::lua_type(state, 1) != ffi::LUA_TSTRING {
            if ffi::luaL_callmeta(state, 1, c"__tostring".as_ptr()) != 0
                && ffi::lua_type(state, -1) == ffi::LUA_TSTRING
            {
                ffi::lua_replace(state, 1);
            } else if ffi::lua_type(state, 1) == ffi::LUA_TNUMBER {
                ffi::lua_tolstring(state, 1, ptr::null_mut());
            } else {
                push_str(state, b"(error object is a ");
                ffi::lua_pushstring_(state, ffi::lua_typename(state, ffi::lua_type(state, 1)));
                push_str(state, b" value)");
                ffi::lua_concat(state, 3);
                ffi::lua_replace(state, 1);
            }
        }
        luaL_traceback(state, state, ptr::null(), 1);
        if let Some(trace) = str_at(state, -1) {
            let host = host(state);
            host.text.clear();
            host.text.extend_from_slice(trace);
        }
        ffi::lua_settop(state, 1);
        1
    }
}

// === stops ===

/// Has the script end at its next instruction.
///
/// # Safety
/// `state` must be the arena's state. Sets a hook only: no allocation, no error.
pub unsafe fn arm(state: *mut lua_State) {
    // SAFETY: the caller's promise.
    unsafe {
        ffi::lua_sethook(state, Some(stop_hook), ffi::LUA_MASKCOUNT, 1);
    }
}

/// Raises an error at every instruction, so that no `pcall` outlives it. Before the memory limit ends a
/// run, garbage is collected once.
unsafe extern "C-unwind" fn stop_hook(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: called by LuaJIT between two instructions, where collecting and raising are allowed.
    unsafe {
        if host(state).stop.is_none() {
            ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
            let (mut data, soft) = (ptr::null_mut(), host(state).soft);
            ffi::lua_getallocf(state, &raw mut data);
            if arena::made_room(data, soft - soft / 8) {
                ffi::lua_sethook(state, None, 0, 0);
                return;
            }
            host(state).stop = Some(Stop::Memory);
        }
        push_str(state, b"stopped");
        ffi::lua_error(state);
    }
}

// === places ===

/// Replaces the error message on top of the stack, `mark:LINE: text`, by one with the author's place.
///
/// # Safety
/// `state` must live in an arena, with a string on top of its stack. Called where LuaJIT raises.
pub unsafe fn rewrite_place(state: *mut lua_State) {
    // SAFETY: the caller's promise; nothing here needs a drop while LuaJIT is called.
    unsafe {
        let Some(message) = str_at(state, -1) else { return };
        match message.first() {
            Some(&SCRIPT) => {
                let host = host(state);
                host.source.clear();
                host.places.rewrite(message, &mut host.source);
            }
            Some(&INTERNAL) => {
                // Our own Lua code: name the line of the script that called it.
                let text = message.splitn(3, |byte| *byte == b':').nth(2).unwrap_or(b" ");
                let mut place = [0; PLACE_SIZE];
                let length = script_place(state, &mut place);
                let host = host(state);
                host.source.clear();
                host.places.rewrite(&place[..length], &mut host.source);
                host.source.extend_from_slice(if length == 0 { text.trim_ascii_start() } else { text });
            }
            _ => return,
        }
        push_str(state, &host(state).source);
        ffi::lua_replace(state, -2);
    }
}

/// Writes `chunk:LINE:` of the nearest caller that is no code of ours; gives its length.
unsafe fn script_place(state: *mut lua_State, place: &mut [u8; PLACE_SIZE]) -> usize {
    // SAFETY: plain queries of the stack; `lua_getstack` writes `record` before it is read.
    unsafe {
        let mut record: ffi::lua_Debug = std::mem::zeroed();
        for level in 0..100 {
            if ffi::lua_getstack(state, level, &raw mut record) == 0 {
                return 0;
            }
            ffi::lua_getinfo(state, c"Sl".as_ptr(), &raw mut record);
            let name = CStr::from_ptr(record.short_src.as_ptr()).to_bytes();
            if record.currentline <= 0 || name.first() == Some(&INTERNAL) {
                continue;
            }
            use std::io::Write;
            let mut rest = &mut place[..];
            let size = rest.len();
            let written = rest.write_all(name).and_then(|()| write!(rest, ":{}:", record.currentline));
            return if written.is_ok() { size - rest.len() } else { 0 };
        }
        0
    }
}

// === host functions ===

/// Pushes the host function of that number.
unsafe fn push_function(state: *mut lua_State, number: usize) {
    // SAFETY: below a protected call.
    unsafe {
        #[allow(clippy::cast_precision_loss, reason = "a small index")]
        ffi::lua_pushnumber(state, number as f64);
        ffi::lua_pushcclosure(state, dispatch, 1);
    }
}

/// Every host function: upvalue 1 says which.
unsafe extern "C-unwind" fn dispatch(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT. The arguments stay on the stack during the call, so the borrowed strings
    // live; `read_args` and `push_values` may raise, and nothing that needs a drop is alive then.
    unsafe {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made by push_function")]
        let number = ffi::lua_tonumber(state, ffi::lua_upvalueindex(1)) as usize;
        read_args(state);
        let failed = call_host(host(state), number);
        if let Some(failure) = failed {
            return raise(state, failure);
        }
        let mut tokens: Tokens<'static> = std::mem::transmute(host(state).ret.tokens());
        let mut count = 0;
        while let Some(token) = tokens.next() {
            ffi::luaL_checkstack(state, 1, c"too many results".as_ptr());
            push_value(state, token, &mut tokens);
            count += 1;
        }
        count
    }
}

/// How a host function failed; the text is in `Host::text`.
#[derive(Clone, Copy)]
enum Failure {
    Here,
    Plain,
    Stop(Stop),
}

/// Runs a host function on the arguments that were read.
fn call_host(host: &mut Host, number: usize) -> Option<Failure> {
    let &(name, function) = host.functions.get(number)?;
    let function_name = name.rsplit(['.', ':']).next().unwrap_or(name);
    host.ret.clear();
    let Host { ctx, args, ret, text, .. } = host;
    let args = Args { function: function_name, list: args };
    let result = catch_unwind(AssertUnwindSafe(|| function(ctx, &args, ret)));
    let (failure, message) = match result {
        Ok(Ok(())) => return None,
        Ok(Err(Fail::Here(message))) => (Failure::Here, message),
        Ok(Err(Fail::Plain(message))) => (Failure::Plain, message),
        Ok(Err(Fail::Memory)) => (Failure::Stop(Stop::Memory), String::new()),
        Ok(Err(Fail::Exit)) => (Failure::Stop(Stop::Exit), String::new()),
        Err(_) => (Failure::Here, format!("{name}: host function panicked")),
    };
    text.clear();
    text.extend_from_slice(message.as_bytes());
    Some(failure)
}

unsafe fn raise(state: *mut lua_State, failure: Failure) -> c_int {
    // SAFETY: below `dispatch`.
    unsafe {
        match failure {
            Failure::Stop(stop) => {
                host(state).stop = Some(stop);
                arm(state);
                push_str(state, b"stopped");
            }
            Failure::Plain => push_str(state, &host(state).text),
            Failure::Here => {
                ffi::luaL_where(state, 1);
                push_str(state, &host(state).text);
                ffi::lua_concat(state, 2);
            }
        }
        ffi::lua_error(state)
    }
}

/// Reads the arguments of the running function into `Host::args`.
unsafe fn read_args(state: *mut lua_State) {
    // SAFETY: below `dispatch`. The lifetimes are cut: `Host::args` is read only until the function
    // returns, while its arguments are on the stack and `flat` does not change.
    unsafe {
        let count = ffi::lua_gettop(state);
        let host_ = host(state);
        host_.args.clear();
        host_.flat.clear();
        host_.seen.clear();
        for index in 1..=count {
            let arg = match ffi::lua_type(state, index) {
                ffi::LUA_TNIL => Arg::Nil,
                ffi::LUA_TBOOLEAN => Arg::Bool(ffi::lua_toboolean(state, index) != 0),
                ffi::LUA_TNUMBER => Arg::Num(ffi::lua_tonumber(state, index)),
                ffi::LUA_TSTRING => Arg::Str(str_at(state, index).unwrap_or(b"")),
                ffi::LUA_TUSERDATA => handle_at(state, index).map_or(Arg::Other("userdata"), Arg::Handle),
                ffi::LUA_TTABLE => {
                    let start = host(state).flat.position();
                    host(state).seen.clear();
                    flatten(state, index, 0);
                    Arg::Table(Tokens::new(&[], start))
                }
                other => Arg::Other(type_name(other)),
            };
            host(state).args.push(arg);
        }
        let Host { args, flat, .. } = host(state);
        for arg in args {
            if let Arg::Table(tokens) = arg {
                let start = Tokens::position(tokens);
                let mut whole: Tokens<'static> = std::mem::transmute(flat.tokens_at(start));
                whole.next();
                *tokens = whole;
            }
        }
    }
}

fn type_name(kind: c_int) -> &'static str {
    match kind {
        ffi::LUA_TFUNCTION => "function",
        ffi::LUA_TTHREAD => "thread",
        ffi::LUA_TLIGHTUSERDATA => "lightuserdata",
        ffi::LUA_TUSERDATA => "userdata",
        _ => "cdata",
    }
}

/// The handle that a userdata holds. All that scripts can get hold of are made by `push_value`.
unsafe fn handle_at(state: *mut lua_State, index: c_int) -> Option<Handle> {
    // SAFETY: `index` is a full userdata; its size is checked before it is read.
    unsafe {
        if ffi::lua_objlen(state, index) != size_of::<[u32; 2]>() {
            return None;
        }
        let [kind, index] = ffi::lua_touserdata(state, index).cast::<[u32; 2]>().read();
        let kind = Kind::ALL.into_iter().find(|known| *known as u32 == kind)?;
        Some(Handle { kind, index })
    }
}

/// Appends the tokens of the value at an index to `Host::flat`.
unsafe fn flatten(state: *mut lua_State, index: c_int, depth: usize) {
    // SAFETY: below `dispatch`. Raises for depth before anything that needs a drop exists; `lua_next`
    // gets the keys that it gave.
    unsafe {
        let flat = &mut host(state).flat;
        match ffi::lua_type(state, index) {
            ffi::LUA_TNIL => flat.nil(),
            ffi::LUA_TBOOLEAN => flat.bool(ffi::lua_toboolean(state, index) != 0),
            ffi::LUA_TNUMBER => flat.num(ffi::lua_tonumber(state, index)),
            ffi::LUA_TSTRING => flat.str(str_at(state, index).unwrap_or(b"")),
            ffi::LUA_TUSERDATA => match handle_at(state, index) {
                Some(handle) => flat.handle(handle),
                None => flat.other("userdata"),
            },
            ffi::LUA_TTABLE => flatten_table(state, index, depth),
            other => flat.other(type_name(other)),
        }
    }
}

unsafe fn flatten_table(state: *mut lua_State, index: c_int, depth: usize) {
    // SAFETY: as in `flatten`.
    unsafe {
        let address = ffi::lua_topointer(state, index) as usize;
        let Host { flat, seen, .. } = host(state);
        if let Some(&at) = seen.get(&address) {
            flat.seen(at);
            return;
        }
        flat.begin_table();
        seen.insert(address, flat.position());
        if depth >= MAX_DEPTH {
            ffi::luaL_where(state, 1);
            push_str(state, b"table nests too deeply");
            ffi::lua_concat(state, 2);
            ffi::lua_error(state);
        }
        ffi::luaL_checkstack(state, 4, c"table nests too deeply".as_ptr());
        ffi::lua_pushvalue(state, index);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            flatten(state, ffi::lua_gettop(state) - 1, depth + 1);
            flatten(state, ffi::lua_gettop(state), depth + 1);
            ffi::lua_pop(state, 1);
        }
        ffi::lua_pop(state, 1);
        host(state).flat.end_table();
    }
}

/// Pushes the value that begins with `token`. The caller has made room for one value.
unsafe fn push_value(state: *mut lua_State, token: Token<'static>, tokens: &mut Tokens<'static>) {
    // SAFETY: below `dispatch`; tokens borrow `Host::ret`, which does not change meanwhile.
    unsafe {
        match token {
            Token::Bool(value) => ffi::lua_pushboolean(state, c_int::from(value)),
            Token::Num(value) => ffi::lua_pushnumber(state, value),
            Token::Str(value) => push_str(state, value),
            Token::Handle(handle) => push_handle(state, handle),
            Token::Table => push_table(state, tokens),
            Token::Nil | Token::End | Token::Seen(_) | Token::Other(_) => ffi::lua_pushnil(state),
        }
    }
}

unsafe fn push_table(state: *mut lua_State, tokens: &mut Tokens<'static>) {
    // SAFETY: as in `push_value`.
    unsafe {
        ffi::luaL_checkstack(state, 4, c"value nests too deeply".as_ptr());
        ffi::lua_createtable(state, 0, 0);
        let mut next = 1;
        while let Some(key) = tokens.next() {
            if matches!(key, Token::End) {
                return;
            }
            let Some(value) = ({
                #[allow(clippy::float_cmp, reason = "whole numbers below 2^31 are exact")]
                if matches!(key, Token::Num(number) if number == f64::from(next)) {
                    tokens.next()
                } else {
                    push_value(state, key, tokens);
                    let value = tokens.next();
                    if let Some(value) = value {
                        push_value(state, value, tokens);
                        ffi::lua_rawset(state, -3);
                    }
                    continue;
                }
            }) else {
                return;
            };
            push_value(state, value, tokens);
            ffi::lua_rawseti_(state, -2, next);
            next += 1;
        }
    }
}

unsafe fn push_handle(state: *mut lua_State, handle: Handle) {
    // SAFETY: as in `push_value`; the userdata has room for what is written.
    unsafe {
        let data = ffi::lua_newuserdata(state, size_of::<[u32; 2]>()).cast::<[u32; 2]>();
        data.write([handle.kind as u32, handle.index]);
        push_metatable(state, handle.kind);
        ffi::lua_setmetatable(state, -2);
    }
}

/// Pushes the metatable of a kind of handle, which the prelude has put into `host.kinds`.
unsafe fn push_metatable(state: *mut lua_State, kind: Kind) {
    // SAFETY: below a protected call.
    unsafe {
        ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, KINDS);
        ffi::lua_rawgeti_(state, -1, kind as c_int);
        ffi::lua_remove(state, -2);
    }
}

/// Where the registry keeps the table `host.kinds`.
const KINDS: c_int = 1000;

// === the base environment ===

/// What [`build`] makes a base state of.
pub struct Plan {
    /// Whether LuaJIT's compiler is to be there.
    pub jit: bool,
    /// The prelude's chunks, compiled by [`compile`].
    pub prelude: Vec<Vec<u8>>,
}

/// Compiles the prelude in a state of its own and appends each chunk's bytecode to the plan. The state that
/// is imaged loads that: what a compiler leaves behind would be holes in the image. Called under
/// `lua_cpcall` with the plan as its argument.
pub unsafe extern "C-unwind" fn compile(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT; argument 1 is the plan, which is alive and nobody else's. What may raise is
    // called while nothing that needs a drop is on this frame.
    unsafe {
        let plan = ffi::lua_touserdata(state, 1).cast::<Plan>();
        for (name, source) in prelude::BASE {
            load_internal(state, name, source);
            (*plan).prelude.push(Vec::new());
            let last = (*plan).prelude.len() - 1;
            let chunk: *mut Vec<u8> = &raw mut (&mut (*plan).prelude)[last];
            ffi::lua_dump_(state, append, chunk.cast());
            ffi::lua_settop(state, 1);
        }
        0
    }
}

/// Takes a piece of bytecode (`lua_Writer`).
unsafe extern "C-unwind" fn append(
    _: *mut lua_State,
    piece: *const c_void,
    size: usize,
    chunk: *mut c_void,
) -> c_int {
    // SAFETY: called by LuaJIT with a piece of that size and the vector that `compile` gave.
    unsafe {
        (*chunk.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(piece.cast(), size));
    }
    0
}

/// Opens the libraries and runs the prelude. Called once, under `lua_cpcall`, with the plan as its argument.
pub unsafe extern "C-unwind" fn build(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT; argument 1 is the plan, which outlives the call.
    unsafe {
        let plan = ffi::lua_touserdata(state, 1).cast::<Plan>();
        let jit = (*plan).jit;
        let libraries: [(ffi::lua_CFunction, &CStr); 7] = [
            (ffi::luaopen_base, c""),
            (ffi::luaopen_package, c"package"),
            (ffi::luaopen_table, c"table"),
            (ffi::luaopen_string, c"string"),
            (ffi::luaopen_math, c"math"),
            (ffi::luaopen_os, c"os"),
            (ffi::luaopen_debug, c"debug"),
        ];
        let more: [(ffi::lua_CFunction, &CStr); 2] = [(ffi::luaopen_bit, c"bit"), (ffi::luaopen_jit, c"jit")];
        for (open, name) in libraries.into_iter().chain(more.into_iter().take(if jit { 2 } else { 1 })) {
            ffi::lua_pushcclosure(state, open, 0);
            ffi::lua_pushstring_(state, name.as_ptr());
            ffi::lua_call(state, 1, 0);
        }
        push_host_table(state);
        for index in 0..(&(*plan).prelude).len() {
            // Our own bytecode, made by `compile` a moment ago.
            let chunk: *const [u8] = (&(*plan).prelude)[index].as_slice();
            if luaL_loadbufferx(state, chunk.cast(), chunk.len(), c"=prelude".as_ptr(), c"b".as_ptr()) != 0 {
                ffi::lua_error(state);
            }
            ffi::lua_pushvalue(state, -2);
            ffi::lua_call(state, 1, 0);
        }
        0
    }
}

/// Pushes the table that the prelude reaches us by.
unsafe fn push_host_table(state: *mut lua_State) {
    // SAFETY: below `build`.
    unsafe {
        ffi::lua_createtable(state, 0, 64);
        let natives: [(ffi::lua_CFunction, &CStr); 5] = [
            (host_id, c"id"),
            (host_place, c"place"),
            (host_module, c"module"),
            (host_library, c"library"),
            (host_chunk, c"chunk"),
        ];
        for (function, name) in natives {
            ffi::lua_pushcclosure(state, function, 0);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, KINDS);
        ffi::lua_setfield(state, -2, c"kinds".as_ptr());
        for (number, (name, _)) in modules::BASE.iter().copied().flatten().enumerate() {
            push_str(state, name.as_bytes());
            push_function(state, number);
            ffi::lua_rawset(state, -3);
        }
    }
}

/// Loads one of our own sources, or raises.
unsafe fn load_internal(state: *mut lua_State, name: &str, source: &str) {
    // SAFETY: below a protected call; the name is on our stack, cut to fit, and ends with a zero.
    unsafe {
        let mut mark = [0u8; 40];
        mark[0] = b'=';
        mark[1] = INTERNAL;
        let length = name.len().min(36);
        mark[2..2 + length].copy_from_slice(&name.as_bytes()[..length]);
        if !load_text(state, source.as_bytes(), mark.as_ptr().cast()) {
            ffi::lua_error(state);
        }
    }
}

/// `host.id(value)`: a number for an object that does not tell where it lies.
unsafe extern "C-unwind" fn host_id(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT.
    unsafe {
        let mut data = ptr::null_mut();
        ffi::lua_getallocf(state, &raw mut data);
        let offset = (ffi::lua_topointer(state, 1) as usize).wrapping_sub(data as usize);
        #[allow(clippy::cast_precision_loss, reason = "an offset in an arena, or 0")]
        let id = if offset < 1 << 40 { offset as f64 } else { 0.0 };
        ffi::lua_pushnumber(state, id);
        1
    }
}

/// `host.place(text)`: the text with places as the author knows them.
unsafe extern "C-unwind" fn host_place(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT.
    unsafe {
        let text = str_at(state, 1).unwrap_or(b"");
        let host_ = host(state);
        host_.source.clear();
        host_.places.rewrite(text, &mut host_.source);
        push_str(state, &host(state).source);
        1
    }
}

/// `host.module(name)`: the built-in module of that name, or nil.
unsafe extern "C-unwind" fn host_module(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT.
    unsafe {
        let name = str_at(state, 1).unwrap_or(b"");
        let mut number = modules::BASE.iter().map(|functions| functions.len()).sum();
        for module in modules::ALL {
            if module.name.as_bytes() != name {
                number += module.functions.len();
                continue;
            }
            ffi::lua_createtable(state, 0, c_int::try_from(module.functions.len()).unwrap_or(0));
            for (function, _) in module.functions {
                let function = function.rsplit('.').next().unwrap_or(function);
                push_str(state, function.as_bytes());
                push_function(state, number);
                ffi::lua_rawset(state, -3);
                number += 1;
            }
            if let Some(source) = module.lua {
                load_internal(state, module.name, source);
                ffi::lua_insert(state, -2);
                ffi::lua_call(state, 1, 1);
            }
            return 1;
        }
        ffi::lua_pushnil(state);
        1
    }
}

/// `host.library(name)`: the chunk of that library, loaded; or nil and what the broker said.
unsafe extern "C-unwind" fn host_library(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT. The chunk's name is copied to our stack before LuaJIT is called.
    unsafe {
        let name = str_at(state, 1).unwrap_or(b"");
        let mut mark = [0u8; 40];
        if !fetch_library(host(state), name, &mut mark) {
            ffi::lua_pushnil(state);
            if host(state).text.is_empty() {
                return 1;
            }
            push_str(state, &host(state).text);
            return 2;
        }
        let source: *const [u8] = host(state).source.as_slice();
        if !load_text(state, source, mark.as_ptr().cast()) {
            rewrite_place(state);
            ffi::lua_pushnil(state);
            ffi::lua_insert(state, -2);
            return 2;
        }
        1
    }
}

/// Puts a library's source into `Host::source` and the name of its chunk into `mark`.
fn fetch_library(host: &mut Host, name: &[u8], mark: &mut [u8; 40]) -> bool {
    let Host { ctx, places, source, text, .. } = host;
    source.clear();
    text.clear();
    let found = ctx.library(name, &mut |parts| {
        let chunk = places.add(parts, source);
        let length = chunk.len().min(38);
        mark[..length].copy_from_slice(&chunk.as_bytes()[..length]);
    });
    if let Err(error) = &found {
        text.extend_from_slice(error.as_bytes());
    }
    found.is_ok_and(|found| found)
}

/// `host.chunk(name)`: one of our own sources that are loaded when needed.
unsafe extern "C-unwind" fn host_chunk(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT.
    unsafe {
        let name = str_at(state, 1).unwrap_or(b"");
        match prelude::LAZY.iter().find(|(known, _)| known.as_bytes() == name) {
            Some((name, source)) => load_internal(state, name, source),
            None => ffi::lua_pushnil(state),
        }
        1
    }
}

/// Where the state of `math.random` lies (its userdata), to give each run other numbers.
///
/// # Safety
/// `state` must be a living state whose `math` library is untouched.
pub unsafe fn random_state(state: *mut lua_State) -> *mut u64 {
    // SAFETY: `math.random` keeps a userdata of four words as its first upvalue (LuaJIT, lib_math.c).
    unsafe {
        ffi::lua_getfield_(state, ffi::LUA_GLOBALSINDEX, c"math".as_ptr());
        ffi::lua_getfield_(state, -1, c"random".as_ptr());
        ffi::lua_getupvalue(state, -1, 1);
        let address = ffi::lua_touserdata(state, -1);
        ffi::lua_settop(state, 0);
        address.cast::<u64>()
    }
}

/// What LuaJIT calls for an error that nobody protects: a fault of ours.
pub unsafe extern "C-unwind" fn on_panic(_: *mut lua_State) -> c_int {
    std::process::abort()
}
