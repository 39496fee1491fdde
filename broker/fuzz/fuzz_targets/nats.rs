//! What a NATS client or server can send: a stream of bytes in any pieces, with header blocks in it.
//!
//! Nothing may panic; the limits hold; how the stream was cut makes no difference; a block of headers that is read is
//! written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::nats::headers;
use msgscript_broker::nats::protocol::server::ServerOp;
use msgscript_broker::nats::protocol::{Limits, Message, Op, Parser, ProtocolError};

const LIMITS: Limits = Limits { control_line: 256, payload: 512 };

/// What one look at the front of the stream gives: the operation as text with its length, if it is there.
type Look = Result<Option<(String, usize)>, ProtocolError>;

fn of_client(parser: &mut Parser, bytes: &[u8]) -> Look {
    let next = parser.next(bytes)?;
    Ok(next.map(|(op, length)| {
        if let Op::Publish(message) = &op {
            weigh(message);
        }
        (format!("{op:?}"), length)
    }))
}

fn of_server(parser: &mut Parser, bytes: &[u8]) -> Look {
    let next = parser.next_of_server(bytes)?;
    Ok(next.map(|(op, length)| {
        if let ServerOp::Message { message, .. } = &op {
            weigh(message);
        }
        (format!("{op:?}"), length)
    }))
}

fn weigh(message: &Message<'_>) {
    assert!(message.payload.len() + message.headers.map_or(0, <[u8]>::len) <= LIMITS.payload);
    message.headers.iter().for_each(|block| again(block));
}

/// All operations of a stream of which `piece` more bytes arrive at a time, and how it ended.
fn read(look: fn(&mut Parser, &[u8]) -> Look, bytes: &[u8], piece: usize) -> (Vec<String>, String) {
    let (mut parser, mut seen, mut at, mut end) = (Parser::new(LIMITS), Vec::new(), 0, 0);
    loop {
        match look(&mut parser, &bytes[at..end]) {
            Ok(Some((op, length))) => {
                assert!(length > 0 && length <= end - at);
                seen.push(op);
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
    for look in [of_client, of_server] {
        let whole = read(look, stream, stream.len().max(1));
        let pieces = read(look, stream, usize::from(*first).max(1));
        assert_eq!(whole.0, pieces.0);
    }
});
