//! Where an error was raised, in the author's words.
//!
//! The rules are those of [`super`].
#![allow(unsafe_code)]

use std::ffi::CStr;

use mlua::ffi::{self, lua_State};

use super::{host, push_str, str_at};
use crate::vm::places::{INTERNAL, SCRIPT};

/// Room for a chunk's short name (LuaJIT's `LUA_IDSIZE` is 60) and a line.
const PLACE_SIZE: usize = 80;

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
