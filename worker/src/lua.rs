//! The Lua engine: what a script can see, and the functions behind it.
//!
//! Safe Rust on plain values; the state itself is behind [`crate::vm`].

pub mod modules;
pub mod number;
pub mod prelude;
#[cfg(test)]
pub(crate) mod testing;
pub mod value;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Invoke, Level, Part};

use jiff::tz::TimeZone;
use modules::etcd::Pairs;
use modules::io::Streams;
use modules::re::Patterns;
use modules::sql::Clients;

use crate::scratch::{Calls, Reached};

/// The memory limit of a `Ctx` before its first run, in bytes: the contract's default.
const DEFAULT_MEMORY: usize = 128 << 20;

/// The way out: what a run may tell the broker or ask of it.
pub trait Outside {
    /// Hands over a log line. Lines past the run's log limit are dropped by the implementation.
    fn log(&mut self, level: Level, text: &[u8]);

    /// Makes a host call and hands the reply over.
    fn call(&mut self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>));

    /// A run begins.
    fn start(&mut self, invoke: &Invoke<'_>);

    /// Whether the run has asked for anything that could be seen outside.
    fn has_acted(&self) -> bool {
        false
    }

    /// The limit of host calls, if the run has reached it.
    fn reached(&self) -> Option<Reached> {
        None
    }
}

/// The end of the text of a call that is one too many.
pub const CALLS_REACHED: &str = "host calls reached";

/// The way out, as the parts of a `Ctx` share it. A reply is handed over while the way is taken, so nothing
/// may be asked from within.
#[derive(Clone)]
pub struct Way(Rc<RefCell<Box<dyn Outside>>>);

impl std::fmt::Debug for Way {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Way")
    }
}

impl Way {
    fn new(outside: Box<dyn Outside>) -> Way {
        Way(Rc::new(RefCell::new(outside)))
    }

    /// See [`Outside::log`].
    pub fn log(&self, level: Level, text: &[u8]) {
        self.0.borrow_mut().log(level, text);
    }

    /// See [`Outside::call`].
    pub fn call(&self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        self.0.borrow_mut().call(request, reply);
    }

    /// See [`Outside::has_acted`].
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.0.borrow().has_acted()
    }

    /// See [`Outside::reached`].
    #[must_use]
    pub fn reached(&self) -> Option<Reached> {
        self.0.borrow().reached()
    }

    /// See [`Outside::start`].
    pub fn start(&self, invoke: &Invoke<'_>) {
        self.0.borrow_mut().start(invoke);
    }
}

impl Calls for Way {
    fn call(&self, request: &HostCall<'_>, reply: &mut dyn FnMut(HostReply<'_>)) {
        Way::call(self, request, reply);
    }
}

/// The scratch folder as scripts have it.
pub type Scratch = crate::scratch::Scratch<Way>;

/// What one invocation owns on the Rust side. Emptied after each.
pub struct Ctx {
    /// The scratch folder.
    pub scratch: Scratch,
    /// What `io` keeps: current files, unfinished lines.
    pub streams: Streams,
    /// What `os.getenv` finds: the granted values, and what the script set.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Compiled patterns of `re`. They depend on nothing but their text, so they are kept for the
    /// tenant's next invocation.
    pub patterns: Patterns,
    /// Keys and values that scripts hold.
    pub pairs: Pairs,
    /// Database clients and databases in memory.
    pub sql: Clients,
    /// The memory limit of the invocation, in bytes.
    pub memory_limit: usize,
    /// The bytes of a result that was last refused as too large.
    pub refused_memory: Option<u64>,
    /// The server's time zone, read before the jail closed.
    pub local_zone: TimeZone,
    /// The way out.
    pub outside: Way,
    /// What was logged.
    #[cfg(test)]
    pub log_sink: Vec<(Level, Vec<u8>)>,
}

impl Ctx {
    /// A context whose way out is this. Reads the server's time zone, so it must be made before the jail closes.
    #[must_use]
    pub fn new(outside: Box<dyn Outside>) -> Ctx {
        let outside = Way::new(outside);
        Ctx {
            scratch: Scratch::default().with_way(outside.clone()),
            streams: Streams::default(),
            env: BTreeMap::new(),
            patterns: Patterns::default(),
            pairs: Pairs::default(),
            sql: Clients::default(),
            memory_limit: DEFAULT_MEMORY,
            refused_memory: None,
            local_zone: modules::time::zone::system(),
            outside,
            #[cfg(test)]
            log_sink: Vec::new(),
        }
    }

    /// A run begins.
    pub fn start(&mut self, invoke: &Invoke<'_>) {
        self.memory_limit = usize::try_from(invoke.limits.memory).unwrap_or(usize::MAX);
        let stored = usize::try_from(invoke.limits.scratch).unwrap_or(usize::MAX);
        self.scratch.set_limits(self.memory_limit, stored, invoke.limits.scratch_files as usize);
        self.outside.start(invoke);
    }

    /// The limit that an error is about, by its text, if it is one that scripts may live with.
    #[must_use]
    pub fn reached(&self, error: &[u8]) -> Option<Reached> {
        let tells = |text: &[u8]| error.windows(text.len()).any(|window| window == text);
        let full =
            self.scratch.reached().filter(|_| tells(crate::scratch::Reason::Full.to_string().as_bytes()));
        full.or_else(|| self.outside.reached().filter(|_| tells(CALLS_REACHED.as_bytes())))
    }

    /// Drops all that a run left.
    pub fn reset(&mut self) {
        self.scratch.reset();
        self.streams = Streams::default();
        self.env.clear();
        self.pairs = Pairs::default();
        self.sql = Clients::default();
        self.refused_memory = None;
    }

    /// Logs one line, any bytes, without its newline.
    pub fn log(&mut self, level: Level, text: &[u8]) {
        #[cfg(test)]
        self.log_sink.push((level, text.to_vec()));
        self.outside.log(level, text);
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
            _ => result = Err("unexpected reply".to_owned()),
        });
        result
    }
}

#[cfg(test)]
impl Default for Ctx {
    fn default() -> Self {
        Ctx::new(Box::new(testing::Nowhere))
    }
}
