//! The server's front door: accepts clients, introduces itself, and sees them off.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::connection;
use super::hub::{Hub, random_seed};

/// What clients are told we are: the server whose behaviour ours is like. They decide by it what to use.
const VERSION: &str = "2.11.0";
/// How long accepting rests when the process is out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

struct Identity {
    id: String,
    address: SocketAddr,
}

impl Identity {
    fn new(address: SocketAddr) -> Self {
        // The form of a server's public key: N and 55 characters of base 32.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = String::from("N");
        while id.len() < 56 {
            let seed = random_seed();
            id.extend((0..5).map(|step| char::from(letters[(seed >> (step * 5) & 31) as usize])));
        }
        Self { id, address }
    }

    /// The `INFO` line. `leaving` is lame duck mode: clients should go elsewhere.
    fn info(&self, hub: &Hub, client: u64, ip: &str, leaving: bool) -> String {
        let mut info = json!({
            "server_id": self.id,
            "server_name": "msgscript",
            "version": VERSION,
            "proto": 1,
            "go": "",
            "git_commit": concat!("msgscript-", env!("CARGO_PKG_VERSION")),
            "host": self.address.ip().to_string(),
            "port": self.address.port(),
            "headers": true,
            "max_payload": hub.settings().max_payload,
            "client_id": client,
            "client_ip": ip,
        });
        if !hub.users().all.is_empty() {
            info["auth_required"] = json!(true);
        }
        if leaving {
            info["ldm"] = json!(true);
        }
        format!("INFO {info} \r\n")
    }
}

/// Serves clients of `hub` on `listener` until `stop`; then tells them, and returns when each has what was
/// queued for it, or was given up. Needs a `LocalSet`.
///
/// # Errors
/// Only if the listener is unusable from the start.
pub async fn serve(listener: TcpListener, hub: Rc<Hub>, stop: impl Future<Output = ()>) -> io::Result<()> {
    let identity = Identity::new(listener.local_addr()?);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a NATS connection failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => accept(stream, from, &hub, &identity, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a NATS client");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
    drop(listener);
    for client in hub.clients() {
        client.push(identity.info(&hub, client.id, &client.ip, true).as_bytes());
        client.finish();
    }
    let last = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(hub.settings().write_deadline, last).await;
    Ok(())
}

fn accept(
    stream: TcpStream,
    from: SocketAddr,
    hub: &Rc<Hub>,
    identity: &Identity,
    connections: &mut JoinSet<()>,
) {
    // Replies are small and already gathered into one write. Without it they are late, not lost.
    let _ = stream.set_nodelay(true);
    let ip = from.ip().to_string();
    let Some(client) = hub.connect(ip) else {
        connections.spawn_local(turn_away(stream, identity.info(hub, 0, &from.ip().to_string(), false)));
        return;
    };
    client.push(identity.info(hub, client.id, &client.ip, false).as_bytes());
    connections.spawn_local(connection::serve(stream, hub.clone(), client));
}

async fn turn_away(mut stream: TcpStream, info: String) {
    let line = format!("{info}-ERR 'maximum connections exceeded'\r\n");
    // A client that does not take so few bytes at once has no room for them.
    let _ = tokio::time::timeout(ACCEPT_REST, stream.write_all(line.as_bytes())).await;
}
