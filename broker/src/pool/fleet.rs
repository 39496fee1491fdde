//! The workers that there are: how many are started, who gives way to whom, what happens when one leaves.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msgscript_proto::message::{Engine, PathRule, Setup};

use super::job::Job;
use super::places::{Move, shares_places};
use super::spawn::{self, SpawnPlan};
use super::worker::Worker;
use super::{Pool, binding, drive};
use crate::audit::{self, Act};
use crate::invocation::Reason;
use crate::plugins;

/// Runs after which a worker is replaced, so that nothing that outlives a rewind piles up.
const MOST_SERVED: u64 = 100_000;

/// Age after which an idle worker is replaced.
const MOST_AGE: Duration = Duration::from_secs(15 * 60);

/// Workers that are kept bound to modules, or as many as there are workers otherwise if that is more.
const WASM_WORKERS: usize = 8;

/// Workers with plugins that stand ready, once a script needs them.
const PLUGIN_SPARES: usize = 2;

/// Pauses between attempts to start a worker, first and longest.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

impl Pool {
    /// Starts workers for scripts that need plugins: each serves one run, so a few stand ready once there is
    /// such a script. They are beside the others, never more than those.
    pub(super) fn raise_plugin_workers(self: &Rc<Self>) {
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

    /// Starts workers until there are enough, and a spare.
    pub(super) fn fill(self: &Rc<Self>) {
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
    pub(super) fn rehome(self: &Rc<Self>) {
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
    pub(super) fn fill_wasm(self: &Rc<Self>) {
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

    pub(super) fn spawn(self: &Rc<Self>, engine: Engine) {
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
    pub(super) fn joined(self: &Rc<Self>, worker: &Rc<Worker>) {
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
    pub(super) fn not_joined(self: &Rc<Self>, engine: Engine, error: String) {
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

    /// A run has taken its worker along: its tenant answers for that.
    pub(super) fn blame(&self, worker: &Worker) {
        let binding = worker.binding.borrow();
        let Some(tenant) = binding.as_ref().map(binding::Binding::tenant) else { return };
        if self.state.borrow_mut().rights.died(tenant, worker.served.get(), Instant::now()) {
            let text = "runs keep killing their workers: the tenant gets fresh ones more slowly";
            tracing::warn!(tenant = &**tenant, "{text}");
            audit::record(Act::WorkerKilled, &audit::Event { tenant, text, ..audit::Event::default() });
        }
    }

    /// A worker is gone: a spare takes its place, and a new one is started behind.
    pub(super) fn left(self: &Rc<Self>, worker: &Rc<Worker>) {
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

    pub(super) fn promote(self: &Rc<Self>) {
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
    pub(super) fn review(self: &Rc<Self>, worker: &Rc<Worker>) {
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
    pub(super) fn is_superfluous(&self, worker: &Worker) -> bool {
        let mut state = self.state.borrow_mut();
        if state.extra == 0 || !shares_places(worker.engine) || !state.queue.is_empty() {
            return false;
        }
        let busy = state.sharing().filter(|worker| !worker.is_idle()).count();
        let superfluous = busy < self.settings.workers;
        state.extra -= usize::from(superfluous);
        superfluous
    }
}
