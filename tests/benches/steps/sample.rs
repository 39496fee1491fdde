//! What the steps work on: a hello of a hundred bytes.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use msgscript_broker::catalog::{Executor, Part, Script};
use msgscript_broker::invocation::{Answer, Call, DEFAULT_TENANT, Ending, Message};
use msgscript_proto::message::Limits;

/// The script.
pub const HELLO: &str = "function OnMessage(_, payload) return 'Hello ' .. #payload end";

/// A payload that is as long as in most figures.
pub static PAYLOAD: [u8; 100] = [b'x'; 100];

/// What a run may use, as it is by default.
pub const LIMITS: Limits = Limits {
    memory: 128 << 20,
    output: 8 << 20,
    log: 64 << 10,
    host_calls: 10_000,
    folders: false,
    scratch: 32 << 20,
    scratch_files: 1000,
};

/// A script in service.
pub fn script(id: u64, subject: &str, text: &str) -> Rc<Script> {
    let source = Part { name: "hello.lua".into(), text: text.as_bytes().into() };
    Rc::new(Script {
        id,
        subject: subject.into(),
        name: "hello".into(),
        tenant: DEFAULT_TENANT.into(),
        lock: None,
        trigger: None,
        timer: None,
        http: false,
        executor: Executor::Lua,
        jit: false,
        timeout: None,
        memory: None,
        parts: vec![source.clone()],
        source,
        requires: Vec::new(),
        broken: None,
        headers: Vec::new(),
        unknown: Vec::new(),
    })
}

/// A message over NATS.
pub fn message() -> Message {
    let subject: Rc<str> = "bench.hello".into();
    Message {
        shown_subject: subject.clone(),
        subject,
        call: Call::Message,
        payload: Bytes::from_static(&PAYLOAD),
        headers: [].into(),
        arrived: Instant::now(),
        trace: None,
    }
}

/// A hello's ending.
pub fn ending(script: &Script) -> Ending {
    Ending::answered(7, script, Answer::Message(Bytes::from_static(b"Hello 100")))
}
