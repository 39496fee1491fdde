//! One client's connection, from its first byte to its last.
//!
//! Reads as much as is there, runs every operation of it, and writes what is queued for the client in one
//! go. Whatever the client does wrong ends this connection and nothing else.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{Client, Options};
use super::hub::{Hub, Publish, random_seed};
use super::protocol::{Limits, Message, Op, Parser, ProtocolError};
use super::subject::valid_subject;
use crate::access::users::{self, Candidate, Shown};
use crate::audit::{self, Act, Event};
use crate::invocation::Reason;

/// Room for one read: from the first while little comes, up to the second.
const READ_ROOM: (usize, usize) = (2 * 1024, 64 * 1024);
/// After this many reads that use little of a large buffer, it is given back.
const QUIET_READS: u32 = 16;
/// The longest that a publisher waits for one slow client, per message.
const STALL: Duration = Duration::from_millis(500);
/// How long what a client still sends is read after its last word from us. Without that, its unread bytes
/// would make the kernel reset the connection and our last word would be lost.
const LINGER: Duration = Duration::from_millis(500);
/// How long a client has to say who it is, where there are users.
const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// This many `PING`s may be without an answer.
const MAX_PINGS: u32 = 2;

/// `CONNECT`'s fields as far as they count here. `null` is as good as missing.
#[derive(Debug, Default, Deserialize)]
struct Connect {
    verbose: Option<bool>,
    pedantic: Option<bool>,
    echo: Option<bool>,
    headers: Option<bool>,
    no_responders: Option<bool>,
    protocol: Option<i64>,
    user: Option<String>,
    pass: Option<String>,
    auth_token: Option<String>,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client left, or the network did.
    Left,
    /// With this line, or without a word.
    Refused(Option<String>),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        End::Refused(error.reply())
    }
}

fn refused(text: &str) -> End {
    End::Refused(Some(format!("-ERR '{text}'\r\n")))
}

struct Connection {
    hub: Rc<Hub>,
    client: Rc<Client>,
    connected: Notify,
    /// When the client last did something, or sent a `PING`.
    active: Cell<Instant>,
    pings_out: Cell<u32>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.client.close();
        // It may be the client itself: that would keep it in memory.
        self.client.stalled_by.take();
        self.hub.disconnect(&self.client);
    }
}

/// Serves `client` until it leaves, errs, falls behind or is told to finish. Dropped at any time, even before
/// it ran, it takes the client off the hub.
pub(super) fn serve(stream: TcpStream, hub: Rc<Hub>, client: Rc<Client>) -> impl Future<Output = ()> {
    let active = Cell::new(Instant::now());
    let connection = Connection { hub, client, connected: Notify::new(), active, pings_out: Cell::new(0) };
    async move { connection.serve(stream).await }
}

/// Writes what is queued, a batch at a time, until the client is to finish; then says that it was all.
async fn write_all(mut socket: OwnedWriteHalf, client: &Client, deadline: Duration) -> io::Result<()> {
    let mut batch = Vec::new();
    while client.next_output(&mut batch).await.is_some() {
        let mut left = &batch[..];
        while !left.is_empty() {
            let count = timeout(deadline, socket.write(left)).await.map_err(|_| {
                tracing::warn!(client = client.id, ip = client.ip, "NATS client that reads nothing closed");
                io::ErrorKind::TimedOut
            })??;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[count..];
            client.wrote(count);
        }
    }
    socket.shutdown().await
}

async fn linger(reader: &mut OwnedReadHalf) {
    let mut rest = [0; 4096];
    let _ =
        timeout(LINGER, async { while reader.read(&mut rest).await.is_ok_and(|count| count > 0) {} }).await;
}

impl Connection {
    async fn serve(&self, stream: TcpStream) {
        let client = &self.client;
        let (mut reader, writer) = stream.into_split();
        let mut write = pin!(write_all(writer, client, self.hub.settings().write_deadline));
        let end = tokio::select! {
            biased;
            end = self.read(&mut reader) => end,
            () = client.given_up() => return,
            written = &mut write => match written {
                Ok(()) => return linger(&mut reader).await,
                Err(_) => return,
            },
            end = self.keep_alive() => end,
        };
        if let End::Refused(Some(line)) = &end {
            client.push(line.as_bytes());
        }
        client.finish();
        let flushed = tokio::select! {
            written = &mut write => written.is_ok(),
            () = client.given_up() => false,
        };
        if flushed && end != End::Left {
            linger(&mut reader).await;
        }
    }

