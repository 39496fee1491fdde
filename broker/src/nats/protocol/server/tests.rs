//! What servers send against written cases, and against any bytes cut anywhere.

use super::super::Limits;
use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { control_line: 64, payload: 100 };

/// Feeds `pieces` as a connection does; the operations as text, the error last.
fn run(pieces: &[&[u8]]) -> Vec<String> {
    let (mut parser, mut buffer, mut seen) = (Parser::new(LIMITS), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next_of_server(&buffer) {
                Ok(Some((op, length))) => {
                    seen.push(show(op));
                    buffer.drain(..length);
                }
                Ok(None) => {
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

fn show(op: ServerOp<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let maybe = |bytes: Option<&[u8]>| bytes.map_or("-".into(), text);
    match op {
        ServerOp::Info(json) => format!("info {}", text(json)),
        ServerOp::Error(line) => format!("error {}", text(line)),
        ServerOp::Message { sid, message: m } => {
            let (reply, headers) = (maybe(m.reply), maybe(m.headers));
            format!("{} {} {reply} {headers:?} {:?}", text(sid), text(m.subject), text(m.payload))
        }
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn operations() {
    let stream = b"INFO {\"a\":1} \r\nPING\r\npong\r\n+OK\r\n-ERR 'Stale Connection'\r\n-ERR x\r\n\
        MSG a 1 0\r\n\r\nMSG a.b 7 r 5\r\nx\r\ny!\r\nHMSG a 1 2 3\r\nhhp\r\nHMSG a 1 r 0 0\r\n\r\n";
    let wanted = [
        "info  {\"a\":1} ",
        "ping",
        "pong",
        "okay",
        "error Stale Connection",
        "error x",
        "1 a - \"-\" \"\"",
        "7 a.b r \"-\" \"x\\r\\ny!\"",
        "1 a - \"hh\" \"p\"",
        "1 a r \"\" \"\"",
    ];
    assert_eq!(run(&[stream]), wanted);
}

#[test]
fn what_no_server_says_ends_the_stream() {
    for bytes in ["HTTP/1.1", "PUB", "SUB", "CONNECT", "X", "MSG\r", "\x16\x03", "MSG a 1 1\r\nxy"] {
        assert_eq!(run(&[bytes.as_bytes()]), ["UnknownOperation"], "{bytes:?}");
    }
    for bytes in [
        "MSG a 1\r\n",
        "MSG a 1 r 2 3\r\n",
        "MSG a 1 x\r\n",
        "HMSG a 1 2\r\n",
        "HMSG a 1 3 2\r\n",
        "HMSG a 1 r 1 2 3\r\n",
        "MSG a 1 1234567890\r\n",
    ] {
        assert_eq!(run(&[bytes.as_bytes()]), ["Arguments"], "{bytes:?}");
    }
    assert_eq!(run(&[format!("INFO{}", "x".repeat(65)).as_bytes()]), ["ControlLine"]);
    assert_eq!(run(&[b"MSG a 1 101\r\n"]), ["Payload"]);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("MSG ".to_owned()),
        Just("HMSG ".to_owned()),
        Just("INFO {}\r\n".to_owned()),
        Just("PING\r\n".to_owned()),
        Just("-ERR 'x'\r\n".to_owned()),
        Just("MSG a 1 3\r\nabc\r\n".to_owned()),
        Just("HMSG a 1 r 1 3\r\nabc\r\n".to_owned()),
        Just("a.b ".to_owned()),
        Just("\r\n".to_owned()),
        (0u32..120).prop_map(|n| n.to_string()),
        "[ -~\r\n\t]{0,80}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_operations(stream in pieces(), piece in 1usize..20) {
        let whole = run(&[&stream]);
        for size in [1, piece] {
            let cut: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(&run(&cut), &whole);
        }
    }

    #[test]
    fn any_bytes_are_safe(stream in prop::collection::vec(any::<u8>(), 0..300)) {
        run(&[&stream]);
    }
}
