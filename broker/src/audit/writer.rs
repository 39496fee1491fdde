//! The thread that writes the audit log's file, so that a slow disk keeps nobody waiting.
//!
//! The queue to it is bounded. What is lost, here or on the disk, is counted, told in the standard log, and told in the
//! file as soon as it can be written to again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::{Act, Event, line};

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// How often a failure is told in the standard log.
const COMPLAIN_EACH: Duration = Duration::from_secs(10);

/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(2);

/// Opens the file to append to; a new one is for its owner only. Never waits for a reader of a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

enum Order {
    Line(String),
    File(File),
}

/// The way to the thread. When it is dropped, the thread writes what it has and ends.
pub(super) struct Writer {
    orders: Option<SyncSender<Order>>,
    ended: Receiver<()>,
    lost: Lost,
}

/// Lines that were not written.
#[derive(Default)]
struct Lost {
    count: u64,
    told: Option<Instant>,
}

impl Lost {
    fn one_more(&mut self, why: &str) {
        self.count += 1;
        let now = Instant::now();
        if self.told.is_none_or(|told| now >= told + COMPLAIN_EACH) {
            self.told = Some(now);
            tracing::error!(lost = self.count, why, "the audit log is not written");
        }
    }

    /// The line that tells of them.
    fn line(&self, why: &str) -> Option<String> {
        let event = Event { count: Some(self.count), text: why, ..Event::default() };
        (self.count > 0).then(|| line::json(Act::Omitted, &event))
    }
}

impl Writer {
    pub(super) fn start(file: File) -> io::Result<Writer> {
        let (orders, waiting) = sync_channel(WAITING);
        let (end, ended) = sync_channel(0);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            serve(file, &waiting);
            drop(end);
        })?;
        Ok(Writer { orders: Some(orders), ended, lost: Lost::default() })
    }

    pub(super) fn reopen(&self, file: File) {
        if let Some(orders) = &self.orders {
            // A thread that is behind by a whole queue writes to the old file a little longer than it should.
            let _ = orders.try_send(Order::File(file));
        }
    }

    pub(super) fn write(&mut self, line: String) {
        let Some(orders) = &self.orders else { return };
        if let Some(told) = self.lost.line("more lines than could be written") {
            match orders.try_send(Order::Line(told)) {
                Ok(()) => self.lost.count = 0,
                Err(_) => return self.lost.one_more("too many lines wait"),
            }
        }
        match orders.try_send(Order::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.one_more("too many lines wait"),
            Err(TrySendError::Disconnected(_)) => self.lost.one_more("its thread has ended"),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        match self.ended.recv_timeout(LAST) {
            Err(RecvTimeoutError::Timeout) => tracing::error!("the audit log's last lines are not written"),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn serve(mut file: File, orders: &Receiver<Order>) {
    let mut lost = Lost::default();
    // Whether the file ends within a line.
    let mut torn = false;
    while let Ok(order) = orders.recv() {
        match order {
            Order::File(new) => (file, torn) = (new, false),
            Order::Line(line) => {
                let told = lost.line("the file could not be written");
                let text = [if torn { "\n" } else { "" }, &told.unwrap_or_default(), &line].concat();
                match write(&mut file, text.as_bytes()) {
                    Ok(()) => (lost.count, torn) = (0, false),
                    Err((written, error)) => {
                        torn |= written > 0;
                        lost.one_more(&error.to_string());
                    }
                }
            }
        }
    }
}

/// Writes all, or tells how much was written until it failed.
fn write(file: &mut File, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(size) => written += size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}
