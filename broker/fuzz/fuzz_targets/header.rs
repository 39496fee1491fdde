//! A script's file: any bytes as headers, and the chunk that Lua gets of them.
//!
//! Nothing may panic; what is read is the same when it is read again; lines keep their numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::catalog::header::{lua_text, parse};

fuzz_target!(|bytes: &[u8]| {
    let text = lua_text(bytes);
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines(&text), lines(bytes));
    let header = parse(&text);
    assert_eq!(format!("{header:?}"), format!("{:?}", parse(&text)));
});
