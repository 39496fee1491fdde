//! The worker pool: who runs a job, and what happens when a worker does not come back.
//!
//! A fixed number of workers serve, and a spare stands ready, so that a killed worker's place is filled
//! at once. Jobs wait in a bounded queue. A job that had started when its worker died ends with it and is
//! never run twice; those handed ahead that had not started go to another worker.

pub mod drive;
pub mod job;
pub mod solo;
pub mod spawn;
pub mod verdict;
pub mod verify;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_proto::message::{Engine, Limits, PathRule, Setup};
use tokio::sync::{Notify, oneshot};

use crate::catalog::Script;
use crate::host::Powers;
use crate::invocation::{Ending, Invocation, Reason};
use crate::schedule::{Cost, Queue, choose};
use crate::wasm::Module;
use job::{Job, Work};
use spawn::{SpawnPlan, Spawner};
use worker::Worker;

/// How long a script may take to compile.
const CHECK_TIME: Duration = Duration::from_secs(10);

/// Runs after which a worker is replaced, so that nothing that outlives a rewind piles up.
const MOST_SERVED: u64 = 100_000;

/// Age after which an idle worker is replaced.
const MOST_AGE: Duration = Duration::from_secs(15 * 60);

/// Workers that are kept bound to modules, or as many as there are workers otherwise if that is more.
const WASM_WORKERS: usize = 8;

/// How often the queue is looked through for jobs whose deadline has come.
const SWEEP: Duration = Duration::from_millis(25);

/// How many scripts' costs are remembered.
const MOST_COSTS: usize = 65_536;

/// Pauses between attempts to start a worker, first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

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
}

