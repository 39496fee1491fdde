//! The base environment: libraries, the prelude, and the table `host` that the prelude reaches us by.
//!
//! The rules are those of [`super`].
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua::ffi::{self, lua_State};

use super::values::{CODE, HOST, KINDS, push_function};
use super::{
    Host, MODE_ENGINE, MODE_ON, Stop, arm, host, load_text, luaJIT_setmode, luaL_loadbufferx, push_str, raw,
    rewrite_place, str_at,
};
use crate::lua::{modules, prelude};
use crate::vm::places::INTERNAL;
use crate::vm::plugins::Opener;

/// What [`build`] makes a base state of.
pub struct Plan {
    /// Whether LuaJIT's compiler is to be there.
    pub jit: bool,
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
        // What is compiled depends on addresses and what is collected on hashes, but each build shall ask for the
        // same blocks. The collector goes on after the next full collection.
        luaJIT_setmode(state, 0, MODE_ENGINE);
        ffi::lua_gc(state, ffi::LUA_GCSTOP, 0);
        if !raw::check(state) {
            push_str(state, b"this LuaJIT stores its values in another way");
            ffi::lua_error(state);
        }
        push_host_table(state);
        for chunk in prelude::BASE {
            // Our own bytecode, made by our build. A compiler would leave holes in the image, too.
            if luaL_loadbufferx(
                state,
                chunk.as_ptr().cast(),
                chunk.len(),
                c"=prelude".as_ptr(),
                c"b".as_ptr(),
            ) != 0
            {
                ffi::lua_error(state);
            }
            ffi::lua_pushvalue(state, -2);
            ffi::lua_call(state, 1, 0);
        }
        if jit {
            luaJIT_setmode(state, 0, MODE_ENGINE | MODE_ON);
        }
        0
    }
}

/// Pushes the table that the prelude reaches us by.
unsafe fn push_host_table(state: *mut lua_State) {
    // SAFETY: below `build`.
    unsafe {
        ffi::lua_createtable(state, 0, 12);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, HOST);
        let natives: [(ffi::lua_CFunction, &CStr); 6] = [
            (host_id, c"id"),
            (host_place, c"place"),
            (host_module, c"module"),
            (host_library, c"library"),
            (host_plugin, c"plugin"),
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
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, CODE);
        // The functions of `modules::BASE` are made when they are asked for: most are asked for once.
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushcclosure(state, host_function, 0);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        ffi::lua_setmetatable(state, -2);
    }
}

/// `host["NAME"]`: the function of [`modules::BASE`] of that name, or nil.
unsafe extern "C-unwind" fn host_function(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT with the table and a key.
    unsafe {
        let name = str_at(state, 2).unwrap_or(b"");
        match modules::BASE.iter().copied().flatten().position(|(known, _)| known.as_bytes() == name) {
            Some(number) => push_function(state, number),
            None => ffi::lua_pushnil(state),
        }
        1
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

/// One of our own sources that is compiled when it is first needed.
struct Code {
    name: &'static str,
    source: &'static str,
    /// Whether a script that needs it has its name in quotes.
    quoted: bool,
}

fn all_code() -> impl Iterator<Item = Code> {
    let modules = modules::ALL.iter().filter_map(|module| Some((module.name, module.lua?, true)));
    let lazy = prelude::LAZY.iter().map(|&(name, source)| (name, source, false));
    modules.chain(lazy).map(|(name, source, quoted)| Code { name, source, quoted })
}

/// Compiles those of our own sources that a script will probably need, since their names occur in its text,
/// and those that they need in turn: what is in a script's image need not be compiled by each run.
///
/// # Safety
/// `state` must be idle, and allocation not limited: nothing may raise. Two stack slots are used.
pub unsafe fn keep_code(state: *mut lua_State, text: &[u8]) {
    let mut texts = vec![text];
    let mut left: Vec<Code> = all_code().collect();
    while let Some(text) = texts.pop() {
        left.retain(|&Code { name, source, quoted }| {
            let needed = mentions(text, name, quoted);
            if needed {
                texts.push(source.as_bytes());
                // SAFETY: the caller's promise; our sources compile.
                unsafe {
                    ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, CODE);
                    push_str(state, name.as_bytes());
                    load_internal(state, name, source);
                    ffi::lua_rawset(state, -3);
                    ffi::lua_settop(state, -2);
                }
            }
            !needed
        });
    }
}

/// Whether a word occurs in a text by itself, or in quotes.
fn mentions(text: &[u8], word: &str, quoted: bool) -> bool {
    let borders = |byte: Option<&u8>| match byte {
        Some(byte) if quoted => b"\"'[]".contains(byte),
        Some(byte) => !byte.is_ascii_alphanumeric() && *byte != b'_',
        None => !quoted,
    };
    memchr::memmem::find_iter(text, word).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        borders(before) && borders(text.get(at + word.len()))
    })
}

/// Pushes one of our own sources as a function: the one that the script's image has, if it has it.
unsafe fn push_code(state: *mut lua_State, name: &str, source: &str) {
    // SAFETY: below a protected call.
    unsafe {
        ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, CODE);
        push_str(state, name.as_bytes());
        ffi::lua_rawget_(state, -2);
        ffi::lua_remove(state, -2);
        if ffi::lua_type(state, -1) != ffi::LUA_TFUNCTION {
            ffi::lua_settop(state, -2);
            load_internal(state, name, source);
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
                push_code(state, module.name, source);
                ffi::lua_insert(state, -2);
                ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, HOST);
                ffi::lua_call(state, 2, 1);
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

/// `host.plugin(name)`: the function that opens the operator's C module of that name; or nil, and why it
/// cannot be had. Where only another worker has it, and nothing of the run was seen yet, the run ends.
unsafe extern "C-unwind" fn host_plugin(state: *mut lua_State) -> c_int {
    // SAFETY: called by LuaJIT. The opener is a `lua_CFunction` by its name; nothing needs a drop when
    // LuaJIT may raise.
    unsafe {
        let name = str_at(state, 1).unwrap_or(b"");
        let Host { plugins, text, ctx, .. } = host(state);
        let found = plugins.iter().find(|(known, _)| is_called(known, name)).map(|(_, opener)| opener);
        let Some(opener) = found else {
            ffi::lua_pushnil(state);
            return 1;
        };
        text.clear();
        match opener {
            Opener::Here(open) => {
                ffi::lua_pushcclosure(state, *open, 0);
                return 1;
            }
            Opener::Broken(why) => text.extend_from_slice(why.as_bytes()),
            Opener::Elsewhere if ctx.outside.has_acted() => text.extend_from_slice(TOO_LATE),
            Opener::Elsewhere => {
                text.extend_from_slice(name);
                host(state).stop = Some(Stop::Plugin);
                arm(state);
                push_str(state, b"stopped");
                ffi::lua_error(state)
            }
        }
        ffi::lua_pushnil(state);
        push_str(state, &host(state).text);
        2
    }
}

/// Why a plugin is not to be had in a run that has done something already.
const TOO_LATE: &[u8] = b"a plugin must be required before anything else is asked of the server; \
    write require with its name in quotes, so that it is seen when the script is read";

/// Whether a script that asks for `name` means the plugin `known`: in C, dots are underscores.
fn is_called(known: &str, name: &[u8]) -> bool {
    known.len() == name.len()
        && known.bytes().zip(name).all(|(known, byte)| known == *byte || known == b'_' && *byte == b'.')
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
            Some((name, source)) => push_code(state, name, source),
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
