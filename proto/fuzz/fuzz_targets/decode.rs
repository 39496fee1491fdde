//! What a hostile worker can send: any packets, put together and decoded as the broker does it.
//!
//! The input is packets in turn, each behind two bytes of length. Nothing may panic or keep more than the
//! assembler's limit; what decodes must be the same after one more round.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_proto::codec;
use msgscript_proto::message::{ToBroker, ToWorker};
use msgscript_proto::packet::{Assembler, Packets, bundled, is_bundle, start};

/// Small, so that the fuzzer reaches it.
const LIMIT: usize = 1 << 12;

fuzz_target!(|bytes: &[u8]| {
    let mut assembler = Assembler::new(LIMIT);
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_at_checked(2) {
        let length = usize::from(u16::from_le_bytes([length[0], length[1]])).min(after.len());
        let (packet, after) = after.split_at(length);
        rest = after;
        if is_bundle(packet) {
            let mut at = 0;
            while let Ok(Some(message)) = bundled(packet, &mut at) {
                decode(message);
            }
            continue;
        }
        match assembler.push(packet) {
            Ok(Some(message)) => {
                assert!(message.len() <= LIMIT);
                decode(message);
            }
            Ok(None) => {}
            // The broker kills the worker here.
            Err(_) => break,
        }
    }
    decode(bytes);
});

/// Encodes, cuts into packets, puts together and decodes: the same value.
macro_rules! again {
    ($value:expr, $type:ty) => {
        let mut buffer = Vec::new();
        start(&mut buffer);
        codec::encode(&$value, &mut buffer).expect("what was decoded can be encoded");
        let mut assembler = Assembler::new(msgscript_proto::MAX_MESSAGE);
        let mut packets = Packets::new(&mut buffer);
        let mut seen = None;
        while let Some(packet) = packets.next_packet() {
            if let Some(message) = assembler.push(packet).expect("our own packets") {
                seen = Some(format!("{:?}", codec::decode::<$type>(message)));
            }
        }
        assert_eq!(seen, Some(format!("Ok({:?})", $value)));
    };
}

fn decode(message: &[u8]) {
    if let Ok(value) = codec::decode::<ToBroker<'_>>(message) {
        again!(value, ToBroker<'_>);
    }
    if let Ok(value) = codec::decode::<ToWorker<'_>>(message) {
        again!(value, ToWorker<'_>);
    }
}
