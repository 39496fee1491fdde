//! The operator's Lua C modules: shared objects whose `luaopen_NAME` opens a module.
//!
//! Takes a path and a name, gives the function. Loading runs code of the module, so it happens behind the
//! first stage of the jail (`jail/loading.rs`), and only in a worker that serves one run: such code keeps
//! memory that no rewind reaches.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};

use mlua::ffi::lua_CFunction;
use msgscript_proto::message::Plugin;

/// How a plugin is opened.
pub enum Opener {
    /// By this function.
    Here(lua_CFunction),
    /// It cannot be: why.
    Broken(String),
    /// In another worker.
    Elsewhere,
}

/// Loads a plugin and finds its function.
pub fn open(plugin: &Plugin) -> Opener {
    let names = (CString::new(plugin.path.as_str()), CString::new(format!("luaopen_{}", plugin.name)));
    let (Ok(path), Ok(symbol)) = names else { return Opener::Broken("its name has a zero byte".to_owned()) };
    // SAFETY: both are strings that live during the calls. The object's code is the operator's choice, and a
    // function of such a name is a `lua_CFunction` by the convention that makes it a module. It is never
    // unloaded.
    unsafe {
        let object = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if object.is_null() {
            return Opener::Broken(last_error());
        }
        let function = libc::dlsym(object, symbol.as_ptr());
        if function.is_null() {
            return Opener::Broken(last_error());
        }
        Opener::Here(std::mem::transmute::<*mut libc::c_void, lua_CFunction>(function))
    }
}

/// What the loader says of its last failure.
fn last_error() -> String {
    // SAFETY: the text is the loader's own and valid until its next call; there is one thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            return "the loader does not say why".to_owned();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}
