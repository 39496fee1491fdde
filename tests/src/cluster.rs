//! Three machines: on each a broker, a member of a NATS cluster with JetStream, and a member of an etcd.
//!
//! Each is a network namespace of its own behind a bridge in a further one, where the clients are. Needs root, as
//! the kernel gives namespaces and bridges to nobody else. All of it ends with the value.

pub mod faults;
pub mod load;
mod network;

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use tempfile::TempDir;

use crate::harness::{Broker, Setup};
use network::Network;

/// Machines.
pub const SIZE: usize = 3;

/// How long servers may take to find each other again. A guard against hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

const BROKER_PORT: u16 = 8080;

/// What opens the brokers' pages to the clients' machine.
const TOKEN: &str = "chaos-chaos-chaos-chaos";

/// The cluster.
pub struct Cluster {
    brokers: [Mutex<Option<Broker>>; SIZE],
    nats: [Mutex<Child>; SIZE],
    etcd: [Mutex<Child>; SIZE],
    network: Network,
    folder: TempDir,
    setup: fn() -> Setup,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in self.nats.iter().chain(&self.etcd) {
            end(&mut server.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }
}

fn end(server: &mut Child) {
    let _ = server.kill();
    let _ = server.wait();
}

impl Cluster {
    /// Starts all servers, puts the calling thread (and those it starts from now on) on the clients' machine, puts
    /// the scripts into etcd, and starts the brokers, each as `setup` says.
    ///
    /// # Panics
    /// When anything of that fails.
    #[must_use]
    pub fn start(scripts: &[(&str, &str)], setup: fn() -> Setup) -> Cluster {
        let network = Network::start(SIZE);
        network.enter();
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("token"), TOKEN).expect("own folder");
        let (network_, folder_) = (&network, &folder);
        let nats = std::array::from_fn(|at| Mutex::new(start_nats(network_, folder_, at)));
        let etcd = std::array::from_fn(|at| Mutex::new(start_etcd(network_, folder_, at)));
        let brokers = [const { Mutex::new(None) }; SIZE];
        let cluster = Cluster { brokers, nats, etcd, network, folder, setup };
        cluster.wait_for("etcd", |cluster| cluster.etcdctl(&["endpoint", "health", "--cluster"]).is_some());
        for (subject, text) in scripts {
            let (key, value) = record(subject, text);
            assert!(cluster.etcdctl(&["put", &key, &value]).is_some(), "{subject} is put");
        }
        (0..SIZE).for_each(|at| cluster.start_broker(at));
        cluster
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it never is.
    pub fn wait_for(&self, what: &str, so: impl Fn(&Cluster) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The address of a machine.
    #[must_use]
    pub fn address(&self, at: usize) -> String {
        network::address(at)
    }

    /// The NATS servers' URLs, with commas.
    #[must_use]
    pub fn nats_urls(&self) -> String {
        list(|address| format!("nats://{address}:4222"))
    }

    /// A client of the NATS cluster.
    ///
    /// # Panics
    /// When none of them lets it in.
    pub async fn client(&self) -> async_nats::Client {
        let urls: Vec<async_nats::ServerAddr> =
            (0..SIZE).filter_map(|at| format!("{}:4222", network::address(at)).parse().ok()).collect();
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect().max_reconnects(None);
        options.connect(urls).await.expect("a client")
    }

    /// A stream with a copy on each machine, once the cluster can have one.
    ///
    /// # Panics
    /// When it never can.
    pub async fn stream(&self, client: &async_nats::Client, name: &str, subject: &str) -> stream::Stream {
        let context = jetstream::new(client.clone());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let config = stream::Config {
                name: name.into(),
                subjects: vec![subject.into()],
                num_replicas: SIZE,
                ..Default::default()
            };
            match context.get_or_create_stream(config).await {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "no stream {name}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks etcd with its own program; what that prints, if it succeeds.
    #[must_use]
    pub fn etcdctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &etcd_endpoints(), "--command-timeout=5s"])
            .args(args);
        let output = command.output().expect("etcdctl is installed (see scripts/test)");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A value in etcd; empty if there is none.
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        self.etcdctl(&["get", "--print-value-only", key]).unwrap_or_default().trim().to_owned()
    }

