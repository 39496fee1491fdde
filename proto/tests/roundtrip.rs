//! Every message comes back from its bytes and packets as it was, and no bytes of a hostile worker do harm.

use msgscript_proto::codec::{self, CodecError};
use msgscript_proto::files::{FileCall, FileKind, FileReply};
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{
    Engine, Entry, Invoke, Level, Limits, Load, Part, PathAccess, PathRule, Plugin, Setup, ToBroker, ToWorker,
};
use msgscript_proto::net::{HttpRequest, HttpResponse, HttpResult, TcpCall};
use msgscript_proto::outcome::{Failure, Fault, Outcome};
use msgscript_proto::packet::{
    Assembler, MAX_PACKET, PacketError, Packets, bundle, bundled, is_bundle, start,
};
use msgscript_proto::sandbox::{Layer, Probe, ProbeArg, Report};
use msgscript_proto::sql::{Rows, SqlValue, SqliteCall, SqliteReply};
use msgscript_proto::{MAX_MESSAGE, VERSION};
use proptest::collection::vec;
use proptest::prelude::*;

/// What messages are made of, owned, since they borrow.
#[derive(Debug, Clone)]
struct Seed {
    number: u64,
    other: u64,
    flag: bool,
    bytes: Vec<u8>,
    text: String,
    list: Vec<(String, Vec<u8>)>,
}

fn seed() -> impl Strategy<Value = Seed> {
    let bytes =
        || prop_oneof![4 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), MAX_PACKET - 64..3 * MAX_PACKET)];
    let list = vec((".{0,12}", vec(any::<u8>(), 0..32)), 0..6);
    (any::<u64>(), any::<u64>(), any::<bool>(), bytes(), ".{0,40}", list)
        .prop_map(|(number, other, flag, bytes, text, list)| Seed { number, other, flag, bytes, text, list })
}

