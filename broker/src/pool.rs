//! The worker pool: who runs a job, and what happens when a worker does not come back.
//!
//! A fixed number of workers serve, and a spare stands ready, so that a killed worker's place is filled
//! at once. Jobs wait in a bounded queue. A job that had started when its worker died ends with it and is
//! never run twice; those handed ahead that had not started go to another worker.

pub mod binding;
pub mod drive;
pub mod job;
pub mod solo;
pub mod spawn;
pub mod terms;
pub mod verdict;
pub mod verify;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_proto::message::{Engine, Limits, PathRule, Plugin, Setup};
use tokio::sync::{Notify, oneshot};

use crate::catalog::Script;
use crate::config::value::Isolation;
use crate::host::Powers;
use crate::invocation::{Ending, Invocation, Reason, Tenant};
use crate::plugins;
use crate::schedule::{Bucket, Cost, Queue, choose};
use crate::wasm::Module;
use job::{Job, Work};
use spawn::{SpawnPlan, Spawner};
use terms::Terms;
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

/// Fresh workers that a tenant may take: a second, and at once.
const FRESH: (f64, f64) = (50.0, 100.0);

/// The same where each run has a worker to itself.
const FRESH_ONCE: (f64, f64) = (2000.0, 500.0);

/// Workers beyond the configured number, or as many as that if it is more.
const MOST_EXTRA: usize = 8;

/// How many scripts' costs are remembered.
const MOST_COSTS: usize = 65_536;

