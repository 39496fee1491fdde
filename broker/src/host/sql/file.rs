//! SQLite's files in granted folders: each is opened by a process of its own kind, jailed to that folder.
//!
//! A process serves one run at a time, and runs of one tenant on one grant only. It closes its file between them,
//! and ends when nobody comes.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use msgscript_proto::codec;
use msgscript_proto::message::{Engine, PathAccess, PathRule, ToBroker, ToWorker};
use msgscript_proto::sql::{SqliteCall, SqliteReply, Table};
use nix::unistd::Uid;
use tokio::sync::Semaphore;

use super::failure::Failure;
use crate::policy::Permitted;
use crate::policy::grant::FileScope;
use crate::policy::sql::SqliteFile;
use crate::pool::Pool;
use crate::pool::solo::Solo;

/// Processes at a time, of all tenants.
const MOST: usize = 16;

/// How long one waits for its next run.
const IDLE: Duration = Duration::from_secs(30);

/// How long one may take to close its file.
const CLOSING: Duration = Duration::from_secs(1);

/// What is said of a file whose process has ended.
pub(super) const LOST: &str = "the process that had the file open has ended";

/// Whose process, and for which folder.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    tenant: Rc<str>,
    scope: FileScope,
}

/// The processes that open files.
pub(super) struct Files {
    workers: Rc<Pool>,
    idle: RefCell<Vec<(Instant, Key, Solo)>>,
    free: Semaphore,
}

/// A file that a run has open.
pub(super) struct Opened {
    files: Weak<Files>,
    key: Key,
    /// `None` while it is being asked, or lost.
    process: Option<Solo>,
}

impl Files {
    /// None yet. They are started as this pool's workers are.
    pub(super) fn new(workers: Rc<Pool>) -> Files {
        Files { workers, idle: RefCell::default(), free: Semaphore::new(MOST) }
    }

    /// Ends those that nobody uses.
    pub(super) fn forget(&self) {
        let ended = self.idle.take();
        self.free.add_permits(ended.len());
    }

    /// Opens a file for a run.
    pub(super) async fn open(
        self: &Rc<Self>,
        tenant: &Rc<str>,
        permitted: Permitted<SqliteFile>,
    ) -> Result<Opened, Failure> {
        let SqliteFile { path, read_only, scope } = permitted.into_inner();
        let key = Key { tenant: tenant.clone(), scope };
        let process = self.process(&key).await?;
        let mut opened = Opened { files: Rc::downgrade(self), key, process: Some(process) };
        match opened.ask(&SqliteCall::Open { path: &path, read_only }, 0).await? {
            None => Ok(opened),
            Some(_) => Err(Failure::Broken(LOST.to_owned())),
        }
    }

    /// One that waits, or a new one.
    async fn process(&self, key: &Key) -> Result<Solo, Failure> {
        self.drop_old();
        let waiting = {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().position(|(_, other, _)| other == key);
            at.map(|at| idle.swap_remove(at).2)
        };
        if let Some(process) = waiting {
            return Ok(process);
        }
        if self.free.available_permits() == 0 && !self.idle.borrow().is_empty() {
            drop(self.idle.borrow_mut().remove(0));
            self.free.add_permits(1);
        }
        let permit = self.free.acquire().await.map_err(|error| Failure::Failed(error.to_string()))?;
        let process = self.start(key).await?;
        // Given back when the process is dropped.
        permit.forget();
        Ok(process)
    }

    async fn start(&self, key: &Key) -> Result<Solo, Failure> {
        let failed = |what: &dyn std::fmt::Display| {
            tracing::error!(folder = %key.scope.path.as_path().display(), error = %what, "cannot serve its files");
            Failure::Failed("unable to open database file".to_owned())
        };
        let folder = key.scope.path.as_path();
        let path = folder.to_str().ok_or_else(|| failed(&"its path is no UTF-8"))?.to_owned();
        let owner = std::fs::metadata(folder).map_err(|error| failed(&error))?.uid();
        let access = if key.scope.read_only { PathAccess::Read } else { PathAccess::Write };
        // The folder's owner, where the broker may choose: it has the rights that are needed, and no more.
        let user = Uid::effective().is_root().then_some(owner);
        let plan = self.workers.child_plan(Engine::Sqlite, vec![PathRule { path, access }], user);
        Solo::start(&self.workers.spawner(), plan).await.map_err(|error| failed(&error))
    }

    fn drop_old(&self) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|(since, ..)| since.elapsed() < IDLE);
        self.free.add_permits(before - idle.len());
    }
}

impl Opened {
    /// Runs a statement; gives at most that many bytes.
    pub(super) async fn run(&mut self, sql: &[u8], args: &[u8], most: u64) -> Result<Table, Failure> {
        let table = self.ask(&SqliteCall::Query { sql, args, most }, most).await?;
        table.ok_or_else(|| Failure::Broken(LOST.to_owned()))
    }

    /// Asks the process. One that is abandoned on the way is never asked again.
    async fn ask(&mut self, call: &SqliteCall<'_>, most: u64) -> Result<Option<Table>, Failure> {
        let lost = || Failure::Broken(LOST.to_owned());
        let Some(process) = self.process.take() else { return Err(lost()) };
        let mut process = Guarded { files: self.files.clone(), process: Some(process) };
        let reply = process.ask(call).await.ok_or_else(lost)?;
        let result = match codec::decode(&reply) {
            Ok(ToBroker::Sqlite(SqliteReply::Done)) => Ok(None),
            Ok(ToBroker::Sqlite(SqliteReply::Rows(rows))) => Ok(Some(Table::from_wire(&rows, most)?)),
            Ok(ToBroker::Sqlite(SqliteReply::Failed(text))) => Err(Failure::Failed(text.to_owned())),
            _ => return Err(lost()),
        };
        self.process = process.process.take();
        result
    }
}

/// A process that ends with this value unless it is taken out.
struct Guarded {
    files: Weak<Files>,
    process: Option<Solo>,
}

impl Guarded {
    async fn ask(&mut self, call: &SqliteCall<'_>) -> Option<Vec<u8>> {
        let process = self.process.as_mut()?;
        process.send(&ToWorker::Sqlite(*call)).await.ok()?;
        process.recv().await.ok()?
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.process.take().is_some()
            && let Some(files) = self.files.upgrade()
        {
            files.free.add_permits(1);
        }
    }
}

impl Drop for Opened {
    /// Closes the file, then has the process wait for its next run.
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let mut process = Guarded { files: self.files.clone(), process: Some(process) };
        let (files, key) = (self.files.clone(), self.key.clone());
        tokio::task::spawn_local(async move {
            let closed = tokio::time::timeout(CLOSING, process.ask(&SqliteCall::Close)).await;
            if let (Ok(Some(_)), Some(files)) = (closed, files.upgrade())
                && let Some(process) = process.process.take()
            {
                files.idle.borrow_mut().push((Instant::now(), key, process));
                tokio::time::sleep(IDLE).await;
                files.drop_old();
            }
        });
    }
}
