//! Places by engine and tenant: which worker a job is handed to, and which change to the workers lets a job
//! run that has none. Decides; starts and ends nothing.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use msgscript_proto::message::{Engine, Plugin};

use super::fleet::RETRY;
use super::job::Job;
use super::rights::Rights;
use super::worker::Worker;
use super::{MOST_COSTS, drive};
use crate::config::value::Isolation;
use crate::plugins;
use crate::schedule::{Cost, Queue, choose};

/// Workers beyond the configured number, or as many as that if it is more.
const MOST_EXTRA: usize = 8;

/// Workers and what waits for them.
pub(super) struct State {
    /// How many serve, of those that are not bound to a module; and how many of one module at most.
    pub(super) places: usize,
    /// Whether there are scripts that need workers for WebAssembly.
    pub(super) wasm: bool,
    pub(super) workers: Vec<Rc<Worker>>,
    pub(super) spares: Vec<Rc<Worker>>,
    /// Workers on their way, by engine.
    pub(super) starting: HashMap<Engine, usize>,
    pub(super) queue: Queue<Job>,
    pub(super) costs: HashMap<u64, Cost>,
    /// Workers beyond the configured number: for tenants that would wait for others' long runs.
    pub(super) extra: usize,
    /// Whether runs have workers to themselves: then more spares are kept.
    pub(super) once: bool,
    /// How often tenants may take a fresh worker.
    pub(super) rights: Rights,
    /// Whether a script needs plugins, by its id. Empty where there are none.
    pub(super) with_plugins: HashMap<u64, bool>,
    pub(super) pause: Duration,
    pub(super) fault: Option<String>,
    pub(super) closed: bool,
}

impl State {
    /// No workers yet, and a queue with this room.
    pub(super) fn new(places: usize, queue: usize) -> State {
        State {
            places,
            wasm: false,
            workers: Vec::new(),
            spares: Vec::new(),
            starting: HashMap::new(),
            queue: Queue::new(queue),
            costs: HashMap::new(),
            extra: 0,
            once: false,
            rights: Rights::default(),
            with_plugins: HashMap::new(),
            pause: RETRY.0,
            fault: None,
            closed: false,
        }
    }

    /// Places that are taken. A worker of another engine is started for a job that waits: its place is kept.
    pub(super) fn taken(&self) -> usize {
        let others =
            self.starting.iter().filter(|(engine, _)| shares_places(**engine) && **engine != Engine::Lua);
        self.sharing().count() + others.map(|(_, count)| count).sum::<usize>()
    }

    /// The workers that share the configured number of places.
    pub(super) fn sharing(&self) -> impl Iterator<Item = &Rc<Worker>> {
        self.workers.iter().filter(|worker| shares_places(worker.engine))
    }

    /// The next change to the workers that lets a job run which has none, if there is one.
    pub(super) fn next_move(&mut self, configured: usize) -> Option<Move> {
        if self.queue.is_empty() {
            return None;
        }
        let now = Instant::now();
        for job in self.queue.firsts(|job| shares_places(job.engine())) {
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
            if (victim.is_some() || beyond) && may_take_fresh(&mut self.rights, &self.workers, job, now) {
                return Some(Move { victim, engine });
            }
        }
        None
    }

    /// Whether a job's script names one of these plugins, or has turned out to need one.
    pub(super) fn needs_plugins(&mut self, job: &Job, plugins: &[Plugin]) -> bool {
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
    pub(super) fn hand(&mut self, job: Job) -> Result<(), Job> {
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
        if worker.is_fresh() && !may_take_fresh(&mut self.rights, &self.workers, &job, Instant::now()) {
            return Err(job);
        }
        if let Err((job, error)) = worker.hand(job) {
            drive::unsendable(&worker, job, &error);
        }
        Ok(())
    }

    pub(super) fn started(&mut self, engine: Engine) {
        if let Some(count) = self.starting.get_mut(&engine) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Whether workers of an engine share the configured number of places. Those for WebAssembly and for plugins
/// have places of their own, since each serves one module or one run only.
pub(super) fn shares_places(engine: Engine) -> bool {
    !matches!(engine, Engine::Wasm | Engine::Plugin)
}

/// A change to the workers.
pub(super) struct Move {
    /// The idle worker that gives way; none: there is to be one more.
    pub(super) victim: Option<usize>,
    /// What the new one runs.
    pub(super) engine: Engine,
}

/// Whether one more worker may run this job's tenant's scripts.
pub(super) fn may_run_more(workers: &[Rc<Worker>], job: &Job) -> bool {
    let most = job.terms.concurrency;
    let busy = || workers.iter().filter(|worker| !worker.is_idle() && worker.is_of_tenant(job.tenant()));
    most == usize::MAX || busy().count() < most
}

/// Takes the right to a fresh worker.
pub(super) fn may_take_fresh(rights: &mut Rights, workers: &[Rc<Worker>], job: &Job, now: Instant) -> bool {
    let tenant = job.tenant();
    let once = job.terms.isolation == Isolation::Invocation;
    let alone = workers.iter().all(|worker| worker.is_fresh() || worker.is_of_tenant(tenant));
    rights.take(tenant, once, alone, now)
}

/// Whether one more worker may be bound to this job's module.
pub(super) fn may_bind(workers: &[Rc<Worker>], job: &Job, most: usize) -> bool {
    job.module().is_some_and(|module| workers.iter().filter(|worker| worker.is_of(module)).count() < most)
}
