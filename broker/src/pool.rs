//! The worker pool: who runs a job, and what happens when a worker does not come back.
//!
//! A fixed number of workers serve, and a spare stands ready, so that a killed worker's place is filled
//! at once. Jobs wait in a bounded queue. A job that had started when its worker died ends with it and is
//! never run twice; those handed ahead that had not started go to another worker.

pub mod binding;
pub mod calls;
pub mod drive;
mod fleet;
pub mod job;
mod places;
mod rights;
pub mod solo;
pub mod slate;
pub mod spawn;
pub mod terms;
mod unsaid;
pub mod verdict;
pub mod verify;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use msgscript_proto::message::{Engine, Limits};
use tokio::sync::{Notify, oneshot};

use crate::catalog::Script;
use crate::cgroup::Groups;
use crate::config::value::Isolation;
use crate::host::Powers;
use crate::invocation::{Ending, Invocation, Reason, Tenant};
use crate::schedule::Cost;
use crate::statistics::Reasons;
use crate::wasm::Module;
use binding::Binding;
use job::{Job, Work};
use places::{State, may_bind, may_run_more, may_take_fresh};
use spawn::{SpawnPlan, Spawner};
use terms::Terms;
use worker::Worker;

/// How long a script may take to compile.
const CHECK_TIME: Duration = Duration::from_secs(10);

/// How often the queue is looked through for jobs whose deadline has come.
const SWEEP: Duration = Duration::from_millis(25);

/// How many scripts' costs are remembered.
const MOST_COSTS: usize = 65_536;

/// How the pool is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Workers that serve.
    pub workers: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// How to start a worker.
    pub plan: SpawnPlan,
    /// The program of workers for WebAssembly, if there is one.
    pub wasm: Option<PathBuf>,
}

/// The pool.
pub struct Pool {
    settings: Settings,
    spawner: Spawner,
    powers: RefCell<Option<std::rc::Weak<dyn Powers>>>,
    state: RefCell<State>,
    /// Told whenever a job ends or a worker becomes ready.
    changed: Notify,
    /// Told whenever a job must wait.
    waiting: Rc<Notify>,
    next_id: Cell<u64>,
    /// Workers that have joined.
    started: Cell<u64>,
    /// Workers that were killed or died.
    deaths: RefCell<Reasons>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the pool is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Workers that can run jobs.
    pub ready: usize,
    /// Of these, idle.
    pub idle: usize,
    /// Jobs handed to workers.
    pub in_flight: usize,
    /// Jobs that wait.
    pub queued: usize,
}

impl Pool {
    /// Starts the workers, each in a leaf of these control groups. [`Pool::ready`] waits for them.
    ///
    /// # Errors
    /// When no thread can be had to start them from.
    pub fn start(settings: Settings, groups: Option<Groups>) -> Result<Rc<Pool>, spawn::SpawnError> {
        let state = State::new(settings.workers, settings.queue);
        let pool = Rc::new(Pool {
            settings,
            spawner: Spawner::start_with(groups)?,
            powers: RefCell::new(None),
            state: RefCell::new(state),
            changed: Notify::new(),
            waiting: Rc::default(),
            // Ids are unique within the broker's life; a random start makes them so across restarts.
            next_id: Cell::new(random_id()),
            started: Cell::new(0),
            deaths: RefCell::default(),
        });
        tokio::task::spawn_local(Pool::sweep(Rc::downgrade(&pool), pool.waiting.clone()));
        pool.fill();
        Ok(pool)
    }

    /// Says who answers host calls.
    pub fn set_powers(&self, powers: std::rc::Weak<dyn Powers>) {
        *self.powers.borrow_mut() = Some(powers);
    }

    fn powers(&self) -> Option<Rc<dyn Powers>> {
        self.powers.borrow().as_ref()?.upgrade()
    }

    /// A new invocation's id.
    pub fn next_id(&self) -> u64 {
        let id = self.next_id.get().wrapping_add(1).max(1);
        self.next_id.set(id);
        id
    }

