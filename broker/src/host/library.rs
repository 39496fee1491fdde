//! `require("x")` of a library at run time.

use super::Answer;
use crate::catalog::Snapshot;

/// The library's chunk: its own libraries, then itself.
#[must_use]
pub fn answer(catalog: &Snapshot, tenant: &str, name: &str) -> Answer {
    match catalog.libraries.of(tenant).get(name) {
        Ok(Some(parts)) => Answer::Library(parts),
        Ok(None) => Answer::NotFound,
        Err(error) => Answer::Failed(error.to_string()),
    }
}
