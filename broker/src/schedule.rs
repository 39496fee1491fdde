//! Who runs when: which worker takes a job, and in what order jobs wait. Pure; no clock, no process.

use std::collections::VecDeque;

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

/// Jobs that wait, first come first served, bounded. Jobs that came back go to the front.
#[derive(Debug)]
pub struct Queue<T> {
    jobs: VecDeque<T>,
    capacity: usize,
}

impl<T> Queue<T> {
    /// A queue of at most `capacity` new jobs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Queue { jobs: VecDeque::new(), capacity }
    }

    /// Adds a job at the end.
    ///
    /// # Errors
    /// The job, when the queue is full.
    pub fn push(&mut self, job: T) -> Result<(), T> {
        if self.jobs.len() >= self.capacity {
            return Err(job);
        }
        self.jobs.push_back(job);
        Ok(())
    }

    /// Puts a job at the front, whatever waits: one that had been handed out and not started, which was
    /// admitted before, or one of the broker's own.
    pub fn put_back(&mut self, job: T) {
        self.jobs.push_front(job);
    }

    /// Takes the first job that fits.
    pub fn take(&mut self, fits: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.jobs.iter().position(fits)?;
        self.jobs.remove(at)
    }

    /// Takes out all jobs that a test picks.
    pub fn take_all(&mut self, mut picked: impl FnMut(&T) -> bool) -> Vec<T> {
        let (out, stay) = std::mem::take(&mut self.jobs).into_iter().partition(|job| picked(job));
        self.jobs = stay;
        Vec::from_iter::<VecDeque<T>>(out)
    }

    /// The jobs in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.jobs.iter()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How many may wait.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Queue, View, choose};

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
        let mut queue = Queue::new(1);
        queue.push(1).unwrap();
        assert_eq!(queue.push(2), Err(2));
        queue.put_back(0);
        assert_eq!(queue.take(|_| true), Some(0));
        assert_eq!(queue.take(|job| *job == 7), None);
        assert_eq!(queue.take_all(|_| true), vec![1]);
        assert!(queue.is_empty());
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
