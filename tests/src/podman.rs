//! A real Podman for the tests of one binary: its own storage, its own socket, an image made on the spot.
//!
//! Shared while any test holds it, since it takes a second to start; whoever drops it last removes its
//! containers, ends the service and unmounts what is left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{PATIENCE, kill_process};

/// The image: busybox, no command of its own but `hello`, no user.
pub const IMAGE: &str = "localhost/msgscript-test:1";

/// The same with the user `app` (10001).
pub const APP_IMAGE: &str = "localhost/msgscript-app:1";

static SHARED: Mutex<Weak<Podman>> = Mutex::new(Weak::new());

/// A Podman that serves.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    service: Mutex<Option<Child>>,
}

impl Podman {
    /// The one that other tests use, too.
    ///
    /// # Panics
    /// When Podman, runc or busybox-static are not installed (`scripts/test` installs them), or it does not
    /// come up.
    #[must_use]
    pub fn shared() -> Arc<Podman> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let podman = Arc::new(Podman::start());
            *shared = Arc::downgrade(&podman);
            podman
        })
    }

    /// One of its own, for tests that stop it.
    ///
    /// # Panics
    /// As [`Podman::shared`].
    #[must_use]
    pub fn start() -> Podman {
        let folder = TempDir::new().expect("a temporary folder");
        let settings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                        [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(folder.path().join("containers.conf"), settings).expect("written");
        let podman = Podman { folder, service: Mutex::new(None) };
        podman.make_images();
        podman.serve();
        podman
    }

    fn make_images(&self) {
        let root = self.folder.path().join("image");
        for folder in ["bin", "etc", "tmp", "data"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for name in [
            "sh", "cat", "echo", "sleep", "env", "id", "true", "dd", "yes", "touch", "wc", "grep", "ls", "ip",
        ] {
            symlink("busybox", root.join("bin").join(name)).expect("linked");
        }
        let users = "root:x:0:0::/:/bin/sh\napp:x:10001:10001::/:/bin/sh\n";
        fs::write(root.join("etc/passwd"), users).expect("written");
        let archive = self.folder.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status();
        assert!(packed.expect("tar is installed").success());
        let archive = archive.to_str().expect("UTF-8");
        self.command(&["import", "--change", "CMD [\"echo\", \"hello\"]", archive, IMAGE]);
        self.command(&["import", "--change", "USER app", archive, APP_IMAGE]);
    }

    fn podman(&self) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", folder.join("containers.conf"));
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(folder.join(name));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of its own; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn command(&self, args: &[&str]) -> String {
        let output = self.podman().args(args).output().expect("podman is installed");
        assert!(output.status.success(), "podman {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same with this at its standard input.
    ///
    /// # Panics
    /// When it fails.
    pub fn command_with(&self, args: &[&str], input: &[u8]) -> String {
        let mut command = self.podman();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("podman is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, input).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "podman {args:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts its service, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serve(&self) {
        let child = self
            .podman()
            .args(["system", "service", "--time=0", &self.host()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman is installed");
        *self.service.lock().expect("not poisoned") = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "podman did not come up");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Ends its service at once; containers go on.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn stop(&self) {
        let mut child = self.service.lock().expect("not poisoned").take().expect("it serves");
        kill_process(child.id(), Signal::SIGKILL);
        let _ = child.wait();
        let _ = fs::remove_file(self.socket());
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// A value for `CONTAINER_HOST`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The containers of a script, running or not.
    #[must_use]
    pub fn containers(&self, subject: &str) -> Vec<String> {
        let filter = format!("label=msgscript.script={subject}/{subject}");
        let list = self.command(&["ps", "--all", "--quiet", "--filter", &filter]);
        list.lines().map(str::to_owned).collect()
    }

    /// The folder with all that is its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman().args(["rm", "--all", "--force", "--time", "0"]).output();
        if let Some(mut child) = self.service.lock().ok().and_then(|mut service| service.take()) {
            kill_process(child.id(), Signal::SIGKILL);
            let _ = child.wait();
        }
        // Its storage is a mount of its own while it is in use.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(self.folder.path()))
        };
        for line in mounts.lines().filter(own).collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").arg(line.split(' ').nth(1).unwrap_or_default()).status();
        }
    }
}