impl Seed {
    fn parts(&self) -> Vec<Part<'_>> {
        self.list.iter().map(|(name, text)| Part { name, text }).collect()
    }

    fn small(&self) -> u32 {
        u32::try_from(self.number >> 32).unwrap_or(0)
    }

    fn layers(&self) -> Vec<Layer> {
        Layer::ALL.into_iter().filter(|layer| self.number >> (*layer as u32) & 1 == 1).collect()
    }

    fn outcome(&self) -> Outcome<'_> {
        let headers = self.list.iter().map(|(name, value)| (name.as_bytes(), &**value)).collect();
        match self.number % 7 {
            0 => Outcome::Message(None),
            1 => Outcome::Message(Some(&self.bytes)),
            2 => Outcome::Http { body: &self.bytes, status: self.other.cast_signed(), headers },
            3 => Outcome::NoFunction { methods: self.list.iter().map(|(name, _)| &**name).collect() },
            4 => Outcome::Command {
                stdout: &self.bytes,
                stderr: &self.bytes,
                status: self.other as i32,
                trap: self.list.first().map(|(name, _)| &**name),
            },
            5 => Outcome::NeedsPlugin { name: &self.bytes },
            kind => {
                let fault = if kind == 6 { Fault::Script } else { Fault::Memory };
                let (limit, measured) = (self.number, self.other);
                Outcome::Failed(Failure { fault, text: &self.bytes, limit, measured })
            }
        }
    }

    fn to_broker(&self, kind: usize) -> ToBroker<'_> {
        let (invocation, call) = (self.other, self.small());
        match kind % 15 {
            0 => {
                let report = Report { landlock_abi: self.bytes.len() as u8, layers: self.layers() };
                ToBroker::Ready { version: self.small(), report }
            }
            1 => ToBroker::NotJailed { layer: Layer::Seccomp, error: &self.text },
            2 => ToBroker::Checked { error: self.flag.then_some(&self.bytes) },
            3 => ToBroker::Log { invocation, level: Level::Warn, text: &self.bytes },
            4 => {
                let subject = self.text.as_bytes();
                ToBroker::HostCall {
                    invocation,
                    call,
                    request: HostCall::NatsPublish { subject, payload: &self.bytes },
                }
            }
            5 => ToBroker::HostCall { invocation, call, request: self.host_call() },
            6 => ToBroker::Returned { invocation },
            12 => ToBroker::Compiled { artifact: &self.bytes, error: self.flag.then_some(&self.text) },
            7 => {
                let (nanos, memory) = (self.number, self.other);
                ToBroker::Done { invocation, nanos, memory, outcome: self.outcome() }
            }
            8 => {
                let (path, offset) = (&*self.bytes, self.flag.then_some(self.other));
                let request = HostCall::File(FileCall::Write { path, offset, data: &self.bytes });
                ToBroker::HostCall { invocation, call, request }
            }
            9 => ToBroker::HostCall { invocation, call, request: HostCall::Folders },
            10 => {
                let request = HostCall::Command {
                    line: &self.bytes,
                    input: self.text.as_bytes(),
                    timeout: self.number,
                };
                ToBroker::HostCall { invocation, call, request }
            }
            11 => ToBroker::HostCall { invocation, call, request: HostCall::Sleep { millis: self.number } },
            13 => ToBroker::Sqlite(SqliteReply::Rows(Rows {
                columns: vec![&self.bytes],
                values: vec![SqlValue::Text(&self.bytes), SqlValue::Int(self.other.cast_signed())],
            })),
            _ => ToBroker::Probed { result: self.other.cast_signed() },
        }
    }

    fn host_call(&self) -> HostCall<'_> {
        let (connection, timeout) = (self.small(), self.other);
        let headers = || self.list.iter().map(|(name, value)| (name.as_bytes(), &**value)).collect();
        match self.number % 6 {
            0 => HostCall::Library { name: &self.bytes },
            1 => HostCall::NatsRequest { subject: &self.bytes, payload: self.text.as_bytes(), timeout },
            2 => HostCall::Tcp(TcpCall::Open { address: &self.bytes, timeout }),
            3 => HostCall::Tcp(TcpCall::Write { connection, data: &self.bytes, timeout }),
            4 => HostCall::Tcp(TcpCall::Read { connection, most: connection, timeout }),
            _ => HostCall::Http(vec![
                HttpRequest {
                    method: self.text.as_bytes(),
                    url: self.text.as_bytes(),
                    headers: headers(),
                    body: self.flag.then_some(&self.bytes),
                    timeout: self.flag.then_some(timeout),
                };
                self.list.len()
            ]),
        }
    }

    fn http_results(&self) -> Vec<HttpResult<'_>> {
        let headers = self.list.iter().map(|(name, value)| (&**name, &**value)).collect();
        vec![
            HttpResult::Failed(&self.text),
            HttpResult::Response(HttpResponse { status: 200, url: &self.text, headers, body: &self.bytes }),
        ]
    }

    fn to_worker(&self, kind: usize) -> ToWorker<'_> {
        let (script, call) = (self.number, self.small());
        match kind % 15 {
            0 => ToWorker::Setup(Setup {
                version: VERSION,
                engine: Engine::LuaJit,
                memory: self.number,
                without: self.layers(),
                landlock_abi: self.flag.then_some(1),
                uid: (!self.flag).then_some(call),
                paths: vec![PathRule { path: self.text.clone(), access: PathAccess::Run }],
                plugins: vec![Plugin { name: self.text.clone(), path: self.text.clone() }],
            }),
            1 => ToWorker::Load(Load { script, parts: self.parts() }),
            2 => ToWorker::Check(Load { script, parts: self.parts() }),
            3 => ToWorker::Unload { script },
            4 => ToWorker::Invoke(self.invoke()),
            5 if self.flag => ToWorker::HostReply { call, reply: HostReply::Http(self.http_results()) },
            5 => ToWorker::HostReply { call, reply: HostReply::Library(self.parts()) },
            6 => ToWorker::HostReply { call, reply: HostReply::Bytes(&self.bytes) },
            7 => ToWorker::HostReply { call, reply: HostReply::Denied(&self.text) },
            8 => ToWorker::HostReply {
                call,
                reply: if self.flag { HostReply::Done } else { HostReply::NotFound },
            },
            9 => ToWorker::Compile { module: &self.bytes },
            10 => ToWorker::Bind { artifact: &self.bytes },
            11 => {
                let names = self
                    .list
                    .iter()
                    .map(|(_, name)| (&**name, self.flag.then_some(FileKind::Folder)))
                    .collect();
                ToWorker::HostReply { call, reply: HostReply::File(FileReply::Names(names)) }
            }
            12 => {
                let (stdout, stderr) = (&*self.bytes, self.text.as_bytes());
                ToWorker::HostReply { call, reply: HostReply::Command { status: -1, stdout, stderr } }
            }
            13 => ToWorker::Sqlite(SqliteCall::Query {
                sql: &self.bytes,
                args: self.text.as_bytes(),
                most: self.number,
            }),
            _ => {
                let args = [ProbeArg::Value(self.number); 6];
                ToWorker::Probe(Probe::Syscall { number: -1, args, buffers: vec![self.bytes.clone()] })
            }
        }
    }

    fn invoke(&self) -> Invoke<'_> {
        let subject = &*self.text;
        let entry = if self.flag {
            Entry::Message { subject }
        } else {
            Entry::Http { subject, method: "GET", url: &self.text, declared: self.other & 1 == 1 }
        };
        let limits = Limits {
            memory: self.number,
            output: self.other,
            log: 0,
            host_calls: self.small(),
            folders: self.flag,
            scratch: self.other,
            scratch_files: self.small(),
        };
        let headers = self.list.iter().map(|(name, value)| (&**name, &**value)).collect();
        Invoke {
            invocation: self.other,
            epoch: self.text.len() as u8,
            script: self.number,
            entry,
            headers,
            payload: &self.bytes,
            limits,
        }
    }
}

