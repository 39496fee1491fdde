//! The broker's embedded NATS server on a port of its own, with a few handlers, in a thread that ends with
//! the value that started it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;

use msgscript_broker::nats::{Delivery, Hub, Publish, Settings, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Answers each request to `echo` with its own headers and payload.
pub const ECHO: &str = "echo";
/// As [`ECHO`], from a task, in the queue group `workers`.
pub const LATE_ECHO: &str = "late.*";

/// A running server.
pub struct EmbeddedNats {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<usize>>,
}

impl EmbeddedNats {
    /// Starts it with these settings.
    ///
    /// # Panics
    /// If it cannot be started: there is nothing to test then.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async move {
                let hub = Hub::new(settings);
                add_handlers(&hub);
                let listener = TcpListener::from_std(listener).expect("a runtime runs");
                let stopped = async { drop(stopped.await) };
                serve(listener, hub.clone(), stopped).await.expect("the listener is good");
                hub.client_count()
            })
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Tells it to stop, without waiting for it.
    pub fn begin_stop(&mut self) {
        self.stop.take();
    }

    /// Stops it; how many clients it still counted then.
    ///
    /// # Panics
    /// If the server panicked.
    pub fn stop(&mut self) -> usize {
        self.begin_stop();
        self.thread.take().map_or(0, |thread| thread.join().expect("the server does not panic"))
    }
}

impl Drop for EmbeddedNats {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn add_handlers(hub: &Rc<Hub>) {
    let publisher = Rc::downgrade(hub);
    let echo = move |delivery: Delivery<'_>| {
        let (Some(hub), Some(reply)) = (publisher.upgrade(), delivery.reply) else { return };
        let Delivery { headers, payload, .. } = delivery;
        hub.publish(&Publish { subject: reply, reply: None, headers, payload })
            .expect("an echo is not larger");
    };
    hub.subscribe(ECHO, None, Rc::new(echo)).expect("a good pattern");
    let publisher = Rc::downgrade(hub);
    let late = move |delivery: Delivery<'_>| {
        let (Some(hub), Some(reply)) = (publisher.upgrade(), delivery.reply.map(str::to_owned)) else {
            return;
        };
        let payload = delivery.payload_bytes();
        tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            let message = Publish { subject: &reply, reply: None, headers: None, payload: &payload };
            hub.publish(&message).expect("an echo is not larger");
        });
    };
    hub.subscribe(LATE_ECHO, Some("workers"), Rc::new(late)).expect("a good pattern");
}