    async fn read(&self, socket: &mut OwnedReadHalf) -> End {
        let settings = self.hub.settings();
        let mut parser =
            Parser::new(Limits { control_line: settings.max_control_line, payload: settings.max_payload });
        let mut buffer = BytesMut::new();
        let mut room = READ_ROOM.0;
        let mut quiet = 0;
        loop {
            buffer.reserve(room.max(parser.need().saturating_sub(buffer.len())));
            let count = match socket.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return End::Left,
                Ok(count) => count,
            };
            let held = buffer.capacity();
            let full = buffer.len() == held;
            let used = match self.run_all(&mut parser, &buffer).await {
                Ok(used) => used,
                Err(end) => return end,
            };
            buffer.advance(used);
            if full {
                room = (room * 2).min(READ_ROOM.1);
                // More is waiting here, but others have their turn first.
                tokio::task::yield_now().await;
            }
            quiet = if count > held / 4 { 0 } else { quiet + 1 };
            if quiet > QUIET_READS && buffer.is_empty() && held > READ_ROOM.0 {
                (buffer, room, quiet) = (BytesMut::new(), READ_ROOM.0, 0);
            }
        }
    }

    /// Runs the operations in `buffer`; how many bytes they had.
    async fn run_all(&self, parser: &mut Parser, buffer: &[u8]) -> Result<usize, End> {
        let mut used = 0;
        let mut active = false;
        while let Some((op, length)) = parser.next(&buffer[used..])? {
            active |= !matches!(op, Op::Pong | Op::Ignored);
            match op {
                Op::Connect(json) => self.connect(json).await?,
                op => self.run(op)?,
            }
            used += length;
            let slow = self.client.stalled_by.take();
            if let Some(slow) = slow {
                let _ = timeout(STALL, slow.caught_up()).await;
            }
        }
        if active {
            self.active.set(Instant::now());
        }
        Ok(used)
    }

    fn run(&self, op: Op<'_>) -> Result<(), End> {
        if self.is_stranger() && !matches!(op, Op::Ping | Op::Pong | Op::Ignored) {
            return Err(refused("Authorization Violation"));
        }
        match op {
            Op::Publish(message) => self.publish(message)?,
            Op::Ping => {
                self.client.push(b"PONG\r\n");
            }
            Op::Pong => self.pings_out.set(0),
            Op::Subscribe { subject, queue, sid } => self.subscribe(subject, queue, sid),
            Op::Unsubscribe { sid, max } => {
                self.hub.unsubscribe_client(&self.client, sid, max);
                self.okay();
            }
            Op::Connect(_) | Op::Ignored => {}
            Op::Error => return Err(End::Refused(None)),
        }
        Ok(())
    }

    fn okay(&self) {
        if self.client.options.get().verbose {
            self.client.push(b"+OK\r\n");
        }
    }

    fn refuse_permission(&self, what: &str, subject: &str) {
        let user = self.client.user.borrow().as_ref().map(|user| user.name.clone()).unwrap_or_default();
        let text = format!("NATS: {what}");
        let reason = Reason::Denied.word();
        audit::record(
            Act::Refused,
            &Event { subject, client: &user, reason, text: &text, ..Event::default() },
        );
        tracing::warn!(client = self.client.id, user, what, subject, "NATS permission refused");
        self.complain(&format!("Permissions Violation for {what} \"{subject}\""));
    }

    fn complain(&self, text: &str) {
        self.client.push(format!("-ERR '{text}'\r\n").as_bytes());
    }

    /// Whether nobody is to be served who has not said who he is, and the client has not.
    fn is_stranger(&self) -> bool {
        self.client.user.borrow().is_none() && !self.hub.users().all.is_empty()
    }

    /// Lets a user in, or nobody.
    async fn login(&self, shown: Shown) -> Result<(), End> {
        let user = match self.hub.users().find(shown) {
            Candidate::Known(user) => Some(user),
            Candidate::Nobody => None,
            Candidate::IfPassword { password, hash, user } => {
                // A bcrypt hash takes tens of milliseconds; one client at a time may have one computed.
                let fits = tokio::task::spawn_blocking(move || users::has_hash(&password, &hash)).await;
                user.filter(|_| fits.unwrap_or(false))
            }
        };
        let Some(user) = user else {
            let (reason, text, client) = (Reason::Denied.word(), "NATS login", self.client.ip.to_string());
            audit::record(Act::Refused, &Event { reason, text, client: &client, ..Event::default() });
            tracing::warn!(client = self.client.id, ip = self.client.ip, "NATS login refused");
            return Err(refused("Authorization Violation"));
        };
        *self.client.user.borrow_mut() = Some(user);
        Ok(())
    }

    /// `CONNECT`: the place where a client is let in or not.
    async fn connect(&self, json: &[u8]) -> Result<(), End> {
        let asked: Connect = serde_json::from_slice(json).map_err(|_| End::Refused(None))?;
        if !matches!(asked.protocol, None | Some(0 | 1)) {
            return Err(refused("invalid client protocol"));
        }
        if self.is_stranger() {
            let shown = Shown { user: asked.user, password: asked.pass, token: asked.auth_token };
            self.login(shown).await?;
        }
        // A second CONNECT changes what it names.
        let known = self.client.options.get();
        let options = Options {
            verbose: asked.verbose.unwrap_or(known.verbose),
            pedantic: asked.pedantic.unwrap_or(known.pedantic),
            echo: asked.echo.unwrap_or(known.echo),
            headers: asked.headers.unwrap_or(known.headers),
            no_responders: asked.no_responders.unwrap_or(known.no_responders),
        };
        if options.no_responders && !options.headers {
            return Err(refused("no responders requires headers support"));
        }
        self.client.options.set(options);
        self.okay();
        self.connected.notify_one();
        Ok(())
    }

    fn subscribe(&self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        let queue = queue.map(std::str::from_utf8).transpose();
        if let (Some(may), Ok(pattern)) = (self.client.permissions(), std::str::from_utf8(subject)) {
            // In the broker's own queue group it would take messages away from the scripts.
            let joins = matches!(queue, Ok(Some(group)) if *group == *self.hub.settings().own_group);
            if joins || !may.may_subscribe(pattern) {
                return self.refuse_permission("Subscription to", pattern);
            }
        }
        let made = match (std::str::from_utf8(subject), queue) {
            (Ok(subject), Ok(queue)) => self.hub.subscribe_client(&self.client, subject, queue, sid),
            _ => Err("Invalid Subject"),
        };
        match made {
            Ok(()) => self.okay(),
            Err(text) => self.complain(text),
        }
    }

    fn publish(&self, message: Message<'_>) -> Result<(), End> {
        let Options { headers, pedantic, .. } = self.client.options.get();
        if message.headers.is_some() && !headers {
            return Err(End::Refused(None));
        }
        let words = (clean(message.subject), message.reply.map(clean));
        let (Some(subject), None | Some(Some(_))) = words else {
            // It would come out as another client's broken line.
            self.complain("Invalid Publish Subject");
            return Ok(());
        };
        if pedantic && !valid_subject(subject) {
            self.complain("Invalid Publish Subject");
        }
        let reply = words.1.flatten();
        if let Some(may) = self.client.permissions() {
            if !may.may_publish(subject) {
                self.refuse_permission("Publish to", subject);
                return Ok(());
            }
            if let Some(reply) = reply.filter(|reply| !may.may_reply_to(reply)) {
                self.refuse_permission("Publish with Reply of", reply);
                return Ok(());
            }
        }
        self.okay();
        let headers = message.headers.filter(|block| !block.is_empty());
        self.hub.publish_from(&self.client, &Publish { subject, reply, headers, payload: message.payload });
        Ok(())
    }

    /// Sends `PING`s to a client that is silent; ends when it does not answer.
    async fn keep_alive(&self) -> End {
        let settings = self.hub.settings();
        // Before CONNECT the client may not expect anything.
        let patience = if self.is_stranger() { AUTH_TIMEOUT } else { settings.ping_interval };
        let mut first = timeout(patience, self.connected.notified()).await.is_ok();
        if self.is_stranger() {
            return refused("Authentication Timeout");
        }
        if first {
            let jitter = settings.first_ping.mul_f64((random_seed() % 1000) as f64 / 5000.0);
            sleep_until(Instant::now() + settings.first_ping + jitter).await;
        }
        loop {
            if std::mem::take(&mut first) || self.active.get().elapsed() >= settings.ping_interval {
                if self.pings_out.get() == MAX_PINGS {
                    return refused("Stale Connection");
                }
                self.pings_out.set(self.pings_out.get() + 1);
                self.client.push(b"PING\r\n");
            }
            sleep_until(Instant::now() + settings.ping_interval).await;
        }
    }
}

/// A subject as text, if it can stand in a line of the protocol.
fn clean(subject: &[u8]) -> Option<&str> {
    let fit = subject.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    std::str::from_utf8(subject).ok().filter(|_| fit)
}
