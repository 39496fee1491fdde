//! Functions in containers, with the real Podman: what they get and give, what they may not, and that
//! nothing of them stays behind.

mod podman {
    mod answers;
    mod life;
    mod limits;
    mod powers;
}

use std::sync::Arc;

use msgscript_tests::harness::{Broker, Setup, wait_until};
use msgscript_tests::podman::{IMAGE, Podman};

/// A script that runs this description of our image; its fields are JSON, without `image`.
fn script(subject: &str, headers: &str, fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(
        "--* subject: {subject}\n--* name: {subject}\n--* executor: podman\n{headers}\n\
         {{\"image\": \"{IMAGE}\"{comma}\n{fields}}}\n"
    )
}

/// The fields for a shell command.
fn sh(command: &str) -> String {
    format!("\"command\": {}", serde_json::json!(["sh", "-c", command]))
}

/// A Podman and a set-up of a broker that uses it.
fn shared() -> (Arc<Podman>, Setup) {
    let podman = Podman::shared();
    let setup = Setup::new().workers(1).env("CONTAINER_HOST", &podman.host());
    (podman, setup)
}

/// A broker with one script that runs a shell command, on its own subject.
fn shell(setup: Setup, subject: &str, command: &str) -> Broker {
    setup.file(&format!("{subject}.lua"), script(subject, "", &sh(command))).start()
}

/// Waits until no container of a script is left.
fn none_left(podman: &Podman, subject: &str) {
    wait_until("no container is left", || podman.containers(subject).is_empty());
}
