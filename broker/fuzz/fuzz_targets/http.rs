//! The target of an HTTP request: which subject it names, and what the script sees of the URL.
//!
//! Nothing may panic; a subject is literal, and a second decoding would not make another of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::fuzzing::http_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((subject, url)) = http_target(bytes) else { return };
    assert!(!subject.is_empty() && subject.len() <= bytes.len());
    assert!(subject.split('.').all(|token| !token.is_empty() && token != "*" && token != ">"), "{subject:?}");
    assert!(!subject.contains(|c: char| c.is_whitespace() || c.is_control()), "{subject:?}");
    assert!(url.is_empty() || url.starts_with(['/', '?']), "{url:?}");
    assert!(!url.contains(['\r', '\n', '\0']), "{url:?}");
});
