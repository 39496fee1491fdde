//! Tells when a folder may have changed.
//!
//! Takes folders, gives a signal. Edge: inotify. Without inotify, or where it loses sight of a folder,
//! it signals once a second.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

/// How long it must be quiet before a change is told.
const QUIET: Duration = Duration::from_millis(100);

/// After this time a change is told even if there is no quiet.
const LATEST: Duration = Duration::from_millis(400);

/// How often a folder is looked at that cannot be watched, and whether a watched one is still the same.
const POLL: Duration = Duration::from_millis(500);

/// Device and inode of each folder; none if it is not there.
type Identity = Vec<Option<(u64, u64)>>;

/// Watches folders and all below them.
pub(super) struct Watch {
    folders: Vec<PathBuf>,
    identity: Identity,
    /// Links out of the folders, with device and inode of what they led to.
    links: Vec<(PathBuf, (u64, u64))>,
    /// None if the folders cannot be watched.
    watcher: Option<RecommendedWatcher>,
    signals: mpsc::Receiver<()>,
}

impl Watch {
    /// Begins to watch: every change from now on is told.
    pub(super) fn new(folders: Vec<PathBuf>) -> Watch {
        let (sender, signals) = mpsc::channel(1);
        let watcher = match watcher(&folders, sender) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the script folder; it is read again every second");
                None
            }
        };
        Watch { identity: identity(&folders), folders, links: Vec::new(), watcher, signals }
    }

    /// Looks at these links from now on, in place of others: where they led when the folders were read.
    pub(super) fn look_at(&mut self, links: Vec<(PathBuf, (u64, u64))>) {
        self.links = links;
    }

    /// Returns when something may have changed since it last returned, or since the start.
    pub(super) async fn changed(&mut self) {
        if self.watcher.is_none() {
            sleep(POLL * 2).await;
            return self.renew();
        }
        loop {
            let deadline = Instant::now() + POLL;
            match timeout_at(deadline, self.signals.recv()).await {
                Ok(Some(())) => return self.settle().await,
                // The watcher's thread ended.
                Ok(None) => return self.renew(),
                Err(_) if identity(&self.folders) != self.identity => return self.renew(),
                Err(_) if self.links.iter().any(|(link, known)| inode(link) != Some(*known)) => return,
                Err(_) => {}
            }
        }
    }

    /// Waits until it is quiet.
    async fn settle(&mut self) {
        let latest = Instant::now() + LATEST;
        while let Ok(Some(())) = timeout_at(latest.min(Instant::now() + QUIET), self.signals.recv()).await {
            if Instant::now() >= latest {
                return;
            }
        }
    }

    /// Watches the folders as they are now: one may have been replaced by another of its name.
    fn renew(&mut self) {
        let now = identity(&self.folders);
        if self.watcher.is_some() || now != self.identity {
            *self = Watch::new(std::mem::take(&mut self.folders));
        }
    }
}

fn watcher(folders: &[PathBuf], sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<Event>| {
        // Our own reading is told, too.
        if event.is_ok_and(|event| is_access(event.kind)) {
            return;
        }
        // A signal that waits already is enough. An error may hide a change.
        let _ = sender.try_send(());
    };
    let mut watcher = RecommendedWatcher::new(told, Config::default().with_follow_symlinks(false))?;
    for folder in folders.iter().filter_map(|folder| folder.canonicalize().ok()) {
        watcher.watch(&folder, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// Whether nothing was written.
fn is_access(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn identity(folders: &[PathBuf]) -> Identity {
    folders.iter().map(|folder| inode(folder)).collect()
}

/// Device and inode of what a path leads to.
fn inode(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_watcher_it_signals_every_second() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![root.path().to_owned()]);
        watch.watcher = None;
        let start = Instant::now();
        watch.changed().await;
        assert!((POLL..POLL * 3).contains(&start.elapsed()));
        assert!(watch.watcher.is_none(), "the same folder is not tried again");
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.lua");
        std::fs::write(&file, "x").unwrap();
        let mut watch = Watch::new(vec![root.path().to_owned()]);
        std::fs::read(&file).unwrap();
        assert!(tokio::time::timeout(QUIET * 3, watch.changed()).await.is_err());
        std::fs::write(&file, "y").unwrap();
        assert!(tokio::time::timeout(LATEST, watch.changed()).await.is_ok());
    }
}
