//! Who runs when: which worker takes a job, and in what order jobs wait. Pure; no clock, no process.

use std::collections::VecDeque;
use std::time::Instant;

use crate::invocation::Tenant;

/// Jobs handed to one worker at most, the running one included.
pub const DEPTH: usize = 32;

/// Waking another worker costs about this, in nanoseconds: work that a worker which is awake does sooner
/// waits for it. A run is short below this mean time.
pub const WAKE: u64 = 50_000;

/// What the scheduler sees of a worker that may run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Jobs handed to it and not answered.
    pub in_flight: usize,
    /// Whether a job may be handed to it behind others: all of those are short, and the script is loaded.
    pub ahead: bool,
}

/// The worker for a job, by its index among those given. A job known to be short (`mean` nanoseconds) goes
/// to one that is awake, as long as it gets there sooner than another would wake; else to an idle one (the
/// first given); else to the least loaded that may take more. None: the job waits.
pub fn choose(workers: impl Iterator<Item = (usize, View)> + Clone, mean: Option<u64>) -> Option<usize> {
    let awake = |most: usize| {
        let fit = workers.clone().filter(move |(_, view)| view.ahead && (1..most).contains(&view.in_flight));
        fit.min_by_key(|(_, view)| view.in_flight).map(|(index, _)| index)
    };
    let idle = || workers.clone().find(|(_, view)| view.in_flight == 0).map(|(index, _)| index);
    let Some(mean) = mean else { return idle() };
    let pack = usize::try_from(WAKE / mean.max(1)).unwrap_or(DEPTH).clamp(1, DEPTH);
    awake(pack).or_else(idle).or_else(|| awake(DEPTH))
}

/// The mean time of a script's runs; recent ones count more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    mean: u64,
    known: bool,
}

impl Cost {
    /// Adds a run's time, in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        self.mean = if self.known { self.mean - self.mean / 8 + nanos / 8 } else { nanos };
        self.known = true;
    }

    /// The mean, in nanoseconds, if runs are known to be short.
    #[must_use]
    pub fn short(&self) -> Option<u64> {
        (self.known && self.mean < WAKE).then_some(self.mean)
    }
}

/// CPU time that a tenant may use in its turn, in nanoseconds, before the next one that waits has its own.
pub const QUANTUM: i64 = 10_000_000;

/// The most that a tenant owes: what it used while nobody else waited is not held against it.
const MOST_DEBT: i64 = 10 * QUANTUM;

/// Jobs that wait, bounded: deficit round robin between tenants by the CPU time that they used, first come
/// first served within a tenant. Jobs that came back go to the front of their tenant's.
#[derive(Debug)]
pub struct Queue<T> {
    /// Tenants that wait, in the order of their turns; none of them is empty.
    lines: VecDeque<Line<T>>,
    /// Debts of tenants that do not wait now, while others do.
    debts: Vec<(Tenant, i64)>,
    capacity: usize,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    tenant: Tenant,
    jobs: VecDeque<T>,
    /// What it may still use in this turn.
    deficit: i64,
}

