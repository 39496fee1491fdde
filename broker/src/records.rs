//! The last runs worth a look: those that failed or said something. Bounded; pure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::SystemTime;

use crate::catalog::Script;
use crate::invocation::{Answer, Ending, Reason};

/// How many runs are kept.
const KEPT: usize = 256;

/// Text kept per run, in bytes.
const TEXT: usize = 16 << 10;

/// A run that is kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// The script's subject.
    pub subject: Rc<str>,
    /// When it ended.
    pub at: SystemTime,
    /// How, without its answer.
    pub ending: Rc<Ending>,
}

/// The last runs.
#[derive(Debug, Default)]
pub struct Records {
    kept: RefCell<VecDeque<Record>>,
}

impl Records {
    /// Keeps a run, if there is anything to see.
    pub fn add(&self, script: &Script, ending: &Ending) {
        if ending.reason == Reason::Ok && ending.logs.is_empty() {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        let mut left = TEXT;
        let fits = |line: &&crate::invocation::LogLine| {
            left = left.saturating_sub(line.text.len());
            left > 0
        };
        let logs = ending.logs.iter().take_while(fits).cloned().collect();
        let ending = Ending { answer: Answer::None, logs, ..ending.clone() };
        let record =
            Record { subject: script.subject.clone(), at: SystemTime::now(), ending: Rc::new(ending) };
        kept.push_back(record);
    }

    /// The last runs that failed, latest first, of all scripts.
    #[must_use]
    pub fn failures(&self, most: usize) -> Vec<Record> {
        let kept = self.kept.borrow();
        let failed = |record: &&Record| record.ending.reason != Reason::Ok;
        kept.iter().rev().filter(failed).take(most).cloned().collect()
    }

    /// The runs of a script, latest first.
    #[must_use]
    pub fn of(&self, subject: &str, name: &str) -> Vec<Record> {
        let kept = self.kept.borrow();
        let of = |record: &&Record| &*record.subject == subject && &*record.ending.name == name;
        kept.iter().rev().filter(of).cloned().collect()
    }
}