    /// The keys that begin so, without that; none, too, while etcd does not answer.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> BTreeSet<String> {
        let keys = self.etcdctl(&["get", "--prefix", "--keys-only", prefix]).unwrap_or_default();
        keys.lines().filter_map(|line| line.strip_prefix(prefix)).map(ToOwned::to_owned).collect()
    }

    /// Where a broker speaks HTTP.
    #[must_use]
    pub fn http(&self, at: usize) -> String {
        format!("{}:{BROKER_PORT}", network::address(at))
    }

    /// Whether a broker says that it is ready for all it does.
    #[must_use]
    pub fn is_ready(&self, at: usize) -> bool {
        {
            let answer = load::http(&self.http(at), "GET /_/readyz", TOKEN, "", Duration::from_secs(2));
            answer.is_some_and(|(status, _)| status == 200)
        }
    }

    /// What the brokers have logged, their last lines.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |at: usize| {
            let broker = self.brokers[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let log = broker.as_ref().map(Broker::log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("broker {at}:\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        (0..SIZE).map(tail).collect()
    }

    fn start_broker(&self, at: usize) {
        let broker = (self.setup)()
            .inside(&self.network.machine(at))
            .bind(&network::address(at))
            .port(BROKER_PORT)
            .nats(&self.nats_urls())
            .env("ETCD_ENDPOINTS", &etcd_endpoints())
            .args(&["-backend", "etcd", "--admin-token-file"])
            .args(&[&self.folder.path().join("token").to_string_lossy()])
            .start();
        *self.brokers[at].lock().expect("not poisoned") = Some(broker);
    }
}

/// The URL of one thing on each machine, with commas.
fn list(of: impl Fn(String) -> String) -> String {
    (0..SIZE).map(|at| of(network::address(at))).collect::<Vec<_>>().join(",")
}

fn etcd_endpoints() -> String {
    list(|address| format!("http://{address}:2379"))
}

/// A script as the Go server keeps it: key and value.
fn record(subject: &str, text: &str) -> (String, String) {
    use base64::Engine;
    let content = base64::prelude::BASE64_STANDARD.encode(text);
    let value = format!(
        r#"{{"content":"{content}","executor":"","is_html":false,"libraries":null,"name":"n","subject":"{subject}"}}"#
    );
    (format!("msgscript/scripts/{subject}/n"), value)
}

fn spawn(mut command: Command, what: &str) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{what} does not start: {error} (see scripts/test)"))
}

fn start_nats(network: &Network, folder: &TempDir, at: usize) -> Child {
    let (address, store) = (network::address(at), folder.path().join(format!("nats{at}")));
    let mut command = network.command(at, "nats-server");
    command.args(["--name", &format!("n{at}"), "-a", &address, "-p", "4222", "-js", "-sd"]).arg(store);
    command.args(["--cluster_name", "cluster", "--cluster", &format!("nats://{address}:6222")]);
    command.args(["--routes", &list(|address| format!("nats://{address}:6222"))]);
    spawn(command, "nats-server")
}

fn start_etcd(network: &Network, folder: &TempDir, at: usize) -> Child {
    let address = network::address(at);
    let (client, peer) = (format!("http://{address}:2379"), format!("http://{address}:2380"));
    let all = (0..SIZE)
        .map(|at| format!("e{at}=http://{}:2380", network::address(at)))
        .collect::<Vec<_>>()
        .join(",");
    let mut command = network.command(at, "etcd");
    command.args(["--name", &format!("e{at}"), "--log-level", "error", "--data-dir"]);
    command.arg(folder.path().join(format!("etcd{at}")));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &all, "--initial-cluster-state", "new"]);
    spawn(command, "etcd")
}
