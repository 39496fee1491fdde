//! What a NATS client can send: a stream of bytes in any pieces, with header blocks in it.
//!
//! Nothing may panic; the limits hold; how the stream was cut makes no difference; a block of headers that is read is
//! written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::nats::headers;
use msgscript_broker::nats::protocol::{Limits, Op, Parser};

const LIMITS: Limits = Limits { control_line: 256, payload: 512 };

/// All operations of a stream of which `piece` more bytes arrive at a time, and how it ended.
fn read(bytes: &[u8], piece: usize) -> (Vec<String>, String) {
    let (mut parser, mut seen, mut at, mut end) = (Parser::new(LIMITS), Vec::new(), 0, 0);
    loop {
        match parser.next(&bytes[at..end]) {
            Ok(Some((op, length))) => {
                assert!(length > 0 && length <= end - at);
                if let Op::Publish(publish) = &op {
                    assert!(publish.payload.len() + publish.headers.map_or(0, <[u8]>::len) <= LIMITS.payload);
                    publish.headers.iter().for_each(|block| again(block));
                }
                seen.push(format!("{op:?}"));
                at += length;
            }
            Ok(None) if end == bytes.len() => return (seen, "more".to_owned()),
            Ok(None) => end = bytes.len().min(end + piece),
            Err(error) => return (seen, error.to_string()),
        }
    }
}

/// A block that can be read can be written, and is the same then.
fn again(block: &[u8]) {
    let Ok(read) = headers::parse(block) else { return };
    if let Ok(written) = headers::write(read.headers.iter().copied()) {
        let once_more = headers::parse(&written).expect("our own block");
        assert_eq!(once_more.headers, read.headers);
    }
}

fuzz_target!(|bytes: &[u8]| {
    again(bytes);
    let Some((first, stream)) = bytes.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, usize::from(*first).max(1));
    assert_eq!(whole.0, pieces.0);
});
