//! The bytes of each message, so that a change on the wire is seen. Whoever changes a line here changes
//! [`msgscript_proto::VERSION`] too, once a version has been released.

use msgscript_proto::files::{FileCall, FileKind, FileReply, FileStat, Folder};
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{
    Command, Engine, Entry, Invoke, Level, Limits, Load, Part, PathAccess, PathRule, Plugin, Setup, ToBroker,
    ToWorker,
};
use msgscript_proto::net::{HttpRequest, HttpResponse, HttpResult, TcpCall};
use msgscript_proto::outcome::{Failure, Fault, Outcome};
use msgscript_proto::sandbox::{Layer, Probe, ProbeArg, Report};
use msgscript_proto::sql::{Rows, SqlValue, SqliteCall, SqliteReply};
use msgscript_proto::{VERSION, codec};

/// Compares all with the table; prints it as it would be now when anything differs.
fn compare<T>(
    golden: &str,
    messages: Vec<(&'static str, T)>,
    name: impl Fn(&T) -> &'static str,
    encode: impl Fn(&T, &mut Vec<u8>),
) {
    let mut now = String::new();
    for (label, message) in &messages {
        assert!(label.starts_with(name(message)), "{label} is {}", name(message));
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        now += &format!("{label}: {hex}\n");
    }
    assert!(now == golden, "the wire has changed; it is now:\n{now}");
}

const PARTS: [(&str, &[u8]); 2] = [("libs/web.lua", b"x=1"), ("hello.lua", b"return")];

fn parts() -> Vec<Part<'static>> {
    PARTS.iter().map(|(name, text)| Part { name, text }).collect()
}

fn rows() -> Rows<'static> {
    let values = [SqlValue::Null, SqlValue::Bool(true), SqlValue::Int(-300), SqlValue::Float(0.5)];
    let texts = [SqlValue::Text(b"x\xff"), SqlValue::Null];
    Rows { columns: vec![b"a", b"b"], values: values.into_iter().chain(texts).collect() }
}

