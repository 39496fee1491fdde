//! Who the broker is to a server, and whom it trusts.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use msgscript_tests::harness::{NatsServer, Setup};
use msgscript_tests::web::Authority;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

const ECHO: &str = "function OnMessage(s, p) return s .. '|' .. p end";

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// A script asks another by way of the server.
const ASKS: &str = "function OnMessage(_, p) return require('nats').request('echo', p, 5) end";

/// A token as NATS servers want them.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let claims =
        json!({ "jti": sub, "iat": 1_700_000_000, "iss": iss, "sub": sub, "name": "n", "nats": nats });
    let text = format!("{}.{}", part(&head), part(&claims));
    let signature = issuer.sign(text.as_bytes()).expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A server with an operator, and the credentials of a user of its only account.
fn with_operator(folder: &Path) -> (NatsServer, String) {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": -1, "leaf": -1 });
    let own = token(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let accounts = json!({ "limits": limits, "type": "account", "version": 2 });
    let users = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        "type": "user", "version": 2 });
    let (accounts, users) = (token(&operator, &account, &accounts), token(&account, &user, &users));
    let config = format!(
        "operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {}: {accounts} }}\n",
        account.public_key()
    );
    let config = write(folder, "server.conf", &config);
    let seed = user.seed().expect("a seed");
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{users}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    (NatsServer::start(&["-c", config.to_str().expect("UTF-8")]), creds)
}

#[test]
fn credentials_files() {
    let folder = TempDir::new().expect("a folder");
    let (server, creds) = with_operator(folder.path());
    let path = write(folder.path(), "user.creds", &creds);
    let broker = Setup::new()
        .nats(&server.url())
        .args(&["--nats-creds", path.to_str().expect("UTF-8")])
        .lua("echo", ECHO)
        .lua("asks", ASKS)
        .start();
    assert_eq!(broker.call("asks", "x"), "echo|x");
    let seed = creds.lines().find(|line| line.starts_with("SU")).expect("a seed");
    assert!(!broker.log().contains(seed), "the seed is in the log");
}

#[test]
fn credentials_that_are_none_end_the_start_and_are_not_told() {
    let folder = TempDir::new().expect("a folder");
    let path = write(folder.path(), "user.creds", "-----\nSUSECRET\n-----\n");
    let broker = Setup::new()
        .nats("nats://127.0.0.1:1")
        .args(&["--nats-creds", path.to_str().expect("UTF-8")])
        .spawn();
    assert_eq!(broker.wait().code(), Some(1));
    assert!(broker.log().contains("nats-creds") && broker.log().contains("there is no seed in it"));
    assert!(!broker.log().contains("SUSECRET"), "{}", broker.log());
}

#[test]
fn a_wrong_password_is_told_and_tried_again() {
    let server = NatsServer::start(&["--user", "ann", "--pass", "right"]);
    let url = server.url().replace("nats://", "nats://ann:wrong-one@");
    let broker = Setup::new().nats(&url).lua("echo", ECHO).start();
    broker.wait_for_words(&["cannot be reached", "Authorization Violation"]);
    assert_eq!(broker.call("echo", "x"), "echo|x", "over HTTP it is served");
    assert!(!broker.log().contains("wrong-one"), "{}", broker.log());
}

/// A server that speaks TLS only, with a certificate for this host.
fn with_tls(folder: &Path, authority: &Authority, host: &str) -> NatsServer {
    let (certificate, key) = authority.issue(host, 2020, 2090).pem();
    let (certificate, key) = (write(folder, "cert.pem", &certificate), write(folder, "key.pem", &key));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    NatsServer::start(&["--tls", "--tlscert", &path(&certificate), "--tlskey", &path(&key)])
}

#[test]
fn tls_by_a_root_of_the_operators() {
    let (folder, authority) = (TempDir::new().expect("a folder"), Authority::default());
    let server = with_tls(folder.path(), &authority, "127.0.0.1");
    let ca = write(folder.path(), "ca.pem", &authority.pem());
    for url in [server.url(), server.url().replace("nats://", "tls://")] {
        let broker = Setup::new()
            .nats(&url)
            .args(&["--nats-ca", ca.to_str().expect("UTF-8")])
            .lua("echo", ECHO)
            .lua("asks", ASKS)
            .start();
        assert_eq!(broker.call("asks", "x"), "echo|x");
        // More than one record of TLS each way.
        let large = "y".repeat(300_000);
        assert_eq!(broker.call("asks", &large), format!("echo|{large}"));
    }
}

#[test]
fn a_server_must_prove_who_it_is() {
    let (folder, authority) = (TempDir::new().expect("a folder"), Authority::default());
    let server = with_tls(folder.path(), &authority, "other.example");
    let ca = write(folder.path(), "ca.pem", &authority.pem());
    let by_name = Setup::new().nats(&server.url()).args(&["--nats-ca", ca.to_str().expect("UTF-8")]).start();
    by_name.wait_for_words(&["cannot be reached", "tls: ", "not valid for name"]);
    // The system's roots do not know it.
    let by_root = Setup::new().nats(&server.url()).start();
    by_root.wait_for_words(&["cannot be reached", "tls: ", "UnknownIssuer"]);
    // No TLS, no login.
    let plain = NatsServer::start(&[]);
    let never = Setup::new().nats(&plain.url()).args(&["--nats-ca", ca.to_str().expect("UTF-8")]).start();
    never.wait_for_words(&["cannot be reached", "tls: "]);
}

#[test]
fn a_refused_permission_names_its_subject() {
    let folder = TempDir::new().expect("a folder");
    let config = "authorization { users: [ { user: u, password: p, permissions: { \
        publish: { deny: \"secret.>\" }, subscribe: { deny: \"barred\" } } } ] }\n";
    let config = write(folder.path(), "server.conf", config);
    let server = NatsServer::start(&["-c", config.to_str().expect("UTF-8")]);
    let lua = "function OnMessage() require('nats').publish('secret.a', 'x') return 'sent' end";
    let broker = Setup::new()
        .nats(&server.url().replace("nats://", "nats://u:p@"))
        .lua("tells", lua)
        .lua("barred", ECHO)
        .lua("echo", ECHO)
        .lua("asks", ASKS)
        .start();
    broker.wait_for_event("a refused subscription", |event| event["subject"] == "barred");
    assert_eq!(broker.call("tells", ""), "sent");
    let told = broker.wait_for_event("a refused message", |event| event["subject"] == "secret.a");
    assert_eq!(told["act"], "Publish to", "{told}");
    assert_eq!(broker.call("asks", "x"), "echo|x", "the connection stays");
}
