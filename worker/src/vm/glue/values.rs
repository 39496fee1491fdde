//! Host functions as Lua sees them: arguments read, results built.
//!
//! The rules are those of [`super`].
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua::ffi::{self, lua_State};

use super::raw::{Table, Value};
use super::{Host, Stop, arm, host, push_str, str_at};
use crate::lua::value::{Arg, Args, Fail, Handle, Kind, MAX_DEPTH, Token, Tokens};

/// Pushes the host function of that number.
pub(super) unsafe fn push_function(state: *mut lua_State, number: usize) {
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
                    if flatten_table(host(state), Table::at(state, index), 0).is_err() {
                        ffi::luaL_where(state, 1);
                        push_str(state, b"table nests too deeply");
                        ffi::lua_concat(state, 2);
                        ffi::lua_error(state);
                    }
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
fn handle_of(userdata: &[u8]) -> Option<Handle> {
    let (kind, index) = userdata.split_first_chunk()?;
    let kind = Kind::of(u32::from_ne_bytes(*kind))?;
    Some(Handle { kind, index: u32::from_ne_bytes(index.try_into().ok()?) })
}

/// The handle in the userdata at an index.
unsafe fn handle_at(state: *mut lua_State, index: c_int) -> Option<Handle> {
    // SAFETY: `index` is a full userdata, which is as long as it says.
    unsafe {
        let (data, length) = (ffi::lua_touserdata(state, index), ffi::lua_objlen(state, index));
        handle_of(std::slice::from_raw_parts(data.cast(), length))
    }
}

/// A table nests deeper than [`MAX_DEPTH`].
struct TooDeep;

/// Appends the tokens of a value to `Host::flat`.
#[inline]
unsafe fn flatten(host: &mut Host, value: Value, depth: usize) -> Result<(), TooDeep> {
    match value {
        Value::Nil => host.flat.nil(),
        Value::Bool(value) => host.flat.bool(value),
        Value::Num(value) => host.flat.num(value),
        Value::Str(bytes) => host.flat.str(bytes),
        // SAFETY: the caller's promise: a value of the arguments, which live.
        Value::Table(table) => return unsafe { flatten_table(host, table, depth) },
        Value::Userdata(bytes) => match handle_of(bytes) {
            Some(handle) => host.flat.handle(handle),
            None => host.flat.other("userdata"),
        },
        Value::Other(name) => host.flat.other(name),
    }
    Ok(())
}

#[inline(never)]
unsafe fn flatten_table(host: &mut Host, table: Table, depth: usize) -> Result<(), TooDeep> {
    if let Some(&at) = host.seen.get(&table.address()) {
        host.flat.seen(at);
        return Ok(());
    }
    host.flat.begin_table();
    host.seen.insert(table.address(), host.flat.position());
    if depth >= MAX_DEPTH {
        return Err(TooDeep);
    }
    // SAFETY: as in `flatten`; nothing here calls LuaJIT.
    unsafe {
        table.entries(|key, value| {
            flatten(host, key, depth + 1)?;
            flatten(host, value, depth + 1)
        })?;
    }
    host.flat.end_table();
    Ok(())
}

/// Pushes the value that begins with `token`. The caller has made room for one value.
#[inline]
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

#[inline(never)]
unsafe fn push_table(state: *mut lua_State, tokens: &mut Tokens<'static>) {
    // SAFETY: as in `push_value`.
    unsafe {
        ffi::luaL_checkstack(state, 4, c"value nests too deeply".as_ptr());
        let (items, others) = tokens.room();
        let room = |count: u32| c_int::try_from(count).unwrap_or(c_int::MAX);
        ffi::lua_createtable(state, room(items), room(others));
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
pub(super) const KINDS: c_int = 1000;

/// Where the registry keeps the table `host`.
pub(super) const HOST: c_int = 1001;

/// Where the registry keeps what [`super::keep_code`] compiled, by name.
pub(super) const CODE: c_int = 1002;