impl<T> Queue<T> {
    /// A queue of at most `capacity` new jobs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Queue { lines: VecDeque::new(), debts: Vec::new(), capacity, len: 0 }
    }

    /// Adds a job at the end of its tenant's, of which at most `most` may wait.
    ///
    /// # Errors
    /// The job with the limit that was reached, when there is no room.
    pub fn push(&mut self, tenant: &Tenant, most: usize, job: T) -> Result<(), (T, usize)> {
        if self.len >= self.capacity {
            return Err((job, self.capacity));
        }
        let line = self.line(tenant);
        if line.jobs.len() >= most {
            return Err((job, most));
        }
        line.jobs.push_back(job);
        self.len += 1;
        Ok(())
    }

    /// Puts a job at the front of its tenant's, whatever waits: one that had been handed out and not
    /// started, which was admitted before, or one of the broker's own.
    pub fn put_back(&mut self, tenant: &Tenant, job: T) {
        self.line(tenant).jobs.push_front(job);
        self.len += 1;
    }

    fn line(&mut self, tenant: &Tenant) -> &mut Line<T> {
        let at = match self.lines.iter().position(|line| line.tenant == *tenant) {
            Some(at) => at,
            None => {
                let debt = self.debts.iter().position(|(debtor, _)| debtor == tenant);
                let deficit = debt.map_or(0, |at| self.debts.swap_remove(at).1);
                let line = Line { tenant: tenant.clone(), jobs: VecDeque::new(), deficit };
                self.lines.push_back(line);
                self.lines.len() - 1
            }
        };
        &mut self.lines[at]
    }

    /// Takes the first job that fits, of the tenant whose turn it is if there is one, else of the next. What waits of
    /// tenants that are not `served` is not looked at: it may be much.
    pub fn take(&mut self, served: impl Fn(&Tenant) -> bool, mut fits: impl FnMut(&T) -> bool) -> Option<T> {
        self.turn();
        let found = |line: &Line<T>, fits: &mut dyn FnMut(&T) -> bool| line.jobs.iter().position(fits);
        let lines = self.lines.iter().enumerate().filter(|(_, line)| served(&line.tenant));
        let (line, at) = lines.map(|(n, line)| (n, found(line, &mut fits))).find(|(_, at)| at.is_some())?;
        let job = self.lines[line].jobs.remove(at?)?;
        self.len -= 1;
        self.tidy();
        Some(job)
    }

    /// Whose turn it is: a tenant that has used up its own goes to the end.
    fn turn(&mut self) {
        if self.lines.len() < 2 {
            return;
        }
        // Each round pays off one quantum of every debt, so this ends.
        while let Some(first) = self.lines.front_mut().filter(|line| line.deficit <= 0) {
            first.deficit += QUANTUM;
            self.lines.rotate_left(1);
        }
    }

    /// A tenant used this much CPU time, in nanoseconds. It counts while another one waits.
    pub fn charge(&mut self, tenant: &Tenant, nanos: u64) {
        if self.lines.iter().all(|line| line.tenant == *tenant) {
            return;
        }
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        let pay = |deficit: &mut i64| *deficit = deficit.saturating_sub(nanos).max(-MOST_DEBT);
        if let Some(line) = self.lines.iter_mut().find(|line| line.tenant == *tenant) {
            pay(&mut line.deficit);
        } else if let Some((_, debt)) = self.debts.iter_mut().find(|(debtor, _)| debtor == tenant) {
            pay(debt);
        } else {
            let mut debt = 0;
            pay(&mut debt);
            self.debts.push((tenant.clone(), debt));
        }
    }

    /// Lines that are empty go; their debts stay while others wait.
    fn tidy(&mut self) {
        while let Some(at) = self.lines.iter().position(|line| line.jobs.is_empty()) {
            if let Some(line) = self.lines.remove(at).filter(|line| line.deficit < 0) {
                self.debts.push((line.tenant, line.deficit));
            }
        }
        if self.lines.is_empty() {
            self.debts.clear();
        }
    }

    /// Takes out all jobs that a test picks.
    pub fn take_all(&mut self, mut picked: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for line in &mut self.lines {
            // Mostly there is none, and much to move.
            if !line.jobs.iter().any(&mut picked) {
                continue;
            }
            // In place, since a second queue of that length is memory that the kernel must clear.
            for _ in 0..line.jobs.len() {
                match line.jobs.pop_front() {
                    Some(job) if picked(&job) => out.push(job),
                    Some(job) => line.jobs.push_back(job),
                    None => {}
                }
            }
        }
        self.len -= out.len();
        self.tidy();
        out
    }

    /// The jobs, tenant after tenant in the order of their turns.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lines.iter().flat_map(|line| &line.jobs)
    }

    /// The first such job of each tenant, in the order of their turns.
    pub fn firsts(&self, such: impl Fn(&T) -> bool) -> impl Iterator<Item = &T> {
        self.lines.iter().filter_map(move |line| line.jobs.iter().find(|job| such(job)))
    }

    /// Whether jobs of more than one tenant wait.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.lines.len() > 1
    }

    /// Whether a job of this tenant waits.
    #[must_use]
    pub fn has(&self, tenant: &Tenant) -> bool {
        self.lines.iter().any(|line| line.tenant == *tenant)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(now: Instant, most: f64) -> Bucket {
        Bucket { tokens: most, filled: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant, rate: f64, most: f64) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(most);
        self.filled = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, Cost, Queue, View, choose};
    use crate::invocation::Tenant;

    fn pick(views: &[(usize, bool)], mean: Option<u64>) -> Option<usize> {
        let views = views.iter().map(|&(in_flight, ahead)| View { in_flight, ahead });
        choose(views.enumerate(), mean)
    }

    #[test]
    fn short_work_is_packed_onto_a_worker_that_is_awake() {
        assert_eq!(pick(&[(0, true), (1, true)], Some(10_000)), Some(1));
        assert_eq!(pick(&[(0, true), (5, true)], Some(10_000)), Some(0));
        assert_eq!(pick(&[(9, true), (5, true)], Some(10_000)), Some(1));
        assert_eq!(pick(&[(0, true), (9, true)], Some(2_000)), Some(1));
        assert_eq!(pick(&[(32, true), (32, true)], Some(2_000)), None);
    }

    #[test]
    fn nothing_is_queued_behind_long_work() {
        assert_eq!(pick(&[(1, false), (0, true)], Some(10)), Some(1));
        assert_eq!(pick(&[(1, false), (2, false)], Some(10)), None);
        assert_eq!(pick(&[(1, true)], None), None);
        assert_eq!(pick(&[(1, true), (0, false)], None), Some(1));
    }

    #[test]
    fn what_came_back_goes_first() {
        let a: Tenant = "a".into();
        let mut queue = Queue::new(2);
        queue.push(&a, 1, 1).unwrap();
        assert_eq!(queue.push(&a, 1, 2), Err((2, 1)), "the tenant's own limit");
        queue.push(&"b".into(), 9, 3).unwrap();
        assert_eq!(queue.push(&a, 9, 2), Err((2, 2)), "the limit of all");
        queue.put_back(&a, 0);
        assert_eq!(queue.take(|_| true, |_| true), Some(0));
        assert_eq!(queue.take(|_| true, |job| *job == 7), None);
        assert_eq!(queue.take_all(|job| *job == 1), vec![1]);
        assert_eq!((queue.len(), queue.is_contended()), (1, false));
        assert_eq!(queue.take(|_| true, |_| true), Some(3));
        assert!(queue.is_empty());
    }

    /// Two tenants wait all the time; one's jobs take ten times as long.
    #[test]
    fn tenants_that_wait_get_the_same_cpu_time() {
        let tenants: [Tenant; 2] = ["light".into(), "heavy".into()];
        let mut queue = Queue::new(1000);
        let mut used = [0_u64; 2];
        for (n, tenant) in tenants.iter().enumerate() {
            for _ in 0..100 {
                queue.push(tenant, 1000, n).unwrap();
            }
        }
        for _ in 0..2000 {
            let n = queue.take(|_| true, |_| true).unwrap();
            let cost = if n == 0 { 1_000_000 } else { 10_000_000 };
            used[n] += cost;
            queue.charge(&tenants[n], cost);
            queue.push(&tenants[n], 1000, n).unwrap();
        }
        let share = used[1] as f64 / (used[0] + used[1]) as f64;
        assert!((0.4..0.6).contains(&share), "{used:?}");
    }

    #[test]
    fn who_waits_alone_runs_up_no_debt() {
        let (a, b): (Tenant, Tenant) = ("a".into(), "b".into());
        let mut queue = Queue::new(10);
        queue.push(&a, 10, 'a').unwrap();
        queue.charge(&a, 1 << 60);
        queue.push(&b, 10, 'b').unwrap();
        assert_eq!(queue.take(|_| true, |_| true), Some('a'));
        queue.charge(&a, 1 << 60);
        queue.push(&a, 10, 'a').unwrap();
        assert_eq!(queue.take(|_| true, |_| true), Some('b'), "what it used while another waits counts");
        assert_eq!(queue.take(|_| true, |_| true), Some('a'));
    }

    #[test]
    fn buckets_fill_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 2.0);
        let mut take = |ms| bucket.take(start + Duration::from_millis(ms), 10.0, 2.0);
        assert_eq!([take(0), take(0), take(0), take(50), take(100)], [true, true, false, false, true]);
    }

    #[test]
    fn what_waits_of_others_is_not_looked_at() {
        let (a, b): (Tenant, Tenant) = ("a".into(), "b".into());
        let mut queue = Queue::new(10);
        for (tenant, job) in [(&a, 1), (&a, 2), (&b, 3), (&b, 4)] {
            queue.push(tenant, 10, job).unwrap();
        }
        assert_eq!(queue.firsts(|job| *job != 1).collect::<Vec<_>>(), [&2, &3]);
        let looked = std::cell::RefCell::new(Vec::new());
        let look = |job: &i32| {
            looked.borrow_mut().push(*job);
            *job == 4
        };
        assert_eq!(queue.take(|tenant| *tenant == b, look), Some(4));
        assert_eq!(*looked.borrow(), [3, 4]);
    }

    #[test]
    fn cost_follows_the_runs() {
        let mut cost = Cost::default();
        assert_eq!(cost.short(), None);
        cost.add(10_000);
        assert_eq!(cost.short(), Some(10_000));
        cost.add(10_000_000);
        assert_eq!(cost.short(), None);
    }
}
