//! How much memory a hostile message can make the broker take. One test: it looks at the whole process.

use msgscript_proto::codec;
use msgscript_proto::message::{ToBroker, ToWorker};
use msgscript_proto::{MAX_MESSAGE, VERSION};

/// The largest address space the process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("VmPeak");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// A length as the codec writes it.
fn length(claim: u64) -> [u8; 9] {
    let mut bytes = [253; 9];
    bytes[1..].copy_from_slice(&claim.to_le_bytes());
    bytes
}

/// What is wrong with these bytes, when decoded as what the broker or a worker is told.
fn error(to_broker: bool, bytes: &[u8]) -> String {
    if to_broker {
        format!("{:?}", codec::decode::<ToBroker<'_>>(bytes).expect_err("a claim without bytes"))
    } else {
        format!("{:?}", codec::decode::<ToWorker<'_>>(bytes).expect_err("a claim without bytes"))
    }
}

/// Who is told, and the bytes of a message up to a vector's or slice's length.
const HEADS: [(bool, &[u8]); 8] = [
    // Ready: version, Landlock's version, then layers.
    (true, &[0, VERSION as u8, 7]),
    // Log: invocation, level, then text.
    (true, &[3, 1, 0]),
    // Done: three numbers, then an HTTP outcome: body, status, headers.
    (true, &[6, 1, 1, 1, 1, 0, 0]),
    // Done: no function, then methods.
    (true, &[6, 1, 1, 1, 2]),
    // HostCall: two numbers, then a library's name.
    (true, &[4, 1, 1, 1]),
    // HostReply: number, then a library's parts.
    (false, &[5, 1, 2]),
    // Load: script, then parts.
    (false, &[1, 1]),
    // Invoke: two numbers, a message's entry with an empty subject, then headers.
    (false, &[4, 1, 1, 0, 0]),
];

#[test]
fn a_claim_of_nine_bytes_gets_no_memory() {
    let before = peak();
    for claim in [u64::MAX, u64::MAX / 2 + 1, 1 << 48, 1 << 32, MAX_MESSAGE as u64 + 1] {
        for (to_broker, head) in HEADS {
            let error = error(to_broker, &[head, &length(claim)].concat());
            assert!(error.contains("LimitExceeded"), "{head:?} {claim}: {error}");
        }
    }
    assert!(peak() < before + (1 << 20), "a claim over the limit was believed");
    // Within the limit a claim may be believed until the bytes turn out to be missing.
    for claim in (0..27).map(|shift| 1 << shift) {
        for (to_broker, head) in HEADS {
            error(to_broker, &[head, &length(claim)].concat());
        }
    }
    assert!(peak() < before + MAX_MESSAGE + (8 << 20), "a claim got more than the limit");
}
