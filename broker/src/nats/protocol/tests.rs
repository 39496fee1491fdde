//! The parser against written cases, and against any bytes cut anywhere.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { control_line: 64, payload: 100 };

/// Feeds `pieces` as a connection does; the operations as text, the error last.
fn run(pieces: &[&[u8]]) -> Vec<String> {
    let mut parser = Parser::new(LIMITS);
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&buffer) {
                Ok(Some((op, length))) => {
                    seen.push(show(op));
                    buffer.drain(..length);
                }
                Ok(None) => {
                    // Two line ends and the longest verb on top of the limits.
                    assert!(buffer.len() <= LIMITS.control_line + LIMITS.payload + 16, "holds too much");
                    assert!(parser.need() <= LIMITS.control_line + LIMITS.payload + 16, "asks for too much");
                    break;
                }
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

fn show(op: Op<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let maybe = |bytes: Option<&[u8]>| bytes.map_or("-".into(), text);
    match op {
        Op::Connect(json) => format!("connect {}", text(json)),
        Op::Publish(m) => {
            let (reply, headers) = (maybe(m.reply), maybe(m.headers));
            format!("pub {} {reply} {headers:?} {:?}", text(m.subject), text(m.payload))
        }
        Op::Subscribe { subject, queue, sid } => {
            format!("sub {} {} {}", text(subject), maybe(queue), text(sid))
        }
        Op::Unsubscribe { sid, max } => format!("unsub {} {max}", text(sid)),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn operations() {
    let stream = b"CONNECT {\"a\":1}\r\nconnect{}\r\nPiNG\r\nPONG \r\n+OK\r\ninfo {}\r\n\
        PUB a 0\r\n\r\npub a.b r 5\r\nx\r\ny!\r\nHPUB a 2 3\r\nhhp\r\nHPUB a r 0 0\r\n\r\n\
        SUB a 1\r\nSUB\ta  q\t 2 \r\nUNSUB 1\r\nUNSUB 2 7\r\nUNSUB 2 x\nPUB a 1\nz\r\n-ERR 'x'\r\n";
    let wanted = [
        "connect  {\"a\":1}",
        "connect {}",
        "ping",
        "pong",
        "ignored",
        "ignored",
        "pub a - \"-\" \"\"",
        "pub a.b r \"-\" \"x\\r\\ny!\"",
        "pub a - \"hh\" \"p\"",
        "pub a r \"\" \"\"",
        "sub a - 1",
        "sub a q 2",
        "unsub 1 0",
        "unsub 2 7",
        "unsub 2 0",
        "pub a - \"-\" \"z\"",
        "error",
    ];
    assert_eq!(run(&[stream]), wanted);
}

#[test]
fn what_is_no_operation_is_refused_at_its_first_wrong_byte() {
    for bytes in [
        "GET",
        "X",
        "\r",
        "PUBX",
        "PIX",
        "MSG",
        "HMSG",
        "SUB\r",
        "PUB\n",
        "+E",
        " PING",
        "PUB a 1\r\nxy",
        "PUB a 1\r\nx\ry",
    ] {
        assert_eq!(run(&[bytes.as_bytes()]), ["UnknownOperation"], "{bytes:?}");
    }
}

#[test]
fn bad_arguments() {
    for bytes in [
        "PUB a\r\n",
        "PUB a b c 1\r\n",
        "PUB a x\r\n",
        "PUB a -1\r\n",
        "PUB a 1234567890\r\n",
        "HPUB a 1\r\n",
        "HPUB a 5 4\r\n",
    ] {
        assert_eq!(run(&[bytes.as_bytes()]), ["Arguments"], "{bytes:?}");
    }
    for bytes in ["SUB a\r\n", "SUB \r\n", "SUB a b c d\r\n", "UNSUB \r\n", "UNSUB 1 2 3\r\n"] {
        assert_eq!(run(&[bytes.as_bytes()]), ["Arguments"], "{bytes:?}");
    }
    assert_eq!(ProtocolError::Arguments.reply(), None);
}

#[test]
fn limits_hold_before_the_line_or_payload_is_complete() {
    let long = "x".repeat(65);
    assert_eq!(run(&[format!("SUB {long}").as_bytes()]), ["ControlLine"]);
    assert_eq!(run(&[format!("PING{long}").as_bytes()]), ["ControlLine"]);
    assert_eq!(
        run(&[format!("CONNECT{}\r\n", "x".repeat(64)).as_bytes()]),
        [format!("connect {}", "x".repeat(64))]
    );
    assert_eq!(run(&[b"PUB a 101\r\n"]), ["Payload"]);
    assert_eq!(run(&[b"HPUB a 1 101\r\n"]), ["Payload"]);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("PUB ".to_owned()),
        Just("HPUB ".to_owned()),
        Just("SUB ".to_owned()),
        Just("UNSUB ".to_owned()),
        Just("PING\r\n".to_owned()),
        Just("CONNECT {}\r\n".to_owned()),
        Just("PUB a 3\r\nabc\r\n".to_owned()),
        Just("HPUB a r 1 3\r\nabc\r\n".to_owned()),
        Just("a.b ".to_owned()),
        Just("\r\n".to_owned()),
        (0u32..120).prop_map(|n| n.to_string()),
        "[ -~\r\n\t]{0,80}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_operations(stream in pieces(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = run(&[&stream]);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&single), &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.sort_unstable();
        let mut cut = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([stream.len()]) {
            cut.push(&stream[from..to]);
            from = to;
        }
        prop_assert_eq!(&run(&cut), &whole);
    }

    #[test]
    fn any_bytes_are_safe(stream in prop::collection::vec(any::<u8>(), 0..300)) {
        run(&[&stream]);
    }
}
