//! Real database servers for tests: each in a folder of its own, on loopback, ended with its last user.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::PATIENCE;

/// The user that database servers run as when tests run as root: they refuse root.
const NOBODY: u32 = 65534;

/// The password of each server's user.
pub const PASSWORD: &str = "p@ss/w:rd";

/// A process that ends with its value.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A folder that the servers' user may write to.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    if nix::unistd::Uid::effective().is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may give folders away");
    }
    folder
}

/// A command that runs as the servers' user, without output.
fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error} (see scripts/test)"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Waits until something answers at a port.
fn wait_for(process: &mut Process, what: &str, answers: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !answers() {
        assert!(matches!(process.0.try_wait(), Ok(None)), "{what} has ended");
        assert!(Instant::now() < deadline, "{what} did not come up");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A real etcd.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Etcd {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start() -> Etcd {
        Etcd::start_at(free_port(), folder())
    }

    fn start_at(port: u16, folder: TempDir) -> Etcd {
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut command = quiet("etcd");
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
        let mut process = Process(command.spawn().expect("etcd is installed (see scripts/test)"));
        wait_for(&mut process, "etcd", || listens(port));
        Etcd { process, folder, port }
    }

    /// Ends it; [`Self::start_again`] brings it back with its data.
    pub fn stop(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_again(self) -> Etcd {
        let Etcd { process, folder, port } = self;
        drop(process);
        Etcd::start_at(port, folder)
    }

    /// Asks it with etcd's own program; what that prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn control(&self, args: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]).args(args);
        let output = command.output().expect("etcdctl is installed (see scripts/test)");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Forgets all revisions but the last.
    ///
    /// # Panics
    /// When it fails.
    pub fn compact(&self) {
        let status = self.control(&["endpoint", "status", "--write-out", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let revision = status[0]["Status"]["header"]["revision"].to_string();
        self.control(&["compact", &revision]);
    }

    /// Its endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A real PostgreSQL with the user `script`, that is no superuser, and its database `shop`.
#[derive(Debug)]
pub struct Postgres {
    /// Its port.
    pub port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Postgres {
    /// The one that tests of this process share.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        share(&SHARED, Postgres::start)
    }

    fn start() -> Postgres {
        let bin = postgres_programs();
        let (folder, port) = (folder(), free_port());
        let data = folder.path().join("data");
        let socket = folder.path().to_str().expect("UTF-8").to_owned();
        run(quiet(&format!("{bin}/initdb"))
            .args(["-U", "postgres", "-A", "scram-sha-256", "--auth-local=trust"])
            .arg("-D")
            .arg(&data)
            .args(["-E", "UTF8", "--locale=C", "--no-sync"]));
        let mut server = quiet(&format!("{bin}/postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", &socket, "-F"]);
        let mut process = Process(server.spawn().expect("postgres starts"));
        wait_for(&mut process, "PostgreSQL", || listens(port));
        let deadline = Instant::now() + PATIENCE;
        let sql = format!("CREATE ROLE script LOGIN PASSWORD '{PASSWORD}'");
        // It listens a moment before it serves.
        while !psql(&bin, &socket, port, &sql) {
            assert!(Instant::now() < deadline, "PostgreSQL does not serve");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(psql(&bin, &socket, port, "CREATE DATABASE shop OWNER script"));
        Postgres { port, _process: process, _folder: folder }
    }
}

fn psql(bin: &str, socket: &str, port: u16, sql: &str) -> bool {
    let mut command = quiet(&format!("{bin}/psql"));
    command.args(["-h", socket, "-p", &port.to_string(), "-U", "postgres", "-q", "-c", sql]);
    command.status().is_ok_and(|status| status.success())
}

/// Where Debian keeps the programs of its newest PostgreSQL.
fn postgres_programs() -> String {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (see scripts/test)");
    let mut found: Vec<_> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("a PostgreSQL server").to_str().expect("UTF-8").to_owned()
}

/// A real MariaDB with the user `script` and its database `shop`.
#[derive(Debug)]
pub struct MariaDb {
    /// Its port.
    pub port: u16,
    _process: Process,
    _folder: TempDir,
}

impl MariaDb {
    /// The one that tests of this process share.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn shared() -> Arc<MariaDb> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        share(&SHARED, MariaDb::start)
    }

    fn start() -> MariaDb {
        let (folder, port) = (folder(), free_port());
        let data = folder.path().join("data");
        let init = folder.path().join("init.sql");
        let sql = format!(
            "CREATE DATABASE shop;\nCREATE USER 'script'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON shop.* TO 'script'@'127.0.0.1';\nGRANT PROCESS ON *.* TO 'script'@'127.0.0.1';\n"
        );
        std::fs::write(&init, sql).expect("a file");
        readable(&init);
        let user = if nix::unistd::Uid::effective().is_root() { "nobody" } else { "" };
        let mut install = quiet("mariadb-install-db");
        install.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        if !user.is_empty() {
            install.arg(format!("--user={user}"));
        }
        run(&mut install);
        let mut server = quiet("mariadbd");
        server.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        server.arg(format!("--socket={}/socket", folder.path().display()));
        server.arg(format!("--pid-file={}/pid", folder.path().display()));
        server.arg(format!("--init-file={}", init.display()));
        server.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--local-infile=1"]);
        server.arg(format!("--port={port}"));
        let mut process = Process(server.spawn().expect("MariaDB is installed (see scripts/test)"));
        wait_for(&mut process, "MariaDB", || listens(port));
        MariaDb { port, _process: process, _folder: folder }
    }
}

fn readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("own file");
}

fn share<T>(shared: &Mutex<Weak<T>>, start: fn() -> T) -> Arc<T> {
    // A test that failed while it started one leaves the next to try again.
    let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(start());
    *shared = Arc::downgrade(&started);
    started
}
