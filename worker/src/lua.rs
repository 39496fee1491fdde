//! The Lua engine: what a script can see, and the functions behind it.
//!
//! Safe Rust on plain values; the state itself is behind [`crate::vm`].

pub mod modules;
pub mod number;
pub mod prelude;
pub mod scratch;
pub mod value;

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Invoke, Level, Part};

use scratch::Scratch;

/// The way out: what a run may tell the broker or ask of it.
pub trait Outside {
    /// Hands over a log line. Lines past the run's log limit are dropped by the implementation.
    fn log(&mut self, level: Level, text: &[u8]);

    /// Makes a host call and hands the reply over.
    fn call(&mut self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>));

    /// A run begins.
    fn start(&mut self, invoke: &Invoke<'_>);
}

/// What one invocation owns on the Rust side.
pub struct Ctx {
    /// The scratch folder.
    pub scratch: Scratch,
    /// The way out.
    pub outside: Box<dyn Outside>,
}

impl Ctx {
    /// A context whose way out is this.
    #[must_use]
    pub fn new(outside: Box<dyn Outside>) -> Ctx {
        Ctx { scratch: Scratch::default(), outside }
    }

    /// Drops all that a run left.
    pub fn reset(&mut self) {
        self.scratch = Scratch::default();
    }

    /// A run begins.
    pub fn start(&mut self, invoke: &Invoke<'_>) {
        self.outside.start(invoke);
    }

    /// Asks the broker for a library; hands its parts over if there is one.
    ///
    /// # Errors
    /// The text for the script when the broker refuses or fails.
    pub fn library(&mut self, name: &[u8], found: &mut dyn FnMut(&[Part<'_>])) -> Result<bool, String> {
        let mut result = Ok(false);
        self.outside.call(&HostCall::Library { name }, &mut |reply| match reply {
            HostReply::Library(parts) => {
                found(&parts);
                result = Ok(true);
            }
            HostReply::NotFound => {}
            HostReply::Failed(text) | HostReply::Denied(text) => result = Err(text.to_owned()),
            HostReply::Done | HostReply::Bytes(_) => result = Err("unexpected reply".to_owned()),
        });
        result
    }
}
