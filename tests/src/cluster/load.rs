//! What clients do meanwhile, and a book of what came of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;

use super::PATIENCE;

/// How long a client waits for one answer, before it asks again.
const ANSWER: Duration = Duration::from_secs(10);

/// The book.
#[derive(Default)]
pub struct Book {
    over: AtomicBool,
    /// From when to when something was wrong on purpose.
    troubles: Mutex<Vec<(Instant, Option<Instant>)>>,
    answered: AtomicU64,
    /// Requests that were not answered: sent, and given up.
    unanswered: Mutex<Vec<(Instant, Instant)>>,
    /// Of those, the ones where asking again did not help in time.
    lost: AtomicU64,
    /// What locked runs gave out.
    counts: Mutex<Vec<u64>>,
    /// Requests for locked runs.
    tries: AtomicU64,
    /// Orders that the stream has taken.
    orders: Mutex<BTreeSet<u64>>,
}

impl Book {
    /// Notes that something is wrong on purpose while this is done, and a moment longer: what was sent meanwhile may
    /// still be on its way.
    pub fn trouble(&self, act: impl FnOnce()) {
        let at = {
            let mut troubles = self.troubles.lock().expect("not poisoned");
            troubles.push((Instant::now(), None));
            troubles.len() - 1
        };
        act();
        self.troubles.lock().expect("not poisoned")[at].1 = Some(Instant::now() + Duration::from_secs(5));
    }

    /// No more requests, please.
    pub fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Requests that were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Orders that the stream has taken.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn orders(&self) -> BTreeSet<u64> {
        self.orders.lock().expect("not poisoned").clone()
    }

    /// A line for people.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn summary(&self) -> String {
        format!(
            "{} answered, {} of them when asked again; {} locked runs; {} orders",
            self.answered(),
            self.unanswered.lock().expect("not poisoned").len(),
            self.counts.lock().expect("not poisoned").len(),
            self.orders.lock().expect("not poisoned").len(),
        )
    }

    /// Checks all that can be checked of requests: none unanswered while nothing was wrong, none for ever.
    ///
    /// # Panics
    /// When one was.
    pub fn check_requests(&self) {
        let troubles = self.troubles.lock().expect("not poisoned").clone();
        let excused = |&(sent, given_up): &(Instant, Instant)| {
            troubles.iter().any(|&(from, to)| given_up >= from && to.is_none_or(|to| sent <= to))
        };
        let unanswered = self.unanswered.lock().expect("not poisoned");
        let inexcusable = unanswered.iter().filter(|one| !excused(one)).count();
        assert_eq!(inexcusable, 0, "requests without an answer while all was well, of {}", self.answered());
        assert_eq!(self.lost.load(Ordering::SeqCst), 0, "requests that nobody answered however often");
    }

    /// Checks the locked runs: each gave out a number that no other did, and `last` is the highest. A run that two
    /// held the lock for would repeat a number.
    ///
    /// # Panics
    /// When two did.
    pub fn check_counts(&self, last: u64) {
        let counts = self.counts.lock().expect("not poisoned");
        let distinct: BTreeSet<u64> = counts.iter().copied().collect();
        assert!(!counts.is_empty(), "no locked run was answered");
        let mut once = BTreeSet::new();
        let twice: Vec<u64> = counts.iter().copied().filter(|number| !once.insert(*number)).collect();
        assert!(twice.is_empty(), "numbers were given out twice: {twice:?}");
        assert!(
            distinct.last().is_none_or(|highest| *highest <= last),
            "{last} is less than {:?}",
            distinct.last()
        );
        let tries = self.tries.load(Ordering::SeqCst);
        assert!(last <= tries, "{last} runs counted, {tries} asked for");
    }
}

async fn request(client: &async_nats::Client, subject: &str, payload: String) -> Option<String> {
    let request = async_nats::Request::new().payload(payload.into()).timeout(Some(ANSWER));
    let answer = client.send_request(subject.to_owned(), request).await.ok()?;
    Some(String::from_utf8_lossy(&answer.payload).into_owned())
}

/// Asks `echo` again and again.
pub async fn echo(book: Arc<Book>, client: async_nats::Client, name: usize) {
    let mut number = 0;
    while !book.is_over() {
        number += 1;
        let text = format!("{name}-{number}");
        let patience = Instant::now() + PATIENCE;
        loop {
            let sent = Instant::now();
            if request(&client, "echo", text.clone()).await.as_deref() == Some(&text) {
                book.answered.fetch_add(1, Ordering::SeqCst);
                break;
            }
            book.unanswered.lock().expect("not poisoned").push((sent, Instant::now()));
            if Instant::now() > patience {
                book.lost.fetch_add(1, Ordering::SeqCst);
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks one machine's HTTP door after the other for `echo`: one of them always answers.
pub fn echo_over_http(book: &Book, doors: &[String]) {
    let mut number = 0_usize;
    while !book.is_over() {
        let patience = Instant::now() + PATIENCE;
        while !book.is_over() {
            number += 1;
            let sent = Instant::now();
            let body = format!("http-{number}");
            let answer = http(&doors[number % doors.len()], "POST /echo", "", &body, ANSWER);
            if answer.is_some_and(|(status, _)| status == 200) {
                book.answered.fetch_add(1, Ordering::SeqCst);
                break;
            }
            book.unanswered.lock().expect("not poisoned").push((sent, Instant::now()));
            if Instant::now() > patience {
                book.lost.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for runs under a lock, each of which gives out the next number.
pub async fn count(book: Arc<Book>, client: async_nats::Client) {
    while !book.is_over() {
        book.tries.fetch_add(1, Ordering::SeqCst);
        // Without an answer it may have run or not: it is not asked again.
        if let Some(number) =
            request(&client, "count", String::new()).await.and_then(|text| text.parse().ok())
        {
            book.counts.lock().expect("not poisoned").push(number);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Puts orders into the stream, each until it is taken.
pub async fn order(book: Arc<Book>, client: async_nats::Client) {
    let context = jetstream::new(client);
    for number in 1.. {
        while !book.is_over() {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("order-{number}"));
            let sent = context.publish_with_headers("orders.new", headers, number.to_string().into()).await;
            let Ok(taken) = sent else { continue };
            if matches!(tokio::time::timeout(ANSWER, taken).await, Ok(Ok(_))) {
                book.orders.lock().expect("not poisoned").insert(number);
                break;
            }
        }
        if book.is_over() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One request of HTTP with a bearer token on a connection of its own: status and body. None: no whole answer in time.
#[must_use]
pub fn http(door: &str, what: &str, token: &str, body: &str, patience: Duration) -> Option<(u16, String)> {
    let address: SocketAddr = door.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}");
    write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}
