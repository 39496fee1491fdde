//! One connection at work: reads as much as is there, hands out every message of it, and writes what waits in
//! one go, both in one task and without a queue in between.
//!
//! Must never hold more of what the server sends than a line and its largest message; while it takes nothing
//! from us, nothing is taken from it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::dial::{Dialed, LONGEST_LINE};
use super::intake::Intake;
use super::login::Info;
use super::servers::{Server, Servers};
use super::shared::{Shared, State};
use super::stream::Stream;
use super::{FULL, complaints::Complaints};
use crate::nats::protocol::server::ServerOp;
use crate::nats::protocol::{Limits, Parser};

/// How often the server is asked whether it is there.
const ASKED: Duration = Duration::from_secs(30);
/// As many questions without an answer, and it is not.
const MOST_PINGS: usize = 16;
/// A server adds headers of its own to messages that were within its limit when they were sent.
const ADDED: usize = 64 << 10;
/// No server is believed that it takes larger ones.
const LARGEST: usize = 256 << 20;

/// Why a connection stops working, for a while or for good.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server is about to leave: another should be looked for. Go on with this one meanwhile.
    Lame,
    /// The server has heard that we leave, and all that it had sent is handed out.
    Left,
    /// All is written, and nobody uses the client any longer.
    Closed,
    /// The connection is gone.
    Gone(String),
}

/// See above.
pub(super) struct Link<'a> {
    pub(super) server: Server,
    shared: &'a Shared,
    servers: &'a RefCell<Servers>,
    stream: Stream,
    intake: Intake,
    parser: Parser,
    clock: Interval,
    heard: Instant,
    complaints: Complaints,
    lame: Option<bool>,
    left: bool,
}

impl<'a> Link<'a> {
    /// The server learns of the subscriptions first.
    pub(super) fn new(dialed: Dialed, shared: &'a Shared, servers: &'a RefCell<Servers>) -> Link<'a> {
        let Dialed { server, stream, intake, info, announced } = dialed;
        let mut clock = interval(ASKED);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.reset();
        let parser = Parser::new(Limits { control_line: LONGEST_LINE, payload: 0 });
        let complaints = Complaints::default();
        let heard = Instant::now();
        let (lame, left) = (None, false);
        let mut link =
            Link { server, shared, servers, stream, intake, parser, clock, heard, complaints, lame, left };
        link.learn(&info);
        shared.output.borrow_mut().begin(shared.introduction(&announced).0);
        shared.set_state(State::Connected);
        link
    }

    /// Works until there is a reason to stop. May be dropped and called again.
    pub(super) async fn run(&mut self) -> Stop {
        poll_fn(|context| self.turn(context)).await
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Stop> {
        self.shared.woken_by(context.waker());
        let was_full = self.is_full();
        let mut again = false;
        if !was_full {
            match self.read(context) {
                Ok(more) => again = more,
                Err(why) => return Poll::Ready(Stop::Gone(why)),
            }
        }
        let written = self.shared.output.borrow_mut().poll_write(&mut self.stream, context);
        if let Poll::Ready(Err(error)) = &written {
            return Poll::Ready(Stop::Gone(error.to_string()));
        }
        if was_full && !self.is_full() {
            self.shared.changed.notify_waiters();
            again = true;
        }
        if written.is_ready() && self.left {
            return Poll::Ready(Stop::Left);
        }
        if written.is_ready() && self.shared.state() == State::Closing {
            return Poll::Ready(Stop::Closed);
        }
        if self.lame == Some(false) {
            self.lame = Some(true);
            return Poll::Ready(Stop::Lame);
        }
        if let Poll::Ready(why) = self.keep_asking(context) {
            return Poll::Ready(Stop::Gone(why));
        }
        if again {
            // Others have their turn first.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn is_full(&self) -> bool {
        self.shared.output.borrow().pending() >= FULL
    }

    /// Reads and hands out what is there; whether there may be more.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, String> {
        // What came with the handshake, or before the connection was full.
        self.take_all()?;
        loop {
            match self.intake.poll_fill(&mut self.stream, context) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Ready(Ok(None)) => return Err("it closed the connection".to_owned()),
                Poll::Ready(Ok(Some(more))) => {
                    self.heard = Instant::now();
                    self.take_all()?;
                    if more {
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn take_all(&mut self) -> Result<(), String> {
        let mut used = 0;
        let mut news = None;
        loop {
            let next = self.parser.next_of_server(&self.intake.held()[used..]);
            let next = next.map_err(|error| format!("it breaks the protocol: {error}"))?;
            let Some((op, length)) = next else { break };
            used += length;
            match op {
                ServerOp::Message { sid, message } => self.shared.deliver(sid, &message),
                ServerOp::Ping => self.shared.line("PONG\r\n"),
                ServerOp::Pong => self.left |= self.shared.pong(),
                ServerOp::Error(text) => self.complaints.add(&self.server, text),
                ServerOp::Info(json) => news = Info::parse(json).ok(),
                ServerOp::Okay => {}
            }
            // A limit that it sets counts from here on.
            if let Some(info) = news.take() {
                self.intake.take(used);
                used = 0;
                self.learn(&info);
            }
        }
        self.intake.take(used);
        Ok(())
    }

    /// Heeds what the server tells of itself and its cluster.
    fn learn(&mut self, info: &Info) {
        if let Some(most) = info.max_payload.and_then(|most| usize::try_from(most).ok()) {
            let most = most.min(LARGEST);
            self.shared.max_payload.set(most);
            self.parser = Parser::new(Limits { control_line: LONGEST_LINE, payload: most + ADDED });
        }
        if let Some(urls) = &info.connect_urls {
            self.servers.borrow_mut().told(&self.server, urls);
        }
        if info.ldm == Some(true) && self.lame.is_none() {
            self.lame = Some(false);
        }
    }

    /// Asks a silent server now and then, and gives up one that does not answer.
    fn keep_asking(&mut self, context: &mut Context<'_>) -> Poll<String> {
        while self.clock.poll_tick(context).is_ready() {
            let silent = self.shared.pings() > 0 && self.heard.elapsed() >= 2 * ASKED;
            if silent || self.shared.pings() >= MOST_PINGS {
                return Poll::Ready("it does not answer".to_owned());
            }
            self.shared.ping(None, false);
        }
        Poll::Pending
    }
}
