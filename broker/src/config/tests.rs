//! Tests of the whole way from arguments, environment and file to a configuration.

use super::*;

/// What these arguments, variables and file come to.
fn run(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Start, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let mut args: Vec<OsString> = ["msgscript-broker"].iter().chain(args).map(OsString::from).collect();
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
        args.extend(["--config".into(), path.into_os_string()]);
    }
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    start(args, &env).map_err(|error| error.to_string())
}

fn config(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Config {
    match run(args, env, file) {
        Ok(Start::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn error(args: &[&str], file: Option<&str>) -> String {
    run(args, &[], file).expect_err("an error")
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = config(&[], &[], None);
    assert_eq!(config.backend, Backend::File);
    assert_eq!(config.folders, Folders::new(".".as_ref(), Some("./libs".as_ref())));
    assert_eq!(config.nats, Nats::Embedded("127.0.0.1:4222".parse().unwrap()));
    assert_eq!(config.http, "0.0.0.0:7643".parse().unwrap());
    assert_eq!((config.log, config.nats_reply), (LogLevel::Info, NatsReply::Raw));
    assert_eq!((config.queue, config.queue_group.as_str()), (1024, "msgscript"));
    let expected =
        Limits { wall: Duration::from_secs(120), memory: 128 << 20, output: 8 << 20, payload: 1 << 20 };
    assert_eq!(config.limits, expected);
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.etcd, ["127.0.0.1:2379"]);
    assert!(config.workers >= 1 && config.allow.is_empty() && config.sandbox_without.is_empty());
    assert_eq!(config.notices(), Vec::<&str>::new());
}

#[test]
fn the_go_servers_flags_work() {
    let args = [
        "-backend",
        "file",
        "-etcdurl",
        "a:1,b:2",
        "-library",
        "/l",
        "-log",
        "debug",
        "-natsurl",
        "nats://h:1",
        "-port",
        "80",
        "-script=/s",
    ];
    let config = config(&args, &[], None);
    assert_eq!(config.folders, Folders::new("/s".as_ref(), Some("/l".as_ref())));
    assert_eq!(config.etcd, ["a:1", "b:2"]);
    assert_eq!(config.log, LogLevel::Debug);
    assert_eq!(config.nats, Nats::External { url: "nats://h:1".into(), creds: None, ca: None });
    assert_eq!(config.http.port(), 80);
}

#[test]
fn command_line_beats_environment_beats_file() {
    let file = "[broker]\nnatsurl = \"nats://file:1\"\nlog = \"error\"\nworkers = 3\nstate-dir = \"/file\"";
    let env = [("NATS_URL", "nats://env:1"), ("DEBUG", "1"), ("STATE_DIRECTORY", "/one:/two")];
    let url = |config: &Config| match &config.nats {
        Nats::External { url, .. } => url.clone(),
        Nats::Embedded(_) => String::new(),
    };
    let from_file = config(&[], &[("NATS_URL", ""), ("DEBUG", "")], Some(file));
    assert_eq!(url(&from_file), "nats://file:1");
    assert_eq!((from_file.log, from_file.workers), (LogLevel::Error, 3));
    assert_eq!(from_file.state_dir, Some("/file".into()));
    let from_env = config(&[], &env, Some(file));
    assert_eq!((url(&from_env).as_str(), from_env.log), ("nats://env:1", LogLevel::Debug));
    assert_eq!(from_env.state_dir, Some("/one".into()));
    let args = ["--natsurl", "nats://cli:1", "--log", "warn", "--workers", "5", "--state-dir", "/cli"];
    let from_cli = config(&args, &env, Some(file));
    assert_eq!(
        (url(&from_cli).as_str(), from_cli.log, from_cli.workers),
        ("nats://cli:1", LogLevel::Warn, 5)
    );
    assert_eq!(from_cli.state_dir, Some("/cli".into()));
    let etcd = config(&["-etcdurl", "flag:1"], &[("ETCD_ENDPOINTS", "env:1, env:2")], None).etcd;
    assert_eq!(etcd, ["env:1", "env:2"], "here the environment wins");
}

#[test]
fn every_setting_has_one_name_everywhere() {
    let file = r#"[broker]
        backend = "file"
        etcdurl = "a:1"
        library = "/l"
        log = "warn"
        port = 8080
        script = "/s"
        workers = 8
        bind = "127.0.0.1"
        embedded-nats = "127.0.0.1:0"
        queue-group = "g"
        nats-reply = "envelope"
        timeout = "2m"
        memory = 67108864
        max-payload = "2MiB"
        max-output = "3MiB"
        queue = 7
        drain-timeout = "1s"
        state-dir = "/st"
        worker-dir = "/w"
        admin-token-file = "/t"
        admin-bind = "127.0.0.1:9000"
        allow = ["cmd", "env:GREETING"]
        sandbox-without = ["landlock"]
    "#;
    let from_file = config(&[], &[], Some(file));
    let args = [
        "--backend=file",
        "--etcdurl=a:1",
        "--library=/l",
        "--log=warn",
        "--port=8080",
        "--script=/s",
        "--workers=8",
        "--bind=127.0.0.1",
        "--embedded-nats=127.0.0.1:0",
        "--queue-group=g",
        "--nats-reply=envelope",
        "--timeout=2m",
        "--memory=64MiB",
        "--max-payload=2MiB",
        "--max-output=3MiB",
        "--queue=7",
        "--drain-timeout=1s",
        "--state-dir=/st",
        "--worker-dir=/w",
        "--admin-token-file=/t",
        "--admin-bind=127.0.0.1:9000",
        "--allow=cmd",
        "--allow=env:GREETING",
        "--sandbox-without=landlock",
    ];
    let from_cli = config(&args, &[], None);
    assert_eq!(from_file, from_cli);
    assert_eq!(from_cli.sandbox_without, [Layer::Landlock]);
    assert_eq!(from_cli.allow.len(), 2);
}

#[test]
fn values_that_make_no_sense_are_named() {
    let cases: [(&[&str], &str); 22] = [
        (&["--workers", "0"], "setting workers: must be 1 to 1024"),
        (&["--workers", "1025"], "setting workers: must be 1 to 1024"),
        (&["--queue", "0"], "setting queue: must be 1 to 1000000"),
        (&["--timeout", "0s"], "setting timeout: must be more than zero"),
        (&["--timeout", "soon"], "not a duration"),
        (&["--memory", "1KiB"], "setting memory: must be at least 1MiB"),
        (&["--memory", "lots"], "not a size"),
        (&["--max-payload", "64MiB"], "setting max-payload: must be more than zero and at most 63MiB"),
        (&["--max-output", "0"], "setting max-output"),
        (&["--port", "65536"], "--port"),
        (&["--bind", "localhost"], "--bind"),
        (&["--log", "loud"], "[possible values: debug, info, warn, error]"),
        (&["--backend", "sqlite"], "[possible values: file, etcd]"),
        (&["--allow", "everything"], "unknown grant `everything`; there are env:NAME"),
        (&["--sandbox-without", "all"], "there are landlock, seccomp"),
        (&["--natsurl", "http://x"], "setting natsurl"),
        (&["--natsurl", "nats://x", "--embedded-nats", "127.0.0.1:1"], "choose one"),
        (&["--nats-ca", "/x"], "need `natsurl`"),
        (&["--queue-group", "a b"], "setting queue-group"),
        (&["--etcdurl", "a,,b"], "setting etcdurl"),
        (&["--bind", "127.0.0.1", "--admin-bind", "127.0.0.1:7643"], "setting admin-bind"),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
    ];
    for (args, expected) in cases {
        let error = error(args, None);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn errors_in_the_file_name_line_and_key() {
    let cases = [
        ("[broker]\nworkers = 1\nworker = 2\n", ["line 3", "unknown field `worker`"]),
        ("[broker]\n\ntimeout = \"soon\"\n", ["line 3", "not a duration"]),
        ("[broker]\nport = 65536\n", ["line 2", "65536"]),
        ("[broker]\nallow = [\"cmd\",\n\"comand\"]\n", ["line 3", "unknown grant `comand`"]),
        ("[broker]\nconfig = \"x\"\n", ["line 2", "unknown field `config`"]),
        ("[brokers]\n", ["line 1", "unknown field `brokers`"]),
        ("[[tenant]]\nname = \"a\"\nsubjects = [\"a\"]\n", ["line 1", "missing field `scripts`"]),
        ("[[tenant]]\nname = \"a b\"\n", ["line 2", "not a name"]),
        ("[[tenant]]\nname = \"a\"\nsubjects = [\"a..b\"]\n", ["line 3", "empty part"]),
        ("[[tenant]]\nisolation = \"none\"\n", ["line 2", "`tenant`, `script`"]),
        ("[[tenant]]\n[tenant.limits]\nmem = 1\n", ["line 3", "unknown field `mem`"]),
        ("[[tenant]]\n[tenant.grants]\nhttp = [\"x\"]\n", ["line 3", "`x` is no origin"]),
        ("[secret.x]\nhost = 1\n", ["line 2", "unknown field `host`"]),
        ("[broker\n", ["line 1", ""]),
    ];
    for (text, expected) in cases {
        let error = error(&[], Some(text));
        for part in expected {
            assert!(error.contains(part), "{text}: {error}");
        }
    }
    assert!(error(&["--config", "/nonexistent"], None).contains("/nonexistent"));
}

/// The example of the documentation.
const EXAMPLE: &str = r#"
[broker]
workers = 8
timeout = "2m"

[[tenant]]
name = "acme"
subjects = ["acme.>"]
scripts = "acme"
isolation = "tenant"
jit = false
[tenant.limits]
wall = "10s"
cpu = "2s"
memory = "64MiB"
output = "1MiB"
payload = "4MiB"
concurrency = 4
queue = 100
rate = 50
host_calls = 64
[tenant.grants]
http = ["https://api.example.com", "https://*.example.org:8443"]
nats = ["acme.out.>"]
etcd = ["acme/"]
env = ["GREETING"]
sql = ["orders"]
images = ["localhost/acme-*"]
files = ["/srv/acme:ro"]
secrets = ["stripe"]

[secret.stripe]
file = "/run/secrets/stripe"
hosts = ["api.stripe.com"]

[database.orders]
env = "ORDERS_URL"
"#;

#[test]
fn the_documented_example_is_read() {
    let config = config(&[], &[], Some(EXAMPLE));
    let [acme] = config.tables.tenants.as_slice() else { panic!("one tenant") };
    assert_eq!((acme.name.as_str(), acme.jit), ("acme", false));
    assert_eq!(acme.limits.run.wall, Duration::from_secs(10));
    assert_eq!(acme.limits.run.payload, 1 << 20, "never more than the broker's own");
    assert_eq!((acme.limits.concurrency, acme.limits.queue), (Some(4), 100));
    assert_eq!((acme.grants.http.len(), acme.grants.http[1].port), (2, 8443));
    assert!(acme.grants.files[0].read_only);
    assert_eq!(config.tables.secrets["stripe"].hosts, ["api.stripe.com"]);
    let [notice] = config.notices()[..] else { panic!("one notice") };
    assert!(notice.contains("[[nats.user]]"), "{notice}");
}

#[test]
fn tables_that_contradict_each_other_are_refused() {
    let tenant = |name: &str, subject: &str, more: &str| {
        format!("[[tenant]]\nname = \"{name}\"\nsubjects = [\"{subject}\"]\nscripts = \"{name}\"\n{more}\n")
    };
    let cases = [
        (tenant("default", "a", ""), "tenant `default`"),
        (tenant("a", "a", "") + &tenant("a", "b", ""), "two of this name"),
        (tenant("a", "x.>", "") + &tenant("b", "x.y", ""), "`x.y` overlaps a subject of tenant `a`"),
        (tenant("a", "a", "[tenant.grants]\nsql = [\"x\"]"), "there is no [database.x]"),
        (tenant("a", "a", "[tenant.grants]\nsecrets = [\"x\"]"), "there is no [secret.x]"),
        (tenant("a", "a", "[tenant.grants]\netcd = [\"\"]"), "every key"),
        (tenant("a", "a", "[tenant.limits]\nwall = \"0s\""), "`wall` must be more than zero"),
        (tenant("a", "a", "[tenant.limits]\nconcurrency = 0"), "`concurrency` must be more than zero"),
        ("[[tenant]]\nname = \"a\"\nsubjects = [\"a\"]\nscripts = \"../a\"\n".to_owned(), "without `..`"),
        ("[[tenant]]\nname = \"a\"\nsubjects = []\nscripts = \"a\"\n".to_owned(), "`subjects` is empty"),
        ("[secret.x]\nhosts = [\"h\"]\n".to_owned(), "exactly one place"),
        ("[secret.x]\nfile = \"/x\"\nhosts = [\"\"]\n".to_owned(), "an empty host"),
        (
            tenant("a", "a", "") + &tenant("b", "b", "").replace("scripts = \"b\"", "scripts = \"a/b\""),
            "overlap",
        ),
        (
            tenant("a", "a", "[[tenant.http.webhook]]\nsubjects=[\"a\"]\nform=\"github\"\nsecret=\"x\""),
            "no [secret.x]",
        ),
        ("[[nats.user]]\nname = \"a\"\n".to_owned(), "either `password` or `token`"),
        ("[[nats.user]]\nname = \"a\"\npassword = \"secret\"\n".to_owned(), "bcrypt"),
        (
            "[[nats.user]]\nname = \"a\"\ntenant = \"x\"\ntoken = \"sha256:".to_owned()
                + &"0".repeat(64)
                + "\"\n",
            "no tenant `x`",
        ),
        ("[database.x]\nurl = \"a\"\nenv = \"B\"\n".to_owned(), "exactly one place"),
    ];
    for (text, expected) in cases {
        let error = error(&[], Some(&text));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn empty_settings_are_not_given() {
    assert_eq!(config(&["-plugin", "/p"], &[], None).plugin.as_deref(), Some(Path::new("/p")));
    let empty = config(&["-plugin", "", "-library", "", "-natsurl", ""], &[], None);
    assert_eq!(empty, config(&[], &[], None), "empty counts as not given");
}

#[test]
fn traces_go_where_somebody_says() {
    let traces = |env: &[(&str, &str)]| config(&[], env, None).traces;
    let ours = ("TELEMETRY_TRACES", "true");
    let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    let otlp = |url: &str| Some(Target::Otlp(url.to_owned()));
    assert_eq!(traces(&[]), None);
    assert_eq!(traces(&[("OTEL_ENDPOINT", "h:1")]), None, "it says where, not whether");
    assert_eq!(traces(&[ours]), Some(Target::Stdout));
    assert_eq!(traces(&[ours, ("OTEL_ENDPOINT", "h:1"), standard]), otlp("http://h:1"));
    assert_eq!(traces(&[ours, standard]), otlp("http://c:4317"));
    assert_eq!(traces(&[standard]), otlp("http://c:4317"));
    for off in
        [("TELEMETRY_TRACES", "false"), ("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")]
    {
        assert_eq!(traces(&[off, standard]), None, "{off:?}");
    }
    let bare = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "t:1");
    assert_eq!(traces(&[standard, bare]), otlp("https://t:1"), "secure unless somebody says otherwise");
    assert_eq!(traces(&[bare, ("OTEL_EXPORTER_OTLP_INSECURE", "true")]), otlp("http://t:1"));
    let http = run(&[], &[standard, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], None);
    assert!(http.unwrap_err().to_string().contains("grpc"));
}

#[test]
fn verbs() {
    assert!(matches!(run(&["completion", "bash"], &[], None), Ok(Start::Completion(Shell::Bash))));
    let Ok(Start::Doctor(config)) = run(&["doctor", "-landlock-abi", "3"], &[], None) else { panic!() };
    assert_eq!(config.landlock_abi, Some(3));
    for (args, text) in [(["-version"], env!("CARGO_PKG_VERSION")), (["-help"], "--sandbox-without")] {
        assert!(error(&args, None).contains(text));
    }
}
