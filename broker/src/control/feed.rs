//! Log events for those who follow them over the control socket.
//!
//! Takes every event of the broker's own thread as the log has it, gives each follower lines of its own.
//! Bounded: who reads too slowly loses lines and is told how many; nobody waits for a reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;

use super::wire::{Filter, line};
use crate::units::print_time;

/// Bytes that may wait for a follower.
const MOST: usize = 1 << 20;

thread_local! {
    /// Who follows. Events of other threads, which start workers, find nobody here.
    static FOLLOWERS: RefCell<Vec<Weak<Follower>>> = const { RefCell::new(Vec::new()) };
}

/// One who follows the log.
#[derive(Debug)]
pub struct Follower {
    filter: Filter,
    lines: RefCell<VecDeque<Rc<[u8]>>>,
    size: Cell<usize>,
    lost: Cell<u64>,
    told: Notify,
}

impl Follower {
    /// Follows from now on until it is dropped.
    #[must_use]
    pub fn new(filter: Filter) -> Rc<Follower> {
        let (lines, size, lost, told) = Default::default();
        let follower = Rc::new(Follower { filter, lines, size, lost, told });
        FOLLOWERS.with_borrow_mut(|all| {
            all.retain(|one| one.strong_count() > 0);
            all.push(Rc::downgrade(&follower));
        });
        follower
    }

    fn offer(&self, event: &Rc<[u8]>) {
        if self.lost.get() > 0 || self.size.get() + event.len() > MOST {
            self.lost.set(self.lost.get() + 1);
        } else {
            self.size.set(self.size.get() + event.len());
            self.lines.borrow_mut().push_back(event.clone());
        }
        self.told.notify_one();
    }

    /// Waits for the next line. `Err` says how many were lost where it stands.
    pub async fn next(&self) -> Result<Rc<[u8]>, u64> {
        loop {
            if let Some(line) = self.lines.borrow_mut().pop_front() {
                self.size.set(self.size.get() - line.len());
                return Ok(line);
            }
            match self.lost.take() {
                0 => self.told.notified().await,
                lost => return Err(lost),
            }
        }
    }
}

/// Hands events to the followers; set up with the log.
#[derive(Debug)]
pub struct Layer;

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let _ = FOLLOWERS.try_with(|all| {
            let Ok(all) = all.try_borrow() else { return };
            let mut all = all.iter().filter_map(Weak::upgrade).peekable();
            if all.peek().is_none() {
                return;
            }
            let fields = Fields::of(event);
            let text = |name| fields.0.get(name).and_then(Value::as_str);
            let (tenant, subject) = (text("tenant"), text("subject"));
            let shared = line(&fields.0);
            all.filter(|one| one.filter.admits(tenant, subject)).for_each(|one| one.offer(&shared));
        });
    }
}

/// An event's fields.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(event: &Event<'_>) -> Fields {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        fields.put("timestamp", print_time(SystemTime::now()).into());
        fields.put("level", event.metadata().level().as_str().into());
        fields
    }

    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    async fn texts(follower: &Follower, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            let line = follower.next().await.unwrap();
            texts.push(
                serde_json::from_slice::<Value>(&line).unwrap()["message"].as_str().unwrap().to_owned(),
            );
        }
        texts
    }

    #[tokio::test]
    async fn each_gets_what_it_asked_for() {
        let subscriber = tracing_subscriber::registry().with(Layer);
        let _guard = tracing::subscriber::set_default(subscriber);
        let all = Follower::new(Filter::default());
        let one = Follower::new(Filter { tenant: Some("a".into()), subject: None });
        tracing::info!(tenant = "a", "first");
        tracing::info!(tenant = "b", "second");
        tracing::warn!("third");
        tracing::info!(tenant = "a", "fourth");
        assert_eq!(texts(&all, 4).await, ["first", "second", "third", "fourth"]);
        assert_eq!(texts(&one, 2).await, ["first", "fourth"]);
    }

    #[tokio::test]
    async fn a_slow_reader_loses_lines_and_is_told_where() {
        let follower = Follower::new(Filter::default());
        let event: Rc<[u8]> = vec![b'x'; MOST / 4].into();
        (0..7).for_each(|_| follower.offer(&event));
        for _ in 0..4 {
            assert!(follower.next().await.is_ok());
        }
        assert_eq!(follower.next().await, Err(3));
        follower.offer(&event);
        assert!(follower.next().await.is_ok());
    }
}