/// Sends by packets what `encode` writes; hands over what arrives, with the number of packets.
fn send(encode: impl FnOnce(&mut Vec<u8>), arrived: impl FnOnce(&[u8], usize)) {
    let mut buffer = Vec::new();
    start(&mut buffer);
    encode(&mut buffer);
    let mut packets = Packets::new(&mut buffer);
    let mut assembler = Assembler::new(MAX_MESSAGE);
    let (mut count, mut arrived) = (0, Some(arrived));
    while let Some(packet) = packets.next_packet() {
        count += 1;
        assert!(packet.len() <= MAX_PACKET);
        if let Some(message) = assembler.push(packet).expect("packets of ours") {
            arrived.take().expect("one message")(message, count);
        }
    }
    assert!(arrived.is_none(), "the message did not arrive");
}

proptest! {
    #[test]
    fn what_a_worker_says_comes_back(seed in seed(), kind in 0_usize..15) {
        let message = seed.to_broker(kind);
        send(
            |buffer| codec::encode(&message, buffer).unwrap(),
            |bytes, _| {
                let back = codec::decode::<ToBroker<'_>>(bytes).unwrap();
                assert_eq!(format!("{back:?}"), format!("{message:?}"));
            },
        );
    }

    #[test]
    fn what_the_broker_says_comes_back(seed in seed(), kind in 0_usize..12) {
        let message = seed.to_worker(kind);
        send(
            |buffer| codec::encode(&message, buffer).unwrap(),
            |bytes, count| {
                let back = codec::decode::<ToWorker<'_>>(bytes).unwrap();
                assert_eq!(format!("{back:?}"), format!("{message:?}"));
                assert_eq!(count == 1, bytes.len() < MAX_PACKET, "small messages are one packet");
            },
        );
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        let _ = codec::decode::<ToBroker<'_>>(&bytes);
        let _ = codec::decode::<ToWorker<'_>>(&bytes);
    }

    /// Bytes near a real message find their way deeper than random ones.
    #[test]
    fn damaged_messages_are_survived(
        seed in seed(),
        kind in 0_usize..15,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        codec::encode(&seed.to_broker(kind), &mut bytes).unwrap();
        let whole = bytes.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = codec::decode::<ToBroker<'_>>(&bytes);
        let shorter = &whole[..cut.index(whole.len())];
        prop_assert!(codec::decode::<ToBroker<'_>>(shorter).is_err(), "a message without its end");
        bytes = whole;
        bytes.push(0);
        let trailing = codec::decode::<ToBroker<'_>>(&bytes);
        prop_assert!(matches!(trailing, Err(CodecError::Trailing(1))), "a message with something behind it");
    }

    #[test]
    fn bundles_come_back(messages in vec(vec(any::<u8>(), 0..300), 0..40), room in 0_usize..8000) {
        let mut room = vec![0; room];
        let (mut used, mut fit) = (0, Vec::new());
        for message in &messages {
            if let Some(more) = bundle(&mut room, used, message) {
                used = more;
                fit.push(&message[..]);
            }
        }
        let (mut at, mut back) = (0, Vec::new());
        prop_assert_eq!(is_bundle(&room[..used]), used > 0);
        while let Some(message) = (used > 0).then(|| bundled(&room[..used], &mut at)).transpose().unwrap().flatten() {
            back.push(message);
        }
        prop_assert_eq!(back, fit);
    }

    #[test]
    fn any_bundle_is_survived(packet in vec(prop_oneof![0_u8..6, any::<u8>()], 0..100)) {
        let (mut at, mut before) = (0, 0);
        while let Ok(Some(message)) = bundled(&packet, &mut at) {
            prop_assert!(at > before && at <= packet.len() && message.len() < packet.len());
            before = at;
        }
    }

    #[test]
    fn any_packets_are_survived(packets in vec(vec(prop_oneof![0_u8..4, any::<u8>()], 0..40), 0..40)) {
        let limit = 64;
        let mut assembler = Assembler::new(limit);
        let mut held = 0;
        for packet in &packets {
            let begins = packet.first().is_some_and(|head| head & 1 != 0);
            match assembler.push(packet) {
                Ok(Some(message)) => {
                    prop_assert!(message.len() <= limit);
                    held = 0;
                }
                Ok(None) => held = if begins { packet.len() - 1 } else { held + packet.len() - 1 },
                Err(_) => break,
            }
            prop_assert!(held <= limit);
        }
    }
}

#[test]
fn packets_out_of_order_are_refused() {
    let refuses = |packets: &[&[u8]]| {
        let mut assembler = Assembler::new(8);
        let (last, before) = packets.split_last().expect("a packet");
        for packet in before {
            assembler.push(packet).expect("in order");
        }
        assembler.push(last).expect_err("the last one is refused")
    };
    assert_eq!(refuses(&[&[]]), PacketError::Malformed);
    assert_eq!(refuses(&[&[4, 1]]), PacketError::Malformed);
    assert_eq!(refuses(&[&[0, 1]]), PacketError::OutOfOrder, "the middle of nothing");
    assert_eq!(refuses(&[&[2, 1]]), PacketError::OutOfOrder, "the end of nothing");
    assert_eq!(refuses(&[&[1, 1], &[3, 1]]), PacketError::OutOfOrder, "one within another");
    assert_eq!(refuses(&[&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]]), PacketError::TooLarge(8));
    assert_eq!(refuses(&[&[1, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0]]), PacketError::TooLarge(8));
}
