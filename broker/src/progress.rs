//! Long work shows that it goes on: a line on a terminal, overwritten in place and gone at its end. Elsewhere, where
//! lines stay, nothing.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long work may take before anything is shown.
const SOON: Duration = Duration::from_millis(400);

/// How often what is shown changes.
const STEP: Duration = Duration::from_millis(200);

/// Does the work; while it takes long and standard error is a terminal, says that `what` is being done.
pub async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    shown(what, work, &mut |text| {
        // Nobody may be looking any more.
        let _ = io::stderr().write_all(text.as_bytes());
    })
    .await
}

async fn shown<T>(what: &str, work: impl Future<Output = T>, show: &mut dyn FnMut(&str)) -> T {
    tokio::pin!(work);
    let began = Instant::now();
    let mut pause = SOON;
    loop {
        if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
            if pause == STEP {
                show("\r\x1b[K");
            }
            return done;
        }
        pause = STEP;
        show(&format!("\r\x1b[K{} {}s", what.escape_debug(), began.elapsed().as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn short_work_shows_nothing_and_long_work_leaves_nothing() {
        let mut all = String::new();
        let done = shown("a", async { 1 }, &mut |text| all.push_str(text)).await;
        assert_eq!((done, all.as_str()), (1, ""));
        let long = tokio::time::sleep(Duration::from_millis(700));
        shown("compiling\u{1b} x", long, &mut |text| all.push_str(text)).await;
        assert!(all.starts_with("\r\x1b[Kcompiling\\u{1b} x 0s") && all.ends_with("\r\x1b[K"), "{all:?}");
    }
}