struct State {
    /// How many serve, of those that are not bound to a module; and how many of one module at most.
    places: usize,
    /// Whether there are scripts that need workers for WebAssembly.
    wasm: bool,
    workers: Vec<Rc<Worker>>,
    spares: Vec<Rc<Worker>>,
    /// Workers on their way, by engine.
    starting: HashMap<Engine, usize>,
    queue: Queue<Job>,
    costs: HashMap<u64, Cost>,
    /// An engine that jobs wait for and no worker has.
    lacking: Option<Engine>,
    pause: Duration,
    fault: Option<String>,
    closed: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Starts the workers. [`Pool::ready`] waits for them.
    ///
    /// # Errors
    /// When no thread can be had to start them from.
    pub fn start(settings: Settings) -> Result<Rc<Pool>, spawn::SpawnError> {
        let state = State {
            places: settings.workers,
            wasm: false,
            workers: Vec::new(),
            spares: Vec::new(),
            starting: HashMap::new(),
            queue: Queue::new(settings.queue),
            costs: HashMap::new(),
            lacking: None,
            pause: RETRY.0,
            fault: None,
            closed: false,
        };
        let pool = Rc::new(Pool {
            settings,
            spawner: Spawner::start()?,
            powers: RefCell::new(None),
            state: RefCell::new(state),
            changed: Notify::new(),
            waiting: Rc::default(),
            // Ids are unique within the broker's life; a random start makes them so across restarts.
            next_id: Cell::new(random_id()),
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
    ) -> oneshot::Receiver<Ending> {
        let (reply, ending) = oneshot::channel();
        let deadline = invocation.deadline;
        self.submit(Job::new(Work::Run { invocation, module, reply }, limits, deadline));
        ending
    }

    /// Whether a script compiles.
    ///
    /// # Errors
    /// The compiler's message with the author's places, or why it could not be asked.
    pub async fn check(self: &Rc<Self>, script: Rc<Script>, limits: Limits) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::new(Work::Check { script, reply }, limits, Instant::now() + CHECK_TIME));
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
        let mean = state.costs.get(&job.script().id).and_then(Cost::short);
        job.short = mean.filter(|_| job.is_small());
        let wasm = job.engine() == Engine::Wasm;
        state.wasm |= wasm;
        if state.queue.is_empty() {
            match state.hand(job) {
                Ok(()) => {
                    drop(state);
                    return if wasm { self.fill_wasm() };
                }
                Err(back) => job = back,
            }
        }
        let lacking = !wasm && !state.workers.iter().any(|worker| worker.fits(&job));
        let (engine, capacity) = (job.engine(), state.queue.capacity());
        // Checks are the broker's own and bounded where they are made: a full queue must not reject a script.
        let full = match &job.work {
            Work::Run { .. } => state.queue.push(job),
            Work::Check { .. } => {
                state.queue.put_back(job);
                Ok(())
            }
        };
        state.lacking = state.lacking.or(lacking.then_some(engine));
        drop(state);
        if let Err(job) = full {
            let error = "too many messages are waiting for a worker".to_owned();
            return job.fail(Reason::Overloaded, error, capacity.to_string(), capacity.to_string());
        }
        if lacking {
            self.make_room_for(engine);
        }
        if wasm {
            self.fill_wasm();
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
                drop(state);
                for job in late {
                    job.fail_waiting(now);
                }
                if empty {
                    break;
                }
            }
        }
    }

    /// Gives a worker as many waiting jobs as it may take.
    fn feed(self: &Rc<Self>, worker: &Worker) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let now = Instant::now();
        loop {
            let next = state.queue.take(|job| {
                job.is_wanted() && job.deadline > now && worker.fits(job) && {
                    worker.is_bound() || may_bind(&state.workers, job, state.places)
                } && {
                    let view = worker.view(job);
                    view.in_flight == 0 || view.ahead
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

    /// Puts jobs back that had not started, and finds them other workers.
    fn put_back(self: &Rc<Self>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let workers = {
            let mut state = self.state.borrow_mut();
            for mut job in jobs.into_iter().rev() {
                job.short = None;
                state.queue.put_back(job);
            }
            state.workers.clone()
        };
        self.waiting.notify_one();
        for worker in workers.iter().filter(|worker| worker.ready.get() && worker.jobs.borrow().is_empty()) {
            self.feed(worker);
        }
    }

    /// A run took that long.
    fn learn(&self, script: u64, nanos: u64) {
        let mut state = self.state.borrow_mut();
        if state.costs.len() >= MOST_COSTS {
            state.costs.clear();
        }
        state.costs.entry(script).or_default().add(nanos);
    }

    // === workers ===

    /// Starts workers until there are enough, and a spare.
    fn fill(self: &Rc<Self>) {
        let state = self.state.borrow();
        let starting = state.starting.iter().filter(|(engine, _)| **engine != Engine::Wasm);
        let have = state.unbound().count() + state.spares.len() + starting.map(|(_, count)| count).sum::<usize>();
        let wanted = self.settings.workers + 1;
        let closed = state.closed;
        drop(state);
        if !closed {
            for _ in have..wanted {
                self.spawn(Engine::Lua);
            }
        }
    }

    /// Replaces an idle worker that does not fit by one with this engine, if none is on its way: by a spare
    /// if there is such a one, else by a new one.
    fn make_room_for(self: &Rc<Self>, engine: Engine) {
        let (retired, spare) = {
            let mut state = self.state.borrow_mut();
            if state.starting.get(&engine).is_some_and(|count| *count > 0) {
                return;
            }
            // The one that has been idle the longest gives way. If all are busy, the job waits, and the
            // next to become idle is asked.
            let idle = state.workers.iter().enumerate().filter(|(_, worker)| {
                worker.engine != engine
                    && worker.engine != Engine::Wasm
                    && worker.ready.get()
                    && worker.jobs.borrow().is_empty()
            });
            let Some((at, _)) = idle.min_by_key(|(_, worker)| worker.idle_since.get()) else { return };
            let retired = state.workers.swap_remove(at);
            let spare = state.spares.iter().position(|spare| spare.engine == engine);
            let spare = spare.map(|at| state.spares.swap_remove(at));
            state.workers.extend(spare.clone());
            (retired, spare)
        };
        drive::retire(&retired);
        match spare {
            Some(spare) => self.feed(&spare),
            None => self.spawn(engine),
        }
    }

    /// There are scripts that need workers for WebAssembly: has one ready.
    pub fn expect_wasm(self: &Rc<Self>) {
        self.state.borrow_mut().wasm = true;
        self.fill_wasm();
    }

    /// Keeps one worker for WebAssembly ready that is bound to no module yet. These have places of their own,
    /// since each serves one module for all its life; the one that has been idle the longest gives way.
    fn fill_wasm(self: &Rc<Self>) {
        let retired = {
            let mut state = self.state.borrow_mut();
            let ready = state.workers.iter().any(|worker| !worker.is_bound());
            let starting = state.starting.get(&Engine::Wasm).is_some_and(|count| *count > 0);
            if !state.wasm || state.closed || ready || starting || self.settings.wasm.is_none() {
                return;
            }
            let own = state.workers.iter().enumerate().filter(|(_, worker)| worker.engine == Engine::Wasm);
            if own.clone().count() <= WASM_WORKERS.max(self.settings.workers) {
                None
            } else {
                let idle = own.filter(|(_, worker)| worker.jobs.borrow().is_empty());
                let longest = idle.min_by_key(|(_, worker)| worker.idle_since.get()).map(|(at, _)| at);
                let Some(at) = longest else { return };
                Some(state.workers.swap_remove(at))
            }
        };
        if let Some(retired) = retired {
            drive::retire(&retired);
        }
        self.spawn(Engine::Wasm);
    }

    fn spawn(self: &Rc<Self>, engine: Engine) {
        *self.state.borrow_mut().starting.entry(engine).or_default() += 1;
        let mut plan = self.settings.plan.clone();
        if engine == Engine::Wasm {
            plan.worker_binary = self.settings.wasm.clone().unwrap_or(plan.worker_binary);
        }
        plan.setup.engine = engine;
        tokio::task::spawn_local(drive::run(Rc::downgrade(self), Arc::new(plan)));
    }

    /// The plan of a process that runs no scripts: as workers are started, but for its engine, its paths and
    /// its user (`None`: one of its own).
    #[must_use]
    pub fn child_plan(&self, engine: Engine, paths: Vec<PathRule>, uid: Option<u32>) -> Arc<SpawnPlan> {
        let mut plan = self.settings.plan.clone();
        plan.setup = Setup { engine, paths, uid, ..plan.setup };
        Arc::new(plan)
    }

    async fn start_process(
        self: &Rc<Self>,
        plan: Arc<SpawnPlan>,
    ) -> Result<spawn::Spawned, spawn::SpawnError> {
        self.spawner.spawn(plan).await
    }

    /// A worker has greeted and was found well jailed.
    fn joined(self: &Rc<Self>, worker: &Rc<Worker>) {
        let mut state = self.state.borrow_mut();
        state.started(worker.engine);
        state.pause = RETRY.0;
        worker.ready.set(true);
        if worker.engine == Engine::Wasm || state.taken() < self.settings.workers {
            state.workers.push(worker.clone());
            drop(state);
            self.feed(worker);
        } else {
            state.spares.push(worker.clone());
            drop(state);
        }
        self.rehome();
        self.changed.notify_waiters();
    }

    /// A worker could not be started, or not be trusted: another try, later each time.
    fn not_joined(self: &Rc<Self>, engine: Engine, error: String) {
        tracing::error!(%error, "worker did not start");
        let (pause, hopeless) = {
            let mut state = self.state.borrow_mut();
            state.started(engine);
            state.fault = Some(error.clone());
            let pause = state.pause;
            state.pause = (pause * 2).min(RETRY.1);
            let none = state.workers.iter().all(|worker| worker.engine != engine);
            let waits = |job: &Job| none && engine == Engine::Wasm && job.engine() == engine;
            (pause, state.queue.take_all(waits))
        };
        for job in hopeless {
            job.fail(Reason::Internal, error.clone(), String::new(), String::new());
        }
        self.changed.notify_waiters();
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            if let Some(pool) = pool.upgrade() {
                pool.fill();
                pool.fill_wasm();
            }
        });
    }

    /// A worker is gone: a spare takes its place, and a new one is started behind.
    fn left(self: &Rc<Self>, worker: &Rc<Worker>) {
        {
            let mut state = self.state.borrow_mut();
            state.workers.retain(|known| !Rc::ptr_eq(known, worker));
            state.spares.retain(|known| !Rc::ptr_eq(known, worker));
            let homeless = |job: &&Job| {
                job.engine() != Engine::Wasm && !state.workers.iter().any(|worker| worker.fits(job))
            };
            let lacking = state.queue.iter().find(homeless).map(Job::engine);
            state.lacking = state.lacking.or(lacking);
        }
        self.promote();
        self.fill();
        self.fill_wasm();
        self.rehome();
        self.changed.notify_waiters();
    }

    fn promote(self: &Rc<Self>) {
        let spare = {
            let mut state = self.state.borrow_mut();
            if state.taken() >= self.settings.workers {
                return;
            }
            let Some(spare) = state.spares.pop() else { return };
            state.workers.push(spare.clone());
            spare
        };
        self.feed(&spare);
    }

    /// After each job: whether this worker has served long enough, or must give way to another engine.
    fn review(self: &Rc<Self>, worker: &Rc<Worker>) {
        if !worker.jobs.borrow().is_empty() {
            return;
        }
        let old = worker.served.get() >= MOST_SERVED || worker.started.elapsed() >= MOST_AGE;
        if old {
            self.state.borrow_mut().workers.retain(|known| !Rc::ptr_eq(known, worker));
            drive::retire(worker);
            self.promote();
            self.fill();
            self.fill_wasm();
            return;
        }
        self.rehome();
    }

    /// If jobs wait for an engine that no worker has: has an idle worker give way. If none is idle, the next
    /// to become so is asked.
    fn rehome(self: &Rc<Self>) {
        let Some(engine) = self.state.borrow().lacking else { return };
        let waits = self.state.borrow().queue.iter().any(|job| job.engine() == engine);
        if waits {
            self.make_room_for(engine);
        } else {
            self.state.borrow_mut().lacking = None;
        }
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

impl State {
    /// Places that are taken. A worker of another engine is started for a job that waits: its place is kept.
    fn taken(&self) -> usize {
        let others =
            self.starting.iter().filter(|(engine, _)| !matches!(engine, Engine::Lua | Engine::Wasm));
        self.unbound().count() + others.map(|(_, count)| count).sum::<usize>()
    }

    /// The workers that serve any script of their engine.
    fn unbound(&self) -> impl Iterator<Item = &Rc<Worker>> {
        self.workers.iter().filter(|worker| worker.engine != Engine::Wasm)
    }

    /// Hands a job to the worker that the scheduler chooses, or gives it back.
    #[allow(clippy::result_large_err, reason = "the job itself comes back")]
    fn hand(&mut self, job: Job) -> Result<(), Job> {
        let of = |bound: bool| {
            let workers = self.workers.iter().enumerate();
            let fitting = workers.filter(|(_, worker)| worker.ready.get() && worker.fits(&job));
            let fitting = fitting.filter(move |(_, worker)| worker.is_bound() == bound);
            choose(fitting.map(|(index, worker)| (index, worker.view(&job))), job.short)
        };
        let unbound = || may_bind(&self.workers, &job, self.places).then(|| of(false)).flatten();
        let Some(chosen) = of(true).or_else(unbound) else { return Err(job) };
        let worker = self.workers[chosen].clone();
        if let Err((job, error)) = worker.hand(job) {
            drive::unsendable(&worker, job, &error);
        }
        Ok(())
    }

    fn started(&mut self, engine: Engine) {
        if let Some(count) = self.starting.get_mut(&engine) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Whether one more worker may be bound to this job's module.
fn may_bind(workers: &[Rc<Worker>], job: &Job, most: usize) -> bool {
    job.module().is_some_and(|module| workers.iter().filter(|worker| worker.is_of(module)).count() < most)
}

fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
