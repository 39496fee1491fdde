//! `require("x")` of a library at run time.

use super::Answer;
use crate::catalog::Snapshot;

/// The library's chunk: its own libraries, then itself.
#[must_use]
pub fn answer(catalog: &Snapshot, name: &str) -> Answer {
    match catalog.library(name) {
        Some(Ok(parts)) => Answer::Library(parts),
        Some(Err(error)) => Answer::Failed(error),
        None => Answer::NotFound,
    }
}
