//! Tables as LuaJIT stores them: read in place, since its API asks for a dozen calls per entry.
//!
//! Takes a table that is alive, gives its entries in the order of `lua_next`. Nothing here calls LuaJIT, so
//! nothing moves meanwhile. The layouts are those of `lj_obj.h` with 64-bit references; [`check`] compares them
//! with what the API says before the first script is read.
#![allow(unsafe_code)]

use std::ffi::c_void;

use mlua::ffi::{self, lua_State};

use super::push_str;

/// One value; strings and objects are borrowed from the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Num(f64),
    Str(&'static [u8]),
    Table(Table),
    /// The bytes of a userdata.
    Userdata(&'static [u8]),
    /// Anything else, by its type's name.
    Other(&'static str),
}

/// A table by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table(*const u8);

// Offsets in LuaJIT's objects.
const STR_LENGTH: usize = 20;
const STR_BYTES: usize = 24;
const USERDATA_LENGTH: usize = 24;
const USERDATA_BYTES: usize = 48;
const TABLE_ARRAY: usize = 16;
const TABLE_NODES: usize = 40;
const TABLE_ITEMS: usize = 48;
const TABLE_MASK: usize = 52;
const NODE_KEY: usize = 8;
const NODE: usize = 24;
/// A value's type stands above this many bits of its address.
const ADDRESS_BITS: u32 = 47;
/// What an empty slot holds.
const NIL: u64 = u64::MAX;

/// What is stored at an address.
unsafe fn get<T>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise: a living object that has such a field there.
    unsafe { base.add(offset).cast::<T>().read_unaligned() }
}

unsafe fn bytes(object: *const u8, length: usize, from: usize) -> &'static [u8] {
    // SAFETY: the caller's promise: an object with that many bytes; they are used only while it lives.
    unsafe { std::slice::from_raw_parts(object.add(from), get::<u32>(object, length) as usize) }
}

impl Value {
    /// Reads a tagged value.
    #[inline]
    unsafe fn of(value: u64) -> Value {
        let object = (value & ((1 << ADDRESS_BITS) - 1)) as *const u8;
        #[allow(clippy::cast_possible_wrap, reason = "types count down from -1")]
        let kind = value as i64 >> ADDRESS_BITS;
        // SAFETY: the caller's promise: a value of a living state, so its address is that of such an object.
        unsafe {
            match kind {
                -1 => Value::Nil,
                -2 => Value::Bool(false),
                -3 => Value::Bool(true),
                -4 => Value::Other("lightuserdata"),
                -5 => Value::Str(bytes(object, STR_LENGTH, STR_BYTES)),
                -7 => Value::Other("thread"),
                -9 => Value::Other("function"),
                -12 => Value::Table(Table(object)),
                -13 => Value::Userdata(bytes(object, USERDATA_LENGTH, USERDATA_BYTES)),
                #[allow(clippy::cast_possible_truncation, reason = "the low half is a 32-bit integer")]
                -14 => Value::Num(f64::from(value as i32)),
                -11..-5 => Value::Other("cdata"),
                _ => Value::Num(f64::from_bits(value)),
            }
        }
    }
}

impl Table {
    /// The table at an index of the stack.
    ///
    /// # Safety
    /// There must be a table.
    pub(super) unsafe fn at(state: *mut lua_State, index: i32) -> Table {
        // SAFETY: the caller's promise.
        Table(unsafe { ffi::lua_topointer(state, index) }.cast())
    }

    /// What tells it from other tables.
    pub(super) fn address(self) -> usize {
        self.0 as usize
    }

    /// Hands over each key with its value, in the order of `lua_next`, until `each` fails.
    ///
    /// # Safety
    /// The table must be alive, and `each` must not call LuaJIT.
    pub(super) unsafe fn entries<E>(
        self,
        mut each: impl FnMut(Value, Value) -> Result<(), E>,
    ) -> Result<(), E> {
        // SAFETY: a living table: its fields tell where its parts lie and how long they are.
        unsafe {
            let (items, array) = (get::<u32>(self.0, TABLE_ITEMS), get::<*const u8>(self.0, TABLE_ARRAY));
            for index in 0..items {
                let value = get::<u64>(array, index as usize * size_of::<u64>());
                if value != NIL {
                    each(Value::Num(f64::from(index)), Value::of(value))?;
                }
            }
            let (mask, nodes) = (get::<u32>(self.0, TABLE_MASK), get::<*const u8>(self.0, TABLE_NODES));
            for index in 0..=mask as usize {
                let node = nodes.add(index * NODE);
                let value = get::<u64>(node, 0);
                if value != NIL {
                    each(Value::of(get::<u64>(node, NODE_KEY)), Value::of(value))?;
                }
            }
            Ok(())
        }
    }
}

/// Whether a table with a value of each kind reads as it was made.
///
/// # Safety
/// `state` must be a living state below a protected call, with room for a few values on its stack.
pub(super) unsafe fn check(state: *mut lua_State) -> bool {
    // SAFETY: the caller's promise; the table stays on the stack while it is read.
    unsafe {
        ffi::lua_createtable(state, 0, 0);
        let table = Table::at(state, -1);
        let userdata: *const c_void = ffi::lua_newuserdata(state, 8);
        ffi::lua_setfield(state, -2, c"userdata".as_ptr());
        push_str(state, b"a string");
        ffi::lua_rawseti_(state, -2, 1);
        ffi::lua_pushnumber(state, -2.5);
        ffi::lua_rawseti_(state, -2, 2);
        ffi::lua_pushnumber(state, 7.0);
        ffi::lua_rawseti_(state, -2, -3);
        ffi::lua_createtable(state, 0, 0);
        let inner = Table::at(state, -1);
        ffi::lua_setfield(state, -2, c"table".as_ptr());
        for (name, value) in [(c"no", 0), (c"yes", 1)] {
            ffi::lua_pushboolean(state, value);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        ffi::lua_pushthread(state);
        ffi::lua_setfield(state, -2, c"thread".as_ptr());
        ffi::lua_getfield_(state, ffi::LUA_GLOBALSINDEX, c"type".as_ptr());
        ffi::lua_setfield(state, -2, c"function".as_ptr());
        ffi::lua_pushnumber(state, 1.0);
        ffi::lua_setfield(state, -2, c"gone".as_ptr());
        ffi::lua_pushnil(state);
        ffi::lua_setfield(state, -2, c"gone".as_ptr());
        let mut seen = 0;
        let fine = table.entries(|key, value| {
            seen += 1;
            let right = match (key, value) {
                (Value::Num(1.0), Value::Str(b"a string"))
                | (Value::Num(2.0), Value::Num(-2.5))
                | (Value::Num(-3.0), Value::Num(7.0))
                | (Value::Str(b"no"), Value::Bool(false))
                | (Value::Str(b"yes"), Value::Bool(true))
                | (Value::Str(b"thread"), Value::Other("thread"))
                | (Value::Str(b"function"), Value::Other("function")) => true,
                (Value::Str(b"table"), Value::Table(table)) => table == inner,
                (Value::Str(b"userdata"), Value::Userdata(bytes)) => {
                    bytes.len() == 8 && bytes.as_ptr().cast() == userdata
                }
                _ => false,
            };
            if right { Ok(()) } else { Err(()) }
        });
        ffi::lua_settop(state, -2);
        fine.is_ok() && seen == 9
    }
}
