//! LuaJIT's number formatting and error places, taken over at link time (see `build.rs`).
//!
//! The linker sends LuaJIT's own calls of `f` to `__wrap_f`, and `__real_f` to LuaJIT's `f`. Whole numbers
//! below 2^63 then print in full digits everywhere, `..` included, and errors name the author's file and
//! line although libraries and script are one chunk.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use mlua::ffi::lua_State;

use crate::lua::number;

/// `STRFMT_G14` of `lj_strfmt.h`: how LuaJIT prints a number when nothing else is asked.
const G14: u32 = 5 | 0x30 | (15 << 24);

unsafe extern "C-unwind" {
    fn __real_lj_strfmt_num(state: *mut lua_State, number: *const f64) -> *mut c_void;
    fn __real_lj_strfmt_putfnum(buffer: *mut c_void, format: u32, number: f64) -> *mut c_void;
    fn __real_lj_debug_addloc(
        state: *mut lua_State,
        message: *const c_char,
        frame: *const c_void,
        next: *const c_void,
    );
    fn lj_str_new(state: *mut lua_State, text: *const c_char, length: usize) -> *mut c_void;
    fn lj_buf_putmem(buffer: *mut c_void, bytes: *const c_void, length: u32) -> *mut c_void;
}

/// Digits of a whole number that `%.14g` would not print in full (or as `-0`).
struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(number: f64) -> Option<Digits> {
        if number != 0.0 && number.abs() < 1e14 || number == 0.0 && number.is_sign_positive() {
            return None;
        }
        let whole = number::whole(number)?;
        let mut digits = Digits { bytes: [0; 20], start: 20 };
        let mut rest = whole.unsigned_abs();
        loop {
            #[allow(clippy::cast_possible_truncation, reason = "a digit")]
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if whole < 0 {
            digits.push(b'-');
        }
        Some(digits)
    }

    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    fn text(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Makes a Lua string of a number.
///
/// # Safety
/// Called by LuaJIT with its state and a number.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __wrap_lj_strfmt_num(
    state: *mut lua_State,
    number: *const f64,
) -> *mut c_void {
    // SAFETY: LuaJIT's own arguments, handed on; `Digits` needs no drop, should an error pass.
    unsafe {
        match Digits::of(*number) {
            Some(digits) => lj_str_new(state, digits.text().as_ptr().cast(), digits.text().len()),
            None => __real_lj_strfmt_num(state, number),
        }
    }
}

/// Appends a number to one of LuaJIT's buffers.
///
/// # Safety
/// Called by LuaJIT with one of its buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __wrap_lj_strfmt_putfnum(
    buffer: *mut c_void,
    format: u32,
    number: f64,
) -> *mut c_void {
    let digits = if format == G14 { Digits::of(number) } else { None };
    // SAFETY: as above.
    unsafe {
        match digits {
            #[allow(clippy::cast_possible_truncation, reason = "at most 20")]
            Some(digits) => lj_buf_putmem(buffer, digits.text().as_ptr().cast(), digits.text().len() as u32),
            None => __real_lj_strfmt_putfnum(buffer, format, number),
        }
    }
}

/// Pushes an error message with its place in front.
///
/// # Safety
/// Called by LuaJIT with frames of its stack.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __wrap_lj_debug_addloc(
    state: *mut lua_State,
    message: *const c_char,
    frame: *const c_void,
    next: *const c_void,
) {
    // SAFETY: LuaJIT's own arguments; afterwards the message is on top of the stack.
    unsafe {
        __real_lj_debug_addloc(state, message, frame, next);
        super::glue::rewrite_place(state);
    }
}

/// Refers to the functions above, so that the linker finds them where LuaJIT calls them.
pub fn link() -> [*const c_void; 3] {
    [
        __wrap_lj_strfmt_num as *const c_void,
        __wrap_lj_strfmt_putfnum as *const c_void,
        __wrap_lj_debug_addloc as *const c_void,
    ]
}
