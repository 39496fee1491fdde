//! msgscript's broker: it owns every door to the outside, and workers that own nothing run the scripts.
//!
//! The modules stand in the order in which a message meets them.

// The story, told once.
pub mod pipeline;

// 1 in: bytes become messages.
pub mod ingress;
pub mod nats;
pub mod upstream;
pub mod streams;
pub mod timers;
pub mod invocation;
pub mod locks;

// 2 where: subject to scripts.
pub mod catalog;
pub mod route;

// 3 may: who comes in, admission, and each host call.
pub mod access;
pub mod plugins;
pub mod policy;

// 4 when, 5 who: the queue and the workers.
pub mod schedule;
pub mod pool;
pub mod wasm;
pub mod workbench;
pub mod podman;

// 6 powers: what scripts ask for.
pub mod host;
pub mod secrets;

// 7 out: endings become answers.
pub mod result;
pub mod reply;
pub mod records;
pub mod statistics;
pub mod telemetry;
pub mod audit;

// Around it.
pub mod app;
pub mod cli;
pub mod cgroup;
pub mod config;
pub mod control;
pub mod doctor;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod etcd;
pub mod notify;
pub mod progress;
pub mod units;

/// The version, with the commit in brackets if it is known.
pub const VERSION: &str = env!("MSGSCRIPT_VERSION");
