//! How many containers run at a time, and whose turn is next.
//!
//! Takes tenants that want a place, gives [`Place`]s: so many at once, the next one to the tenant after the
//! last one, in a circle. Each tenant may have so many waiting. No clock: who stops waiting drops the future.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::invocation::Tenant;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: BTreeMap<Tenant, VecDeque<Waiter>>,
    running: HashMap<Tenant, usize>,
    last: Option<Tenant>,
}

#[derive(Debug)]
struct Waiter {
    /// Gets the place itself: if nobody is there any more, it is dropped and so goes to the next.
    tell: oneshot::Sender<Place>,
    /// How many the tenant may run at a time.
    most: usize,
}

/// The right to run a container. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    gate: Rc<Gate>,
    tenant: Tenant,
}

/// Too many of a tenant wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What a tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Running at a time.
    pub running: usize,
    /// Waiting.
    pub waiting: usize,
}

impl Gate {
    /// A gate for so many at a time.
    #[must_use]
    pub fn new(places: usize) -> Rc<Gate> {
        let state = State { free: places, waiting: BTreeMap::new(), running: HashMap::new(), last: None };
        Rc::new(Gate { state: RefCell::new(state) })
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn enter(self: &Rc<Self>, tenant: &Tenant, share: Share) -> Result<Place, Full> {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            let queue = state.waiting.entry(tenant.clone()).or_default();
            queue.retain(|waiter| !waiter.tell.is_closed());
            if queue.len() >= share.waiting.max(1) {
                return Err(Full);
            }
            queue.push_back(Waiter { tell, most: share.running });
        }
        self.admit();
        // The gate holds the other end for as long as we wait.
        told.await.map_err(|_| Full)
    }

    /// Gives free places to those whose turn it is.
    fn admit(self: &Rc<Self>) {
        loop {
            let (tenant, waiter) = {
                let mut state = self.state.borrow_mut();
                let Some(next) = state.next() else { return };
                next
            };
            // If nobody waits there any more, the place comes back at once: see `Place::drop`.
            let _ = waiter.tell.send(Place { gate: self.clone(), tenant });
        }
    }

    fn leave(self: &Rc<Self>, tenant: &Tenant) {
        {
            let mut state = self.state.borrow_mut();
            state.free += 1;
            if let Some(count) = state.running.get_mut(tenant) {
                *count -= 1;
                if *count == 0 {
                    state.running.remove(tenant);
                }
            }
        }
        self.admit();
    }
}

impl State {
    /// Takes out the next who may go: of the first tenant in the circle, behind the last one, that has one.
    fn next(&mut self) -> Option<(Tenant, Waiter)> {
        if self.free == 0 {
            return None;
        }
        let running = &self.running;
        self.waiting.retain(|_, queue| {
            queue.retain(|waiter| !waiter.tell.is_closed());
            !queue.is_empty()
        });
        let may = |(tenant, queue): &(&Tenant, &VecDeque<Waiter>)| {
            let count = running.get(*tenant).copied().unwrap_or(0);
            queue.front().is_some_and(|waiter| count < waiter.most)
        };
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let circle = self.waiting.range((after, Bound::Unbounded)).chain(self.waiting.iter());
        let tenant = circle.into_iter().find(may)?.0.clone();
        let waiter = self.waiting.get_mut(&tenant)?.pop_front()?;
        self.free -= 1;
        *self.running.entry(tenant.clone()).or_default() += 1;
        self.last = Some(tenant.clone());
        Some((tenant, waiter))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.leave(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const SHARE: Share = Share { running: 100, waiting: 100 };

    fn tenant(name: &str) -> Tenant {
        name.into()
    }

    fn now(gate: &Rc<Gate>, name: &str) -> Option<Place> {
        let tenant = tenant(name);
        gate.enter(&tenant, SHARE).now_or_never().map(|entered| entered.unwrap())
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let gate = Gate::new(1);
        let first = now(&gate, "a").unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut tasks = Vec::new();
                for name in ["a", "a", "a", "b", "c", "b"] {
                    let (gate, order) = (gate.clone(), order.clone());
                    tasks.push(tokio::task::spawn_local(async move {
                        let place = gate.enter(&tenant(name), SHARE).await.unwrap();
                        order.borrow_mut().push(name);
                        drop(place);
                    }));
                    tokio::task::yield_now().await;
                }
                drop(first);
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .await;
        assert_eq!(*order.borrow(), ["b", "c", "a", "b", "a", "a"]);
    }

    #[test]
    fn places_and_waiters_are_bounded() {
        let gate = Gate::new(2);
        let one = now(&gate, "a").unwrap();
        let _two = now(&gate, "a").unwrap();
        assert!(now(&gate, "a").is_none());
        drop(one);
        assert!(now(&gate, "b").is_some());
        let narrow = Share { running: 1, waiting: 1 };
        let a = tenant("a");
        let mut waits = Box::pin(gate.enter(&a, narrow));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(gate.enter(&a, narrow).now_or_never().unwrap().unwrap_err(), Full);
        // Who has stopped waiting counts no more, and takes no place.
        drop(waits);
        assert!(gate.enter(&a, narrow).now_or_never().is_none(), "a runs one already");
        assert!(now(&gate, "c").is_some());
    }

    #[test]
    fn a_place_for_one_who_is_gone_goes_to_the_next() {
        let gate = Gate::new(1);
        let held = now(&gate, "a").unwrap();
        let (b, c) = (tenant("b"), tenant("c"));
        let (mut gone, mut next) = (Box::pin(gate.enter(&b, SHARE)), Box::pin(gate.enter(&c, SHARE)));
        assert!(gone.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        // The place is on its way to `gone` when that stops waiting.
        drop(held);
        drop(gone);
        assert!(next.now_or_never().is_some());
    }
}
