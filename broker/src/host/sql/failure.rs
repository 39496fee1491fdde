//! Why SQL gave nothing.

use crate::host::Answer;
use crate::host::net::NetError;
use crate::policy::Denied;
use crate::secrets::SecretError;

/// Why SQL gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Policy forbids it.
    #[error("{0}")]
    Denied(String),
    /// It failed; the connection is as good as before.
    #[error("{0}")]
    Failed(String),
    /// It failed, and the connection with it.
    #[error("{0}")]
    Broken(String),
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::Denied(denied.0)
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Failure {
        match error {
            NetError::Denied(denied) => denied.into(),
            NetError::Failed(text) => Failure::Broken(text),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Failure {
        match error {
            SecretError::Denied(denied) => denied.into(),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Answer {
        match failure {
            Failure::Denied(text) => Answer::Denied(text),
            Failure::Failed(text) | Failure::Broken(text) => Answer::Failed(text),
        }
    }
}
