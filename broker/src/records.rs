//! The last runs worth a look: those that failed or said something. Bounded; pure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::SystemTime;

use crate::catalog::Script;
use crate::control::wire::{Filter, line};
use crate::invocation::{Answer, Ending, Reason, Tenant, format_id};
use crate::units::print_time;

/// How many runs are kept.
const KEPT: usize = 256;

/// Text kept per run, in bytes.
const TEXT: usize = 16 << 10;

/// A run that is kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose the script is.
    pub tenant: Tenant,
    /// The script's subject.
    pub subject: Rc<str>,
    /// When it ended.
    pub at: SystemTime,
    /// How, without its answer.
    pub ending: Rc<Ending>,
}

impl Record {
    fn lines(&self) -> Vec<Rc<[u8]>> {
        let ending = &self.ending;
        let event = |level: &str| {
            serde_json::json!({
                "timestamp": print_time(self.at), "level": level, "tenant": &*self.tenant,
                "subject": &*self.subject, "script": &*ending.name, "invocation": format_id(ending.invocation),
            })
        };
        let mut lines = Vec::new();
        for log in &ending.logs {
            let mut event = event(log.level.as_str());
            event["text"] = log.text.escape_debug().to_string().into();
            lines.push(line(&event));
        }
        if ending.reason != Reason::Ok {
            let mut event = event("WARN");
            event["reason"] = ending.reason.word().into();
            event["error"] = ending.error.as_str().into();
            event["message"] = "invocation failed".into();
            lines.push(line(&event));
        }
        lines
    }
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
        let (tenant, subject) = (script.tenant.clone(), script.subject.clone());
        kept.push_back(Record { tenant, subject, at: SystemTime::now(), ending: Rc::new(ending) });
    }

    /// The runs as lines of the log (see `telemetry`), oldest first.
    #[must_use]
    pub fn lines(&self, filter: &Filter) -> Vec<Rc<[u8]>> {
        let kept = self.kept.borrow();
        let of = |record: &&Record| filter.admits(Some(&record.tenant), Some(&record.subject));
        kept.iter().filter(of).flat_map(Record::lines).collect()
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
