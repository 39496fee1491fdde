//! `require("greet")`: a Lua C module in Rust, without any dependency.
//!
//! The functions of Lua's C API that it declares are those of the worker that loads it. A function that Lua
//! calls takes its arguments from the stack and leaves its results there; it must hold nothing that needs a
//! drop while it calls Lua, which may raise an error and never come back.

use std::ffi::{c_char, c_int, c_void};

/// Lua's state; only Lua knows what is in it.
#[repr(C)]
pub struct State(c_void);

type Function = unsafe extern "C-unwind" fn(*mut State) -> c_int;

unsafe extern "C-unwind" {
    fn luaL_checklstring(state: *mut State, index: c_int, length: *mut usize) -> *const c_char;
    fn lua_pushlstring(state: *mut State, text: *const c_char, length: usize);
    fn lua_pushcclosure(state: *mut State, function: Function, upvalues: c_int);
    fn lua_createtable(state: *mut State, items: c_int, fields: c_int);
    fn lua_setfield(state: *mut State, index: c_int, name: *const c_char);
    fn lua_concat(state: *mut State, count: c_int);
    fn lua_pushvalue(state: *mut State, index: c_int);
}

/// `greet.hello(name)`: "Hello, NAME, from Rust!"
unsafe extern "C-unwind" fn hello(state: *mut State) -> c_int {
    // SAFETY: called by Lua with a living state; nothing here needs a drop.
    unsafe {
        luaL_checklstring(state, 1, std::ptr::null_mut());
        lua_pushlstring(state, c"Hello, ".as_ptr(), 7);
        lua_pushvalue(state, 1);
        lua_pushlstring(state, c", from Rust!".as_ptr(), 12);
        lua_concat(state, 3);
        1
    }
}

/// Called by `require("greet")`; gives the module's table.
///
/// # Safety
/// For Lua to call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn luaopen_greet(state: *mut State) -> c_int {
    // SAFETY: called by Lua with a living state.
    unsafe {
        lua_createtable(state, 0, 1);
        lua_pushcclosure(state, hello, 0);
        lua_setfield(state, -2, c"hello".as_ptr());
        1
    }
}
