//! A real broker with real workers for one test: its own folder, its own ports, ended with the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A guard against hanging, generous: tests assert outcomes, not times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program of this name, as built beside the test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // Tests lie in target/PROFILE/deps, the programs of this crate beside the others.
    let folder = test.parent().expect("a program lies in a folder");
    let folders = [folder.parent().unwrap_or(folder), folder];
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run `cargo build --workspace` first"))
}

/// A script that runs its payload and answers with what that returns, values joined by `|`.
pub const EVAL: &str = "local function text(...) local all = {...} for i = 1, select('#', ...) do \
    all[i] = tostring(all[i]) end return table.concat(all, '|') end \
    function OnMessage(_, code) return text(assert(loadstring(code, '=eval'))()) end";

/// By these variables a suite runs again with other workers: `MSGSCRIPT_TEST_ISOLATION=invocation`,
/// `MSGSCRIPT_TEST_JIT=on` (scripts then begin a line later).
const ISOLATION: &str = "MSGSCRIPT_TEST_ISOLATION";
const JIT: &str = "MSGSCRIPT_TEST_JIT";

fn of_matrix(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How a broker is to be started.
#[derive(Debug, Default)]
pub struct Setup {
    scripts: Vec<(String, Vec<u8>)>,
    libraries: Vec<(String, Vec<u8>)>,
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    nats: Option<String>,
    nats_env: bool,
    port: u16,
    bind: Option<String>,
    inside: Option<String>,
    embedded_nats: Option<String>,
    workers: Option<usize>,
    usual_control: bool,
}

impl Setup {
    /// With an embedded NATS server, two workers and no scripts.
    #[must_use]
    pub fn new() -> Setup {
        Setup::default()
    }

    /// With a file in the script folder (`hello.lua`, `libs/web.lua`).
    #[must_use]
    pub fn file(mut self, path: &str, text: impl AsRef<[u8]>) -> Setup {
        self.scripts.push((path.to_owned(), text.as_ref().to_vec()));
        self
    }

    /// With a Lua script of that subject and name, in `<name>.lua` (`<subject>-<name>.lua` if that is taken).
    /// Its text begins on line 3.
    #[must_use]
    pub fn script(self, subject: &str, name: &str, lua: &str) -> Setup {
        let jit =
            if of_matrix(JIT).is_some() && !lua.starts_with("--* jit") { "--* jit: true\n" } else { "" };
        let text = format!("{jit}--* subject: {subject}\n--* name: {name}\n{lua}\n");
        let mut path = format!("{name}.lua");
        if self.scripts.iter().any(|(taken, _)| *taken == path) {
            path = format!("{subject}-{name}.lua");
        }
        self.file(&path, text)
    }

    /// The same in HTTP mode. Its text begins on line 4.
    #[must_use]
    pub fn http_script(self, subject: &str, name: &str, lua: &str) -> Setup {
        self.script(subject, name, &format!("--* http: true\n{lua}"))
    }

    /// With a Lua script whose subject and name are the same.
    #[must_use]
    pub fn lua(self, name: &str, lua: &str) -> Setup {
        self.script(name, name, lua)
    }

    /// With a library of that path below a library folder of its own.
    #[must_use]
    pub fn library(mut self, path: &str, lua: &str) -> Setup {
        self.libraries.push((path.to_owned(), lua.as_bytes().to_vec()));
        self
    }

    /// With a configuration file of this text.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Setup {
        self.config = Some(toml.to_owned());
        self
    }

    /// With these arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With this environment variable (otherwise it has none but PATH).
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Setup {
        self.workers = Some(workers);
        self
    }

    /// With its control socket where brokers have it by themselves.
    #[must_use]
    pub fn usual_control(mut self) -> Setup {
        self.usual_control = true;
        self
    }

    /// On an external NATS server.
    #[must_use]
    pub fn nats(mut self, url: &str) -> Setup {
        self.nats = Some(url.to_owned());
        self
    }

    /// On an external NATS server that only the environment names.
    #[must_use]
    pub fn nats_env(mut self, url: &str) -> Setup {
        self.nats_env = true;
        self.env("NATS_URL", url)
    }

    /// With its HTTP door at this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Setup {
        self.port = port;
        self
    }

    /// With its HTTP door at this address.
    #[must_use]
    pub fn bind(mut self, address: &str) -> Setup {
        self.bind = Some(address.to_owned());
        self
    }

    /// In the network namespace of this name.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Setup {
        self.inside = Some(namespace.to_owned());
        self
    }

    /// With its NATS server at this address.
    #[must_use]
    pub fn embedded_nats(mut self, address: &str) -> Setup {
        self.embedded_nats = Some(address.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(self) -> Broker {
        let broker = self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while broker.ready().is_none() {
            assert!(Instant::now() < deadline, "the broker did not come up:\n{}", broker.log());
            assert!(broker.is_running(), "the broker ended:\n{}", broker.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        broker
    }

    /// Starts it without waiting, for tests of start-up failures.
    ///
    /// # Panics
    /// When the process cannot be started at all.
    #[must_use]
    pub fn spawn(self) -> Broker {
        let folder = TempDir::new().expect("a temporary folder");
        for (path, text) in &self.scripts {
            write_file(&folder.path().join("scripts").join(path), text);
        }
        std::fs::create_dir_all(folder.path().join("scripts")).expect("a script folder");
        let program = program("msgscript-broker");
        let mut command = match &self.inside {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg("--script").arg(folder.path().join("scripts"));
        if !self.libraries.is_empty() {
            for (path, text) in &self.libraries {
                write_file(&folder.path().join("lib").join(path), text);
            }
            command.arg("--library").arg(folder.path().join("lib"));
        }
        if let Some(toml) = &self.config {
            write_file(&folder.path().join("config.toml"), toml.as_bytes());
            command.arg("--config").arg(folder.path().join("config.toml"));
        }
        command.args(["--port", &self.port.to_string()]);
        command.args(["--bind", self.bind.as_deref().unwrap_or("127.0.0.1")]);
        command.args(["--workers", &self.workers.unwrap_or(2).to_string()]);
        match &self.nats {
            Some(url) => command.args(["--natsurl", url]),
            None if self.nats_env => &mut command,
            None => {
                let address = self.embedded_nats.as_deref().unwrap_or("127.0.0.1:0");
                command.args(["--embedded-nats", address])
            }
        };
        // Each its own: by itself it would be in a folder that outlives the test.
        if !self.usual_control && !self.args.iter().any(|arg| arg.starts_with("--control")) {
            command.arg("--control").arg(folder.path().join("control.sock"));
        }
        if let Some(scope) = of_matrix(ISOLATION) {
            command.args(["--isolation", &scope]);
        }
        command.args(&self.args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                sink.lock().expect("not poisoned").push(line);
            }
        });
        Broker { child: Mutex::new(child), folder, log }
    }
}

/// A running broker. Killed when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Mutex<Child>,
    folder: TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// Its log so far, a JSON object a line.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    /// The log events so far.
    #[must_use]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let lines = self.log.lock().expect("not poisoned");
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log event that passes the test.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for_event(&self, what: &str, test: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.events().into_iter().find(&test) {
                return event;
            }
            assert!(Instant::now() < deadline, "no event: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn ready(&self) -> Option<serde_json::Value> {
        self.events().into_iter().find(|event| event["message"] == "ready")
    }

    fn address(&self, name: &str) -> SocketAddr {
        let ready = self.ready().expect("started");
        ready[name]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {ready}"))
    }

    /// Where it speaks HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// Where its pages are, if they have a listener of their own.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        let event = self.wait_for_event("operator pages", |event| event["admin"].is_string());
        event["admin"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{event}"))
    }

    /// The URL of its embedded NATS server.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.address("nats"))
    }

    /// Runs Lua code in the script `eval` (see [`EVAL`]): what it returned, as text.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn eval(&self, code: &str) -> String {
        self.call("eval", code)
    }

    /// A NATS client of its embedded server.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn nats(&self) -> async_nats::Client {
        async_nats::connect(self.nats_url()).await.expect("the embedded server accepts")
    }

    /// Its script folder.
    #[must_use]
    pub fn scripts(&self) -> PathBuf {
        self.folder.path().join("scripts")
    }

    /// Writes a file into its script folder.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        write_file(&self.scripts().join(path), text.as_ref());
    }

    /// Writes a library into its library folder.
    pub fn write_library(&self, path: &str, text: &str) {
        write_file(&self.folder.path().join("lib").join(path), text.as_bytes());
    }

    /// The folder that holds all that is its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for a log event that has all of these texts anywhere in it.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for_words(&self, words: &[&str]) -> serde_json::Value {
        self.wait_for_event(&format!("{words:?}"), |event| {
            let text = event.to_string();
            words.iter().all(|word| text.contains(word))
        })
    }

    /// How many log events so far have this text anywhere in them.
    #[must_use]
    pub fn count_events(&self, word: &str) -> usize {
        self.events().iter().filter(|event| event.to_string().contains(word)).count()
    }

    /// Posts to the only script of a subject, which must succeed: what it answered.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn call(&self, subject: &str, body: &str) -> String {
        let response = self.post(&format!("/{subject}"), body);
        assert_eq!(response.status, 200, "{subject}: {}", response.text());
        response.only_payload()
    }

    /// Posts to the only script of a subject, which must fail: the response and its error text.
    ///
    /// # Panics
    /// When it succeeds.
    #[must_use]
    pub fn fail(&self, subject: &str, body: &str) -> (Response, String) {
        let response = self.post(&format!("/{subject}"), body);
        assert_ne!(response.status, 200, "{subject}: {}", response.text());
        let error = response.only()["error"].as_str().expect("an error").to_owned();
        (response, error)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.lock().expect("not poisoned").id()
    }

    /// The processes of its workers (all of its children).
    #[must_use]
    pub fn workers(&self) -> Vec<u32> {
        let children = |task: PathBuf| std::fs::read_to_string(task.join("children")).unwrap_or_default();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let all: Vec<String> = tasks.map(|task| children(task.path())).collect();
        all.iter().flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// Its workers that are running something, as the CPU time they use tells; waits for so many.
    ///
    /// # Panics
    /// When there are never so many.
    #[must_use]
    pub fn busy_workers(&self, count: usize) -> Vec<u32> {
        let deadline = Instant::now() + PATIENCE;
        let mut first_seen: HashMap<u32, u64> = HashMap::new();
        loop {
            // A spare that starts up uses some, too: a run in a loop uses more. Some are started for the run.
            let ticks = self.workers().into_iter().map(|pid| (pid, cpu_ticks(pid)));
            let busy = ticks.filter(|(pid, now)| *now >= *first_seen.entry(*pid).or_insert(*now) + 10);
            let busy: Vec<u32> = busy.map(|(pid, _)| pid).collect();
            if busy.len() >= count {
                return busy;
            }
            assert!(
                Instant::now() < deadline,
                "{} workers are busy, not {count}\n{}",
                busy.len(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its one worker that is running something.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn busy_worker(&self) -> u32 {
        self.busy_workers(1)[0]
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal);
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().expect("not poisoned").try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.lock().expect("not poisoned").try_wait() {
                // The log's last lines are on their way.
                std::thread::sleep(Duration::from_millis(50));
                return status;
            }
            assert!(Instant::now() < deadline, "the broker did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An HTTP request on a connection of its own.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        request(self.http(), method, path, headers, body)
    }

    /// `GET path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// `POST path` with a body.
    #[must_use]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.request("POST", path, &[], body.as_ref())
    }

    /// Posts to a subject until the answer passes the test: for changes that take a moment.
    ///
    /// # Panics
    /// When it never does.
    pub fn post_until(&self, path: &str, body: &str, test: impl Fn(&Response) -> bool) -> Response {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = self.post(path, body);
            if test(&response) {
                return response;
            }
            assert!(Instant::now() < deadline, "last answer: {response:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process; one that is gone is none of our concern.
pub fn kill_process(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), signal);
}

/// CPU time that a process has used, in clock ticks; 0 if it is gone.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// Polls until something holds.
///
/// # Panics
/// When it never does.
pub fn wait_until(what: &str, test: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn write_file(path: &Path, text: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header fields as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The decoded payload of a script in the JSON body.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn payload(&self, name: &str) -> String {
        use base64::Engine;
        let json = self.json();
        let payload =
            json[name]["payload"].as_str().unwrap_or_else(|| panic!("no payload of {name}: {json}"));
        let bytes = base64::engine::general_purpose::STANDARD.decode(payload).expect("base64");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The result of the only script in the JSON body.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn only(&self) -> serde_json::Value {
        let json = self.json();
        let results = json.as_object().unwrap_or_else(|| panic!("no object: {json}"));
        assert_eq!(results.len(), 1, "{json}");
        results.values().next().cloned().expect("there is one")
    }

    /// The decoded payload of the only script in the JSON body.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn only_payload(&self) -> String {
        let name = self.json().as_object().and_then(|results| results.keys().next().cloned());
        let _ = self.only();
        self.payload(&name.expect("there is one"))
    }

    /// All headers of that name.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// `Msgscript-Reason`.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.header("msgscript-reason").unwrap_or("")
    }
}

/// An HTTP/1.1 request on a connection of its own.
///
/// # Panics
/// When there is no well-formed answer.
#[must_use]
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(to).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {to}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("sent");
    // The server may answer and close before it has read all of a refused body.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse_response(&answer)
}

/// Reads a response that ended with its connection.
///
/// # Panics
/// When it is malformed.
#[must_use]
pub fn parse_response(answer: &[u8]) -> Response {
    let text = String::from_utf8_lossy(answer);
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {text:?}"));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let body = answer[end + 4..].to_vec();
    Response { status: status.unwrap_or_else(|| panic!("no status: {text:?}")), headers, body }
}

/// A real nats-server on a port of its own. Killed when dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl NatsServer {
    /// Starts it with these further arguments.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start(args: &[&str]) -> NatsServer {
        let folder = TempDir::new().expect("a temporary folder");
        let ports = folder.path().to_str().expect("UTF-8").to_owned();
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", &ports]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nats-server is installed (scripts/test installs it)");
        // From here on a failure ends it too.
        let mut server = NatsServer { child, port: 0, folder };
        let deadline = Instant::now() + PATIENCE;
        let file = server.folder.path().join(format!("nats-server_{}.ports", server.child.id()));
        loop {
            if let Ok(text) = std::fs::read_to_string(&file)
                && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
                && let Some(port) =
                    json["nats"][0].as_str().and_then(|url| url.rsplit(':').next()?.parse().ok())
            {
                server.port = port;
                return server;
            }
            assert!(Instant::now() < deadline, "nats-server did not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
