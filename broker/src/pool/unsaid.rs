//! What a worker will still say of invocations that count no more, and what it may give back.
//!
//! Takes the numbers of invocations, gives the jobs they concern. Pure; knows no process, socket or slate.
//!
//! An invocation that was taken back is said once more by the worker: `Returned`, or `Done` if its answer was read from
//! the slate. Until then it is void, and must not be handed to the same worker again: what that says of it could be
//! either.

use std::collections::VecDeque;

use super::worker::Violation;

/// What can be handed to a worker.
pub trait Numbered {
    /// The number of the invocation; 0: none that is noted on the slate.
    fn number(&self) -> u64;
}

/// What one worker has yet to say, besides the answers to its jobs.
#[derive(Debug, Default)]
pub struct Unsaid {
    void: Vec<u64>,
    /// Jobs of an epoch that is over: each runs, or was noted as begun too late and is given back.
    noted: Vec<u64>,
}

/// What the end of an epoch brings.
#[derive(Debug)]
pub struct Back<J, A> {
    /// Jobs whose answers are on the slate, with these.
    pub answered: Vec<(J, A)>,
    /// Jobs that have not begun and will not.
    pub unbegun: Vec<J>,
}

impl Unsaid {
    /// The epoch of these jobs is over, or their worker. `began`: the invocation that began last, read after that.
    /// `unsent`: how many of the last jobs never left. `kept`: the answers on the slate, read after `began`.
    pub fn take_back<J: Numbered, A>(
        &mut self,
        jobs: &mut VecDeque<J>,
        began: u64,
        unsent: usize,
        kept: impl IntoIterator<Item = (u64, A)>,
    ) -> Back<J, A> {
        // What is not noted is alone: nothing is handed over behind it.
        let at = jobs.iter().position(|job| job.number() == began || job.number() == 0);
        // What was noted before may have ended meanwhile, and the worker be at something void behind it.
        let noted = jobs.iter().take_while(|job| self.noted.contains(&job.number())).count();
        // Before the answers are looked at: the worker goes on meanwhile, and may keep what it says of these as well.
        let unbegun: Vec<J> = jobs.split_off(at.map_or(0, |at| at + 1).max(noted)).into();
        let mut answered = Vec::new();
        for (number, answer) in kept {
            // Others were sent before, and are on their way.
            if let Some(job) = jobs.pop_front_if(|job| job.number() == number) {
                self.void.push(number);
                answered.push((job, answer));
            }
        }
        self.noted = jobs.iter().map(J::number).collect();
        let sent = unbegun.len().saturating_sub(unsent);
        self.void.extend(unbegun.iter().take(sent).map(J::number));
        Back { answered, unbegun }
    }

    /// Whether what the worker says of this invocation is void. It is to be asked once for each thing said.
    pub fn is_void(&mut self, number: u64) -> bool {
        let at = self.void.iter().position(|void| *void == number);
        at.map(|at| self.void.swap_remove(at)).is_some()
    }

