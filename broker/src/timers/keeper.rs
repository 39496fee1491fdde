//! Decides, for one schedule in one broker, what is to be done now, and makes sure that nobody else does it.

use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::GRACE;
use super::state::{Busy, Key, State};
use super::store::{NOTHING, Store};
use crate::catalog::timer::{Missed, Timer};
use crate::nats::hub::random_seed;

/// A run has ended so long after its last moment, even on a slow machine.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// A last due time that is further ahead than clocks of one cluster can differ by, and than any mistake about time
/// zones: whoever took it had a wrong clock.
const ABSURD: SignedDuration = SignedDuration::from_hours(25);

/// How often others may be quicker before that is a fault, and the pause between two tries.
const TRIES: (u32, Duration) = (40, Duration::from_millis(50));

/// Pause before the end of a run is told again.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is due.
    Wait,
    /// It is ours to run.
    Run(Timestamp),
    /// It is ours to say that it was missed.
    Missed(Timestamp),
    /// It is ours to say that the run before it goes on.
    Overlapped(Timestamp),
}

/// What one broker knows of a schedule.
pub(super) struct Keeper {
    key: Key,
    /// Under which name it takes due times; another one in each broker and version.
    me: String,
    /// The last due time that anybody took, as far as we know.
    last: Option<Timestamp>,
    /// What we tried to take without hearing what came of it.
    tried: Option<Decision>,
}

impl Decision {
    fn due(self) -> Option<Timestamp> {
        match self {
            Decision::Wait => None,
            Decision::Run(due) | Decision::Missed(due) | Decision::Overlapped(due) => Some(due),
        }
    }
}

/// Whether a last due time is one of a clock that was wrong.
fn is_absurd(last: Timestamp, now: Timestamp) -> bool {
    last.duration_since(now) > ABSURD
}

/// What a due time comes to when it is taken now.
fn judge(timer: &Timer, due: Timestamp, now: Timestamp, state: &State) -> Decision {
    if now.duration_since(due) > GRACE && timer.missed == Missed::Skip {
        return Decision::Missed(due);
    }
    match &state.busy {
        Some(busy) if now < busy.until => Decision::Overlapped(due),
        _ => Decision::Run(due),
    }
}

impl Keeper {
    pub(super) fn new(key: Key) -> Keeper {
        Keeper { key, me: format!("{:016x}", random_seed()), last: None, tried: None }
    }

    /// The last due time that anybody took, once it is known.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// What is to be done now. `wall`: the longest that a run may take.
    ///
    /// # Errors
    /// When the store does not answer; what it was asked for may have happened.
    pub(super) async fn step(
        &mut self,
        store: &Store,
        timer: &Timer,
        now: Timestamp,
        wall: SignedDuration,
    ) -> Result<Decision, String> {
        // Without anything due there is no need to ask, once we know where we are.
        if let Some(last) = self.last.filter(|last| !is_absurd(*last, now))
            && self.tried.is_none()
            && timer.last(last, now).is_none()
        {
            return Ok(Decision::Wait);
        }
        for _ in 0..TRIES.0 {
            if let Some(decision) = self.attempt(store, timer, now, wall).await? {
                return Ok(decision);
            }
            tokio::time::sleep(TRIES.1).await;
        }
        Err("what is kept of it changes all the time".to_owned())
    }

    /// What is to be done, unless others were quicker.
    async fn attempt(
        &mut self,
        store: &Store,
        timer: &Timer,
        now: Timestamp,
        wall: SignedDuration,
    ) -> Result<Option<Decision>, String> {
        let entry = store.read(&self.key).await?;
        let revision = entry.as_ref().map_or(NOTHING, |(_, revision)| *revision);
        let state = entry.as_ref().and_then(|(value, _)| State::read(value));
        let Some(state) = state.filter(|state| !is_absurd(state.due, now)) else {
            if entry.is_some() || self.last.is_some() {
                let text = "what is kept of a schedule is gone or makes no sense (a wrong clock?): it begins from now";
                tracing::warn!(schedule = %self.key, "{text}");
            }
            return self.begin(store, revision, now).await;
        };
        // What is kept may be older than what we know: brought back from a copy.
        let known = self.last.filter(|last| !is_absurd(*last, now));
        let last = known.map_or(state.due, |last| last.max(state.due));
        self.last = Some(last);
        if let Some(tried) = self.tried.take()
            && tried.due() == Some(state.due)
            && state.by == self.me
        {
            return Ok(Some(tried));
        }
        let Some(due) = timer.last(last, now) else { return Ok(Some(Decision::Wait)) };
        let decision = judge(timer, due, now, &state);
        let busy = match decision {
            Decision::Run(_) => {
                let until = now.saturating_add(GRACE + wall + MARGIN).unwrap_or(now);
                Some(Busy { by: self.token(due), until })
            }
            _ => state.busy,
        };
        let taken = State { due, by: self.me.clone(), busy };
        self.tried = Some(decision);
        // Otherwise it is still to be seen who was quicker: a try of our own that came late, maybe.
        if !store.write(&self.key, taken.write(&self.key), revision).await? {
            return Ok(None);
        }
        self.tried = None;
        self.last = Some(due);
        Ok(Some(decision))
    }

    /// The schedule is seen for the first time.
    async fn begin(
        &mut self,
        store: &Store,
        revision: u64,
        now: Timestamp,
    ) -> Result<Option<Decision>, String> {
        (self.tried, self.last) = (None, None);
        let state = State::since(now);
        let is_ours = store.write(&self.key, state.write(&self.key), revision).await?;
        Ok(is_ours.then(|| {
            self.last = Some(now);
            Decision::Wait
        }))
    }

    /// The name of the run for a due time.
    fn token(&self, due: Timestamp) -> String {
        format!("{} {due}", self.me)
    }

    /// The end of the run for the due time that was taken last.
    pub(super) fn done(&self, store: Rc<Store>) -> Done {
        let token = self.last.map(|due| self.token(due)).unwrap_or_default();
        Done { store, key: self.key.clone(), token }
    }

    /// Forgets the schedule, unless another broker still uses it.
    pub(super) async fn forget(&self, store: &Store) {
        let Ok(Some((value, revision))) = store.read(&self.key).await else { return };
        let is_known = State::read(&value).is_some_and(|state| Some(state.due) == self.last);
        if is_known && let Err(error) = store.remove(&self.key, revision).await {
            tracing::debug!(schedule = %self.key, error, "a schedule that is no more is not forgotten");
        }
    }
}

/// The end of a run, that others are to know of.
pub(super) struct Done {
    store: Rc<Store>,
    key: Key,
    token: String,
}

impl Done {
    /// Tells it, until it is told or does not matter any more.
    pub(super) async fn tell(self) {
        loop {
            match self.try_once().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(schedule = %self.key, error, "the end of a scheduled run is not told yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn try_once(&self) -> Result<bool, String> {
        let Some((value, revision)) = self.store.read(&self.key).await? else { return Ok(true) };
        let Some(state) = State::read(&value) else { return Ok(true) };
        let ours = |busy: &Busy| busy.by == self.token && Timestamp::now() < busy.until;
        if !state.busy.as_ref().is_some_and(ours) {
            return Ok(true);
        }
        let state = State { busy: None, ..state };
        self.store.write(&self.key, state.write(&self.key), revision).await
    }
}

#[cfg(test)]
mod tests;