/// Workers with plugins that stand ready, once a script needs them.
const PLUGIN_SPARES: usize = 2;

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
    /// Workers beyond the configured number: for tenants that would wait for others' long runs.
    extra: usize,
    /// Whether runs have workers to themselves: then more spares are kept.
    once: bool,
    /// How often tenants may take a fresh worker.
    fresh: HashMap<Tenant, Bucket>,
    /// Whether a script needs plugins, by its id. Empty where there are none.
    with_plugins: HashMap<u64, bool>,
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
            extra: 0,
            once: false,
            fresh: HashMap::new(),
            with_plugins: HashMap::new(),
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
        drop(state);
        if let Err((job, limit)) = full {
            let error = "too many messages are waiting for a worker".to_owned();
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
                drop(state);
                for job in late {
                    job.fail_waiting(now);
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

    /// Gives a worker as many waiting jobs as it may take.
    fn feed(self: &Rc<Self>, worker: &Worker) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let now = Instant::now();
        loop {
            let next = state.queue.take(|job| {
                job.is_wanted()
                    && job.deadline > now
                    && worker.fits(job)
                    && { worker.is_bound() || may_bind(&state.workers, job, state.places) }
                    && {
                        let view = worker.view(job);
                        let idle = view.in_flight == 0;
                        (idle || view.ahead)
                            && (!idle || may_run_more(&state.workers, job))
                            && (!worker.is_fresh() || may_take_fresh(&mut state.fresh, job, now))
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

    /// Charges a tenant for what its worker has used, if another tenant waits.
    fn charge(&self, worker: &Worker, tenant: &Tenant) {
        let mut state = self.state.borrow_mut();
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

    /// Starts workers for scripts that need plugins: each serves one run, so a few stand ready once there is
    /// such a script. They are beside the others, never more than those.
    fn raise_plugin_workers(self: &Rc<Self>) {
        let missing = {
            let state = self.state.borrow();
            if state.closed || !state.with_plugins.values().any(|needs| *needs) {
                return;
            }
            let plugin = |worker: &&Rc<Worker>| worker.engine == Engine::Plugin;
            let free = |worker: &&Rc<Worker>| worker.is_fresh();
            let all = state.workers.iter().filter(plugin);
            let starting = state.starting.get(&Engine::Plugin).copied().unwrap_or(0);
            let waiting = state.queue.iter().filter(|job| job.plugin).count();
            let wanted = waiting + PLUGIN_SPARES;
            let room = (self.settings.workers + PLUGIN_SPARES).saturating_sub(all.clone().count() + starting);
            wanted.saturating_sub(all.filter(free).count() + starting).min(room)
        };
        for _ in 0..missing {
            self.spawn(Engine::Plugin);
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
        let starting = state.starting.iter().filter(|(engine, _)| shares_places(**engine));
        let have =
            state.sharing().count() + state.spares.len() + starting.map(|(_, count)| count).sum::<usize>();
        // Where each run has a worker to itself, the next ones must stand ready.
        let spares = if state.once { self.settings.workers.max(4) } else { 1 };
        let wanted = self.settings.workers + state.extra + spares;
        let closed = state.closed;
        drop(state);
        if !closed {
            for _ in have..wanted {
                self.spawn(Engine::Lua);
            }
        }
    }

    /// Finds workers for jobs that have none: an idle one that serves nobody who waits gives way, the one
    /// that has been idle the longest; when all are busy with others' runs, a tenant that has none gets one
    /// beyond the configured number. If neither can be, the next worker to become idle is asked.
    fn rehome(self: &Rc<Self>) {
        loop {
            let (retired, engine, spare) = {
                let mut state = self.state.borrow_mut();
                let Some(move_) = state.next_move(self.settings.workers) else { return };
                let Move { victim, engine } = move_;
                let retired = match victim {
                    Some(at) => Some(state.workers.swap_remove(at)),
                    None => {
                        state.extra += 1;
                        None
                    }
                };
                let spare = state.spares.iter().position(|spare| spare.engine == engine);
                let spare = spare.map(|at| state.spares.swap_remove(at));
                state.workers.extend(spare.clone());
                (retired, engine, spare)
            };
            if let Some(retired) = retired {
                drive::retire(&retired);
            }
            match spare {
                Some(spare) => {
                    self.feed(&spare);
                    self.fill();
                }
                None => {
                    self.spawn(engine);
                    return;
                }
            }
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
        if engine == Engine::Plugin {
            plan.setup.paths = plugins::paths(&plan.setup.plugins);
        }
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

    /// How workers are started.
    #[must_use]
    pub fn plan(&self) -> &SpawnPlan {
        &self.settings.plan
    }

    /// Starts a process. The caller sees to its end.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_process(
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
        if !shares_places(worker.engine) || state.taken() < self.settings.workers + state.extra {
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
                pool.raise_plugin_workers();
            }
        });
    }

    /// A worker is gone: a spare takes its place, and a new one is started behind.
    fn left(self: &Rc<Self>, worker: &Rc<Worker>) {
        {
            let mut state = self.state.borrow_mut();
            state.workers.retain(|known| !Rc::ptr_eq(known, worker));
            state.spares.retain(|known| !Rc::ptr_eq(known, worker));
        }
        self.promote();
        self.fill();
        self.fill_wasm();
        self.raise_plugin_workers();
        self.rehome();
        self.changed.notify_waiters();
    }

    fn promote(self: &Rc<Self>) {
        let spare = {
            let mut state = self.state.borrow_mut();
            if state.taken() >= self.settings.workers + state.extra {
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
        let spent = worker.binding.borrow().as_ref().is_some_and(binding::Binding::is_spent);
        if old || spent || self.is_superfluous(worker) {
            self.state.borrow_mut().workers.retain(|known| !Rc::ptr_eq(known, worker));
            drive::retire(worker);
            self.promote();
            self.fill();
            self.fill_wasm();
        }
        self.rehome();
    }

    /// Whether an idle worker is one too many: a tenant no longer needs it besides the configured number.
    /// Takes it off the count if so.
    fn is_superfluous(&self, worker: &Worker) -> bool {
        let mut state = self.state.borrow_mut();
        if state.extra == 0 || !shares_places(worker.engine) || !state.queue.is_empty() {
            return false;
        }
        let busy = state.sharing().filter(|worker| !worker.is_idle()).count();
        let superfluous = busy < self.settings.workers;
        state.extra -= usize::from(superfluous);
        superfluous
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
            self.starting.iter().filter(|(engine, _)| shares_places(**engine) && **engine != Engine::Lua);
        self.sharing().count() + others.map(|(_, count)| count).sum::<usize>()
    }

    /// The workers that share the configured number of places.
    fn sharing(&self) -> impl Iterator<Item = &Rc<Worker>> {
        self.workers.iter().filter(|worker| shares_places(worker.engine))
    }

    /// The next change to the workers that lets a job run which has none, if there is one.
    fn next_move(&mut self, configured: usize) -> Option<Move> {
        if self.queue.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut seen: Vec<&Tenant> = Vec::new();
        for job in self.queue.iter().filter(|job| shares_places(job.engine())) {
            if seen.contains(&job.tenant()) {
                continue;
            }
            seen.push(job.tenant());
            let engine = job.engine();
            let fits = |worker: &&Rc<Worker>| worker.fits(job);
            let has_idle = self.workers.iter().filter(fits).any(|worker| worker.is_idle());
            let on_its_way = self.starting.get(&engine).is_some_and(|count| *count > 0)
                && !self.spares.iter().any(|spare| spare.engine == engine);
            if has_idle || on_its_way || !may_run_more(&self.workers, job) {
                continue;
            }
            let idle = self.workers.iter().enumerate().filter(|(_, worker)| {
                shares_places(worker.engine) && worker.ready.get() && worker.is_idle() && !worker.fits(job)
            });
            let victim = idle.min_by_key(|(_, worker)| worker.idle_since.get()).map(|(at, _)| at);
            let has_none = !self.workers.iter().any(|worker| worker.fits(job));
            let others = self.workers.iter().any(|worker| !worker.is_of_tenant(job.tenant()));
            let beyond = has_none && others && self.extra < configured.max(MOST_EXTRA);
            if (victim.is_some() || beyond) && may_take_fresh(&mut self.fresh, job, now) {
                return Some(Move { victim, engine });
            }
        }
        None
    }

    /// Whether a job's script names one of these plugins, or has turned out to need one.
    fn needs_plugins(&mut self, job: &Job, plugins: &[Plugin]) -> bool {
        if plugins.is_empty() || job.id() == 0 {
            return false;
        }
        if self.with_plugins.len() >= MOST_COSTS {
            self.with_plugins.clear();
        }
        let script = job.script();
        *self.with_plugins.entry(script.id).or_insert_with(|| plugins::mentioned(&script.parts, plugins))
    }

    /// Hands a job to the worker that the scheduler chooses, or gives it back.
    #[allow(clippy::result_large_err, reason = "the job itself comes back")]
    fn hand(&mut self, job: Job) -> Result<(), Job> {
        let more = may_run_more(&self.workers, &job);
        let of = |bound: bool| {
            let workers = self.workers.iter().enumerate();
            let fitting = workers.filter(|(_, worker)| worker.ready.get() && worker.fits(&job));
            let fitting =
                fitting.filter(move |(_, worker)| worker.is_bound() == bound && (more || !worker.is_idle()));
            choose(fitting.map(|(index, worker)| (index, worker.view(&job))), job.short)
        };
        let unbound = || may_bind(&self.workers, &job, self.places).then(|| of(false)).flatten();
        let Some(chosen) = of(true).or_else(unbound) else { return Err(job) };
        let worker = self.workers[chosen].clone();
        if worker.is_fresh() && !may_take_fresh(&mut self.fresh, &job, Instant::now()) {
            return Err(job);
        }
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

/// Whether workers of an engine share the configured number of places. Those for WebAssembly and for plugins
/// have places of their own, since each serves one module or one run only.
fn shares_places(engine: Engine) -> bool {
    !matches!(engine, Engine::Wasm | Engine::Plugin)
}

/// A change to the workers.
struct Move {
    /// The idle worker that gives way; none: there is to be one more.
    victim: Option<usize>,
    /// What the new one runs.
    engine: Engine,
}

/// Whether one more worker may run this job's tenant's scripts.
fn may_run_more(workers: &[Rc<Worker>], job: &Job) -> bool {
    let most = job.terms.concurrency;
    let busy = || workers.iter().filter(|worker| !worker.is_idle() && worker.is_of_tenant(job.tenant()));
    most == usize::MAX || busy().count() < most
}

/// Takes the right to a fresh worker: each costs a process, so a tenant has so many a second.
fn may_take_fresh(fresh: &mut HashMap<Tenant, Bucket>, job: &Job, now: Instant) -> bool {
    let (rate, most) = if job.terms.isolation == Isolation::Invocation { FRESH_ONCE } else { FRESH };
    if fresh.len() >= MOST_COSTS {
        fresh.clear();
    }
    let bucket = fresh.entry(job.tenant().clone()).or_insert_with(|| Bucket::new(now, most));
    bucket.take(now, rate, most)
}

/// Whether one more worker may be bound to this job's module.
fn may_bind(workers: &[Rc<Worker>], job: &Job, most: usize) -> bool {
    job.module().is_some_and(|module| workers.iter().filter(|worker| worker.is_of(module)).count() < most)
}

fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