    /// Whether the worker has yet to say something void of this invocation.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.void.contains(&number)
    }

    /// Whether the worker has nothing void to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.void.is_empty()
    }

    /// Takes the job that the worker gives back, which must be of an epoch that is over.
    ///
    /// # Errors
    /// When the worker may not.
    pub fn returned<J: Numbered>(&mut self, jobs: &mut VecDeque<J>, number: u64) -> Result<J, Violation> {
        let not_handed = Violation("a job came back that was not handed over");
        let noted = self.noted.iter().position(|noted| *noted == number).ok_or(not_handed)?;
        self.noted.swap_remove(noted);
        let at = jobs.iter().position(|job| job.number() == number && number != 0).ok_or(not_handed)?;
        jobs.remove(at).ok_or(not_handed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::{Numbered, Unsaid};

    impl Numbered for u64 {
        fn number(&self) -> u64 {
            *self
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Said {
        Done(u64),
        Returned(u64),
    }

    /// Where a worker is in its loop.
    #[derive(Debug, Clone, Copy)]
    enum At {
        Waiting,
        /// Has noted that this one begins, and has not looked at the epoch.
        Noted(u64, u8),
        Running(u64),
        /// Has sent what it kept, which is still there.
        Sent,
    }

    /// A worker as `worker/src/serve.rs` and its slate are, one step of either side at a time.
    struct Model {
        // The worker's.
        at: At,
        inbox: VecDeque<(u64, u8)>,
        outbox: VecDeque<Said>,
        runs: HashMap<u64, u32>,
        // The slate.
        epoch: u8,
        running: u64,
        kept: Vec<Said>,
        // The broker's.
        unsaid: Unsaid,
        jobs: VecDeque<u64>,
        waiting: VecDeque<u64>,
        /// What came back and was handed over last.
        again: Option<u64>,
        answers: HashMap<u64, u32>,
        next: u64,
        /// How many ended with their worker between their note and their first step.
        lost: u32,
    }

    impl Model {
        fn new() -> Model {
            Model {
                at: At::Waiting,
                inbox: VecDeque::new(),
                outbox: VecDeque::new(),
                runs: HashMap::new(),
                epoch: 0,
                running: 0,
                kept: Vec::new(),
                unsaid: Unsaid::default(),
                jobs: VecDeque::new(),
                waiting: VecDeque::new(),
                again: None,
                answers: HashMap::new(),
                next: 1,
                lost: 0,
            }
        }

        /// One step of the worker; `send`: it does not wait for more to say.
        fn work(&mut self, send: bool) {
            self.at = match self.at {
                At::Waiting => match self.inbox.pop_front() {
                    Some((number, epoch)) => {
                        self.running = number;
                        At::Noted(number, epoch)
                    }
                    None => At::Waiting,
                },
                At::Noted(number, epoch) if epoch == self.epoch => {
                    *self.runs.entry(number).or_default() += 1;
                    At::Running(number)
                }
                At::Noted(number, _) => self.say(Said::Returned(number), send),
                At::Running(number) => self.say(Said::Done(number), send),
                At::Sent => {
                    self.kept.clear();
                    At::Waiting
                }
            };
        }

        fn say(&mut self, said: Said, send: bool) -> At {
            self.kept.push(said);
            if !send && !self.inbox.is_empty() {
                return At::Waiting;
            }
            self.outbox.extend(&self.kept);
            At::Sent
        }

        /// What came back is handed to an idle worker only, and nothing behind it: see `Worker::view`.
        fn hand(&mut self, new: bool) {
            if self.jobs.back() == self.again.as_ref() && !self.jobs.is_empty() {
                return;
            }
            let old = self.waiting.iter().position(|number| !self.unsaid.has(*number));
            let number = match old.filter(|_| self.jobs.is_empty()).and_then(|at| self.waiting.remove(at)) {
                Some(number) => {
                    self.again = Some(number);
                    number
                }
                None if new => {
                    self.next += 1;
                    self.next
                }
                None => return,
            };
            self.jobs.push_back(number);
            self.inbox.push_back((number, self.epoch));
        }

        fn answered(&mut self, number: u64) {
            *self.answers.entry(number).or_default() += 1;
        }

        fn read(&mut self) {
            match self.outbox.pop_front() {
                Some(Said::Done(number) | Said::Returned(number)) if self.unsaid.is_void(number) => {}
                Some(Said::Done(number)) => {
                    assert_eq!(self.jobs.pop_front(), Some(number), "an answer out of order");
                    self.answered(number);
                }
                Some(Said::Returned(number)) => {
                    let back = self.unsaid.returned(&mut self.jobs, number).expect("may be given back");
                    self.waiting.push_front(back);
                }
                None => {}
            }
        }

        /// The broker's three looks, between which the worker makes these steps.
        fn take_back(&mut self, steps: [u8; 2]) {
            self.epoch = self.epoch.wrapping_add(1);
            for step in 0..steps[0] {
                self.work(step % 3 == 0);
            }
            let began = self.running;
            for step in 0..steps[1] {
                self.work(step % 4 == 3);
            }
            let kept = self.kept.iter().filter_map(|said| match said {
                Said::Done(number) => Some((*number, ())),
                Said::Returned(_) => None,
            });
            let kept: Vec<_> = kept.collect();
            let back = self.unsaid.take_back(&mut self.jobs, began, 0, kept);
            for (number, ()) in back.answered {
                self.answered(number);
            }
            for number in back.unbegun.into_iter().rev() {
                self.waiting.push_front(number);
            }
        }

        /// The worker ends, wherever it is, and another takes its place. What it had begun ends with it.
        fn die(&mut self) {
            while !self.outbox.is_empty() {
                self.read();
            }
            for said in std::mem::take(&mut self.kept) {
                match said {
                    Said::Done(number) if self.jobs.front() == Some(&number) => {
                        self.jobs.pop_front();
                        self.answered(number);
                    }
                    // It may have been sent as well, and been handed over again since.
                    Said::Returned(number) if self.jobs.front() == Some(&number) => {
                        self.waiting.extend(self.unsaid.returned(&mut self.jobs, number));
                    }
                    _ => {}
                }
            }
            let back =
                self.unsaid.take_back(&mut self.jobs, self.running, 0, std::iter::empty::<(u64, ())>());
            self.waiting.extend(back.unbegun);
            for number in std::mem::take(&mut self.jobs) {
                let ran = self.runs.contains_key(&number);
                assert!(ran || self.running == number, "{number} had not begun");
                self.answered(number);
                self.lost += u32::from(!ran);
            }
            (self.at, self.epoch, self.running, self.unsaid) = (At::Waiting, 0, 0, Unsaid::default());
            self.inbox.clear();
        }

        /// Until all is said and done.
        fn settle(&mut self) {
            for _ in 0..10_000 {
                self.hand(false);
                self.work(true);
                self.read();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever the order of steps, each message runs once and is answered once, and an honest worker is never
        /// taken for a hostile one.
        #[test]
        fn each_runs_once_and_is_answered_once(steps in prop::collection::vec((0..40u8, 0..8u8, 0..8u8), 1..200)) {
            let mut model = Model::new();
            for (step, first, second) in steps {
                match step {
                    0..=11 => model.hand(true),
                    12..=27 => model.work(first == 0),
                    28..=34 => model.read(),
                    35..=38 => model.take_back([first, second]),
                    _ => model.die(),
                }
            }
            model.settle();
            prop_assert!(model.unsaid.is_empty(), "{:?} is never said", model.unsaid);
            let mut never = 0;
            for number in 2..=model.next {
                let runs = model.runs.get(&number).copied().unwrap_or(0);
                prop_assert!(runs <= 1, "{number} ran {runs} times");
                never += 1 - runs;
                prop_assert_eq!(model.answers.get(&number), Some(&1), "answers of {}", number);
            }
            prop_assert!(never <= model.lost, "{never} never ran, {} were lost", model.lost);
        }
    }

    #[test]
    fn a_run_is_not_given_back() {
        let (mut unsaid, mut jobs) = (Unsaid::default(), VecDeque::from([7, 8]));
        assert!(unsaid.returned(&mut jobs, 7).is_err());
        assert!(unsaid.returned(&mut jobs, 9).is_err());
        let back = unsaid.take_back(&mut jobs, 7, 1, [(7, 'a')]);
        assert_eq!((back.answered, back.unbegun), (vec![(7, 'a')], vec![8]));
        assert!(!unsaid.has(8), "8 was never sent");
        assert!(unsaid.is_void(7) && !unsaid.is_void(7), "each is said once");
    }
}