/// A new variant does not compile until it stands here: then add it to the table too.
fn to_broker_name(message: &ToBroker<'_>) -> &'static str {
    match message {
        ToBroker::Ready { .. } => "Ready",
        ToBroker::NotJailed { .. } => "NotJailed",
        ToBroker::Checked { .. } => "Checked",
        ToBroker::Log { .. } => "Log",
        ToBroker::HostCall { request, .. } => match request {
            HostCall::NatsPublish { .. } => "HostCall NatsPublish",
            HostCall::Library { .. } => "HostCall Library",
            HostCall::EtcdGet { .. } => "HostCall EtcdGet",
            HostCall::EtcdPut { .. } => "HostCall EtcdPut",
            HostCall::EtcdDelete { .. } => "HostCall EtcdDelete",
            HostCall::SqlConnect { .. } => "HostCall SqlConnect",
            HostCall::SqliteOpen { .. } => "HostCall SqliteOpen",
            HostCall::SqlQuery { .. } => "HostCall SqlQuery",
            HostCall::SqlClose { .. } => "HostCall SqlClose",
            HostCall::Env { .. } => "HostCall Env",
            HostCall::Folders => "HostCall Folders",
            HostCall::File(file) => match file {
                FileCall::Stat { .. } => "HostCall File Stat",
                FileCall::Open { .. } => "HostCall File Open",
                FileCall::Read { .. } => "HostCall File Read",
                FileCall::Write { .. } => "HostCall File Write",
                FileCall::List { .. } => "HostCall File List",
                FileCall::MakeFolder { .. } => "HostCall File MakeFolder",
                FileCall::Remove { .. } => "HostCall File Remove",
                FileCall::Rename { .. } => "HostCall File Rename",
                FileCall::ReadLink { .. } => "HostCall File ReadLink",
                FileCall::Touch { .. } => "HostCall File Touch",
                FileCall::Resize { .. } => "HostCall File Resize",
            },
            HostCall::Command { .. } => "HostCall Command",
            HostCall::NatsRequest { .. } => "HostCall NatsRequest",
            HostCall::Http(_) => "HostCall Http",
            HostCall::Tcp(call) => match call {
                TcpCall::Open { .. } => "HostCall Tcp Open",
                TcpCall::Write { .. } => "HostCall Tcp Write",
                TcpCall::Read { .. } => "HostCall Tcp Read",
                TcpCall::Close { .. } => "HostCall Tcp Close",
            },
            HostCall::Sleep { .. } => "HostCall Sleep",
        },
        ToBroker::Returned { .. } => "Returned",
        ToBroker::Done { outcome, .. } => match outcome {
            Outcome::Message(_) => "Done Message",
            Outcome::Http { .. } => "Done Http",
            Outcome::NoFunction { .. } => "Done NoFunction",
            Outcome::NeedsPlugin { .. } => "Done NeedsPlugin",
            Outcome::Failed(_) => "Done Failed",
            Outcome::Command { .. } => "Done Command",
        },
        ToBroker::Output { .. } => "Output",
        ToBroker::Exited { .. } => "Exited",
        ToBroker::Probed { .. } => "Probed",
        ToBroker::Compiled { .. } => "Compiled",
        ToBroker::Sqlite(reply) => match reply {
            SqliteReply::Done => "Sqlite Done",
            SqliteReply::Rows(_) => "Sqlite Rows",
            SqliteReply::Failed(_) => "Sqlite Failed",
        },
    }
}

fn to_worker_name(message: &ToWorker<'_>) -> &'static str {
    match message {
        ToWorker::Setup(_) => "Setup",
        ToWorker::Load(_) => "Load",
        ToWorker::Check(_) => "Check",
        ToWorker::Unload { .. } => "Unload",
        ToWorker::Invoke(_) => "Invoke",
        ToWorker::HostReply { reply, .. } => match reply {
            HostReply::Done => "HostReply Done",
            HostReply::Bytes(_) => "HostReply Bytes",
            HostReply::Library(_) => "HostReply Library",
            HostReply::Pairs(_) => "HostReply Pairs",
            HostReply::Rows(_) => "HostReply Rows",
            HostReply::Folders(_) => "HostReply Folders",
            HostReply::File(file) => match file {
                FileReply::Done => "HostReply File Done",
                FileReply::Stat(_) => "HostReply File Stat",
                FileReply::Bytes(_) => "HostReply File Bytes",
                FileReply::Names(_) => "HostReply File Names",
                FileReply::Errno(_) => "HostReply File Errno",
            },
            HostReply::Command { .. } => "HostReply Command",
            HostReply::NotFound => "HostReply NotFound",
            HostReply::Failed(_) => "HostReply Failed",
            HostReply::Denied(_) => "HostReply Denied",
            HostReply::Http(_) => "HostReply Http",
            HostReply::Opened(_) => "HostReply Opened",
        },
        ToWorker::Command(_) => "Command",
        ToWorker::Probe(_) => "Probe",
        ToWorker::Compile { .. } => "Compile",
        ToWorker::Bind { .. } => "Bind",
        ToWorker::Sqlite(call) => match call {
            SqliteCall::Open { .. } => "Sqlite Open",
            SqliteCall::Query { .. } => "Sqlite Query",
            SqliteCall::Close => "Sqlite Close",
        },
    }
}

#[test]
fn from_worker_to_broker() {
    let invocation = 300;
    let done = |outcome| ToBroker::Done { invocation, nanos: 70_000, memory: 42_000, outcome };
    let call = |request| ToBroker::HostCall { invocation, call: 1, request };
    let path = &b"/srv/a"[..];
    let file = |operation| call(HostCall::File(operation));
    let ask = HostCall::NatsRequest { subject: b"a.b", payload: b"?", timeout: 70_000 };
    let fetch = HttpRequest {
        method: b"PUT",
        url: b"http://a/",
        headers: vec![(b"X-A", b"1")],
        body: Some(b"b"),
        timeout: Some(300),
    };
    let tcp_write = call(HostCall::Tcp(TcpCall::Write { connection: 1, data: b"x", timeout: 5 }));
    let tcp_read = call(HostCall::Tcp(TcpCall::Read { connection: 1, most: 1024, timeout: 5 }));
    let report = Report { landlock_abi: 7, layers: Layer::ALL.to_vec() };
    let failure =
        Failure { fault: Fault::Memory, text: b"memory limit", limit: 1 << 27, measured: (1 << 27) + 1 };
    let http = Outcome::Http { body: b"<p>", status: 201, headers: vec![(b"content-type", b"text/plain")] };
    compare(
        include_str!("golden/to_broker.txt"),
        vec![
            ("Ready", ToBroker::Ready { version: VERSION, report }),
            ("NotJailed", ToBroker::NotJailed { layer: Layer::Landlock, error: "ENOSYS" }),
            ("Checked good", ToBroker::Checked { error: None }),
            ("Checked bad", ToBroker::Checked { error: Some(b"a.lua:1:") }),
            ("Log", ToBroker::Log { invocation, level: Level::Info, text: b"hi\xff" }),
            ("HostCall NatsPublish", call(HostCall::NatsPublish { subject: b"a.b", payload: b"\0" })),
            ("HostCall Library", call(HostCall::Library { name: b"web" })),
            ("HostCall EtcdGet", call(HostCall::EtcdGet { key: b"a/", prefix: true })),
            ("HostCall EtcdPut", call(HostCall::EtcdPut { key: b"a/b", value: b"1" })),
            ("HostCall EtcdDelete", call(HostCall::EtcdDelete { key: b"a/b" })),
            ("HostCall SqlConnect", call(HostCall::SqlConnect { client: 2, target: b"orders" })),
            (
                "HostCall SqliteOpen",
                call(HostCall::SqliteOpen { client: 2, path: b"/srv/a.db", read_only: true }),
            ),
            (
                "HostCall SqlQuery",
                call(HostCall::SqlQuery { client: 2, timeout: 300, sql: b"select 1", args: b"\0" }),
            ),
            ("HostCall SqlClose", call(HostCall::SqlClose { client: 2 })),
            ("HostCall Env", call(HostCall::Env { name: b"GREETING" })),
            ("HostCall Folders", call(HostCall::Folders)),
            ("HostCall File Stat", file(FileCall::Stat { path, follow: true })),
            (
                "HostCall File Open",
                file(FileCall::Open { path, write: true, create: true, exclusive: true, truncate: false }),
            ),
            ("HostCall File Read", file(FileCall::Read { path, offset: 1 << 33, length: 1 << 16 })),
            ("HostCall File Write", file(FileCall::Write { path, offset: Some(5), data: b"x" })),
            ("HostCall File Write append", file(FileCall::Write { path, offset: None, data: b"x" })),
            ("HostCall File List", file(FileCall::List { path })),
            ("HostCall File MakeFolder", file(FileCall::MakeFolder { path })),
            ("HostCall File Remove", file(FileCall::Remove { path })),
            ("HostCall File Rename", file(FileCall::Rename { from: path, to: b"/srv/b" })),
            ("HostCall File ReadLink", file(FileCall::ReadLink { path })),
            ("HostCall File Touch", file(FileCall::Touch { path, accessed: 1.5, modified: 2.0 })),
            ("HostCall File Resize", file(FileCall::Resize { path, size: 1 << 33 })),
            ("HostCall Command", call(HostCall::Command { line: b"true", input: b"in", timeout: 10_000 })),
            ("HostCall NatsRequest", call(ask)),
            ("HostCall Http", call(HostCall::Http(vec![fetch]))),
            ("HostCall Tcp Open", call(HostCall::Tcp(TcpCall::Open { address: b"[::1]:80", timeout: 5 }))),
            ("HostCall Tcp Write", tcp_write),
            ("HostCall Tcp Read", tcp_read),
            ("HostCall Tcp Close", call(HostCall::Tcp(TcpCall::Close { connection: 1 }))),
            ("HostCall Sleep", call(HostCall::Sleep { millis: 1500 })),
            ("Returned", ToBroker::Returned { invocation }),
            ("Done Message", done(Outcome::Message(Some(b"Hello, John!")))),
            ("Done Message none", done(Outcome::Message(None))),
            ("Done Http", done(http)),
            ("Done NoFunction", done(Outcome::NoFunction { methods: vec!["GET", "POST"] })),
            ("Done NeedsPlugin", done(Outcome::NeedsPlugin { name: b"cjson" })),
            ("Done Failed", done(Outcome::Failed(failure))),
            (
                "Done Command",
                done(Outcome::Command { stdout: b"1", stderr: b"e", status: 1, trap: Some("t") }),
            ),
            ("Output", ToBroker::Output { error: true, bytes: b"oops" }),
            ("Exited", ToBroker::Exited { status: 3 }),
            ("Probed", ToBroker::Probed { result: -38 }),
            ("Compiled", ToBroker::Compiled { artifact: b"\x7fELF", error: None }),
            ("Compiled not", ToBroker::Compiled { artifact: b"", error: Some("no") }),
            ("Sqlite Done", ToBroker::Sqlite(SqliteReply::Done)),
            ("Sqlite Rows", ToBroker::Sqlite(SqliteReply::Rows(rows()))),
            ("Sqlite Failed", ToBroker::Sqlite(SqliteReply::Failed("no such table: t"))),
        ],
        to_broker_name,
        |message, buffer| codec::encode(message, buffer).unwrap(),
    );
}

#[test]
fn from_broker_to_worker() {
    let script = 70_000;
    let setup = Setup {
        version: VERSION,
        engine: Engine::Lua,
        memory: 128 << 20,
        without: vec![Layer::Uid],
        landlock_abi: Some(1),
        uid: Some(0x4000_0000),
        paths: vec![PathRule { path: "/srv".to_owned(), access: PathAccess::Write }],
        plugins: vec![Plugin { name: "lpeg".to_owned(), path: "/srv/lpeg.so".to_owned() }],
    };
    let invoke = |entry| {
        let headers = vec![("x-id", &b"7"[..])];
        let limits = Limits {
            memory: 128 << 20,
            output: 8 << 20,
            log: 1 << 20,
            host_calls: 1000,
            folders: true,
            scratch: 64 << 20,
            scratch_files: 300,
        };
        ToWorker::Invoke(Invoke {
            invocation: 300,
            epoch: 7,
            script,
            entry,
            headers,
            payload: b"John",
            limits,
        })
    };
    let subject = "funcs.hello";
    let reply = |reply| ToWorker::HostReply { call: 1, reply };
    let stat = FileStat {
        kind: FileKind::Folder,
        size: 4096,
        inode: 1 << 40,
        links: 2,
        accessed: 1.5,
        modified: 2.5,
        changed: 3.5,
    };
    let env = vec![("HOME", &b"/tmp/c"[..])];
    let command = Command { line: b"true", input: b"in", folder: "/tmp/c", env, cpu: 10 };
    let response = HttpResponse { status: 200, url: "http://a/", headers: vec![("x-b", b"2")], body: b"<p>" };
    let fetched =
        vec![HttpResult::Response(response), HttpResult::Failed("no"), HttpResult::Denied("denied: x")];
    let probe = Probe::Syscall { number: 41, args: [ProbeArg::Value(2); 6], buffers: vec![vec![1]] };
    compare(
        include_str!("golden/to_worker.txt"),
        vec![
            ("Setup", ToWorker::Setup(setup)),
            ("Load", ToWorker::Load(Load { script, parts: parts() })),
            ("Check", ToWorker::Check(Load { script, parts: parts() })),
            ("Unload", ToWorker::Unload { script }),
            ("Invoke message", invoke(Entry::Message { subject })),
            ("Invoke http", invoke(Entry::Http { subject, method: "GET", url: "/x?y=1", declared: true })),
            ("HostReply Done", reply(HostReply::Done)),
            ("HostReply Bytes", reply(HostReply::Bytes(b"12"))),
            ("HostReply Library", reply(HostReply::Library(parts()))),
            ("HostReply Pairs", reply(HostReply::Pairs(vec![(b"a/b", b"1")]))),
            ("HostReply Rows", reply(HostReply::Rows(rows()))),
            ("HostReply Folders", reply(HostReply::Folders(vec![Folder { path: b"/srv", read_only: true }]))),
            ("HostReply File Done", reply(HostReply::File(FileReply::Done))),
            ("HostReply File Stat", reply(HostReply::File(FileReply::Stat(stat)))),
            ("HostReply File Bytes", reply(HostReply::File(FileReply::Bytes(b"abc")))),
            (
                "HostReply File Names",
                reply(HostReply::File(FileReply::Names(vec![(b"a", Some(FileKind::File)), (b"b", None)]))),
            ),
            ("HostReply File Errno", reply(HostReply::File(FileReply::Errno(2)))),
            ("HostReply Command", reply(HostReply::Command { status: -1, stdout: b"out", stderr: b"err" })),
            ("HostReply NotFound", reply(HostReply::NotFound)),
            ("HostReply Failed", reply(HostReply::Failed("no"))),
            ("HostReply Denied", reply(HostReply::Denied("denied: x"))),
            ("Command", ToWorker::Command(command)),
            ("HostReply Http", reply(HostReply::Http(fetched))),
            ("HostReply Opened", reply(HostReply::Opened(7))),
            ("Probe", ToWorker::Probe(probe)),
            ("Compile", ToWorker::Compile { module: b"\0asm" }),
            ("Bind", ToWorker::Bind { artifact: b"\x7fELF" }),
            ("Sqlite Open", ToWorker::Sqlite(SqliteCall::Open { path: "/srv/a.db", read_only: true })),
            (
                "Sqlite Query",
                ToWorker::Sqlite(SqliteCall::Query { sql: b"select 1", args: b"\0", most: 300 }),
            ),
            ("Sqlite Close", ToWorker::Sqlite(SqliteCall::Close)),
        ],
        to_worker_name,
        |message, buffer| codec::encode(message, buffer).unwrap(),
    );
}
