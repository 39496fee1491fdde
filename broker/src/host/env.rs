//! `os.getenv`: a granted variable of the broker's environment.

use std::os::unix::ffi::OsStringExt;

use super::Answer;
use crate::policy::Policy;

/// The variable's value, if it has one.
#[must_use]
pub fn answer(policy: &Policy, name: String) -> Answer {
    match policy.env(name) {
        Err(denied) => denied.into(),
        Ok(permitted) => match std::env::var_os(permitted.into_inner().0) {
            Some(value) => Answer::Bytes(value.into_vec().into()),
            None => Answer::NotFound,
        },
    }
}