    /// Waits until the first worker is ready.
    ///
    /// # Errors
    /// Why the first one that was started could not be trusted.
    pub async fn ready(&self) -> Result<(), String> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.borrow();
                if state.workers.iter().any(|worker| worker.ready.get()) {
                    return Ok(());
                }
                if let Some(fault) = &state.fault {
                    return Err(fault.clone());
                }
            }
            changed.await;
        }
    }

    /// Runs a script, or this module for it; ends with it. Dropping the receiver does not stop the run.
    pub fn run(
        self: &Rc<Self>,
        invocation: Rc<Invocation>,
        module: Option<Rc<Module>>,
        limits: Limits,
        terms: Terms,
    ) -> oneshot::Receiver<Ending> {
        let (reply, ending) = oneshot::channel();
        let deadline = invocation.deadline;
        self.submit(Job::new(Work::Run { invocation, module, reply }, limits, terms, deadline));
        ending
    }

    /// Whether a script compiles.
    ///
    /// # Errors
    /// The compiler's message with the author's places, or why it could not be asked.
    pub async fn check(
        self: &Rc<Self>,
        script: Rc<Script>,
        limits: Limits,
        terms: Terms,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::new(Work::Check { script, reply }, limits, terms, Instant::now() + CHECK_TIME));
        answer.await.unwrap_or_else(|_| Err("the worker that compiled it was lost".to_owned()))
    }

    fn submit(self: &Rc<Self>, mut job: Job) {
        let mut state = self.state.borrow_mut();
        if state.closed {
            drop(state);
            return job.fail(
                Reason::Overloaded,
                "the server is stopping".into(),
                String::new(),
                String::new(),
            );
        }
        job.plugin = job.plugin || state.needs_plugins(&job, &self.settings.plan.setup.plugins);
        let mean = state.costs.get(&job.script().id).and_then(Cost::short);
        job.short = mean.filter(|_| job.is_small());
        let (wasm, plugin) = (job.engine() == Engine::Wasm, job.engine() == Engine::Plugin);
        state.wasm |= wasm;
        state.once |= job.terms.isolation == Isolation::Invocation;
        if !state.queue.has(job.tenant()) {
            match state.hand(job) {
                Ok(()) => {
                    drop(state);
                    return if wasm {
                        self.fill_wasm()
                    };
                }
                Err(back) => job = back,
            }
        }
        let tenant = job.tenant().clone();
        // Checks are the broker's own and bounded where they are made: a full queue must not reject a script.
        let full = match &job.work {
            Work::Run { .. } => state.queue.push(&tenant, job.terms.queue, job),
            Work::Check { .. } => {
                state.queue.put_back(&tenant, job);
                Ok(())
            }
        };
        let slowed = full.is_err() && state.rights.is_slowed(&tenant, Instant::now());
        drop(state);
        if let Err((job, limit)) = full {
            let error = rights::reason("too many messages are waiting for a worker", slowed);
            return job.fail(Reason::Overloaded, error, limit.to_string(), limit.to_string());
        }
        if wasm {
            self.fill_wasm();
        } else if plugin {
            self.raise_plugin_workers();
        } else {
            self.rehome();
        }
        self.waiting.notify_one();
    }

    /// Ends jobs that still wait at their deadline, and forgets those that nobody wants any more.
    async fn sweep(pool: std::rc::Weak<Pool>, waiting: Rc<Notify>) {
        loop {
            waiting.notified().await;
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                let now = Instant::now();
                let mut state = pool.state.borrow_mut();
                let late = state.queue.take_all(|job| job.deadline <= now || !job.is_wanted());
                let empty = state.queue.is_empty();
                let slowed = |job: Job| (state.rights.is_slowed(job.tenant(), now), job);
                let late: Vec<_> = late.into_iter().map(slowed).collect();
                drop(state);
                for (slowed, job) in late {
                    job.fail_waiting(now, slowed);
                }
                if empty {
                    break;
                }
                // A tenant that had taken too many fresh workers may have another by now.
                pool.feed_idle();
                pool.rehome();
            }
        }
    }

    /// Ends a run as cancelled: one that waits, or that is its worker's first.
    pub fn cancel(self: &Rc<Self>, id: u64, error: &str) {
        let (waiting, workers) = {
            let mut state = self.state.borrow_mut();
            (state.queue.take_all(|job| job.id() == id), state.workers.clone())
        };
        for job in waiting {
            job.fail(Reason::Cancelled, error.to_owned(), String::new(), String::new());
        }
        let first = |worker: &&Rc<Worker>| worker.jobs.borrow().front().is_some_and(|job| job.id() == id);
        if let Some(worker) = workers.iter().find(first) {
            worker.kill(worker::Sentence {
                reason: Reason::Cancelled,
                error: error.to_owned(),
                limit: String::new(),
                measured: String::new(),
            });
        }
    }

    /// Gives a worker as many waiting jobs as it may take.
    fn feed(self: &Rc<Self>, worker: &Worker) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let now = Instant::now();
        // Else all that waits would be looked at with each answer: a long queue would make itself longer.
        while worker.is_idle() || worker.takes_ahead() {
            let served = |tenant: &Tenant| worker.is_fresh() || worker.is_of_tenant(tenant);
            let next = state.queue.take(served, |job| {
                job.is_wanted()
                    && job.deadline > now
                    && worker.fits(job)
                    && !worker.unsaid.borrow().has(job.id())
                    && { worker.is_bound() || may_bind(&state.workers, job, state.places) }
                    && {
                        let view = worker.view(job);
                        let idle = view.in_flight == 0;
                        (idle || view.ahead)
                            && (!idle || may_run_more(&state.workers, job))
                            && (!worker.is_fresh()
                                || may_take_fresh(&mut state.rights, &state.workers, job, now))
                    }
            });
            let Some(job) = next else { break };
            if let Err((job, error)) = worker.hand(job) {
                drop(guard);
                return drive::unsendable(worker, job, &error);
            }
        }
        if worker.jobs.borrow().is_empty() {
            worker.idle_since.set(now);
        }
        drop(guard);
        self.fill_wasm();
        self.changed.notify_waiters();
    }

    /// A worker has answered: its tenant pays, and it goes on.
    fn answered(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.charge(worker);
        self.feed(worker);
        self.review(worker);
    }

    /// Puts jobs back that had not started, and finds them other workers.
    fn put_back(self: &Rc<Self>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        {
            let mut state = self.state.borrow_mut();
            for mut job in jobs.into_iter().rev() {
                job.short = None;
                let tenant = job.tenant().clone();
                state.queue.put_back(&tenant, job);
            }
        }
        self.waiting.notify_one();
        self.feed_idle();
        self.rehome();
    }

    /// Gives idle workers what waits for them.
    fn feed_idle(self: &Rc<Self>) {
        let workers = self.state.borrow().workers.clone();
        for worker in workers.iter().filter(|worker| worker.ready.get() && worker.is_idle()) {
            self.feed(worker);
        }
    }

    /// Charges a worker's tenant for what it has used, if another tenant waits.
    fn charge(&self, worker: &Worker) {
        let mut state = self.state.borrow_mut();
        let binding = worker.binding.borrow();
        let Some(tenant) = binding.as_ref().map(Binding::tenant) else { return };
        if state.queue.is_empty() || (!state.queue.is_contended() && state.queue.has(tenant)) {
            return;
        }
        let used = worker.cpu_time();
        let since = used.saturating_sub(worker.charged.replace(used));
        state.queue.charge(tenant, u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Runs a job that turned out to need plugins, and remembers that its script does.
    fn run_with_plugins(self: &Rc<Self>, mut job: Job) {
        let mut state = self.state.borrow_mut();
        state.with_plugins.insert(job.script().id, true);
        job.plugin = true;
        // It was admitted before: a full queue does not refuse it.
        let back = state.hand(job).err();
        if let Some(job) = back {
            let tenant = job.tenant().clone();
            state.queue.put_back(&tenant, job);
        }
        drop(state);
        self.raise_plugin_workers();
        self.waiting.notify_one();
    }

    /// A run took that long.
    fn learn(&self, script: u64, nanos: u64) {
        let mut state = self.state.borrow_mut();
        if state.costs.len() >= MOST_COSTS {
            state.costs.clear();
        }
        state.costs.entry(script).or_default().add(nanos);
    }

    // === status and end ===

    /// The thread that starts workers.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// What the pool is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.state.borrow();
        let ready = state.workers.iter().filter(|worker| worker.ready.get());
        let in_flight = |worker: &Rc<Worker>| worker.jobs.borrow().len();
        Status {
            ready: ready.clone().count(),
            idle: ready.clone().filter(|worker| in_flight(worker) == 0).count(),
            in_flight: ready.map(in_flight).sum(),
            queued: state.queue.len(),
        }
    }

    /// How many workers have joined so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.get()
    }

    /// How many workers were killed or died, by why. Those that were let go do not count.
    #[must_use]
    pub fn deaths(&self) -> Reasons {
        *self.deaths.borrow()
    }

    /// The processes of the workers that serve.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.state.borrow().workers.iter().map(|worker| worker.pid).collect()
    }

    /// Waits until no job runs or waits.
    pub async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            let status = self.status();
            if status.in_flight == 0 && status.queued == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Takes no more jobs; those there are end as cancelled.
    pub fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.cancel_all();
    }

    /// Ends all workers and waits until they have ended.
    pub async fn end(&self) {
        self.close();
        let spares = self.state.borrow().spares.clone();
        spares.iter().for_each(|spare| drive::retire(spare));
        loop {
            let changed = self.changed.notified();
            if self.state.borrow().workers.is_empty() && self.state.borrow().spares.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn cancel_all(&self) {
        let (queued, workers) = {
            let mut state = self.state.borrow_mut();
            (state.queue.take_all(|_| true), state.workers.clone())
        };
        let text = "stopped: the server is shutting down";
        for job in queued {
            job.fail(Reason::Cancelled, text.to_owned(), String::new(), String::new());
        }
        for worker in workers {
            let jobs = std::mem::take(&mut *worker.jobs.borrow_mut());
            for job in jobs {
                job.fail(Reason::Cancelled, text.to_owned(), String::new(), String::new());
            }
            drive::retire(&worker);
        }
    }
}

fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
