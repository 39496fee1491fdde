//! msgscript's worker: one thread, one socket, one engine.
//!
//! Started by the broker with one end of a socket pair as descriptor 0, its [`slate`] as 1, a log pipe as 2, and
//! nothing else. It locks itself up ([`jail`]), greets, then serves one message after another
//! ([`serve`]) until the socket closes. After the jail is closed it owns nothing but its memory: whatever
//! reaches outside is asked of the broker.

pub mod command;
pub mod heap;
pub mod jail;
pub mod link;
pub mod lua;
pub mod probe;
pub mod scratch;
pub mod serve;
pub mod slate;
pub mod sqlite;
pub mod vm;
