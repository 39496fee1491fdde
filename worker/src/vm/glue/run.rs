//! One run: the chunk's top level, then the script's function, and how a run is stopped.
//!
//! The rules are those of [`super`].
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua::ffi::{self, lua_State};
use msgscript_proto::message::{Entry, Invoke};

use super::{Answer, METHODS, Stop, host, luaL_traceback, push_str, str_at};
use crate::vm::arena;

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
